//! Periodic work.

use std::{sync::Arc, time::Duration};

use qpc_chassis::run::Deps;

use crate::{domain::name_key::NameKey, error::Error, forget::Forget, store::Store};

/// Time between two sweeps of expired sessions and invites, and past counts of tokens.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Time between two looks for accounts that admins want gone.
const DELETE_EVERY: Duration = Duration::from_secs(60);
/// Time that such an account still has, milliseconds.
const DELETE_AFTER_MS: u64 = 24 * 60 * 60 * 1000;
/// Time between two looks for services that have not forgotten a revoked device yet.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// Time that an invite is still shown, and told from one that never was, after it has expired, milliseconds.
const INVITES_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// Batches of one sweep, so that it cannot go on for ever.
const SWEEP_BATCHES: usize = 100;

/// Time between two sweeps of gateways that are gone.
const GATEWAYS_EVERY: Duration = Duration::from_secs(60);
/// Time between two cuts of the audit log.
const AUDIT_EVERY: Duration = Duration::from_secs(3600);

/// Starts the periodic work of the service.
pub(crate) fn start(deps: &Deps, store: &Store, forget: &Arc<Forget>, names: NameKey, audit_days: u32) {
    deps.runtime.spawn(forget.clone().run(deps.runtime.clone(), FORGET_EVERY));
    let swept = store.clone();
    deps.every(GATEWAYS_EVERY, move |now_ms| {
        let store = swept.clone();
        async move {
            if let Err(error) = store.sweep_gateways(now_ms).await {
                tracing::warn!(%error, "gateways that are gone not swept");
            }
        }
    });
    let (deleted, waiting) = (store.clone(), forget.clone());
    deps.every(DELETE_EVERY, move |now_ms| {
        let (store, forget) = (deleted.clone(), waiting.clone());
        async move {
            match delete_requested(&store, names, now_ms).await {
                Ok(()) => forget.wake(),
                Err(error) => tracing::warn!(%error, "accounts that are to be deleted are not yet"),
            }
        }
    });
    let audited = store.clone();
    let kept_ms = u64::from(audit_days) * 24 * 60 * 60 * 1000;
    deps.every(AUDIT_EVERY, move |now_ms| {
        let store = audited.clone();
        async move {
            if let Err(error) = cut_audit(&store, now_ms.saturating_sub(kept_ms)).await {
                tracing::warn!(%error, "audit log not cut");
            }
        }
    });
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
        let invites = store.sweep_invites(now_ms.saturating_sub(INVITES_MS)).await?;
        if store.sweep_sessions(now_ms).await? + store.sweep_tokens(now_ms).await? + invites == 0 {
            break;
        }
    }
    Ok(())
}

async fn delete_requested(store: &Store, names: NameKey, now_ms: u64) -> Result<(), Error> {
    let Some(before_ms) = now_ms.checked_sub(DELETE_AFTER_MS) else { return Ok(()) };
    for _ in 0..SWEEP_BATCHES {
        if !store.delete_requested(names, before_ms, now_ms).await? {
            break;
        }
    }
    Ok(())
}

async fn cut_audit(store: &Store, before_ms: u64) -> Result<(), Error> {
    for _ in 0..SWEEP_BATCHES {
        if store.cut_audit(before_ms).await? == 0 {
            break;
        }
    }
    Ok(())
}
