//! 602 BlobParts: where to go on after an interruption.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{BlobPartsRequest, BlobPartsResponse};

use crate::{Blobs, error::Error};

pub(super) async fn handle(state: Arc<Blobs>, ctx: Ctx, request: BlobPartsRequest) -> Result<BlobPartsResponse, Error> {
    let upload = state.upload(&ctx, &request.upload_id).await?;
    let parts = state.store.parts(&upload.id).await?;
    Ok(BlobPartsResponse {
        size: upload.cut.size,
        part_size: upload.cut.part_size as u32,
        parts: parts.into_iter().map(|part| part.number as u32).collect(),
        expires_at_ms: upload.expires_ms,
    })
}
