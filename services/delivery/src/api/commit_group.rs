//! CommitGroup: the step of a group from one epoch to the next (G4, G5).
//!
//! The commit is checked and sealed outside the transaction; inside it, the head of the group decides.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{db, rpc::Ctx};
use qpc_crypto::receipt::Link;
use qpc_wire::{
    DeviceId, GroupId,
    v1::{CommitBundle, CommitGroupRequest, CommitGroupResponse},
};

use crate::{
    State,
    domain::staged,
    error::Error,
    events,
    handshake::{self, Accepted, Arrival},
    store::{Store, append},
};

/// Times that a change is tried when the group changed meanwhile and its epoch did not.
pub(super) const TRIES: usize = 3;

/// The loser of a race gets `WrongEpoch` and finds the winner's commit in its mailbox.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: CommitGroupRequest) -> Result<CommitGroupResponse, Error> {
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
    let sender = ctx.identity()?;
    let id = GroupId::try_from(&request.group_id)?;
    let bundle = request.bundle.unwrap_or_default();
    let row = state.store.group(&id).await?.ok_or(Error::NoSuchGroup)?;
    let members = state.store.members(&id).await?;
    let bundle = unstaged(state, sender.device, bundle).await?;
    let staged = bundle.staged.clone();
    let inside = members.iter().any(|member| member.device == sender.device);
    if !inside && !handshake::claims_to_come_from_outside(&bundle.commit) {
        return Err(Error::NoSuchGroup);
    }
    if let Some(successor) = row.successor {
        return Err(Error::Replaced(successor));
    }
    if request.epoch != row.epoch {
        return Err(Error::WrongEpoch { current: row.epoch });
    }
    let view = handshake::open(state, id, row.state).await?.view;
    let leavers = handshake::leavers(state, &view, &members).await?;
    let mut accepted = handshake::accept(state, ctx, view, bundle, Arrival { sender, members, leavers }).await?;

    let mut tx = state.store.db.begin().await?;
    let head = Store::lock_one(&mut tx, id).await?;
    if let db::Claim::Done(first) = db::claim(&mut tx, call).await? {
        return Ok(
            CommitGroupResponse::decode(first.as_slice()).map_err(|_| db::DbError::Damaged("idempotent response"))?
        );
    }
    head.expect(row.epoch, row.revision)?;
    accepted.judge(&mut tx, sender.account, state.runtime.now_ms()).await?;
    let receipt = accepted.receipt(state, &head.link);
    Store::advance(&mut tx, &accepted.change(Link::after(&receipt)?)).await?;
    if !staged.is_empty() {
        Store::unstage(&mut tx, &sender.device, &staged).await?;
    }
    let placed = deliver(&mut tx, state, &accepted).await?;
    let response = CommitGroupResponse { epoch: accepted.epoch, receipt: Some(receipt) };
    db::remember(&mut tx, call, &response.encode_to_vec()).await?;
    tx.commit().await?;
    state.push.ring(events::mailbox(&accepted.payloads, &placed)).await;
    Ok(response)
}

/// Puts what a commit sends into the mailboxes.
pub(super) async fn deliver(
    tx: &mut db::Tx,
    state: &State,
    accepted: &Accepted,
) -> Result<Vec<crate::domain::mailbox::Placed>, Error> {
    let expires_ms = state.expires_ms();
    for (id, body) in &accepted.bodies {
        Store::share(tx, id, body, expires_ms).await?;
    }
    Ok(append(tx, &accepted.payloads, expires_ms).await?)
}

/// What the caller has staged in the place of the bundle, if it did so; the id under which it did stays in there.
pub(super) async fn unstaged(state: &State, device: DeviceId, bundle: CommitBundle) -> Result<CommitBundle, Error> {
    if bundle.staged.is_empty() {
        return Ok(bundle);
    }
    let id: [u8; 16] = bundle.staged.as_ref().try_into().map_err(|_| Error::StagedPart)?;
    let mut parts = Vec::new();
    for part in state.store.staged(&device, &id).await? {
        parts.push((part.part, part.total, state.vault.open_part(device, &id, part.part, &part.body)?));
    }
    let whole = Bytes::from(staged::assemble(parts.into_iter())?);
    let brought = CommitBundle::decode(whole).map_err(|_| Error::StagedPart)?;
    Ok(CommitBundle { staged: bundle.staged, ..brought })
}
