//! What is asked of the devices of an account.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{AccountArgs, DeviceArgs};

/// Settings of a device that is to be made.
#[derive(Args)]
pub(crate) struct LinkArgs {
    /// Name that the account must have
    #[arg(short, long, env = "QPC_USERNAME", value_name = "NAME")]
    pub(crate) username: Option<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long to wait for a person at another device.
#[derive(Args)]
pub(crate) struct WaitArgs {
    /// Longest wait for the other device; a code is good for ten minutes
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=600))]
    wait: u64,
}

/// Settings of `qpc devices`.
#[derive(Args)]
pub(crate) struct DevicesArgs {
    #[command(flatten)]
    pub(crate) account: AccountArgs,
    /// JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Option<DeviceAction>,
}

/// What to do with the devices.
#[derive(Subcommand)]
pub(crate) enum DeviceAction {
    /// List them; what happens without a command
    List,
    /// Give one a name that the server cannot read
    Rename {
        /// Its name, or the beginning of its id
        device: String,
        /// What to call it
        name: String,
    },
    /// Log one out for ever: its sessions end at once, and it goes from every conversation
    Revoke {
        /// Its name, or the beginning of its id
        device: String,
    },
    /// Make a device that shows a code one of this account, and wait until it has the conversations
    Link {
        /// What `qpc link` shows
        #[arg(required = true)]
        code: Vec<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

impl WaitArgs {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}
