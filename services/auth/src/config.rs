//! What an operator may choose.

use std::time::Duration;

use qpc_chassis::limits::Rate;
use qpc_crypto::admission::MAX_BITS;

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
    /// Failed logins for one username, existing or not
    #[arg(long, env = "QPC_LOGIN_FAILURES_PER_NAME", value_name = "RATE", default_value_t = Self::FAILURES_PER_NAME)]
    pub login_failures_per_name: Rate,
    /// Failed logins from one address
    #[arg(long, env = "QPC_LOGIN_FAILURES_PER_ADDRESS", value_name = "RATE", default_value_t = Self::FAILURES_PER_ADDRESS)]
    pub login_failures_per_address: Rate,
    /// Recovery codes, and passwords to be set by an account key, that one address may try
    #[arg(long, env = "QPC_RECOVERIES_PER_ADDRESS", value_name = "RATE", default_value_t = Self::RECOVERIES_PER_ADDRESS)]
    pub recoveries_per_address: Rate,
    /// Accounts registered from one address
    #[arg(long, env = "QPC_REGISTRATIONS_PER_ADDRESS", value_name = "RATE", default_value_t = Self::REGISTRATIONS)]
    pub registrations_per_address: Rate,
    /// Who may register
    #[arg(long, env = "QPC_REGISTRATION", value_enum, value_name = "MODE", default_value_t)]
    pub registration: Registration,
    /// Bits of the proof of work, where one is wanted; each doubles it
    #[arg(long, env = "QPC_REGISTRATION_WORK", value_name = "BITS", default_value_t = Self::WORK, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BITS)))]
    pub registration_work: u32,
    /// New devices that offer to be linked, from one address
    #[arg(long, env = "QPC_LINKS_PER_ADDRESS", value_name = "RATE", default_value_t = Self::LINKS)]
    pub links_per_address: Rate,
    /// Usernames looked up by one account
    #[arg(long, env = "QPC_NAME_LOOKUPS", value_name = "RATE", default_value_t = Self::LOOKUPS)]
    pub name_lookups: Rate,
    /// Reports made by one account
    #[arg(long, env = "QPC_REPORTS", value_name = "RATE", default_value_t = Self::REPORTS)]
    pub reports: Rate,
    /// Days that the audit log is kept
    #[arg(long, env = "QPC_AUDIT_DAYS", default_value_t = Self::AUDIT_DAYS)]
    pub audit_days: u32,
    /// Tokens for sealed messages that an account gets in a day
    #[arg(long, env = "QPC_TOKENS_PER_DAY", default_value_t = Self::TOKENS)]
    pub tokens_per_day: u32,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Registration {
    /// Everybody
    #[default]
    Open,
    /// Everybody whose machine has worked for it
    ProofOfWork,
    /// Who has an invite of an admin
    InviteOnly,
    /// Nobody
    Closed,
}

const MINUTE: u64 = 60;

impl Config {
    const SESSION_DAYS: u32 = 30;
    const DEVICES: u32 = 10;
    const AUDIT_DAYS: u32 = 90;
    const FAILURES_PER_NAME: Rate = Rate::new(10, 10, Duration::from_secs(60 * MINUTE));
    const FAILURES_PER_ADDRESS: Rate = Rate::new(100, 100, Duration::from_secs(60 * MINUTE));
    const RECOVERIES_PER_ADDRESS: Rate = Rate::new(10, 10, Duration::from_secs(60 * MINUTE));
    const REGISTRATIONS: Rate = Rate::new(6, 1, Duration::from_secs(30));
    const WORK: u32 = 13;
    const LINKS: Rate = Rate::new(6, 1, Duration::from_secs(2 * MINUTE));
    const LOOKUPS: Rate = Rate::new(100, 1, Duration::from_secs(15 * MINUTE));
    const REPORTS: Rate = Rate::new(20, 1, Duration::from_secs(10 * MINUTE));
    const TOKENS: u32 = 200;

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
            recoveries_per_address: Self::RECOVERIES_PER_ADDRESS,
            registrations_per_address: Self::REGISTRATIONS,
            registration: Registration::default(),
            registration_work: Self::WORK,
            links_per_address: Self::LINKS,
            name_lookups: Self::LOOKUPS,
            reports: Self::REPORTS,
            audit_days: Self::AUDIT_DAYS,
            tokens_per_day: Self::TOKENS,
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
