//! Guesses at passwords, limited by name and by address.
//!
//! In OPAQUE a client knows whether a password was right as soon as it has the answer to its first message, so every
//! login that starts is a guess until it finishes: it takes a token of each bucket, and gets them back when it succeeds.
//! Counting fails closed; a name that nobody has is counted like any other.

use std::{sync::Arc, time::Duration};

use qpc_chassis::{
    cache::{Cache, CacheError, Take},
    limits::{Limit, Limited, Limits},
    run::Deps,
};
use qpc_crypto::sha256;

use crate::{Config, domain::login_state};

/// See the module.
pub(crate) struct Attempts {
    cache: Arc<dyn Cache>,
    limits: Limits,
    name_key: [u8; 32],
    per_name: Limit,
    per_address: Limit,
}

/// A login as its buckets see it.
pub(crate) struct Attempt<'a> {
    /// From [`Attempts::name_tag`].
    pub(crate) name_tag: [u8; 16],
    /// Empty when the caller has no address.
    pub(crate) address_hash: &'a [u8],
}

impl Attempts {
    pub(crate) fn new(deps: &Deps, config: &Config) -> Self {
        Self {
            cache: deps.cache.clone(),
            limits: Limits::new(deps),
            name_key: deps.secrets.derive("auth/attempts"),
            per_name: Limit::new("login-name", config.login_failures_per_name),
            per_address: Limit::new("login-address", config.login_failures_per_address),
        }
    }

    /// A short keyed hash of a username: the cache learns no names.
    pub(crate) fn name_tag(&self, username: &str) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&sha256(&[&self.name_key, username.as_bytes()])[..16]);
        tag
    }

    /// Counts a login that starts, or refuses it; one that is refused is no guess.
    pub(crate) async fn admit(&self, attempt: &Attempt<'_>) -> Result<(), Limited> {
        self.limits.admit("failed logins", self.buckets(attempt)).await
    }

    /// Takes a login off the count. `login_state` may be shown again within its life; it is taken off once. An error of
    /// the cache costs one of the allowed failures, not the login. `mark` is random.
    pub(crate) async fn succeeded(&self, attempt: &Attempt<'_>, login_state: &[u8], mark: [u8; 16]) {
        if let Err(error) = self.try_succeeded(attempt, login_state, mark).await {
            tracing::warn!(%error, "successful login not counted");
        }
    }

    async fn try_succeeded(&self, attempt: &Attempt<'_>, login_state: &[u8], mark: [u8; 16]) -> Result<(), CacheError> {
        let (seen, mark) = (format!("login:state:{}", hex::encode(sha256(&[login_state]))), hex::encode(mark));
        let life = Duration::from_millis(login_state::LIFETIME_MS);
        if self.cache.set_new(seen, mark.clone(), life).await? == mark {
            self.limits.give_back(self.buckets(attempt)).await?;
        }
        Ok(())
    }

    fn buckets(&self, attempt: &Attempt<'_>) -> [Option<Take>; 2] {
        let address = (!attempt.address_hash.is_empty()).then(|| self.per_address.one(&[attempt.address_hash]));
        [self.per_name.one(&[&attempt.name_tag]), address.flatten()]
    }
}
