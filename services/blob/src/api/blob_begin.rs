//! 600 BlobBegin: whoever is over a limit hears so before a byte is sent.

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::{db::once, rpc::Ctx};
use qpc_wire::v1::{BlobBeginRequest, BlobBeginResponse};

use crate::{
    Blobs,
    domain::{Cut, DAY_MS, PART_SIZE},
    error::Error,
    store::{Store, Upload},
};

/// An upload is forgotten this long after its last part, milliseconds.
pub(super) const UPLOAD_MS: u64 = DAY_MS;

pub(super) async fn handle(state: Arc<Blobs>, ctx: Ctx, request: BlobBeginRequest) -> Result<BlobBeginResponse, Error> {
    let owner = ctx.identity()?;
    let call = ctx.idempotent()?;
    let (size, max) = (request.size, state.config.max_size());
    if size == 0 || size > max {
        return Err(Error::Size { size, max });
    }
    let now_ms = state.runtime.now_ms();
    let upload = Upload {
        id: state.runtime.random(),
        account: owner.account,
        device: owner.device,
        cut: Cut { size, part_size: PART_SIZE },
        expires_ms: now_ms + UPLOAD_MS,
    };
    let daily = state.config.daily();
    once(state.store.db(), call, |tx| {
        Box::pin(async move {
            Store::begin(tx, &upload, daily, now_ms).await?;
            Ok(BlobBeginResponse {
                upload_id: Bytes::copy_from_slice(&upload.id),
                part_size: PART_SIZE as u32,
                expires_at_ms: upload.expires_ms,
            })
        })
    })
    .await
}
