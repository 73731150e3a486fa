//! Periodic work.

use std::{sync::Arc, time::Duration};

use qpc_chassis::run::Deps;

use crate::{
    store::Store,
    waiting::{LOOK_EVERY, Waiting},
    wake::Waker,
};

/// Time between two looks for expired messages.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Time between two looks for devices to be woken.
const WAKE_EVERY: Duration = Duration::from_secs(1);

/// Starts all jobs.
pub(crate) fn start(deps: &Deps, store: Store, waker: Option<Arc<Waker>>, waiting: Arc<Waiting>) {
    let (watched, push) = (store.clone(), deps.push());
    deps.every(LOOK_EVERY, move |now_ms| {
        let (store, push, waiting) = (watched.clone(), push.clone(), waiting.clone());
        async move {
            if let Err(error) = waiting.look(&store, &push, now_ms).await {
                tracing::warn!(%error, "unknown how long messages wait");
            }
        }
    });
    if let Some(waker) = waker {
        deps.every(WAKE_EVERY, move |now_ms| waker.clone().look(now_ms));
    }
    deps.every(EXPIRE_EVERY, move |now_ms| {
        let store = store.clone();
        async move {
            match store.expire(now_ms).await {
                Ok(0) => {}
                Ok(mailboxes) => tracing::info!(mailboxes, "expired messages became gaps"),
                Err(error) => tracing::warn!(%error, "messages not expired"),
            }
            if let Err(error) = store.expire_spent(now_ms).await {
                tracing::warn!(%error, "spent tokens not expired");
            }
            if let Err(error) = store.expire_shared(now_ms).await {
                tracing::warn!(%error, "shared parts not expired");
            }
        }
    });
}
