//! Rate limits: token buckets that all replicas share in the cache.
//!
//! A [`Limit`] is a named [`Rate`], which is a setting. What must not happen unlimited goes through [`Limits::admit`], which
//! fails closed: without the cache it is refused. What must go on without the cache, or is too frequent to ask it each time,
//! has a [`Leases`] of its own.

mod leases;
mod rate;

use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
};

use qpc_wire::{Code, Status};
use sha2::{Digest, Sha256};

pub use self::{
    leases::Leases,
    rate::{InvalidRate, Rate},
};
use crate::{
    Runtime,
    cache::{Cache, CacheError, Take, Taken},
    metrics::Metrics,
    run::Deps,
};

/// Milliseconds after which a call refused for want of the cache may be tried again.
const CACHE_RETRY_MS: u64 = 1_000;

/// A call that is too much, or cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum Limited {
    /// The limit is reached.
    #[error("too many {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Milliseconds until the same call is admitted, unless others come first.
        retry_after_ms: u64,
    },
    /// The cache did not answer, and this limit fails closed.
    #[error("{what} cannot be counted")]
    Uncounted {
        /// What.
        what: &'static str,
        /// Why not.
        source: CacheError,
    },
}

impl From<Limited> for Status {
    fn from(error: Limited) -> Self {
        let (code, retry_after_ms) = match &error {
            Limited::TooMany { retry_after_ms, .. } => (Code::ResourceExhausted, *retry_after_ms),
            Limited::Uncounted { .. } => (Code::Unavailable, CACHE_RETRY_MS),
        };
        Self { retry_after_ms, ..Self::new(code, error.to_string()) }
    }
}

/// A rate with the name under which it is counted.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// In the keys of the cache.
    name: &'static str,
    rate: Rate,
}

impl Limit {
    /// `name` is this limit's alone.
    pub const fn new(name: &'static str, rate: Rate) -> Self {
        Self { name, rate }
    }

    /// One token of the bucket of `whom`; `None` when nothing is limited. The cache learns neither names nor addresses.
    pub fn one(&self, whom: &[&[u8]]) -> Option<Take> {
        let (burst, token_us) = self.rate.bucket()?;
        Some(Take { key: self.key(whom), burst, token_us, least: 1, most: 1 })
    }

    fn key(&self, whom: &[&[u8]]) -> String {
        let mut hash = Sha256::new();
        for part in whom {
            // With its length, so that no two lists are hashed alike.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        format!("limit:{}:{}", self.name, hex::encode(&hash.finalize()[..16]))
    }
}

impl Display for Limit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.rate)
    }
}

/// Limits that fail closed. Cheap to clone.
#[derive(Clone)]
pub struct Limits {
    runtime: Runtime,
    cache: Arc<dyn Cache>,
    metrics: Arc<Metrics>,
}

impl Limits {
    /// Counted in the cache of `deps`.
    pub fn new(deps: &Deps) -> Self {
        Self { runtime: deps.runtime.clone(), cache: deps.cache.clone(), metrics: deps.metrics.clone() }
    }

    /// Takes a token of each bucket, or refuses and takes none. `what` is told to the caller: too many `what`.
    pub async fn admit(
        &self,
        what: &'static str,
        buckets: impl IntoIterator<Item = Option<Take>>,
    ) -> Result<(), Limited> {
        let takes: Vec<Take> = buckets.into_iter().flatten().collect();
        if takes.is_empty() {
            return Ok(());
        }
        match self.cache.take(takes, self.runtime.now_ms()).await {
            Ok(Taken::Granted(_)) => Ok(()),
            Ok(Taken::Refused { retry_after_ms }) => {
                self.metrics.refused(what);
                Err(Limited::TooMany { what, retry_after_ms })
            }
            Err(source) => Err(Limited::Uncounted { what, source }),
        }
    }

    /// Gives the tokens back that [`Self::admit`] took of these buckets.
    pub async fn give_back(&self, buckets: impl IntoIterator<Item = Option<Take>>) -> Result<(), CacheError> {
        let takes = buckets.into_iter().flatten().collect();
        self.cache.give_back(takes, self.runtime.now_ms()).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Limit, Rate};

    #[test]
    fn buckets_are_told_apart_by_limit_and_by_whom() {
        let rate = Rate::new(1, 1, Duration::from_secs(1));
        let key = |name, whom: &[&[u8]]| Limit::new(name, rate).one(whom).unwrap().key;
        assert_eq!(key("a", &[b"x", b"y"]), key("a", &[b"x", b"y"]));
        assert_ne!(key("a", &[b"x", b"y"]), key("b", &[b"x", b"y"]));
        assert_ne!(key("a", &[b"x", b"y"]), key("a", &[b"xy", b""]));
        assert!(!key("a", &[b"alice"]).contains("alice"));
        assert_eq!(Limit::new("a", Rate::UNLIMITED).one(&[b"x"]), None);
    }
}
