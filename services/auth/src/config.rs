//! What an operator may choose.

/// Settings of the auth service.
#[derive(Debug, Clone, clap::Args)]
// Without the group that clap makes of a struct's name: several services' settings stand in one command line.
#[group(skip)]
pub struct Config {
    /// Days after which a session ends and its device must log in again
    #[arg(long, env = "QPC_SESSION_DAYS", default_value_t = Self::SESSION_DAYS)]
    pub session_days: u32,
    /// Devices of one account
    #[arg(long, env = "QPC_DEVICES", default_value_t = Self::DEVICES)]
    pub devices_per_account: u32,
    /// Failed logins an hour for one username, existing or not
    #[arg(long, env = "QPC_LOGIN_FAILURES_PER_NAME", default_value_t = Self::FAILURES_PER_NAME)]
    pub login_failures_per_name: u32,
    /// Failed logins an hour from one address
    #[arg(long, env = "QPC_LOGIN_FAILURES_PER_ADDRESS", default_value_t = Self::FAILURES_PER_ADDRESS)]
    pub login_failures_per_address: u32,
}

impl Config {
    const SESSION_DAYS: u32 = 30;
    const DEVICES: u32 = 10;
    const FAILURES_PER_NAME: u32 = 10;
    const FAILURES_PER_ADDRESS: u32 = 100;

    /// Lifetime of a session, milliseconds.
    pub(crate) fn session_ms(&self) -> u64 {
        u64::from(self.session_days) * 24 * 60 * 60 * 1000
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_days: Self::SESSION_DAYS,
            devices_per_account: Self::DEVICES,
            login_failures_per_name: Self::FAILURES_PER_NAME,
            login_failures_per_address: Self::FAILURES_PER_ADDRESS,
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
