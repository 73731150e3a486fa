//! What may be lost at any time without breaking a promise: presence, rate windows, rendezvous of devices. Redis, or a
//! bounded map.

pub mod contract;
mod memory;
mod redis;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use self::{memory::MemoryCache, redis::RedisCache};
use crate::runtime::Clock;

/// The cache did not answer. Callers go on as if it were empty, except where a limit must fail closed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The Redis client failed.
    #[error("redis: {0}")]
    Redis(#[from] ::redis::RedisError),
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

    /// Adds one to the counter `key` that vanishes `window` after its first increment; returns its value and the
    /// milliseconds that the window still lasts.
    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<(u64, u64), CacheError>>;
}

/// Opens the cache of a setting: `memory`, or `redis://host:port/db`.
pub async fn open(setting: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Cache>, CacheError> {
    if setting == "memory" {
        return Ok(Arc::new(MemoryCache::new(clock)));
    }
    Ok(Arc::new(RedisCache::connect(setting).await?))
}
