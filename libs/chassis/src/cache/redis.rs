//! The cache of the cluster.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;
use redis::{RedisError, Script, aio::ConnectionManager};

use super::{Cache, CacheError};

/// Longest wait for an answer; a cache that is slower than this is not there.
const TIMEOUT: Duration = Duration::from_millis(500);

/// See the module.
pub struct RedisCache {
    connection: ConnectionManager,
    set_new: Script,
    remove_if: Script,
    count: Script,
}

impl RedisCache {
    /// Connects to `url`; the connection manager reconnects by itself.
    pub async fn connect(url: &str) -> Result<Self, CacheError> {
        let client = redis::Client::open(url)?;
        Ok(Self {
            connection: within(client.get_connection_manager()).await?,
            set_new: Script::new(
                "local old = redis.call('GET', KEYS[1]) \
                 if old then return old end \
                 redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return ARGV[1]",
            ),
            remove_if: Script::new(
                "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
            ),
            count: Script::new(
                "local n = redis.call('INCR', KEYS[1]) \
                 if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
                 return {n, redis.call('PTTL', KEYS[1])}",
            ),
        })
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, CacheError> {
    Ok(tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| CacheError::Timeout)??)
}

impl Cache for RedisCache {
    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, CacheError>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let mut connection = self.connection.clone();
            within(redis::cmd("MGET").arg(&keys).query_async(&mut connection)).await
        })
    }

    fn set_many(&self, pairs: Vec<(String, String)>, ttl: Duration) -> BoxFuture<'_, Result<Vec<bool>, CacheError>> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            for (key, value) in &pairs {
                pipeline.cmd("SET").arg(key).arg(value).arg("PX").arg(ttl.as_millis() as u64).arg("GET");
            }
            if pairs.is_empty() {
                return Ok(Vec::new());
            }
            let mut connection = self.connection.clone();
            let before: Vec<Option<String>> = within(pipeline.query_async(&mut connection)).await?;
            Ok(pairs.iter().zip(before).map(|((_, value), old)| old.as_ref() == Some(value)).collect())
        })
    }

    fn set_new(&self, key: String, value: String, ttl: Duration) -> BoxFuture<'_, Result<String, CacheError>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            // Redis takes no time to live of zero.
            let ttl_ms = (ttl.as_millis() as u64).max(1);
            within(self.set_new.key(key).arg(value).arg(ttl_ms).invoke_async(&mut connection)).await
        })
    }

    fn remove_if(&self, key: String, value: String) -> BoxFuture<'_, Result<bool, CacheError>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            within(self.remove_if.key(key).arg(value).invoke_async(&mut connection)).await
        })
    }

    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<(u64, u64), CacheError>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            within(self.count.key(key).arg(window.as_millis() as u64).invoke_async(&mut connection)).await
        })
    }
}
