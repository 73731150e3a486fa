//! Guesses at passwords, counted by name and by address in the cache.
//!
//! In OPAQUE a client knows whether a password was right as soon as it has the answer to its first message, so every
//! login that starts is a guess until it finishes. Failures of an hour are therefore logins started less logins finished:
//! a counter of each. Counting fails closed; a name that nobody has is counted like any other.

use std::{sync::Arc, time::Duration};

use qpc_chassis::{cache::Cache, run::Deps};
use qpc_crypto::sha256;

use crate::{Config, domain::login_state, error::Error};

/// Length of the window in which failures are counted, milliseconds.
const WINDOW_MS: u64 = 60 * 60 * 1000;

/// See the module.
pub(crate) struct Attempts {
    cache: Arc<dyn Cache>,
    name_key: [u8; 32],
    per_name: u64,
    per_address: u64,
}

/// A login as its counters see it.
pub(crate) struct Attempt<'a> {
    /// When it started, Unix milliseconds.
    pub(crate) started_ms: u64,
    /// From [`Attempts::name_tag`].
    pub(crate) name_tag: [u8; 16],
    /// Empty when the caller has no address.
    pub(crate) address_hash: &'a [u8],
}

impl Attempts {
    pub(crate) fn new(deps: &Deps, config: &Config) -> Self {
        Self {
            cache: deps.cache.clone(),
            name_key: deps.secrets.derive("auth/attempts"),
            per_name: config.login_failures_per_name.into(),
            per_address: config.login_failures_per_address.into(),
        }
    }

    /// A short keyed hash of a username: the cache learns no names.
    pub(crate) fn name_tag(&self, username: &str) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&sha256(&[&self.name_key, username.as_bytes()])[..16]);
        tag
    }

    /// Counts a login that starts, or refuses it.
    pub(crate) async fn admit(&self, attempt: &Attempt<'_>) -> Result<(), Error> {
        let refused = || Error::TooManyLogins { retry_after_ms: WINDOW_MS - attempt.started_ms % WINDOW_MS };
        let counters = self.counters(attempt);
        let keys = counters.iter().flat_map(|counter| [counter.key("started"), counter.key("finished")]).collect();
        let values = self.cache.get_many(keys).await.map_err(Error::Attempts)?;
        let values: Vec<u64> = values.iter().map(|value| parse(value.as_deref())).collect();
        // Reading first keeps refused logins out of the count: they are no guesses, and whoever goes on trying does not
        // lengthen the wait.
        let exhausted = |(counter, pair): (&Counter, &[u64])| pair[0].saturating_sub(pair[1]) >= counter.limit;
        if counters.iter().zip(values.chunks_exact(2)).any(exhausted) {
            return Err(refused());
        }
        for (counter, pair) in counters.iter().zip(values.chunks_exact(2)) {
            // Of guesses at the same moment, which all read the same, the count itself admits no more than the limit.
            let started = self.count(counter.key("started")).await?;
            if started.saturating_sub(pair[1]) > counter.limit {
                return Err(refused());
            }
        }
        Ok(())
    }

    /// Takes a login off the count. `login_state` may be shown again within its life; it is taken off once. An error of
    /// the cache costs one of the allowed failures, not the login.
    pub(crate) async fn succeeded(&self, attempt: &Attempt<'_>, login_state: &[u8]) {
        if let Err(error) = self.try_succeeded(attempt, login_state).await {
            tracing::warn!(%error, "successful login not counted");
        }
    }

    async fn try_succeeded(&self, attempt: &Attempt<'_>, login_state: &[u8]) -> Result<(), Error> {
        let seen = format!("login:state:{}", hex::encode(sha256(&[login_state])));
        let life = Duration::from_millis(login_state::LIFETIME_MS);
        let (shown, _) = self.cache.count(seen, life).await.map_err(Error::Attempts)?;
        if shown == 1 {
            for counter in self.counters(attempt) {
                self.count(counter.key("finished")).await?;
            }
        }
        Ok(())
    }

    async fn count(&self, key: String) -> Result<u64, Error> {
        let (value, _) = self.cache.count(key, Duration::from_millis(WINDOW_MS)).await.map_err(Error::Attempts)?;
        Ok(value)
    }

    fn counters(&self, attempt: &Attempt<'_>) -> Vec<Counter> {
        let window = attempt.started_ms / WINDOW_MS;
        let name =
            Counter { name: format!("login:name:{}:{window}", hex::encode(attempt.name_tag)), limit: self.per_name };
        let address = (!attempt.address_hash.is_empty()).then(|| Counter {
            // Hashed again, as its length is the gateway's choice.
            name: format!("login:address:{}:{window}", hex::encode(sha256(&[attempt.address_hash]))),
            limit: self.per_address,
        });
        std::iter::once(name).chain(address).collect()
    }
}

struct Counter {
    name: String,
    limit: u64,
}

impl Counter {
    fn key(&self, what: &str) -> String {
        format!("{}:{what}", self.name)
    }
}

fn parse(value: Option<&str>) -> u64 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
