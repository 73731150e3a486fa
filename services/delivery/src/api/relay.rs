//! Relay: to those other devices of a group that are attached now, and nowhere else: not stored, not logged, not counted in
//! any mailbox.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::mls::Role;
use qpc_wire::{
    GroupId,
    limits::MAX_RELAY,
    v1::{RelayRequest, RelayResponse, RelayedEvent},
};

use crate::{State, error::Error, events};

/// Devices up to which a group is told; in larger ones it would be more than what is written.
const MAX_DEVICES: usize = 256;

/// Answers when it is on its way; nobody knows whether it arrives.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: RelayRequest) -> Result<RelayResponse, Error> {
    let sender = ctx.identity()?;
    let group = GroupId::try_from(&request.group_id)?;
    if request.payload.len() > MAX_RELAY {
        return Err(Error::RelayTooLarge(request.payload.len()));
    }
    let members = state.store.members(&group).await?;
    let own = members.iter().find(|member| member.device == sender.device).ok_or(Error::NoSuchGroup)?;
    if own.role <= Role::ReadOnly as u8 {
        return Err(Error::ReadOnly);
    }
    if members.len() <= MAX_DEVICES {
        let event = RelayedEvent { group_id: request.group_id, epoch: request.epoch, payload: request.payload };
        let others = members.iter().map(|member| member.device).filter(|device| *device != sender.device);
        state.push.ring(events::relayed(&event, others)).await;
    }
    Ok(RelayResponse {})
}
