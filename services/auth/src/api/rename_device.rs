//! 706 RenameDevice: a name that the server cannot read.

use std::sync::Arc;

use qpc_chassis::{db::once, rpc::Ctx};
use qpc_wire::{
    DeviceId,
    v1::{RenameDeviceRequest, RenameDeviceResponse},
};

use crate::{Auth, domain, error::Error, store::Store};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: RenameDeviceRequest,
) -> Result<RenameDeviceResponse, Error> {
    let caller = ctx.identity()?;
    let device = DeviceId::try_from(&request.device_id)?;
    domain::device_name(&request.name)?;
    once(auth.store.db(), ctx.idempotent()?, |tx| {
        Box::pin(async move {
            Store::rename(tx, caller.account, caller.device, device, &request.name).await?;
            Ok(RenameDeviceResponse {})
        })
    })
    .await
}
