//! A machine that is not there: virtual time, seeded randomness, a disk that survives a crash, a network that can be cut.
//!
//! Everything of one simulation runs on one thread under tokio's paused clock, so that a seed decides all that happens.
//! [`Runtime::simulated`] makes a [`Runtime`] on which work that blocks runs at once, on the calling thread, and whose
//! tasks [`Runtime::crash`] drops where they stand.

pub mod net;

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Clock, Entropy, Runtime};

/// A wall clock that follows virtual time, and may be wrong.
pub struct VirtualClock {
    start: Instant,
    start_ms: u64,
    skew_ms: AtomicI64,
}

impl VirtualClock {
    /// Shows `start_ms` (Unix milliseconds) now. Needs a tokio runtime.
    pub fn new(start_ms: u64) -> Self {
        Self { start: Instant::now(), start_ms, skew_ms: AtomicI64::new(0) }
    }

    /// Sets the clock wrong by so many milliseconds from now on.
    pub fn skew(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> u64 {
        let right = self.start_ms + self.start.elapsed().as_millis() as u64;
        right.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }
}

/// Random numbers that a seed decides.
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// The source of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        lock(&self.0).fill_bytes(out);
    }
}

/// Something on a [`Disk`]: what is committed in it survives a crash.
pub trait Medium: Any + Send + Sync {
    /// A copy with the same content and a life of its own.
    fn fork(&self) -> Arc<dyn Medium>;

    /// For finding out what it is.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Media by name. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<BTreeMap<String, Arc<dyn Medium>>>>);

impl Disk {
    /// The medium called `name`, which `make` makes if there is none. `None` when it is of another kind.
    pub fn open<M: Medium, E>(&self, name: &str, make: impl FnOnce() -> Result<M, E>) -> Result<Option<Arc<M>>, E> {
        let mut media = lock(&self.0);
        let medium = match media.get(name) {
            Some(medium) => medium.clone(),
            None => {
                let made: Arc<dyn Medium> = Arc::new(make()?);
                media.insert(name.to_owned(), made.clone());
                made
            }
        };
        Ok(medium.as_any().downcast().ok())
    }

    /// A disk with a copy of everything.
    pub fn fork(&self) -> Self {
        let copies = lock(&self.0).iter().map(|(name, medium)| (name.clone(), medium.fork())).collect();
        Self(Arc::new(Mutex::new(copies)))
    }
}

/// A simulated machine between two crashes.
#[derive(Clone)]
pub struct Host {
    /// Its place in the network.
    pub port: net::Port,
    /// What it keeps.
    pub disk: Disk,
    crashed: CancellationToken,
}

impl Host {
    /// A machine that starts.
    pub fn new(port: net::Port, disk: Disk) -> Self {
        Self { port, disk, crashed: CancellationToken::new() }
    }

    /// Runs `task` to its end or to the crash of the machine, whatever comes first.
    pub async fn until_crash(self, task: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.crashed.cancelled() => {}
            () = task => {}
        }
    }
}

impl Runtime {
    /// A runtime on a machine that is not there.
    pub fn simulated(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, host: Host) -> Self {
        Self { clock, entropy, tasks: TaskTracker::new(), shutdown: CancellationToken::new(), host: Some(host) }
    }

    /// The machine, if it is a simulated one.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Stops everything on the machine where it stands: nothing is said to anybody, and only what is on the disk remains.
    pub fn crash(&self) {
        if let Some(host) = &self.host {
            host.crashed.cancel();
            host.port.crash();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
