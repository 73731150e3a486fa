//! 601 BlobPut: the body of a part first, then the row that says so. A body without a row is written again, or goes with its
//! upload.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::{bulk::Body, rpc::Ctx};
use qpc_crypto::Sha256Chain;
use qpc_wire::v1::{BlobPutRequest, BlobPutResponse};

use super::blob_begin::UPLOAD_MS;
use crate::{Blobs, domain, error::Error, store::Part};

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
    let number = u64::from(request.part);
    let expected = upload.cut.part_len(number).ok_or(Error::NoPart(request.part))?;
    let before = request.hash_before.as_ref().try_into().map_err(|_| Error::HashBefore)?;
    let hash = Sha256Chain::resume(&before, number * upload.cut.part_size).ok_or(Error::HashBefore)?;
    let _slot = state.slots.enter(upload.device).await?;
    let (content, hash) = read(body, expected, hash).await?;
    let after = hash.value().filter(|_| number + 1 < upload.cut.parts()).unwrap_or_else(|| hash.finish());
    state.objects.put(&domain::body(&upload.id, number), content).await?;
    let part = Part { number, before, after };
    if state.store.put_part(&upload.id, &part, state.runtime.now_ms() + UPLOAD_MS).await? {
        Ok(())
    } else {
        Err(Error::NoUpload)
    }
}

/// The content, of exactly this length, hashed. It takes memory as it arrives.
async fn read(body: &mut Body, expected: u64, mut hash: Sha256Chain) -> Result<(Vec<Bytes>, Sha256Chain), Error> {
    let (mut content, mut actual) = (Vec::new(), 0);
    while let Some(bytes) = body.next().await? {
        actual += bytes.len() as u64;
        if actual > expected {
            break;
        }
        hash.update(&bytes);
        content.push(bytes);
    }
    if actual == expected { Ok((content, hash)) } else { Err(Error::PartLength { expected, actual }) }
}
