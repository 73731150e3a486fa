//! One file per method, named as in the proto.

mod blob_begin;
mod blob_delete;
mod blob_finish;
mod blob_get;
mod blob_parts;
mod blob_put;
mod blob_stat;
mod forget_files;
mod report_files;

use std::sync::Arc;

use bytes::Bytes;
use qpc_chassis::{
    Runtime,
    bulk::BulkRouter,
    rpc::{Ctx, Router},
};
use qpc_wire::methods;

use crate::{
    Blobs,
    domain::DAY_MS,
    error::Error,
    store::{Blob, Upload},
};

/// All methods of the service that come over the bus.
pub(crate) fn router(state: Arc<Blobs>, runtime: &Runtime) -> Router<Blobs> {
    Router::new(state, runtime.clone())
        .on::<methods::BlobBegin, _, _, _>(blob_begin::handle)
        .on::<methods::BlobParts, _, _, _>(blob_parts::handle)
        .on::<methods::BlobFinish, _, _, _>(blob_finish::handle)
        .on::<methods::BlobStat, _, _, _>(blob_stat::handle)
        .on::<methods::BlobDelete, _, _, _>(blob_delete::handle)
        .on::<methods::ForgetFiles, _, _, _>(forget_files::handle)
        .on::<methods::ReportFiles, _, _, _>(report_files::handle)
}

/// Those that have a body.
pub(crate) fn bulk_router(state: Arc<Blobs>) -> BulkRouter<Blobs> {
    BulkRouter::new(state)
        .up::<methods::BlobPut, _, _, _>(blob_put::handle)
        .down::<methods::BlobGet, _, _, _>(blob_get::handle)
}

impl Blobs {
    /// The upload that the calling device has begun.
    async fn upload(&self, ctx: &Ctx, id: &Bytes) -> Result<Upload, Error> {
        let device = ctx.identity()?.device;
        let id = id.as_ref().try_into().map_err(|_| Error::NoUpload)?;
        let upload = self.store.upload(id).await?;
        upload.filter(|upload| upload.device == device).ok_or(Error::NoUpload)
    }

    /// A blob that is used by this.
    async fn blob(&self, id: &[u8; 32]) -> Result<Blob, Error> {
        let now_ms = self.runtime.now_ms();
        let blob = self.store.blob(id, now_ms).await?.ok_or(Error::NoBlob)?;
        if blob.expires_ms >= now_ms + self.config.kept_ms() {
            return Ok(blob);
        }
        let expires_ms = self.expiry();
        self.store.touch(id, expires_ms).await?;
        Ok(Blob { expires_ms, ..blob })
    }

    /// When a blob expires that is used now: a day later than promised, so that it is written once a day at most.
    fn expiry(&self) -> u64 {
        self.runtime.now_ms() + self.config.kept_ms() + DAY_MS
    }
}

fn blob_id(id: &Bytes) -> Result<[u8; 32], Error> {
    id.as_ref().try_into().map_err(|_| Error::BlobId)
}
