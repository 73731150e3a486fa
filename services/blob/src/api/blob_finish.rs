//! 603 BlobFinish: it is a blob if its parts, as they were hashed when they came, make the hash that is its name.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::Sha256Chain;
use qpc_wire::v1::{BlobFinishRequest, BlobFinishResponse};

use super::blob_id;
use crate::{Blobs, error::Error, store::Part};

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
    let parts = state.store.parts(&upload.id).await?;
    let missing = upload.cut.parts() - parts.len() as u64;
    if missing > 0 {
        return Err(Error::Incomplete(missing));
    }
    if hash(&parts) != Some(id) {
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

/// SHA-256 of all: that of the last part, if each begins with what the one before has ended with.
fn hash(parts: &[Part]) -> Option<[u8; 32]> {
    let mut last = Sha256Chain::initial();
    for part in parts {
        if part.before != last {
            return None;
        }
        last = part.after;
    }
    Some(last)
}
