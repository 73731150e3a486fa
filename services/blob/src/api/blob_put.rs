//! 601 BlobPut: the body of a part first, then the row that says so. A body without a row is written again, or goes with its
//! upload.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::{bulk::Body, rpc::Ctx};
use qpc_wire::v1::{BlobPutRequest, BlobPutResponse};

use super::blob_begin::UPLOAD_MS;
use crate::{Blobs, domain, error::Error};

pub(super) async fn handle(
    state: Arc<Blobs>,
    ctx: Ctx,
    request: BlobPutRequest,
    mut body: Body,
) -> (Body, Result<BlobPutResponse, Error>) {
    let done = put(&state, &ctx, &request, &mut body).await;
    (body, done.map(|()| BlobPutResponse {}))
}

async fn put(state: &Blobs, ctx: &Ctx, request: &BlobPutRequest, body: &mut Body) -> Result<(), Error> {
    let upload = state.upload(ctx, &request.upload_id).await?;
    let part = u64::from(request.part);
    let expected = upload.cut.part_len(part).ok_or(Error::NoPart(request.part))?;
    let _slot = state.slots.enter(upload.device).await?;
    let content = read(body, expected).await?;
    state.objects.put(&domain::body(&upload.id, part), content).await?;
    if state.store.put_part(&upload.id, part, state.runtime.now_ms() + UPLOAD_MS).await? {
        Ok(())
    } else {
        Err(Error::NoUpload)
    }
}

/// The content, of exactly this length. It takes memory as it arrives.
async fn read(body: &mut Body, expected: u64) -> Result<Vec<Bytes>, Error> {
    let (mut content, mut actual) = (Vec::new(), 0);
    while let Some(bytes) = body.next().await? {
        actual += bytes.len() as u64;
        if actual > expected {
            break;
        }
        content.push(bytes);
    }
    if actual == expected { Ok(content) } else { Err(Error::PartLength { expected, actual }) }
}
