//! A limit for what happens all the time: a replica takes tokens from the shared bucket by the block and spends them by
//! itself. Fails open: without the cache, each replica has a bucket of its own.
//!
//! A block that is not used up in time is lost to its owner, so that a limit is rather too strict than too lax: by one block
//! for each replica that the same caller has used. A refusal is remembered too, and costs no question until it ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Limit, Limited};
use crate::{
    Runtime,
    cache::{Cache, MemoryCache, Take, Taken},
    metrics::Metrics,
    run::Deps,
};

/// A block is this part of the bucket.
const BLOCKS: u64 = 8;
/// Life of a block, milliseconds. While it lasts, a replica may have spent what the shared bucket has got back since.
const LEASE_MS: u64 = 10_000;
/// Buckets remembered here; beyond it, those without a block or a refusal go, and then all.
const CAPACITY: usize = 100_000;
/// Questions to the cache at once, of different buckets: those of one come one after the other, so that the second finds the
/// block of the first.
const QUESTIONS: usize = 64;
/// Milliseconds until the cache is asked again after it did not answer, so that not every call waits for it.
const AWAY_MS: u64 = 1_000;

/// See the module.
pub struct Leases {
    runtime: Runtime,
    cache: Arc<dyn Cache>,
    metrics: Arc<Metrics>,
    limit: Limit,
    what: &'static str,
    state: Mutex<State>,
    asking: [tokio::sync::Mutex<()>; QUESTIONS],
    /// Buckets for when the cache is away.
    own: MemoryCache,
}

#[derive(Default)]
struct State {
    buckets: HashMap<String, Bucket>,
    /// The cache is not asked before, Unix milliseconds.
    away_until_ms: u64,
}

/// What this replica knows of a bucket, until when (Unix milliseconds).
#[derive(Clone, Copy)]
enum Bucket {
    Leased { left: u64, until_ms: u64 },
    Empty { until_ms: u64 },
}

impl Leases {
    /// `what` is told to whoever is refused: too many `what`.
    pub fn new(deps: &Deps, limit: Limit, what: &'static str) -> Self {
        Self {
            runtime: deps.runtime.clone(),
            cache: deps.cache.clone(),
            metrics: deps.metrics.clone(),
            limit,
            what,
            state: Mutex::default(),
            asking: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            own: MemoryCache::new(deps.runtime.clock.clone()),
        }
    }

    /// Takes a token of the bucket of `whom`, or refuses. Only every eighth part of a bucket asks the cache.
    pub async fn admit(&self, whom: &[&[u8]]) -> Result<(), Limited> {
        let admitted = self.take(whom).await;
        if admitted.is_err() {
            self.metrics.refused(self.what);
        }
        admitted
    }

    async fn take(&self, whom: &[&[u8]]) -> Result<(), Limited> {
        let Some(one) = self.limit.one(whom) else { return Ok(()) };
        if let Some(known) = self.known(&one.key) {
            return known;
        }
        // Keys end in digits of a hash.
        let shard = one.key.bytes().rev().take(4).fold(0, |shard, digit| shard * 31 + usize::from(digit)) % QUESTIONS;
        let _turn = self.asking[shard].lock().await;
        if let Some(known) = self.known(&one.key) {
            return known;
        }
        let now_ms = self.runtime.now_ms();
        let (bucket, answer) = match self.ask(one.clone(), now_ms).await {
            Taken::Granted(tokens) => {
                let left = tokens.first().map_or(0, |tokens| tokens.saturating_sub(1));
                (Bucket::Leased { left, until_ms: now_ms + LEASE_MS }, Ok(()))
            }
            Taken::Refused { retry_after_ms } => {
                (Bucket::Empty { until_ms: now_ms + retry_after_ms }, Err(self.refusal(retry_after_ms)))
            }
        };
        self.remember(one.key, bucket, now_ms);
        answer
    }

    /// What needs no question: a token of a block, or a refusal that lasts.
    fn known(&self, key: &str) -> Option<Result<(), Limited>> {
        let now_ms = self.runtime.now_ms();
        match self.state().buckets.get_mut(key)? {
            Bucket::Leased { left, until_ms } if *left > 0 && now_ms < *until_ms => {
                *left -= 1;
                Some(Ok(()))
            }
            Bucket::Empty { until_ms } if now_ms < *until_ms => Some(Err(self.refusal(*until_ms - now_ms))),
            _ => None,
        }
    }

    async fn ask(&self, one: Take, now_ms: u64) -> Taken {
        if self.state().away_until_ms <= now_ms {
            let block = Take { most: (one.burst / BLOCKS).max(1), ..one.clone() };
            match self.cache.take(vec![block], now_ms).await {
                Ok(taken) => return taken,
                Err(error) => {
                    tracing::warn!(%error, limit = %self.limit, "each replica counts for itself");
                    self.state().away_until_ms = now_ms + AWAY_MS;
                }
            }
        }
        // One at a time: a block is not to outlive the time in which everybody counts alone.
        self.own.take(vec![one], now_ms).await.unwrap_or(Taken::Granted(vec![1]))
    }

    fn remember(&self, key: String, bucket: Bucket, now_ms: u64) {
        let mut state = self.state();
        if state.buckets.len() >= CAPACITY {
            state.buckets.retain(|_, bucket| bucket.lasts(now_ms));
        }
        if state.buckets.len() >= CAPACITY {
            state.buckets.clear();
        }
        state.buckets.insert(key, bucket);
    }

