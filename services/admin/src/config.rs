//! Settings.

use std::{net::SocketAddr, path::PathBuf};

use crate::error::AdminError;

/// Where the API is served, and to whom.
#[derive(Debug, Clone, Default, clap::Args)]
// Without the group that clap makes of a struct's name: several services' settings stand in one command line.
#[group(skip)]
pub struct Listener {
    /// TCP address of the admin API; none when left out
    #[arg(long, env = "QPC_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,
    /// Certificate chain of the admin API, PEM
    #[arg(long, env = "QPC_ADMIN_CERT", requires_all = ["admin_key", "admin_client_ca"])]
    pub admin_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(long, env = "QPC_ADMIN_KEY", requires = "admin_cert")]
    pub admin_key: Option<PathBuf>,
    /// Authority that signs the certificates of admins, PEM
    #[arg(long, env = "QPC_ADMIN_CLIENT_CA", requires = "admin_cert")]
    pub admin_client_ca: Option<PathBuf>,
}

/// Settings of the process.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Config {
    #[command(flatten)]
    pub listener: Listener,
    /// Folder of the certificates that are made when none are given
    #[arg(long, env = "QPC_ADMIN_DATA", default_value = "qpc-data/admin")]
    pub admin_data: PathBuf,
    /// Refuse what is only good for trying out: certificates made here
    #[arg(long, env = "QPC_PRODUCTION")]
    pub production: bool,
}

impl Config {
    /// Says before anything is made whether these settings can be served.
    pub fn check(&self) -> Result<(), AdminError> {
        let listener = &self.listener;
        if listener.admin_listen.is_some() && listener.admin_client_ca.is_none() && self.production {
            return Err(AdminError::MintedInProduction);
        }
        Ok(())
    }
}
