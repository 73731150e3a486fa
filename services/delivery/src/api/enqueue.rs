//! Enqueue: one application message to a group.

use std::sync::Arc;

use qpc_chassis::{db::IdempotentCall, rpc::Ctx};
use qpc_crypto::mls::peek_private_message;
use qpc_wire::{
    GroupId,
    limits::MAX_ENVELOPE,
    v1::{EnqueueRequest, EnqueueResponse},
};

use crate::{State, committer::NewMessage, domain::permit::Permit, error::Error};

/// Answers when the message is durable for every recipient.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: EnqueueRequest) -> Result<EnqueueResponse, Error> {
    let call = *ctx.idempotent()?;
    run(&state, &ctx, call, request).await
}

pub(super) async fn run(
    state: &State,
    ctx: &Ctx,
    call: IdempotentCall,
    request: EnqueueRequest,
) -> Result<EnqueueResponse, Error> {
    let sender = ctx.identity()?;
    let message = check(Permit::Device(sender), call, request, ctx)?;
    // A repetition is counted as well: to know that it is one takes the question that this saves.
    state.sends.admit(&[sender.device.as_ref(), message.group.as_ref()]).await?;
    state.committers.enqueue(message).await
}

pub(super) fn check(
    permit: Permit,
    call: IdempotentCall,
    request: EnqueueRequest,
    ctx: &Ctx,
) -> Result<NewMessage, Error> {
    let group = GroupId::try_from(&request.group_id)?;
    if request.payload.len() > MAX_ENVELOPE {
        return Err(Error::TooLarge(request.payload.len()));
    }
    if peek_private_message(&request.payload).ok() != Some((group, request.epoch)) {
        return Err(Error::NotOfGroup);
    }
    let tag = match request.epoch_tag.len() {
        0 => None,
        _ => Some(request.epoch_tag.as_ref().try_into().map_err(|_| Error::EpochTag)?),
    };
    let commitment = match request.commitment.len() {
        0 => None,
        _ => Some(request.commitment.as_ref().try_into().map_err(|_| Error::Commitment)?),
    };
    Ok(NewMessage {
        call,
        key: request.idempotency_key,
        permit,
        group,
        epoch: request.epoch,
        tag,
        body: request.payload,
        commitment,
        keep_ms: Some(request.keep_ms).filter(|ms| *ms > 0),
        correlation: ctx.correlation,
        trace: ctx.trace,
    })
}
