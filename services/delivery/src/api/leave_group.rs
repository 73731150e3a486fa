//! LeaveGroup: the proposal of a device to leave. It gets nothing more at once; the leaf goes with the next commit.

use std::sync::Arc;

use prost::Message;
use qpc_chassis::{
    db,
    rpc::{Ctx, Identity},
};
use qpc_crypto::{
    MlsError,
    receipt::{self, Accepted, Link},
};
use qpc_wire::{
    GroupId,
    limits::MAX_HANDSHAKE,
    v1::{GroupKind, LeaveGroupRequest, LeaveGroupResponse},
};

use super::commit_group::TRIES;
use crate::{
    State,
    error::Error,
    events, handshake,
    store::{Change, GroupRow, Member, Store, append},
};

/// As for commits, `WrongEpoch` when the group has moved on.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: LeaveGroupRequest) -> Result<LeaveGroupResponse, Error> {
    let call = *ctx.idempotent()?;
    if let Some(response) = db::replay(&state.store.db, &call).await? {
        return Ok(response);
    }
    let mut result = Err(Error::Moved);
    for _ in 0..TRIES {
        result = decide(&state, &ctx, &call, request.clone()).await;
        if !matches!(result, Err(Error::Moved)) {
            break;
        }
    }
    match result {
        Ok(response) => Ok(response),
        // A twin of this call may have left already.
        Err(refused) => db::replay(&state.store.db, &call).await?.ok_or(refused),
    }
}

async fn decide(
    state: &Arc<State>,
    ctx: &Ctx,
    call: &db::IdempotentCall,
    request: LeaveGroupRequest,
) -> Result<LeaveGroupResponse, Error> {
    let leaver = ctx.identity()?;
    let id = GroupId::try_from(&request.group_id)?;
    let row = state.store.group(&id).await?.ok_or(Error::NoSuchGroup)?;
    let (own, others): (Vec<Member>, Vec<Member>) =
        state.store.members(&id).await?.into_iter().partition(|member| member.device == leaver.device);
    check(&request, &row, own.is_empty())?;
    let sealed_state = propose(state, id, row.state, leaver, request.proposal.clone()).await?;
    let devices = others.iter().map(|member| member.device).collect();
    let mut sealed = handshake::seal_proposal(state, ctx, (id, row.epoch), request.proposal.clone(), devices).await?;

    let mut tx = state.store.db.begin().await?;
    let head = Store::lock_one(&mut tx, id).await?;
    if let db::Claim::Done(first) = db::claim(&mut tx, call).await? {
        return Ok(
            LeaveGroupResponse::decode(first.as_slice()).map_err(|_| db::DbError::Damaged("idempotent response"))?
        );
    }
    head.expect(row.epoch, row.revision)?;
    let accepted = Accepted {
        group: id,
        epoch: row.epoch,
        payload: &request.proposal,
        devices: &sealed.recipients,
        at_ms: state.runtime.now_ms(),
    };
    let receipt = receipt::build(&state.receipt_key, &accepted, &head.link);
    if others.is_empty() {
        Store::delete_group(&mut tx, &id).await?;
    } else {
        Store::advance(&mut tx, &departure(id, row.epoch, leaver, sealed_state, Link::after(&receipt)?)).await?;
        // Whoever has left entirely can only be met again in a new conversation.
        if row.kind == GroupKind::Direct && others.iter().all(|member| member.account != leaver.account) {
            Store::free_pair(&mut tx, &id).await?;
        }
    }
    if let Some((part, body)) = &sealed.body {
        Store::share(&mut tx, part, body, state.expires_ms()).await?;
    }
    for payload in &mut sealed.payloads {
        payload.accept(&receipt);
    }
    let placed = append(&mut tx, &sealed.payloads, state.expires_ms()).await?;
    let response = LeaveGroupResponse { receipt: Some(receipt) };
    db::remember(&mut tx, call, &response.encode_to_vec()).await?;
    tx.commit().await?;
    state.push.ring(events::mailbox(&sealed.payloads, &placed)).await;
    Ok(response)
}

fn check(request: &LeaveGroupRequest, row: &GroupRow, outside: bool) -> Result<(), Error> {
    if outside {
        return Err(Error::NoSuchGroup);
    }
    if let Some(successor) = row.successor {
        return Err(Error::Replaced(successor));
    }
    if request.epoch != row.epoch {
        return Err(Error::WrongEpoch { current: row.epoch });
    }
    if request.proposal.len() > MAX_HANDSHAKE {
        return Err(Error::HandshakeTooLarge(request.proposal.len()));
    }
    Ok(())
}

/// The group with the proposal waiting in it, sealed.
async fn propose(
    state: &Arc<State>,
    id: GroupId,
    sealed: Vec<u8>,
    leaver: Identity,
    proposal: bytes::Bytes,
) -> Result<Vec<u8>, Error> {
    let mut opened = handshake::open(state, id, sealed).await?;
    let sealing = state.clone();
    handshake::off_the_loop(state, move || {
        let current = opened.view.epoch();
        let proposed = opened.view.propose(&proposal).map_err(|error| match error {
            // Whoever reads its mailbox to the end can commit those that wait, and so make room.
            MlsError::QueueFull => Error::WrongEpoch { current },
            error => Error::InvalidCommit(error),
        })?;
        if proposed.sender.device_id() != leaver.device {
            return Err(Error::ForeignCommit);
        }
        let snapshot = opened.view.snapshot().map_err(Error::StoredGroup)?;
        sealing.vault.seal_group(&mut sealing.runtime.rng(), id, &snapshot, &opened.group_info)
    })
    .await
}

fn departure(id: GroupId, epoch: u64, leaver: Identity, state: Vec<u8>, next: Link) -> Change {
    Change {
        id,
        epoch,
        mark: None,
        state,
        added: Vec::new(),
        removed: vec![leaver.device],
        roles: Vec::new(),
        next,
        shared: None,
    }
}
