//! Ack: cumulative; what is acknowledged is deleted.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    GroupId,
    limits::MAX_TAGS,
    v1::{AckRequest, AckResponse, EpochTag},
};

use crate::{State, error::Error};

/// An older acknowledgement changes nothing and is answered with the newer one. Forks are told either way.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: AckRequest) -> Result<AckResponse, Error> {
    let device = ctx.identity()?.device;
    let tags = tags(&request.tags)?;
    let now_ms = state.runtime.now_ms();
    state.waiting.seen(&device, now_ms);
    let acked = state.store.ack(&device, request.seq, now_ms).await?;
    // No more than there was, and only once.
    let undecryptable = usize::try_from(request.undecryptable).unwrap_or(usize::MAX).min(acked.removed);
    state.undecryptable.inc_by(undecryptable as u64);
    state.acknowledged.inc_by(acked.removed as u64);
    let mut forked = Vec::new();
    for (group, tag) in tags {
        if state.store.has_forked(&device, &group, tag.epoch, &tag.tag).await? {
            forked.push(group.to_bytes());
        }
    }
    Ok(AckResponse { acked: acked.seq, forked })
}

fn tags(tags: &[EpochTag]) -> Result<Vec<(GroupId, &EpochTag)>, Error> {
    if tags.len() > MAX_TAGS {
        return Err(Error::TooManyTags(tags.len()));
    }
    tags.iter()
        .map(|tag| match tag.tag.len() {
            16 => Ok((GroupId::try_from(&tag.group_id)?, tag)),
            _ => Err(Error::EpochTag),
        })
        .collect()
}
