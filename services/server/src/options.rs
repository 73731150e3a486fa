//! Settings of the embedded server: those that matter for one machine, and those of each service.

use std::{net::SocketAddr, path::PathBuf};

use qpc_chassis::{db::Migrate, limits::Rate};
use qpc_gateway::{Config, Limits, tls};

use crate::ServerError;

/// See the module.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// UDP address for clients
    #[arg(long, env = "QPC_LISTEN", default_value = "[::]:7000")]
    pub listen: SocketAddr,
    /// Folder of databases, secret and self-signed certificate
    #[arg(long, env = "QPC_DATA", default_value = "qpc-data")]
    pub data: PathBuf,
    /// What to do about schemas that are older than this program, or databases that were put back from a copy
    #[arg(long, env = "QPC_MIGRATE", value_enum, default_value = "apply")]
    pub migrate: Migrate,
    /// Certificate chain, PEM
    #[arg(long, env = "QPC_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "QPC_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Refuse what is only good for trying out: a self-signed certificate
    #[arg(long, env = "QPC_PRODUCTION")]
    pub production: bool,
    /// Announce the server on the local network (mDNS) [default: unless in production or for this machine alone]
    #[arg(long, env = "QPC_MDNS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub mdns: Option<bool>,
    /// Domain of the server, as it is announced
    #[arg(long, env = "QPC_DOMAIN", default_value = "localhost")]
    pub domain: String,
    // Shorter than in a cluster: there is no other gateway that clients could go to meanwhile.
    /// Milliseconds that clients get to leave when the server stops
    #[arg(long, env = "QPC_DRAIN_GRACE_MS", default_value_t = 2_000)]
    pub drain_grace_ms: u32,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub auth: qpc_auth::Config,
    #[command(flatten)]
    pub keypackage: qpc_keypackage::Config,
    #[command(flatten)]
    pub delivery: qpc_delivery::Config,
    #[command(flatten)]
    pub blob: qpc_blob::Config,
    #[command(flatten)]
    pub admin: qpc_admin::Listener,
}

impl Default for Options {
    fn default() -> Self {
        let Config { listen, data, .. } = Config::default();
        Self {
            listen,
            data,
            migrate: Migrate::Apply,
            tls_cert: None,
            tls_key: None,
            production: false,
            mdns: None,
            domain: "localhost".to_owned(),
            drain_grace_ms: 2_000,
            limits: Limits::default(),
            auth: Default::default(),
            keypackage: Default::default(),
            delivery: Default::default(),
            blob: Default::default(),
            admin: Default::default(),
        }
    }
}

impl Options {
    /// The gateway's share.
    pub fn gateway(&self) -> Config {
        Config {
            listen: self.listen,
            data: self.data.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            production: self.production,
            mdns: self.mdns.unwrap_or(!self.production && !self.listen.ip().is_loopback()),
            domain: self.domain.clone(),
            drain_grace_ms: self.drain_grace_ms,
            limits: self.limits.clone(),
            ..Config::default()
        }
    }

    /// The database setting of all services.
    pub fn database(&self) -> Result<String, ServerError> {
        let folder = self.data.to_str().ok_or_else(|| ServerError::FolderName(self.data.clone()))?;
        Ok(format!("sqlite:{folder}"))
    }

    /// The blob service's share: bodies lie in the data folder unless they are to lie elsewhere.
    pub fn blob(&self) -> qpc_blob::Config {
        // Its gateway is in the same process.
        let mut config = qpc_blob::Config { bulk_tls: Default::default(), ..self.blob.clone() };
        config.objects.blob_store.get_or_insert_with(|| format!("disk:{}", self.data.join("blobs").display()));
        config
    }

    /// The admin API's share.
    pub fn admin(&self) -> qpc_admin::Config {
        qpc_admin::Config {
            listener: self.admin.clone(),
            admin_data: self.data.join("admin"),
            production: self.production,
        }
    }

    /// Switches all rate limits off, for tests and measurements that stand for more people than there are.
    pub fn without_rates(&mut self) {
        let off = Rate::UNLIMITED;
        let (auth, delivery) = (&mut self.auth, &mut self.delivery);
        (auth.login_failures_per_name, auth.login_failures_per_address) = (off, off);
        (auth.registrations_per_address, auth.links_per_address, auth.name_lookups) = (off, off, off);
        (delivery.sends, delivery.inbound_bytes, delivery.groups_founded) = (off, off, off);
        self.keypackage.key_package_fetches = off;
    }

    /// File of the certificate that clients have to trust.
    pub fn certificate(&self) -> PathBuf {
        self.tls_cert.clone().unwrap_or_else(|| tls::self_signed_path(&self.data))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Options;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn flags_default_to_the_defaults_and_no_two_services_share_one() {
        Cli::command().debug_assert();
        let parsed = Cli::parse_from(["qpc-server"]).options;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Options::default()));
    }
}
