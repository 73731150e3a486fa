//! Ack: cumulative; what is acknowledged is deleted.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{AckRequest, AckResponse};

use crate::{State, error::Error};

/// An older acknowledgement changes nothing and is answered with the newer one.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: AckRequest) -> Result<AckResponse, Error> {
    let acked = state.store.ack(&ctx.identity()?.device, request.seq).await?;
    Ok(AckResponse { acked })
}
