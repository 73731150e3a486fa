//! 708 ForgetDeviceKeys: called by auth for each revoked device, until it was answered.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    DeviceId,
    v1::{ForgetDeviceKeysRequest, ForgetDeviceKeysResponse},
};

use crate::{Keypackages, error::Error};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    _ctx: Ctx,
    request: ForgetDeviceKeysRequest,
) -> Result<ForgetDeviceKeysResponse, Error> {
    let device = DeviceId::try_from(&request.device_id)?;
    state.store.forget(device, state.runtime.now_ms()).await?;
    Ok(ForgetDeviceKeysResponse {})
}