    fn refusal(&self, retry_after_ms: u64) -> Limited {
        Limited::TooMany { what: self.what, retry_after_ms }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn lasts(&self, now_ms: u64) -> bool {
        match self {
            Self::Leased { left, until_ms } => *left > 0 && now_ms < *until_ms,
            Self::Empty { until_ms } => now_ms < *until_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU64, Ordering},
        time::Duration,
    };

    use futures_util::future::{BoxFuture, join_all};

    use super::*;
    use crate::{
        cache::CacheError,
        limits::Rate,
        runtime::{Clock, SystemEntropy},
        secrets::Secrets,
    };

    struct MovedClock(AtomicU64);

    impl Clock for MovedClock {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// A cache that counts questions and can be away.
    struct Counted {
        inner: MemoryCache,
        questions: AtomicU64,
        away: AtomicBool,
    }

    impl Cache for Counted {
        fn get_many(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, CacheError>> {
            self.inner.get_many(keys)
        }
        fn set_many(
            &self,
            pairs: Vec<(String, String)>,
            ttl: Duration,
        ) -> BoxFuture<'_, Result<Vec<bool>, CacheError>> {
            self.inner.set_many(pairs, ttl)
        }
        fn set_new(&self, key: String, value: String, ttl: Duration) -> BoxFuture<'_, Result<String, CacheError>> {
            self.inner.set_new(key, value, ttl)
        }
        fn remove_if(&self, key: String, value: String) -> BoxFuture<'_, Result<bool, CacheError>> {
            self.inner.remove_if(key, value)
        }
        fn take(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<Taken, CacheError>> {
            self.questions.fetch_add(1, Ordering::SeqCst);
            if self.away.load(Ordering::SeqCst) {
                return Box::pin(async { Err(CacheError::Timeout) });
            }
            self.inner.take(takes, now_ms)
        }
        fn give_back(&self, takes: Vec<Take>, now_ms: u64) -> BoxFuture<'_, Result<(), CacheError>> {
            self.inner.give_back(takes, now_ms)
        }
    }

    struct World {
        clock: Arc<MovedClock>,
        cache: Arc<Counted>,
        deps: Deps,
    }

    impl World {
        fn new() -> Self {
            let clock = Arc::new(MovedClock(AtomicU64::new(1_767_225_600_000)));
            let inner = MemoryCache::new(clock.clone());
            let cache = Arc::new(Counted { inner, questions: AtomicU64::new(0), away: AtomicBool::new(false) });
            let deps = Deps {
                cache: cache.clone(),
                ..Deps::local(
                    Runtime::new(clock.clone(), Arc::new(SystemEntropy)),
                    Secrets::new([5; 32]),
                    String::new(),
                )
            };
            Self { clock, cache, deps }
        }

        fn replica(&self) -> Leases {
            let rate = Rate::new(60, 1, Duration::from_secs(1));
            Leases::new(&self.deps, Limit::new("test", rate), "tests")
        }

        fn pass(&self, ms: u64) {
            self.clock.0.fetch_add(ms, Ordering::SeqCst);
        }
    }

    async fn admitted(leases: &Leases, calls: usize) -> usize {
        join_all((0..calls).map(|_| leases.admit(&[b"alice"]))).await.iter().filter(|answer| answer.is_ok()).count()
    }

    fn wait(answer: Result<(), Limited>) -> u64 {
        match answer {
            Err(Limited::TooMany { retry_after_ms, .. }) => retry_after_ms,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn one_replica_spends_the_bucket_to_the_last_token_and_asks_rarely() {
        let world = World::new();
        let leases = world.replica();
        assert_eq!(admitted(&leases, 60).await, 60);
        let questions = world.cache.questions.load(Ordering::SeqCst);
        assert!(questions <= 9, "{questions} for 60 calls");
        assert_eq!(wait(leases.admit(&[b"alice"]).await), 1_000);
        world.pass(400);
        assert_eq!(wait(leases.admit(&[b"alice"]).await), 600);
        leases.admit(&[b"bob"]).await.unwrap();
        let before = world.cache.questions.load(Ordering::SeqCst);
        assert_eq!(admitted(&leases, 100).await, 0);
        assert_eq!(world.cache.questions.load(Ordering::SeqCst), before, "refusals cost nothing");
        let counted = r#"qpc_limit_refusals_total{what="tests"} 102"#;
        assert!(world.deps.metrics.render().contains(counted), "{}", world.deps.metrics.render());
        world.pass(600);
        assert_eq!(admitted(&leases, 2).await, 1);
    }

    #[tokio::test]
    async fn replicas_share_the_bucket() {
        let world = World::new();
        let (one, other) = (world.replica(), world.replica());
        let mut total = 0;
        for _ in 0..60 {
            total += admitted(&one, 1).await + admitted(&other, 1).await;
        }
        assert_eq!(total, 60);
    }

    #[tokio::test]
    async fn a_block_that_was_not_used_in_time_is_gone() {
        let world = World::new();
        let leases = world.replica();
        leases.admit(&[b"alice"]).await.unwrap();
        world.pass(3_600_000);
        assert_eq!(admitted(&leases, 100).await, 60, "the bucket is full, and no fuller");
    }

    #[tokio::test]
    async fn without_the_cache_each_replica_counts_for_itself() {
        let world = World::new();
        world.cache.away.store(true, Ordering::SeqCst);
        let (one, other) = (world.replica(), world.replica());
        assert_eq!(admitted(&one, 61).await, 60);
        assert_eq!(wait(one.admit(&[b"alice"]).await), 1_000);
        assert_eq!(world.cache.questions.load(Ordering::SeqCst), 1, "not asked again for a while");
        assert_eq!(admitted(&other, 61).await, 60);
        world.cache.away.store(false, Ordering::SeqCst);
        world.pass(1_000);
        assert_eq!(admitted(&one, 100).await, 60, "counted together again");
    }
}
