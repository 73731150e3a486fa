//! The cache of the cluster.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;
use redis::{RedisError, Script, TlsCertificates, aio::ConnectionManager};

use super::{Cache, CacheError, Take, Taken};

/// Longest wait for an answer; a cache that is slower than this is not there.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Takes from all buckets or from none; see [`super::judge`]. Microseconds since 1970 fit into the 53 bits of Lua's numbers,
/// which `tostring` would round.
const TAKE: &str = "local now, wait, granted = tonumber(ARGV[1]), 0, {}
local full = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  local burst, token, least, most = unpack(ARGV, i * 4 - 2, i * 4 + 1)
  full[i] = math.max(tonumber(full[i] or 0), now)
  local spent, capacity = full[i] - now, burst * token
  local room = math.max(0, math.floor((capacity - spent) / token))
  if room >= tonumber(least) then
    granted[i] = math.min(room, tonumber(most))
  else
    wait = math.max(wait, spent + least * token - capacity)
  end
end
if wait > 0 then return {wait, {}} end
for i = 1, #KEYS do
  full[i] = full[i] + granted[i] * ARGV[i * 4 - 1]
  redis.call('SET', KEYS[i], string.format('%.0f', full[i]), 'PX', math.max(1, math.ceil((full[i] - now) / 1000)))
end
return {0, granted}";

/// Gives back to each bucket, as far as it is not full.
const GIVE_BACK: &str = "local now = tonumber(ARGV[1])
for i = 1, #KEYS do
  local full = redis.call('GET', KEYS[i])
  if full then
    full = full - ARGV[i + 1]
    if full > now then
      redis.call('SET', KEYS[i], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
    else
      redis.call('DEL', KEYS[i])
    end
  end
end";

/// See the module.
pub struct RedisCache {
    connection: ConnectionManager,
    set_new: Script,
    remove_if: Script,
    take: Script,
    give_back: Script,
}

impl RedisCache {
    /// Connects to `url`; the connection manager reconnects by itself. `ca` in PEM, for `rediss://` and nothing else.
    pub async fn connect(url: &str, ca: Option<String>) -> Result<Self, CacheError> {
        let client = match ca {
            Some(ca) => {
                let trusted = TlsCertificates { client_tls: None, root_cert: Some(ca.into_bytes()) };
                redis::Client::build_with_tls(url, trusted)?
            }
            None => redis::Client::open(url)?,
        };
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
            take: Script::new(TAKE),
            give_back: Script::new(GIVE_BACK),
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

    fn take(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<Taken, CacheError>> {
        Box::pin(async move {
            if takes.is_empty() {
                return Ok(Taken::Granted(Vec::new()));
            }
            let mut call = self.take.arg(now_ms.saturating_mul(1000));
            for take in &takes {
                call.key(&take.key).arg(take.burst).arg(take.token_us).arg(take.least).arg(take.most);
            }
            let mut connection = self.connection.clone();
            let (wait_us, granted): (u64, Vec<u64>) = within(call.invoke_async(&mut connection)).await?;
            if wait_us > 0 {
                return Ok(Taken::Refused { retry_after_ms: wait_us.div_ceil(1000) });
            }
            Ok(Taken::Granted(granted))
        })
    }

    fn give_back(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<(), CacheError>> {
        Box::pin(async move {
            if takes.is_empty() {
                return Ok(());
            }
            let mut call = self.give_back.arg(now_ms.saturating_mul(1000));
            for take in &takes {
                call.key(&take.key).arg(take.least.saturating_mul(take.token_us));
            }
            let mut connection = self.connection.clone();
            within(call.invoke_async(&mut connection)).await
        })
    }
}
