//! FetchPushEndpoint: how the caller is woken, and the key with which it subscribes.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{FetchPushEndpointRequest, FetchPushEndpointResponse, PushEndpointState};

use crate::{State, error::Error, store::EndpointState};

/// What has become of an endpoint that the push service wanted no more is told here, as often as it is asked.
pub async fn handle(
    state: Arc<State>,
    ctx: Ctx,
    _: FetchPushEndpointRequest,
) -> Result<FetchPushEndpointResponse, Error> {
    let device = ctx.identity()?.device;
    let mut response = FetchPushEndpointResponse::default();
    if let Some(waker) = &state.waker {
        response.server_key = waker.server_key().into();
    }
    response.set_state(PushEndpointState::None);
    if let Some(endpoint) = state.store.endpoint(&device).await? {
        response.since_day = endpoint.since_day;
        response.set_state(match endpoint.state {
            EndpointState::Set => PushEndpointState::Set,
            EndpointState::Gone => PushEndpointState::Gone,
            EndpointState::Refused => PushEndpointState::Refused,
        });
        if endpoint.state == EndpointState::Set {
            response.url = state.vault.open_endpoint(device, &endpoint.sealed)?;
        }
    }
    Ok(response)
}
