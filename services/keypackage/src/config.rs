//! What an operator may choose.

use std::time::Duration;

use qpc_chassis::limits::Rate;
use qpc_crypto::Suite;

/// Settings of the keypackage service.
#[derive(Debug, Clone, clap::Args)]
// Without the group that clap makes of a struct's name: several services' settings stand in one command line.
#[group(skip)]
pub struct Config {
    /// Single-use KeyPackages of the classical suite kept for one device
    #[arg(long, env = "QPC_KEY_PACKAGES_CLASSIC", default_value_t = Self::CLASSIC)]
    pub key_packages_classic: u32,
    /// Single-use KeyPackages of the hybrid suite kept for one device
    #[arg(long, env = "QPC_KEY_PACKAGES_HYBRID", default_value_t = Self::HYBRID)]
    pub key_packages_hybrid: u32,
    /// Number of single-use KeyPackages at which a device is asked for more
    #[arg(long, env = "QPC_KEY_PACKAGES_LOW", default_value_t = Self::LOW)]
    pub key_packages_low: u32,
    /// KeyPackages that one account fetches of one device of another
    #[arg(long, env = "QPC_KEY_PACKAGE_FETCHES", value_name = "RATE", default_value_t = Self::FETCHES)]
    pub key_package_fetches: Rate,
}

impl Config {
    const CLASSIC: u32 = 100;
    const HYBRID: u32 = 20;
    const LOW: u32 = 10;
    const FETCHES: Rate = Rate::new(6, 1, Duration::from_secs(10 * 60));

    /// Single-use packages kept for one device.
    pub(crate) fn kept(&self, suite: Suite) -> u32 {
        match suite {
            Suite::Classic => self.key_packages_classic,
            Suite::Hybrid => self.key_packages_hybrid,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            key_packages_classic: Self::CLASSIC,
            key_packages_hybrid: Self::HYBRID,
            key_packages_low: Self::LOW,
            key_package_fetches: Self::FETCHES,
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
