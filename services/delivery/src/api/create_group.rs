//! CreateGroup: a group and its first commit, both or neither.

use std::{collections::BTreeSet, sync::Arc};

use prost::Message;
use qpc_chassis::{
    db,
    rpc::{Ctx, Identity},
};
use qpc_crypto::{Policy, Role, mls::Kind, receipt::Link};
use qpc_wire::{
    GroupId,
    v1::{CreateGroupRequest, CreateGroupResponse, GroupKind},
};

use super::commit_group::{deliver, unstaged};
use crate::{
    State,
    domain::direct::Pair,
    error::Error,
    events,
    handshake::{self, Accepted, Arrival},
    store::{NewGroup, Single, Store},
};

/// The founder is the caller. A direct conversation is one for each pair of accounts, an account has one group of its own
/// devices; a group that names a predecessor takes its place.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: CreateGroupRequest) -> Result<CreateGroupResponse, Error> {
    let call = *ctx.idempotent()?;
    if let Some(response) = db::replay(&state.store.db, &call).await? {
        return Ok(response);
    }
    state.founded.admit(&[ctx.identity()?.account.as_ref()]).await?;
    match decide(&state, &ctx, &call, request).await {
        Ok(response) => Ok(response),
        // A twin of this call may have founded the group meanwhile, and it is what stands in the way.
        Err(refused) => db::replay(&state.store.db, &call).await?.ok_or(refused),
    }
}

async fn decide(
    state: &Arc<State>,
    ctx: &Ctx,
    call: &db::IdempotentCall,
    request: CreateGroupRequest,
) -> Result<CreateGroupResponse, Error> {
    let founder = ctx.identity()?;
    let view = handshake::found(state, request.group_info.clone()).await?;
    if view.members().iter().any(|leaf| leaf.device_id() != founder.device) {
        return Err(Error::ForeignCommit);
    }
    let policy = view.policy().map_err(Error::StoredGroup)?;
    if request.kind() != kind_of(&policy) {
        return Err(Error::Kind);
    }
    let revision = match policy.predecessor {
        Some(predecessor) => Some(check_continuation(state, founder, predecessor, &policy).await?),
        None => None,
    };
    let arrival = Arrival { sender: founder, members: Vec::new(), leavers: BTreeSet::new() };
    let bundle = unstaged(state, founder.device, request.first_commit.unwrap_or_default()).await?;
    let staged = bundle.staged.clone();
    let mut accepted = handshake::accept(state, ctx, view, bundle, arrival).await?;
    accepted.founded_by(founder);

    let mut tx = state.store.db.begin().await?;
    if let Some(predecessor) = &policy.predecessor {
        let head = Store::lock(&mut tx, &BTreeSet::from([*predecessor])).await?.remove(predecessor);
        let least = if policy.kind == Kind::Group { Role::Admin } else { Role::ReadOnly };
        Store::check_predecessor(&mut tx, head.as_ref(), predecessor, &founder.account, least as u8).await?;
        if head.map(|head| head.revision) != revision {
            return Err(Error::Moved);
        }
    }
    if let db::Claim::Done(first) = db::claim(&mut tx, call).await? {
        return Ok(
            CreateGroupResponse::decode(first.as_slice()).map_err(|_| db::DbError::Damaged("idempotent response"))?
        );
    }
    accepted.judge(&mut tx, founder.account, state.runtime.now_ms()).await?;
    let receipt = accepted.receipt(state, &Link::FIRST);
    let group = new_group(&mut accepted, founder, Link::after(&receipt)?)?;
    Store::create_group(&mut tx, &group).await?;
    if !staged.is_empty() {
        Store::unstage(&mut tx, &founder.device, &staged).await?;
    }
    let placed = deliver(&mut tx, state, &accepted).await?;
    let response = CreateGroupResponse { epoch: accepted.epoch, receipt: Some(receipt) };
    db::remember(&mut tx, call, &response.encode_to_vec()).await?;
    tx.commit().await?;
    state.push.ring(events::mailbox(&accepted.payloads, &placed)).await;
    Ok(response)
}

fn new_group(accepted: &mut Accepted, founder: Identity, next: Link) -> Result<NewGroup, Error> {
    let single = match accepted.policy.kind {
        Kind::Direct => {
            let accounts = accepted.leaves.iter().map(|(_, account)| *account);
            Some(Single::Direct(Pair::of(accounts, founder.account)?))
        }
        Kind::Own => Some(Single::Own(founder.account)),
        Kind::Group => None,
    };
    Ok(NewGroup {
        id: accepted.id,
        kind: kind_of(&accepted.policy),
        epoch: accepted.epoch,
        mark: accepted.mark,
        state: std::mem::take(&mut accepted.state),
        members: accepted.added.clone(),
        single,
        predecessor: accepted.policy.predecessor,
        next,
        shared: accepted.shared,
    })
}

fn kind_of(policy: &Policy) -> GroupKind {
    match policy.kind {
        Kind::Direct => GroupKind::Direct,
        Kind::Group => GroupKind::Group,
        Kind::Own => GroupKind::Own,
    }
}

/// The policy is compared with that of the predecessor here, before any lock. Returns the revision that the predecessor must
/// still have in the transaction.
async fn check_continuation(
    state: &Arc<State>,
    founder: Identity,
    predecessor: GroupId,
    policy: &Policy,
) -> Result<u64, Error> {
    let row = state.store.group(&predecessor).await?.ok_or(Error::NoSuchGroup)?;
    if state.store.members(&predecessor).await?.iter().all(|member| member.account != founder.account) {
        return Err(Error::NoSuchGroup);
    }
    let view = handshake::open(state, predecessor, row.state).await?.view;
    let before = view.policy().map_err(Error::StoredGroup)?;
    if (before.kind, before.conversation) != (policy.kind, policy.conversation) {
        return Err(Error::Predecessor);
    }
    // Members take no successor with other roles, and the predecessor would be closed for nothing.
    let mut expected = before;
    expected.predecessor = Some(predecessor);
    if expected != *policy {
        return Err(Error::WrongEpoch { current: row.epoch });
    }
    Ok(row.revision)
}
