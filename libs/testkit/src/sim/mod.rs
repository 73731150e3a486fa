//! A whole installation with its clients in virtual time: two gateways, two replicas of each service, three to five
//! devices, over the real code of services and SDK. A seed decides who does what, what goes wrong, and how long everything
//! takes; the same seed does the same again.
//!
//! - [`run`] is one simulation, [`many`] a range of them on several threads;
//! - `template` is the state in which all of them begin;
//! - `plan` draws what happens, `drive` carries it out, `world` holds the parts;
//! - `history` collects what clients were told and judges it at the end.
//!
//! What is under it: `qpc_runtime::sim` (time, randomness, disk, network), the inline engine of the chassis' database, the
//! simulated store of the SDK, and carriers of SDK and gateway over the network in memory.

mod drive;
mod history;
mod plan;
mod template;
mod world;

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::Result;
pub use qpc_chassis::runtime::planted::Mistake;
use qpc_chassis::runtime::planted::plant;
use tokio::runtime::Builder;

pub use self::history::Counts;
use self::{drive::Simulation, plan::Plan, template::template};

/// How often something was drawn, by name.
pub type Tally = BTreeMap<&'static str, u64>;

/// A simulation in which nothing was wrong.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Operations of users, by name.
    pub operations: Tally,
    /// Things that went wrong on purpose, by name.
    pub faults: Tally,
    /// What came of it.
    pub counts: Counts,
    /// Virtual time that it took, milliseconds.
    pub virtual_ms: u64,
    /// Differs when anything was sent or told otherwise, or at another time.
    pub trace: u64,
    /// The end of what happened.
    pub log: Vec<String>,
}

/// A simulation that found something.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {seed}: {}\nreplay: cargo xtask sim --seeds 1 --from {seed}", broken.join("\n  "))]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was wrong.
    pub broken: Vec<String>,
    /// The end of what happened before.
    pub log: Vec<String>,
}

/// One simulation, with a mistake in the code or, as everywhere but in tests of the simulation, without.
pub fn run(seed: u64, mistake: Option<Mistake>) -> Result<Report, Failure> {
    plant(mistake);
    let failure = |broken: String| Failure { seed, broken: vec![broken], log: Vec::new() };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        virtual_runtime().map_err(|error| failure(error.to_string()))?.block_on(simulate(seed))
    }));
    plant(None);
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(failure(format!("panicked: {}", text.unwrap_or_default())))
    })
}

/// A loop of events whose time stands still while there is something to do, and jumps when there is not.
fn virtual_runtime() -> Result<tokio::runtime::Runtime> {
    Ok(Builder::new_current_thread().enable_time().start_paused(true).build()?)
}

async fn simulate(seed: u64) -> Result<Report, Failure> {
    let failed = |error: anyhow::Error| Failure { seed, broken: vec![format!("{error:#}")], log: Vec::new() };
    let began = tokio::time::Instant::now();
    let template = template().map_err(failed)?;
    let plan = Plan::draw(seed);
    let (operations, faults) = (plan.operations.clone(), plan.faults.clone());
    let mut simulation = Simulation::new(seed, plan, template).await.map_err(failed)?;
    let broken = simulation.run().await.map_err(|error| Failure { log: simulation.history.log(), ..failed(error) })?;
    if !broken.is_empty() {
        return Err(Failure { seed, broken, log: simulation.history.log() });
    }
    Ok(Report {
        seed,
        operations,
        faults,
        counts: simulation.history.counts(),
        virtual_ms: began.elapsed().as_millis() as u64,
        trace: simulation.trace(),
        log: simulation.history.log(),
    })
}

/// Simulates every seed on `threads` threads, tells `done` about each, and returns the failures. Begins no more after
/// `enough` of them.
pub fn many(
    seeds: Range<u64>,
    threads: usize,
    enough: usize,
    mistake: Option<Mistake>,
    done: impl Fn(&Result<Report, Failure>) + Sync,
) -> Vec<Failure> {
    let (next, failures, end) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed, mistake);
                    done(&outcome);
                    let Err(failure) = outcome else { continue };
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push(failure);
                    end.store(failures.len() >= enough, Ordering::Relaxed);
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}
