//! 604 BlobGet: the body is read as fast as the client takes it.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use qpc_chassis::{bulk::Source, rpc::Ctx};
use qpc_wire::{
    Status,
    limits::MAX_BLOB_GET,
    v1::{BlobGetRequest, BlobGetResponse},
};

use super::blob_id;
use crate::{Blobs, domain, error::Error};

/// Bytes that are read at a time, and become a piece of the body.
const STEP: u64 = 1 << 20;
/// Steps in memory: one that is sent and one that is read.
const STEPS: usize = 2;

const _: () = assert!(STEP as usize <= qpc_wire::limits::MAX_FRAME_PAYLOAD);

pub(super) async fn handle(
    state: Arc<Blobs>,
    ctx: Ctx,
    request: BlobGetRequest,
) -> Result<(BlobGetResponse, Source), Error> {
    ctx.identity()?;
    let blob = state.blob(&blob_id(&request.blob_id)?).await?;
    let left = blob.cut.size.checked_sub(request.offset).ok_or(Error::Beyond)?;
    let length = request.length.min(MAX_BLOB_GET).min(left);
    let steps = blob.cut.steps(request.offset, length, STEP).map(move |(part, range)| {
        let (state, name) = (state.clone(), domain::body(&blob.upload, part));
        async move {
            let body = state.objects.get(&name, range).await.map_err(Status::from)?;
            body.ok_or_else(|| {
                tracing::error!(name, "body missing");
                Error::Lost.into()
            })
        }
    });
    let source = stream::iter(steps).buffered(STEPS).boxed();
    Ok((BlobGetResponse { size: blob.cut.size, length }, source))
}
