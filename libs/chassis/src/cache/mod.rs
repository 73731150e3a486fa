//! What may be lost at any time without breaking a promise: presence, token buckets, rendezvous of devices. Redis, or a
//! bounded map.

pub mod contract;
mod memory;
mod redis;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use self::{memory::MemoryCache, redis::RedisCache};
use crate::{
    config::{self, Unreadable},
    runtime::Clock,
};

/// Where the cache is.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Setting {
    /// Cache: redis://HOST:PORT/DB, or rediss://…
    #[arg(long, env = "QPC_CACHE", default_value = "redis://127.0.0.1:6379/0", hide_env_values = true)]
    pub cache: String,
    /// File with that URL, instead
    #[arg(long, env = "QPC_CACHE_FILE", value_name = "FILE", conflicts_with = "cache")]
    pub cache_file: Option<PathBuf>,
    /// Authorities that sign the certificate of the server, PEM, for a rediss URL; without it those of the system
    #[arg(long, env = "QPC_CACHE_CA", value_name = "FILE")]
    pub cache_ca: Option<PathBuf>,
}

/// The cache did not answer. Callers go on as if it were empty, except where a limit must fail closed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The Redis client failed.
    #[error("redis: {0}")]
    Redis(#[from] ::redis::RedisError),
    /// A file that the setting names cannot be read.
    #[error(transparent)]
    File(#[from] Unreadable),
    /// No answer in time.
    #[error("the cache did not answer in time")]
    Timeout,
}

/// See the module. Keys and values are short strings, a few ten KiB at the most.
pub trait Cache: Send + Sync {
    /// Values of `keys`, in order.
    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, CacheError>>;

    /// Sets all pairs, each to vanish after `ttl`; tells for each whether it was there with the same value before.
    fn set_many(&self, pairs: Vec<(String, String)>, ttl: Duration) -> BoxFuture<'_, Result<Vec<bool>, CacheError>>;

    /// Sets `key` unless it is there, to vanish after `ttl`; returns the value that it has now. Of several callers at the
    /// same moment, all get the value of one.
    fn set_new(&self, key: String, value: String, ttl: Duration) -> BoxFuture<'_, Result<String, CacheError>>;

    /// Removes `key` if its value still is `value`.
    fn remove_if(&self, key: String, value: String) -> BoxFuture<'_, Result<bool, CacheError>>;

    /// Takes tokens from buckets, from all of them or from none, at `now_ms` (Unix milliseconds).
    fn take(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<Taken, CacheError>>;

    /// Gives back what [`Self::take`] took: `least` of each. A bucket that is full stays so.
    fn give_back(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<(), CacheError>>;
}

/// Tokens wanted from one bucket. It is kept as the moment at which it is full again (GCRA, ITU-T I.371 annex A): one
/// number, and nothing at all while it is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Name of the bucket.
    pub key: String,
    /// Tokens that it holds.
    pub burst: u64,
    /// Microseconds until a token that was taken is there again.
    pub token_us: u64,
    /// Tokens without which nothing is taken; at most `burst`.
    pub least: u64,
    /// Tokens taken if they are there.
    pub most: u64,
}

/// What became of a [`Cache::take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Tokens taken of each bucket.
    Granted(Vec<u64>),
    /// Nothing was taken; all buckets will hold enough after these milliseconds unless others come first.
    Refused {
        /// Rounded up.
        retry_after_ms: u64,
    },
}

/// How a bucket that is full again at `full_us` answers a take at `now_us`: tokens that it gives, or microseconds to wait.
fn judge(take: &Take, full_us: u64, now_us: u64) -> Result<u64, u64> {
    let spent = full_us.saturating_sub(now_us);
    let capacity = take.burst.saturating_mul(take.token_us);
    let room = capacity.saturating_sub(spent) / take.token_us.max(1);
    if room >= take.least {
        return Ok(room.min(take.most));
    }
    Err((spent + take.least.saturating_mul(take.token_us)).saturating_sub(capacity))
}

/// Opens the cache of a setting: `memory`, or `redis://host:port/db`.
pub async fn open(setting: &Setting, clock: Arc<dyn Clock>) -> Result<Arc<dyn Cache>, CacheError> {
    let url = setting.cache_file.as_deref().map_or_else(|| Ok(setting.cache.clone()), config::read)?;
    if url == "memory" {
        return Ok(Arc::new(MemoryCache::new(clock)));
    }
    let ca = setting.cache_ca.as_deref().map(config::read).transpose()?;
    Ok(Arc::new(RedisCache::connect(&url, ca).await?))
}
