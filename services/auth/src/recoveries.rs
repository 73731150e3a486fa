//! Tries to come back, limited: codes that are shown, and passwords that are set by the account key.
//!
//! A code has 128 bits, so no limit keeps it from being guessed; the limit bounds what strangers can make the database do, and
//! how often a stolen account key can lock its owner out. Counting fails closed.

use std::time::Duration;

use qpc_chassis::{
    limits::{Limit, Limited, Limits, Rate},
    run::Deps,
};
use qpc_wire::AccountId;

use crate::Config;

/// Passwords that an account may be given.
const RESETS_PER_ACCOUNT: Rate = Rate::new(5, 5, Duration::from_secs(60 * 60));
/// As callers are told.
const WHAT: &str = "tries to recover an account";

/// See the module.
pub(crate) struct Recoveries {
    limits: Limits,
    codes: Limit,
    resets: Limit,
    proven: Limit,
}

impl Recoveries {
    pub(crate) fn new(deps: &Deps, config: &Config) -> Self {
        Self {
            limits: Limits::new(deps),
            codes: Limit::new("recovery-code", config.recoveries_per_address),
            resets: Limit::new("recovery-reset", config.recoveries_per_address),
            proven: Limit::new("recovery-account", RESETS_PER_ACCOUNT),
        }
    }

    /// Counts a code, right or wrong, or refuses it before it is looked up.
    pub(crate) async fn admit_code(&self, address_hash: &[u8]) -> Result<(), Limited> {
        self.admit_address(self.codes, address_hash).await
    }

    /// Counts a password that somebody wants to set, or refuses it before the proof is looked at.
    pub(crate) async fn admit_reset(&self, address_hash: &[u8]) -> Result<(), Limited> {
        self.admit_address(self.resets, address_hash).await
    }

    /// Counts a password of an account whose key has proved itself. Nobody else can use this count up.
    pub(crate) async fn admit_proven_reset(&self, account: AccountId) -> Result<(), Limited> {
        self.limits.admit(WHAT, [self.proven.one(&[account.as_ref()])]).await
    }

    async fn admit_address(&self, limit: Limit, address_hash: &[u8]) -> Result<(), Limited> {
        let address = (!address_hash.is_empty()).then(|| limit.one(&[address_hash])).flatten();
        self.limits.admit(WHAT, [address]).await
    }
}
