//! What every cache does; run by the tests of each implementation.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::Cache;

/// Panics where `cache` departs from the contract. `scope` keeps the keys of concurrent runs apart.
#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
pub async fn check(cache: Arc<dyn Cache>, scope: &str) {
    let key = |name: &str| format!("{scope}:{name}");
    let ttl = Duration::from_secs(60);

    assert_eq!(cache.get_many(vec![]).await.unwrap(), Vec::<Option<String>>::new());
    let pairs = || vec![(key("a"), "1".to_owned()), (key("b"), "2".to_owned())];
    assert_eq!(cache.set_many(pairs(), ttl).await.unwrap(), [false, false]);
    assert_eq!(cache.set_many(pairs(), ttl).await.unwrap(), [true, true], "unchanged values are reported as such");
    assert_eq!(cache.set_many(vec![(key("b"), "3".to_owned())], ttl).await.unwrap(), [false]);
    let found = cache.get_many(vec![key("b"), key("none"), key("a")]).await.unwrap();
    assert_eq!(found, [Some("3".to_owned()), None, Some("1".to_owned())]);

    assert!(!cache.remove_if(key("a"), "other".into()).await.unwrap(), "another owner's entry stays");
    assert!(cache.remove_if(key("a"), "1".into()).await.unwrap());
    assert_eq!(cache.get_many(vec![key("a")]).await.unwrap(), [None]);

    assert_eq!(cache.set_new(key("c"), "first".into(), ttl).await.unwrap(), "first");
    assert_eq!(cache.set_new(key("c"), "second".into(), ttl).await.unwrap(), "first", "what is there stays");
    assert_eq!(cache.get_many(vec![key("c")]).await.unwrap(), [Some("first".to_owned())]);
    let racers = (0..8).map(|racer| cache.set_new(key("raced"), racer.to_string(), ttl));
    let raced: HashSet<String> = join_all(racers).await.into_iter().map(|value| value.unwrap()).collect();
    assert_eq!(raced.len(), 1, "{raced:?}");

    for expected in 1..=3 {
        let (count, left) = cache.count(key("n"), ttl).await.unwrap();
        assert_eq!(count, expected);
        assert!(left > 0 && left <= 60_000, "{left}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{cache::MemoryCache, runtime::SystemClock};

    #[tokio::test]
    async fn the_memory_cache_keeps_the_contract() {
        super::check(Arc::new(MemoryCache::new(Arc::new(SystemClock))), "t").await;
    }
}
