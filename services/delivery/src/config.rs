//! Settings.

use std::time::Duration;

use qpc_chassis::limits::Rate;

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
        }
    }
}
