//! The cache of the embedded server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{Cache, CacheError};
use crate::runtime::Clock;

/// Entries at the most; beyond it, what has expired goes, and then everything: a cache may forget.
const CAPACITY: usize = 100_000;

/// See the module.
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    value: String,
    expires_ms: u64,
}

impl MemoryCache {
    /// An empty cache.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut HashMap<String, Entry>, u64) -> R,
    ) -> BoxFuture<'_, Result<R, CacheError>> {
        let now = self.clock.now_ms();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CAPACITY {
            entries.retain(|_, entry| entry.expires_ms > now);
        }
        if entries.len() >= CAPACITY {
            entries.clear();
        }
        let result = f(&mut entries, now);
        Box::pin(async move { Ok(result) })
    }
}

fn live(entries: &HashMap<String, Entry>, key: &str, now: u64) -> Option<String> {
    entries.get(key).filter(|entry| entry.expires_ms > now).map(|entry| entry.value.clone())
}

impl Cache for MemoryCache {
    fn get_many(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, CacheError>> {
        self.with(|entries, now| keys.iter().map(|key| live(entries, key, now)).collect())
    }

    fn set_many(&self, pairs: Vec<(String, String)>, ttl: Duration) -> BoxFuture<'_, Result<Vec<bool>, CacheError>> {
        self.with(|entries, now| {
            let expires_ms = now + ttl.as_millis() as u64;
            pairs
                .into_iter()
                .map(|(key, value)| {
                    let same = live(entries, &key, now).is_some_and(|old| old == value);
                    entries.insert(key, Entry { value, expires_ms });
                    same
                })
                .collect()
        })
    }

    fn set_new(&self, key: String, value: String, ttl: Duration) -> BoxFuture<'_, Result<String, CacheError>> {
        self.with(|entries, now| {
            live(entries, &key, now).unwrap_or_else(|| {
                entries.insert(key, Entry { value: value.clone(), expires_ms: now + ttl.as_millis() as u64 });
                value
            })
        })
    }

    fn remove_if(&self, key: String, value: String) -> BoxFuture<'_, Result<bool, CacheError>> {
        self.with(|entries, now| {
            let same = live(entries, &key, now).is_some_and(|old| old == value);
            if same {
                entries.remove(&key);
            }
            same
        })
    }

    fn count(&self, key: String, window: Duration) -> BoxFuture<'_, Result<(u64, u64), CacheError>> {
        self.with(|entries, now| {
            let count = live(entries, &key, now).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0) + 1;
            let fresh = Entry { value: String::new(), expires_ms: now + window.as_millis() as u64 };
            if count == 1 {
                entries.insert(key.clone(), fresh);
            }
            let Some(entry) = entries.get_mut(&key) else { return (count, 0) };
            entry.value = count.to_string();
            (count, entry.expires_ms - now)
        })
    }
}
