//! Settings.

use std::{path::PathBuf, time::Duration};

use qpc_chassis::{limits::Rate, outbound::Exempt};

use crate::wake::Contact;

/// Settings of the delivery service.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Config {
    // More of them make smaller batches: on two cores, two committers accepted a quarter less than one.
    /// Transactions of enqueued messages that run side by side in this process
    #[arg(long, env = "QPC_COMMITTERS", default_value_t = 1)]
    pub committers: usize,
    /// Messages of one such transaction at the most
    #[arg(long, env = "QPC_COMMIT_BATCH", default_value_t = 256)]
    pub commit_batch: usize,
    /// Days that an undelivered message is kept; then a gap takes its place
    #[arg(long, env = "QPC_MESSAGE_DAYS", default_value_t = 30)]
    pub message_days: u64,
    /// Devices of a group at the most
    #[arg(long, env = "QPC_GROUP_LEAVES", default_value_t = 1000)]
    pub group_leaves: usize,
    /// Messages of one device to one group
    #[arg(long, env = "QPC_SENDS", value_name = "RATE", default_value_t = Self::SENDS)]
    pub sends: Rate,
    /// Bytes of messages to one mailbox
    #[arg(long, env = "QPC_INBOUND_BYTES", value_name = "RATE", default_value_t = Self::INBOUND)]
    pub inbound_bytes: Rate,
    /// Groups founded by one account
    #[arg(long, env = "QPC_GROUPS_FOUNDED", value_name = "RATE", default_value_t = Self::GROUPS)]
    pub groups_founded: Rate,
    /// Wake devices that are not there by the push services of their platforms
    #[arg(
        long, env = "QPC_WAKE_UPS", value_name = "BOOL",
        num_args = 0..=1, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set
    )]
    pub wake_ups: bool,
    /// Milliseconds that something waits for a device until it is woken
    #[arg(long, env = "QPC_WAKE_AFTER_MS", default_value_t = 5_000)]
    pub wake_after_ms: u64,
    /// Milliseconds between two wake-ups of a device at the least
    #[arg(long, env = "QPC_WAKE_EVERY_MS", default_value_t = 30_000)]
    pub wake_every_ms: u64,
    /// How push services reach the operator: mailto:… or https://…; some take nothing without
    #[arg(long, env = "QPC_WAKE_CONTACT")]
    pub wake_contact: Option<Contact>,
    /// Push services to be called though they are not on the internet: hosts, addresses or nets, with commas
    #[arg(long, env = "QPC_WAKE_ALLOW", value_name = "HOST|NET", value_delimiter = ',')]
    pub wake_allow: Vec<Exempt>,
    /// Authorities that sign certificates of push services besides those of the system, PEM
    #[arg(long, env = "QPC_WAKE_CA", value_name = "FILE")]
    pub wake_ca: Option<PathBuf>,
}

impl Config {
    const SENDS: Rate = Rate::new(60, 1, Duration::from_secs(1));
    const INBOUND: Rate = Rate::new(128 << 20, 2 << 10, Duration::from_secs(1));
    const GROUPS: Rate = Rate::new(100, 100, Duration::from_secs(60 * 60));
}

impl Default for Config {
    fn default() -> Self {
        Self {
            committers: 1,
            commit_batch: 256,
            message_days: 30,
            group_leaves: 1000,
            sends: Self::SENDS,
            inbound_bytes: Self::INBOUND,
            groups_founded: Self::GROUPS,
            wake_ups: true,
            wake_after_ms: 5_000,
            wake_every_ms: 30_000,
            wake_contact: None,
            wake_allow: Vec::new(),
            wake_ca: None,
        }
    }
}
