//! 709 ForgetDevice: called by auth for each revoked device, until it was answered.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    DeviceId,
    v1::{ForgetDeviceRequest, ForgetDeviceResponse},
};

use crate::{State, error::Error};

/// From now on the device gets nothing more and comes into no group; the members remove its leaves by their next commits.
pub async fn handle(state: Arc<State>, _: Ctx, request: ForgetDeviceRequest) -> Result<ForgetDeviceResponse, Error> {
    let device = DeviceId::try_from(&request.device_id)?;
    state.store.revoke(&device, state.runtime.now_ms()).await?;
    state.store.remove_endpoint(&device).await?;
    state.store.empty(&device, state.runtime.now_ms()).await?;
    Ok(ForgetDeviceResponse {})
}
