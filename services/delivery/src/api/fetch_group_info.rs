//! FetchGroupInfo: what an external commit is built on.

use std::sync::Arc;

use qpc_chassis::rpc::{Ctx, Identity};
use qpc_crypto::{GroupView, identity};
use qpc_wire::{
    GroupId, proofs,
    v1::{FetchGroupInfoRequest, FetchGroupInfoResponse, Pointer, SharedState},
};

use crate::{
    State,
    error::Error,
    handshake::{self, Opened},
    store::{SHARED_MS, Store},
};

/// Time for which a pointer leads somewhere when it is handed out, milliseconds.
const LEFT_MS: u64 = SHARED_MS / 2;

/// For devices of accounts that are in the group or have kept a role in it, and for holders of an invite.
pub async fn handle(
    state: Arc<State>,
    ctx: Ctx,
    request: FetchGroupInfoRequest,
) -> Result<FetchGroupInfoResponse, Error> {
    let caller = ctx.identity()?;
    let id = GroupId::try_from(&request.group_id)?;
    let row = state.store.group(&id).await?.ok_or(Error::NoSuchGroup)?;
    if state.store.is_revoked(&caller.device).await? {
        return Err(Error::NoSuchGroup);
    }
    let opened = handshake::open(&state, id, row.state).await?;
    admit(&state, caller, &opened.view, &request).await?;
    if let Some(successor) = row.successor {
        return Err(Error::Replaced(successor));
    }
    let proposals = opened.view.proposals().iter().map(|proposal| proposal.clone().into()).collect();
    let (shared_id, shared_epoch) = row.shared;
    let known = match shared_epoch == row.epoch {
        true => state.store.shared(&shared_id).await?,
        false => None,
    };
    let shared = match known {
        Some((size, expires_ms)) if expires_ms >= state.runtime.now_ms() + LEFT_MS => state.pointer(&shared_id, size),
        _ => share(&state, id, row.epoch, opened).await?,
    };
    Ok(FetchGroupInfoResponse { epoch: row.epoch, shared: Some(shared), proposals })
}

async fn admit(
    state: &State,
    caller: Identity,
    view: &GroupView,
    request: &FetchGroupInfoRequest,
) -> Result<(), Error> {
    // The tree and not the rows decide: an account whose last device was revoked comes back with a new one.
    if view.members().iter().any(|leaf| leaf.account_id() == caller.account) {
        return Ok(());
    }
    let (id, policy) = (view.group_id(), view.policy().map_err(Error::StoredGroup)?);
    if policy.readmits(caller.account) {
        return Ok(());
    }
    let key: [u8; 32] = request.invite_key.as_ref().try_into().map_err(|_| Error::NoSuchGroup)?;
    let terms = policy.invite(&key).ok_or(Error::NoSuchGroup)?;
    let message = proofs::invite_info(id.as_ref(), caller.device.as_ref());
    identity::verify(&key, &message, &request.invite_signature).map_err(|_| Error::NoSuchGroup)?;
    if terms.expires_ms <= state.runtime.now_ms() {
        return Err(Error::InviteExpired);
    }
    let uses = state.store.invite_uses(&id, &key).await?;
    if terms.max_uses != 0 && uses >= u64::from(terms.max_uses) {
        return Err(Error::InviteUsedUp);
    }
    Ok(())
}

/// Stores the state of an epoch for whoever comes in it. Of two replicas that do so at once, the last one is pointed to
/// from then on; what the other has handed out stays as long as it said.
async fn share(state: &Arc<State>, id: GroupId, epoch: u64, opened: Opened) -> Result<Pointer, Error> {
    let sealing = state.clone();
    let (shared_id, body, pointer) = handshake::off_the_loop(state, move || {
        let shared = SharedState {
            suite: opened.view.suite().id().into(),
            encrypted_group_info: bytes::Bytes::new(),
            ratchet_tree: opened.view.ratchet_tree().map_err(Error::StoredGroup)?.into(),
            group_info: opened.group_info,
        };
        Ok(handshake::seal_shared(&sealing, &shared))
    })
    .await?;
    let mut tx = state.store.db.begin().await?;
    Store::point(&mut tx, &id, epoch, &shared_id).await?;
    Store::share(&mut tx, &shared_id, &body, state.runtime.now_ms() + SHARED_MS).await?;
    tx.commit().await?;
    Ok(pointer)
}
