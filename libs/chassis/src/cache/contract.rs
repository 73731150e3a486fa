//! What every cache does; run by the tests of each implementation.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{Cache, Take, Taken};

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

    buckets(&*cache, &key).await;
    let contested = Take { key: key("contested"), ..take(5, 1, 1) };
    let racers = (0..16).map(|_| cache.take(vec![contested.clone()], NOW_MS));
    let admitted = join_all(racers).await.into_iter().filter(|taken| matches!(taken, Ok(Taken::Granted(_)))).count();
    assert_eq!(admitted, 5, "of several at the same moment, as many as there are tokens");
}

/// Far from 0, so that what loses digits is found. Ahead of the clock that lets keys vanish, so that none does.
const NOW_MS: u64 = 1_900_000_000_123;

/// Of a bucket whose tokens come back every 1.5 s.
fn take(burst: u64, least: u64, most: u64) -> Take {
    Take { key: String::new(), burst, token_us: 1_500_000, least, most }
}

#[allow(clippy::unwrap_used, reason = "test code shared between crates")]
async fn buckets(cache: &dyn Cache, key: &impl Fn(&str) -> String) {
    let of = |name: &str, take: Take| Take { key: key(name), ..take };
    let refused = |retry_after_ms| Taken::Refused { retry_after_ms };
    let granted = |tokens: &[u64]| Taken::Granted(tokens.to_vec());
    let try_take = async |takes: Vec<Take>, at_ms: u64| cache.take(takes, NOW_MS + at_ms).await.unwrap();

    assert_eq!(try_take(vec![], 0).await, granted(&[]));
    let one = || vec![of("bucket", take(3, 1, 1))];
    for _ in 0..3 {
        assert_eq!(try_take(one(), 0).await, granted(&[1]));
    }
    assert_eq!(try_take(one(), 0).await, refused(1_500), "the first that is refused, and until when");
    assert_eq!(try_take(one(), 1_499).await, refused(1), "trying does not lengthen the wait");
    assert_eq!(try_take(one(), 1_500).await, granted(&[1]));
    assert_eq!(try_take(one(), 1_500).await, refused(1_500));
    assert_eq!(try_take(vec![of("bucket", take(3, 2, 2))], 3_000).await, refused(1_500));

    // As many as are there, if it is enough.
    assert_eq!(try_take(vec![of("lease", take(5, 1, 3))], 0).await, granted(&[3]));
    assert_eq!(try_take(vec![of("lease", take(5, 1, 3))], 0).await, granted(&[2]));
    assert_eq!(try_take(vec![of("lease", take(5, 1, 3))], 0).await, refused(1_500));
    assert_eq!(try_take(vec![of("lease", take(5, 1, 9))], 60_000).await, granted(&[5]), "full, and no fuller");

    // All or none, and the longest wait of those that refuse.
    let both = |least| vec![of("left", take(4, least, least)), of("right", take(2, 1, 1))];
    assert_eq!(try_take(both(1), 0).await, granted(&[1, 1]));
    assert_eq!(try_take(both(1), 0).await, granted(&[1, 1]));
    assert_eq!(try_take(both(4), 0).await, refused(3_000));
    assert_eq!(try_take(both(1), 0).await, refused(1_500));
    assert_eq!(try_take(vec![of("left", take(4, 2, 2))], 0).await, granted(&[2]), "nothing was taken by a refusal");

    cache.give_back(vec![of("left", take(4, 1, 1)), of("never", take(4, 1, 1))], NOW_MS).await.unwrap();
    assert_eq!(try_take(vec![of("left", take(4, 2, 2))], 0).await, refused(1_500));
    assert_eq!(try_take(vec![of("left", take(4, 1, 1))], 0).await, granted(&[1]));
    for _ in 0..9 {
        cache.give_back(vec![of("left", take(4, 1, 1))], NOW_MS).await.unwrap();
    }
    assert_eq!(try_take(vec![of("left", take(4, 1, 9))], 0).await, granted(&[4]), "full, and no fuller");
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
