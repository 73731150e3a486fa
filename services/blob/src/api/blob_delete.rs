//! 606 BlobDelete: for the account that has brought a blob, from any of its devices.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{BlobDeleteRequest, BlobDeleteResponse};

use super::blob_id;
use crate::{Blobs, error::Error};

pub(super) async fn handle(
    state: Arc<Blobs>,
    ctx: Ctx,
    request: BlobDeleteRequest,
) -> Result<BlobDeleteResponse, Error> {
    let account = ctx.identity()?.account;
    state.store.delete(&blob_id(&request.blob_id)?, account, state.runtime.now_ms()).await?;
    Ok(BlobDeleteResponse {})
}
