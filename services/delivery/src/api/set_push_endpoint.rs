//! SetPushEndpoint: where the caller is woken while something waits in its mailbox.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{SetPushEndpointRequest, SetPushEndpointResponse};

use crate::{State, error::Error, store::EndpointState};

/// The same one again changes nothing: clients say it whenever they start.
pub async fn handle(
    state: Arc<State>,
    ctx: Ctx,
    request: SetPushEndpointRequest,
) -> Result<SetPushEndpointResponse, Error> {
    let device = ctx.identity()?.device;
    let waker = state.waker.as_ref().ok_or(Error::WakesNobody)?;
    let destination = waker.destination(&request.url)?;
    let known = state.store.endpoint(&device).await?.filter(|known| known.state == EndpointState::Set);
    if let Some(known) = known
        && state.vault.open_endpoint(device, &known.sealed)? == destination.as_str()
    {
        return Ok(SetPushEndpointResponse {});
    }
    let sealed = state.vault.seal_endpoint(&mut state.runtime.rng(), device, destination.as_str());
    state.store.set_endpoint(&device, &sealed, state.runtime.now_ms(), waker.pause_ms()).await?;
    // Whoever revokes a device says so first, and removes its endpoint then: one of the two sees the other.
    if state.store.is_revoked(&device).await? {
        state.store.remove_endpoint(&device).await?;
        return Err(Error::Revoked);
    }
    Ok(SetPushEndpointResponse {})
}
