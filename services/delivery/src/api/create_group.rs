//! CreateGroup: a group and its first commit, both or neither.

use std::sync::Arc;

use prost::Message;
use qpc_chassis::{db, rpc::Ctx};
use qpc_wire::v1::{CreateGroupRequest, CreateGroupResponse, GroupKind};

use crate::{
    State,
    domain::direct::Pair,
    error::Error,
    events, handshake,
    store::{NewGroup, Store, append},
};

/// The founder is the caller; a direct conversation is one for each pair of accounts.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: CreateGroupRequest) -> Result<CreateGroupResponse, Error> {
    let identity = ctx.identity()?;
    let call = *ctx.idempotent()?;
    if let Some(response) = db::replay(&state.store.db, &call).await? {
        return Ok(response);
    }
    let view = handshake::found(&state, request.group_info.clone()).await?;
    if view.members().iter().any(|founder| founder.device_id() != identity.device) {
        return Err(Error::ForeignCommit);
    }
    let id = view.group_id();
    let accepted = handshake::accept(&state, &ctx, view, request.first_commit.clone().unwrap_or_default()).await?;
    let members = &accepted.members;
    let pair = match request.kind() {
        GroupKind::Direct => Some(Pair::of(members.iter().map(|member| member.account_id()), identity.account)?),
        GroupKind::Group => None,
        GroupKind::Unspecified => return Err(Error::NotOfGroup),
    };
    let group = NewGroup {
        id,
        kind: request.kind(),
        epoch: accepted.epoch,
        state: accepted.state,
        members: members.iter().map(|member| member.device_id()).collect(),
        pair,
    };

    let mut tx = state.store.db.begin().await?;
    if let db::Claim::Done(first) = db::claim(&mut tx, &call).await? {
        return Ok(
            CreateGroupResponse::decode(first.as_slice()).map_err(|_| db::DbError::Damaged("idempotent response"))?
        );
    }
    Store::create_group(&mut tx, &group).await?;
    let placed = append(&mut tx, &accepted.payloads, state.expires_ms()).await?;
    let response = CreateGroupResponse { epoch: accepted.epoch, receipt: Some(accepted.receipt) };
    db::remember(&mut tx, &call, &response.encode_to_vec()).await?;
    tx.commit().await?;
    state.push.ring(events::mailbox(&accepted.payloads, &placed)).await;
    Ok(response)
}
