//! The cache of the embedded server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{Cache, CacheError, Take, Taken, judge};
use crate::runtime::Clock;

/// Entries at the most, and buckets besides; beyond it, what has expired or is full goes, and then everything: a cache may
/// forget.
const CAPACITY: usize = 100_000;

/// See the module.
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<String, Entry>>,
    /// When each bucket is full again, Unix microseconds.
    buckets: Mutex<HashMap<String, u64>>,
}

struct Entry {
    value: String,
    expires_ms: u64,
}

impl MemoryCache {
    /// An empty cache.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entries: Mutex::default(), buckets: Mutex::default() }
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

impl MemoryCache {
    fn try_take(&self, takes: &[Take], now_us: u64) -> Taken {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CAPACITY {
            buckets.retain(|_, full_us| *full_us > now_us);
        }
        if buckets.len() >= CAPACITY {
            buckets.clear();
        }
        let (mut granted, mut wait_us) = (Vec::with_capacity(takes.len()), 0);
        for take in takes {
            match judge(take, full_us_of(&buckets, &take.key, now_us), now_us) {
                Ok(tokens) => granted.push(tokens),
                Err(us) => wait_us = wait_us.max(us),
            }
        }
        if granted.len() < takes.len() {
            return Taken::Refused { retry_after_ms: wait_us.div_ceil(1000) };
        }
        for (take, tokens) in takes.iter().zip(&granted) {
            let full_us = full_us_of(&buckets, &take.key, now_us).saturating_add(tokens.saturating_mul(take.token_us));
            buckets.insert(take.key.clone(), full_us);
        }
        Taken::Granted(granted)
    }
}

fn full_us_of(buckets: &HashMap<String, u64>, key: &str, now_us: u64) -> u64 {
    buckets.get(key).copied().unwrap_or(0).max(now_us)
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

    fn take(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<Taken, CacheError>> {
        let taken = self.try_take(&takes, now_ms.saturating_mul(1000));
        Box::pin(async move { Ok(taken) })
    }

    fn give_back(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<(), CacheError>> {
        let now_us = now_ms.saturating_mul(1000);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for take in takes {
            if let Some(full_us) = buckets.get_mut(&take.key) {
                *full_us = full_us.saturating_sub(take.least.saturating_mul(take.token_us)).max(now_us);
            }
        }
        drop(buckets);
        Box::pin(async { Ok(()) })
    }
}
