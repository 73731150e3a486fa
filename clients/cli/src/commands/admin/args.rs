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
        /// Name of the limit
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
