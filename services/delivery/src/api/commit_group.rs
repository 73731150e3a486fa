//! CommitGroup: the step of a group from one epoch to the next (G4, G5).
//!
//! The commit is checked and sealed outside the transaction; inside it, comparing and setting the epoch decides.

use std::sync::Arc;

use prost::Message;
use qpc_chassis::{db, rpc::Ctx};
use qpc_wire::{
    GroupId,
    v1::{CommitGroupRequest, CommitGroupResponse, GroupKind},
};

use crate::{
    State,
    domain::direct::Pair,
    error::Error,
    events, handshake,
    store::{Change, Store, append},
};

/// The loser of a race gets `WrongEpoch` and finds the winner's commit in its mailbox.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: CommitGroupRequest) -> Result<CommitGroupResponse, Error> {
    let call = *ctx.idempotent()?;
    if let Some(response) = db::replay(&state.store.db, &call).await? {
        return Ok(response);
    }
    match decide(&state, &ctx, &call, request).await {
        Ok(response) => Ok(response),
        // A twin of this call may have won meanwhile, and then the group is past the epoch because of this very commit.
        Err(refused) => db::replay(&state.store.db, &call).await?.ok_or(refused),
    }
}

async fn decide(
    state: &Arc<State>,
    ctx: &Ctx,
    call: &db::IdempotentCall,
    request: CommitGroupRequest,
) -> Result<CommitGroupResponse, Error> {
    let identity = ctx.identity()?;
    let id = GroupId::try_from(&request.group_id)?;
    let row = state.store.group(&id).await?.ok_or(Error::NoSuchGroup)?;
    let view = handshake::open(state, id, row.state).await?;
    if view.members().iter().all(|member| member.device_id() != identity.device) {
        return Err(Error::NoSuchGroup);
    }
    if request.epoch != row.epoch {
        return Err(Error::WrongEpoch { current: row.epoch });
    }
    let accepted = handshake::accept(state, ctx, view, request.bundle.unwrap_or_default()).await?;
    if row.kind == GroupKind::Direct {
        Pair::of(accepted.members.iter().map(|member| member.account_id()), identity.account)?;
    }
    let change =
        Change { id, from: request.epoch, state: accepted.state, added: accepted.added, removed: accepted.removed };

    let mut tx = state.store.db.begin().await?;
    if let db::Claim::Done(first) = db::claim(&mut tx, call).await? {
        return Ok(
            CommitGroupResponse::decode(first.as_slice()).map_err(|_| db::DbError::Damaged("idempotent response"))?
        );
    }
    Store::advance(&mut tx, &change).await?;
    let placed = append(&mut tx, &accepted.payloads, state.expires_ms()).await?;
    let response = CommitGroupResponse { epoch: accepted.epoch, receipt: Some(accepted.receipt) };
    db::remember(&mut tx, call, &response.encode_to_vec()).await?;
    tx.commit().await?;
    state.push.ring(events::mailbox(&accepted.payloads, &placed)).await;
    Ok(response)
}
