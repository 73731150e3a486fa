//! StagePart: a bundle too large for a frame, part by part.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{StagePartRequest, StagePartResponse};

use crate::{State, domain::staged, error::Error, store::StagedPart};

/// A repeated part takes the place of the first.
pub async fn handle(state: Arc<State>, ctx: Ctx, request: StagePartRequest) -> Result<StagePartResponse, Error> {
    let device = ctx.identity()?.device;
    let id: [u8; 16] = request.staged_id.as_ref().try_into().map_err(|_| Error::StagedPart)?;
    let part = staged::number(request.offset, request.total, request.data.len() as u64)?;
    let body = state.vault.seal_part(&mut state.runtime.rng(), device, &id, part, &request.data);
    let part = StagedPart { part, total: request.total, body };
    state.store.stage(&device, &id, &part, state.runtime.now_ms()).await?;
    Ok(StagePartResponse {})
}
