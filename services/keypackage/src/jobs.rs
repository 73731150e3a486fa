//! Periodic work.

use std::time::Duration;

use qpc_chassis::run::Deps;

use crate::{error::Error, store::Store};

/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Batches of one sweep, so that it cannot go on for ever.
const SWEEP_BATCHES: usize = 100;
/// Single-use packages are removed at this age, milliseconds: 80 days. Clients give them a lifetime of 84, and one that
/// was handed out has to be used before it ends.
const MAX_AGE_MS: u64 = 80 * 24 * 60 * 60 * 1000;

/// Starts the periodic work of the service.
pub(crate) fn start(deps: &Deps, store: &Store) {
    let store = store.clone();
    deps.every(SWEEP_EVERY, move |now_ms| {
        let store = store.clone();
        async move {
            if let Err(error) = sweep(&store, now_ms).await {
                tracing::warn!(%error, "old key packages not swept");
            }
        }
    });
}

async fn sweep(store: &Store, now_ms: u64) -> Result<(), Error> {
    for _ in 0..SWEEP_BATCHES {
        if store.sweep(now_ms.saturating_sub(MAX_AGE_MS)).await? == 0 {
            break;
        }
    }
    Ok(())
}
