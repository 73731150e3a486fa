//! 830 Administer: a call of the admin API. It leaves one entry in the audit log, in the transaction of what it changes; a
//! refused one leaves its entry alone.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    Code, Status,
    v1::{AdministerRequest, AdministerResponse},
};

use crate::{
    Auth,
    admin::{self, Done},
    error::Error,
    events,
    store::audit::{self, Entry},
};

/// Longest name of an actor, bytes.
const MAX_ACTOR: usize = 64;

pub(super) async fn handle(
    auth: Arc<Auth>,
    _ctx: Ctx,
    request: AdministerRequest,
) -> Result<AdministerResponse, Error> {
    let AdministerRequest { actor, call: Some(call) } = request else { return Err(Error::NoCall) };
    let actor: String = actor.chars().take(MAX_ACTOR).collect();
    let (action, at_ms) = (admin::action(&call), auth.runtime.now_ms());
    let mut subject = admin::subject(&call);
    let mut done = Done::default();
    let mut tx = auth.store.db().begin().await?;
    let result = admin::run(&auth, &mut tx, call, at_ms, &mut subject, &mut done).await;
    let result = result.map_err(Status::from);
    if result.is_err() {
        // Nothing of it is kept but that it was tried.
        drop(tx);
        tx = auth.store.db().begin().await?;
    }
    let code = result.as_ref().map_or_else(|status| status.code, |_| Code::Ok);
    let entry = Entry { actor: &actor, action, subject: &subject, code, at_ms };
    audit::append(&mut tx, &auth.audit_key, &entry).await?;
    tx.commit().await?;
    auth.audit_entries.inc();
    tracing::info!(actor, action, subject, ?code, "admin");
    let answer = result?;
    for device in done.sessions_ended {
        events::session_ended(&auth.push, device).await;
    }
    if done.revoked {
        auth.forget.wake();
    }
    Ok(AdministerResponse { answer: Some(answer) })
}
