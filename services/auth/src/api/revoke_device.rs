//! 701 RevokeDevice. Also of the calling device itself.

use std::sync::Arc;

use qpc_chassis::{db::once, rpc::Ctx};
use qpc_wire::{
    DeviceId,
    v1::{RevokeDeviceRequest, RevokeDeviceResponse},
};

use crate::{Auth, error::Error, events, store::Store};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    request: RevokeDeviceRequest,
) -> Result<RevokeDeviceResponse, Error> {
    let caller = ctx.identity()?;
    let device = DeviceId::try_from(&request.device_id)?;
    let now_ms = auth.runtime.now_ms();
    let response = once(auth.store.db(), ctx.idempotent()?, |tx| {
        Box::pin(async move {
            Store::revoke(tx, caller.account, caller.device, device, now_ms).await?;
            Ok::<_, Error>(RevokeDeviceResponse {})
        })
    })
    .await?;
    // A repeated call rings again: the first may have died before it did.
    events::session_ended(&auth.push, device).await;
    auth.forget.wake();
    Ok(response)
}
