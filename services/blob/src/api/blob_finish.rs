//! 603 BlobFinish: what is stored is read back and hashed; only then it is a blob.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{BlobFinishRequest, BlobFinishResponse};
use sha2::{Digest as _, Sha256};

use super::blob_id;
use crate::{Blobs, domain, error::Error, store::Upload};

/// Parts that are read ahead of the one that is hashed.
const AHEAD: usize = 2;

pub(super) async fn handle(
    state: Arc<Blobs>,
    ctx: Ctx,
    request: BlobFinishRequest,
) -> Result<BlobFinishResponse, Error> {
    let id = blob_id(&request.blob_id)?;
    let upload = match state.upload(&ctx, &request.upload_id).await {
        // The answer to the first time was lost.
        Err(Error::NoUpload) => return found(&state, &id).await,
        upload => upload?,
    };
    let missing = upload.cut.parts() - state.store.parts(&upload.id).await?.len() as u64;
    if missing > 0 {
        return Err(Error::Incomplete(missing));
    }
    if hash(&state, &upload).await? != id {
        return Err(Error::Hash);
    }
    let expires_at_ms = state.expiry();
    if state.store.finish(&upload, &id, expires_at_ms, state.runtime.now_ms()).await? {
        Ok(BlobFinishResponse { expires_at_ms })
    } else {
        found(&state, &id).await
    }
}

async fn found(state: &Blobs, id: &[u8; 32]) -> Result<BlobFinishResponse, Error> {
    match state.blob(id).await {
        Ok(blob) => Ok(BlobFinishResponse { expires_at_ms: blob.expires_ms }),
        Err(Error::NoBlob) => Err(Error::NoUpload),
        Err(error) => Err(error),
    }
}

/// SHA-256 of what is stored.
async fn hash(state: &Blobs, upload: &Upload) -> Result<[u8; 32], Error> {
    // Never closed.
    let _turn = state.hashers.acquire().await;
    let bodies = stream::iter(0..upload.cut.parts()).map(|part| async move {
        let len = upload.cut.part_len(part).ok_or(Error::Lost)?;
        state.objects.get(&domain::body(&upload.id, part), 0..len).await?.ok_or(Error::Lost)
    });
    let mut bodies = bodies.buffered(AHEAD);
    let mut hasher = Sha256::new();
    while let Some(body) = bodies.try_next().await? {
        // Some milliseconds a part: not for a thread that others wait for.
        let hashed = state.runtime.blocking(move || hasher.chain_update(&body)).await;
        hasher = hashed.ok_or(Error::Hashing)?;
    }
    Ok(hasher.finalize().into())
}
