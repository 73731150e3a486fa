//! Time, randomness and tasks as arguments: what a simulation replaces. Servers and clients run on it alike; nowhere else
//! is the machine's clock or random source read, or a task started that nobody waits for.

pub mod planted;
#[cfg(feature = "sim")]
pub mod sim;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{CryptoRng, RngCore, rngs::OsRng};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Wall clock.
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;
}

/// Source of key material and ids. openmls draws from the operating system by itself.
pub trait Entropy: Send + Sync {
    /// Fills `out` with random bytes fit for keys.
    fn fill(&self, out: &mut [u8]);
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

/// The random source of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        OsRng.fill_bytes(out);
    }
}

/// An [`Entropy`] with the interface of the `rand` crates.
#[derive(Clone)]
pub struct EntropyRng(Arc<dyn Entropy>);

impl CryptoRng for EntropyRng {}

impl RngCore for EntropyRng {
    fn next_u32(&mut self) -> u32 {
        let mut out = [0; 4];
        self.0.fill(&mut out);
        u32::from_le_bytes(out)
    }

    fn next_u64(&mut self) -> u64 {
        let mut out = [0; 8];
        self.0.fill(&mut out);
        u64::from_le_bytes(out)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

/// What a process, or a part of one, runs on. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    #[cfg(feature = "sim")]
    host: Option<sim::Host>,
}

impl Runtime {
    /// Clock and randomness of the machine.
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SystemEntropy))
    }

    /// A runtime with the given clock and randomness.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            clock,
            entropy,
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            #[cfg(feature = "sim")]
            host: None,
        }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Random source for key material and ids.
    pub fn rng(&self) -> EntropyRng {
        EntropyRng(self.entropy.clone())
    }

    /// `N` random bytes, for ids and keys of idempotency.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.entropy.fill(&mut out);
        out
    }

    /// A random duration from half of `base` up to `base`, so that many clients do not return at the same moment.
    pub fn jittered(&self, base: Duration) -> Duration {
        let share = u32::from_le_bytes(self.random()) % 1000;
        base / 2 + base / 2 * share / 1000
    }

    /// Starts a task that [`Self::drain`] waits for. Long-running ones must watch [`Self::shutdown`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            self.tasks.spawn(host.clone().until_crash(task));
            return;
        }
        self.tasks.spawn(task);
    }

    /// Runs work that blocks, such as a transaction or Argon2id, beside the event loop. `None` if it panicked or the
    /// event loop is going down.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        #[cfg(feature = "sim")]
        if self.host.is_some() {
            return Some(work());
        }
        self.tasks.spawn_blocking(work).await.ok()
    }

    /// Cancelled when everything on this runtime is asked to stop.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// A runtime whose shutdown follows this one's but can also come earlier, with tasks of its own.
    pub fn child(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            tasks: TaskTracker::new(),
            shutdown: self.shutdown.child_token(),
            #[cfg(feature = "sim")]
            host: self.host.clone(),
        }
    }

    /// Asks all tasks to stop and waits for them, `grace` at most. Tells whether all of them ended.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}
