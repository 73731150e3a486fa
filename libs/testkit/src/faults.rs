//! A bus that loses, doubles and reorders, and one that keeps to its own subjects.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use qpc_chassis::{
    Runtime,
    bus::{Bus, BusError, Subscription},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::watch;

/// Subjects of doorbells.
const DOORBELLS: &str = "qpc.push.";
/// Longest delay of a doorbell that is out of order.
const MAX_DELAY_MS: u64 = 50;
/// Time after which a caller is told that its request or the answer got lost.
const GIVE_UP: Duration = Duration::from_millis(20);

/// How often, each in percent. The rest goes through.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Decides which message suffers what.
    pub seed: u64,
    /// Lost: a doorbell, a request before it arrives, or an answer after the work was done.
    pub lost: u64,
    /// Doubled: a doorbell, or a request that is worked on twice.
    pub doubled: u64,
    /// Late by up to 50 ms, so that others overtake it: doorbells only.
    pub late: u64,
}

impl Faults {
    /// Everything goes through.
    pub const NONE: Self = Self { seed: 0, lost: 0, doubled: 0, late: 0 };

    /// A third of all traffic suffers something.
    pub fn heavy(seed: u64) -> Self {
        Self { seed, lost: 12, doubled: 12, late: 12 }
    }
}

/// See the module. Answers themselves go through; that one got lost is decided where it is awaited.
pub struct FaultyBus {
    inner: Arc<dyn Bus>,
    faults: Mutex<Faults>,
    runtime: Runtime,
    count: AtomicU64,
}

enum Fate {
    Fine,
    LostBefore,
    LostAfter,
    Doubled,
    Late(Duration),
}

impl FaultyBus {
    /// Puts faults in front of `inner`.
    pub fn new(inner: Arc<dyn Bus>, faults: Faults, runtime: Runtime) -> Self {
        Self { inner, faults: Mutex::new(faults), runtime, count: AtomicU64::new(0) }
    }

    /// Other faults from now on.
    pub fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn fate(&self) -> Fate {
        let Faults { seed, lost, doubled, late } = *self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        match rng.gen_range(0..100) {
            draw if draw < lost / 2 => Fate::LostBefore,
            draw if draw < lost => Fate::LostAfter,
            draw if draw < lost + doubled => Fate::Doubled,
            draw if draw < lost + doubled + late => Fate::Late(Duration::from_millis(rng.gen_range(1..=MAX_DELAY_MS))),
            _ => Fate::Fine,
        }
    }
}

impl Bus for FaultyBus {
    fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> BoxFuture<'_, Result<Bytes, BusError>> {
        Box::pin(async move {
            match self.fate() {
                Fate::LostBefore => {
                    tokio::time::sleep(GIVE_UP.min(timeout)).await;
                    Err(BusError::Timeout(subject))
                }
                Fate::LostAfter => {
                    self.inner.request(subject.clone(), payload, timeout).await?;
                    Err(BusError::Timeout(subject))
                }
                Fate::Doubled => {
                    let twin = self.inner.request(subject.clone(), payload.clone(), timeout);
                    let (_, answer) = tokio::join!(twin, self.inner.request(subject, payload, timeout));
                    answer
                }
                Fate::Fine | Fate::Late(_) => self.inner.request(subject, payload, timeout).await,
            }
        })
    }

    fn publish(&self, subject: String, payload: Bytes) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let fate = if subject.starts_with(DOORBELLS) { self.fate() } else { Fate::Fine };
            match fate {
                Fate::LostBefore | Fate::LostAfter => Ok(()),
                Fate::Doubled => {
                    self.inner.publish(subject.clone(), payload.clone()).await?;
                    self.inner.publish(subject, payload).await
                }
                Fate::Late(delay) => {
                    let inner = self.inner.clone();
                    self.runtime.spawn(async move {
                        tokio::time::sleep(delay).await;
                        // A doorbell that nobody waits for any more.
                        let _ = inner.publish(subject, payload).await;
                    });
                    Ok(())
                }
                Fate::Fine => self.inner.publish(subject, payload).await,
            }
        })
    }

    fn subscribe(
        &self,
        subject: String,
        queue_group: Option<String>,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BusError>> {
        self.inner.subscribe(subject, queue_group)
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.flush()
    }

    fn doubt(&self) -> watch::Receiver<u64> {
        self.inner.doubt()
    }
}

/// A bus of one's own on a server that others use: every subject of ours begins with a scope.
pub(crate) struct ScopedBus {
    inner: Arc<dyn Bus>,
    scope: String,
}

impl ScopedBus {
    pub(crate) fn new(inner: Arc<dyn Bus>, scope: String) -> Self {
        Self { inner, scope }
    }

    /// Subjects of answers are unique as they are.
    fn scoped(&self, subject: String) -> String {
        if subject.starts_with("qpc.") { format!("{}.{subject}", self.scope) } else { subject }
    }
}

impl Bus for ScopedBus {
    fn request(&self, subject: String, payload: Bytes, timeout: Duration) -> BoxFuture<'_, Result<Bytes, BusError>> {
        self.inner.request(self.scoped(subject), payload, timeout)
    }

    fn publish(&self, subject: String, payload: Bytes) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.publish(self.scoped(subject), payload)
    }

    fn subscribe(
        &self,
        subject: String,
        queue_group: Option<String>,
    ) -> BoxFuture<'_, Result<Box<dyn Subscription>, BusError>> {
        self.inner.subscribe(self.scoped(subject), queue_group)
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.flush()
    }

    fn doubt(&self) -> watch::Receiver<u64> {
        self.inner.doubt()
    }
}
