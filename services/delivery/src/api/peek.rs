//! Peek: where the caller's mailbox stands.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{PeekRequest, PeekResponse};

use crate::{State, error::Error};

/// One row.
pub async fn handle(state: Arc<State>, ctx: Ctx, _: PeekRequest) -> Result<PeekResponse, Error> {
    let device = ctx.identity()?.device;
    state.waiting.seen(&device, state.runtime.now_ms());
    Ok(state.store.peek(&device).await?)
}
