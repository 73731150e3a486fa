//! RemovePushEndpoint: the caller is woken no more.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{RemovePushEndpointRequest, RemovePushEndpointResponse};

use crate::{State, error::Error};

/// Also where wake-ups are switched off by now.
pub async fn handle(
    state: Arc<State>,
    ctx: Ctx,
    _: RemovePushEndpointRequest,
) -> Result<RemovePushEndpointResponse, Error> {
    state.store.clear_endpoint(&ctx.identity()?.device).await?;
    Ok(RemovePushEndpointResponse {})
}
