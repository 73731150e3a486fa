//! For tests only: a whole installation in one process ([`Cluster`]), a bus that misbehaves ([`FaultyBus`]), a balancer
//! in front of gateways ([`UdpBalancer`]), a push service ([`PushService`]), certificates ([`Authority`]), and waiting for
//! conditions ([`eventually`]). With the feature `sim` also whole installations with their clients in virtual time, where a
//! seed decides everything (`sim`).

mod authority;
mod balancer;
mod cluster;
mod faults;
mod push_service;
#[cfg(feature = "sim")]
pub mod sim;

use std::{future::Future, time::Duration};

use tokio::time::Instant;

pub use authority::Authority;
pub use balancer::UdpBalancer;
pub use cluster::{Backend, Cluster, Copied, Halted, Shape};
pub use faults::{Faults, FaultyBus};
pub use push_service::{Heard, PushService};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `found` gives something. Panics after a minute.
#[allow(clippy::panic, reason = "tests report by panicking")]
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(Instant::now() < until, "{what} did not happen");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
