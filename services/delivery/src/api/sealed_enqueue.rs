//! SealedEnqueue: an application message whose sender the server does not learn. It is a message like any other but for its
//! permit, and goes to its sender too.

use std::sync::Arc;

use qpc_chassis::{db, rpc::Ctx};
use qpc_wire::v1::{EnqueueRequest, SealedEnqueueRequest, SealedEnqueueResponse};

use super::enqueue;
use crate::{State, committer::NewMessage, domain::permit::Permit, error::Error};

/// Answers when the message is durable for every device of the group.
pub async fn handle(
    state: Arc<State>,
    ctx: Ctx,
    request: SealedEnqueueRequest,
) -> Result<SealedEnqueueResponse, Error> {
    // Whoever says who it is has made a mistake, and is to know before it is repeated.
    if ctx.identity.is_some() {
        return Err(Error::NotAnonymous);
    }
    let call = *ctx.idempotent()?;
    let message = match check(&state, &ctx, call, request) {
        Ok(message) => message,
        // Its token may have paid for it while it was still taken.
        Err(refused) => return db::replay(&state.store.db, &call).await?.ok_or(refused),
    };
    // Who it is nobody knows, so it counts where it comes from.
    state.sends.admit(&[ctx.address_hash.as_ref(), message.group.as_ref()]).await?;
    let answer = state.committers.enqueue(message).await?;
    Ok(SealedEnqueueResponse { receipt: answer.receipt })
}

fn check(
    state: &State,
    ctx: &Ctx,
    call: db::IdempotentCall,
    request: SealedEnqueueRequest,
) -> Result<NewMessage, Error> {
    // It shows that whoever sends knows the group, and not only its name.
    if request.epoch_tag.is_empty() {
        return Err(Error::EpochTag);
    }
    let permit = Permit::shown(request.permit.as_ref(), &state.token_keys, state.runtime.now_ms())?;
    let SealedEnqueueRequest { idempotency_key, group_id, epoch, payload, epoch_tag, commitment, keep_ms, .. } =
        request;
    let message = EnqueueRequest { idempotency_key, group_id, epoch, payload, epoch_tag, commitment, keep_ms };
    enqueue::check(permit, call, message, ctx)
}
