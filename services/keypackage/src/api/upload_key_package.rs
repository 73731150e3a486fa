//! 300 UploadKeyPackage: all packages of a call or none. A call without any asks how many are there.

use std::sync::Arc;

use qpc_chassis::{db::once, rpc::Ctx};
use qpc_wire::v1::{UploadKeyPackageRequest, UploadKeyPackageResponse};

use crate::{Keypackages, domain::Upload, error::Error, store::Store};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    ctx: Ctx,
    request: UploadKeyPackageRequest,
) -> Result<UploadKeyPackageResponse, Error> {
    let owner = ctx.identity()?;
    let call = ctx.idempotent()?;
    // A hundred packages keep a processor busy for tens of milliseconds.
    let upload =
        tokio::task::spawn_blocking(move || Upload::parse(request, owner)).await.map_err(Error::Validation)??;
    let limit = state.config.kept(upload.suite);
    let now_ms = state.runtime.now_ms();
    once(state.store.db(), call, |tx| {
        Box::pin(async move {
            let available = Store::upload(tx, owner.device, &upload, limit, now_ms).await?;
            Ok(UploadKeyPackageResponse { available })
        })
    })
    .await
}
