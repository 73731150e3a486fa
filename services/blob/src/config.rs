//! What an operator may choose.

use std::net::SocketAddr;

use qpc_chassis::{
    bulk::{BulkAddress, BulkTls},
    objects::ObjectsConfig,
};
use qpc_crypto::file::sealed_size;

/// Settings of the blob service.
#[derive(Debug, Clone, clap::Args)]
// Without the group that clap makes of a struct's name: several services' settings stand in one command line.
#[group(skip)]
pub struct Config {
    /// MiB of the largest file
    #[arg(long, env = "QPC_BLOB_MAX_MIB", default_value_t = Self::MAX_MIB)]
    pub blob_max_mib: u32,
    /// MiB that an account may bring on one day
    #[arg(long, env = "QPC_BLOB_DAILY_MIB", default_value_t = Self::DAILY_MIB)]
    pub blob_daily_mib: u32,
    /// Days that a blob is kept after its last use
    #[arg(long, env = "QPC_BLOB_DAYS", default_value_t = Self::DAYS)]
    pub blob_days: u32,
    /// TCP address at which gateways bring and take bodies, in a cluster
    #[arg(long, env = "QPC_BULK_LISTEN", default_value = "127.0.0.1:0")]
    pub bulk_listen: SocketAddr,
    /// HOST:PORT under which gateways reach that address, where it is not the same
    #[arg(long, env = "QPC_BULK_ANNOUNCE")]
    pub bulk_announce: Option<String>,
    #[command(flatten)]
    pub bulk_tls: BulkTls,
    #[command(flatten)]
    pub objects: ObjectsConfig,
}

impl Config {
    const MAX_MIB: u32 = 50;
    const DAILY_MIB: u32 = 1024;
    const DAYS: u32 = 30;

    /// Bytes of the largest blob: that of the largest file, once it is padded and encrypted.
    pub(crate) fn max_size(&self) -> u64 {
        sealed_size(u64::from(self.blob_max_mib) << 20)
    }

    /// Bytes that an account may announce on one day.
    pub(crate) fn daily(&self) -> u64 {
        u64::from(self.blob_daily_mib) << 20
    }

    /// How long a blob is kept at least, milliseconds.
    pub(crate) fn kept_ms(&self) -> u64 {
        u64::from(self.blob_days) * crate::domain::DAY_MS
    }

    pub(crate) fn address(&self) -> BulkAddress {
        BulkAddress { listen: self.bulk_listen, announce: self.bulk_announce.clone() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            blob_max_mib: Self::MAX_MIB,
            blob_daily_mib: Self::DAILY_MIB,
            blob_days: Self::DAYS,
            bulk_listen: ([127, 0, 0, 1], 0).into(),
            bulk_announce: None,
            bulk_tls: BulkTls::default(),
            objects: ObjectsConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Config;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn defaults_are_those_of_the_flags() {
        let parsed = Cli::parse_from(["test"]).config;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
    }
}
