//! Periodic work.

use std::time::Duration;

use qpc_chassis::run::Deps;

use crate::{error::Error, store::Store};

/// Time between two sweeps of expired sessions.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Batches of one sweep, so that it cannot go on for ever.
const SWEEP_BATCHES: usize = 100;

/// Starts the periodic work of the service.
pub(crate) fn start(deps: &Deps, store: &Store) {
    let store = store.clone();
    deps.every(SWEEP_EVERY, move |now_ms| {
        let store = store.clone();
        async move {
            if let Err(error) = sweep(&store, now_ms).await {
                tracing::warn!(%error, "expired sessions not swept");
            }
        }
    });
}

async fn sweep(store: &Store, now_ms: u64) -> Result<(), Error> {
    for _ in 0..SWEEP_BATCHES {
        if store.sweep_sessions(now_ms).await? == 0 {
            break;
        }
    }
    Ok(())
}
