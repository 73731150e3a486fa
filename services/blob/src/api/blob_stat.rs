//! 605 BlobStat: whether a blob is there; counts as a use.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{BlobStatRequest, BlobStatResponse};

use super::blob_id;
use crate::{Blobs, error::Error};

pub(super) async fn handle(state: Arc<Blobs>, ctx: Ctx, request: BlobStatRequest) -> Result<BlobStatResponse, Error> {
    ctx.identity()?;
    let blob = state.blob(&blob_id(&request.blob_id)?).await?;
    Ok(BlobStatResponse { size: blob.cut.size, expires_at_ms: blob.expires_ms })
}
