//! The command line of `qpc admin`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Which API, with which certificate, and what to do.
#[derive(Args)]
pub(crate) struct AdminArgs {
    /// Admin API, HOST:PORT
    #[arg(long, env = "QPC_ADMIN_API", value_name = "HOST:PORT", default_value = "127.0.0.1:7001", global = true)]
    pub(crate) api: String,
    /// Name in the server's certificate, where that is not HOST
    #[arg(long, env = "QPC_ADMIN_API_NAME", value_name = "NAME", global = true)]
    pub(crate) api_name: Option<String>,
    /// Folder of ca.pem, admin.pem and admin-key.pem
    #[arg(long, env = "QPC_ADMIN_FOLDER", value_name = "DIR", default_value = "qpc-data/admin", global = true)]
    pub(crate) folder: PathBuf,
    /// Authority of the server's certificate, PEM [default: ca.pem of the folder]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate of the admin, PEM [default: admin.pem of the folder]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) cert: Option<PathBuf>,
    /// Its key, PEM [default: admin-key.pem of the folder]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// USER is a name or an account id.
#[derive(Subcommand)]
pub(crate) enum Action {
    /// Accounts, by name
    Users {
        /// Only those that are banned
        #[arg(long)]
        banned: bool,
        /// Names after this one
        #[arg(long, value_name = "NAME")]
        after: Option<String>,
        /// At the most [default: 100, at most 500]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// One account with its quotas
    Show {
        /// Name or account id
        user: String,
    },
    /// Shut an account out: nobody logs in, sessions end, others do not find its devices
    Ban {
        /// Name or account id
        user: String,
        /// Why, for other admins
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a banned account in again
    Unban {
        /// Name or account id
        user: String,
    },
    /// Ban an account and mark it for deletion
    Delete {
        /// Name or account id
        user: String,
    },
    /// Set a limit of one account, or take it back
    Quota {
        /// Name or account id
        user: String,
        /// devices, tokens-day or blob-bytes-day
        name: String,
        /// Its value; left out, the default counts again
        value: Option<u64>,
    },
    /// Devices of an account
    Devices {
        /// Name or account id
        user: String,
    },
    /// Revoke a device, for ever
    Revoke {
        /// Device id
        device: String,
    },
    /// Invites to register, where that needs one
    Invites {
        #[command(subcommand)]
        action: InvitesAction,
    },
    /// Gateways
    Gateways,
    /// Have a gateway send its clients away and take no new ones
    Drain {
        /// Gateway id
        gateway: String,
    },
    /// Numbers of the installation
    Stats,
    /// Reports of abuse, newest first
    Reports {
        /// Only those that are not resolved
        #[arg(long)]
        open: bool,
        /// From before this time, Unix milliseconds
        #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
        before_ms: u64,
        /// At the most [default: 100, at most 500]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// One report with its evidence
    Report {
        /// Report id
        report: String,
    },
    /// Close a report
    Resolve {
        /// Report id
        report: String,
        /// What was decided
        resolution: String,
    },
    /// The log of what admins did
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
}

#[derive(Subcommand)]
pub(crate) enum AuditAction {
    /// Entries, newest first
    List {
        /// Below this number
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        before: u64,
        /// At the most [default: 100, at most 500]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Whether the log is as it was written; exit code 8 if not
    Verify,
}

#[derive(Subcommand)]
pub(crate) enum InvitesAction {
    /// Make one; its code is shown this once
    Create {
        /// Accounts that can be registered with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        uses: u32,
        /// Time that it is good for: 90m, 12h, 7d; at most 366d
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = time)]
        expires: u64,
        /// What it is for, for other admins
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Invites, newest first, also those that have expired in the last 30 days
    List {
        /// From before this time, Unix milliseconds
        #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
        before_ms: u64,
        /// At the most [default: 100, at most 500]
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Make one void; accounts that were registered with it stay
    Revoke {
        /// Id of the invite
        invite: String,
    },
}

/// Milliseconds of a number with its unit.
fn time(text: &str) -> Result<u64, &'static str> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_ms: u64 = match &text[digits.len()..] {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("a number and s, m, h or d"),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    number.and_then(|number| number.checked_mul(unit_ms)).ok_or("a number above 0, and s, m, h or d")
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(["90m", "12h", "7d", "1s"].map(time), [Ok(5_400_000), Ok(43_200_000), Ok(604_800_000), Ok(1_000)]);
        for bad in ["", "7", "d", "0d", "-1d", "7w", "7 d", "99999999999999999d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
