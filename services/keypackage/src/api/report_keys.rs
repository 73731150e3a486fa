//! 124 ReportKeys: called by auth for an account that wants to know what is kept of it.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_crypto::Suite;
use qpc_wire::{
    DeviceId,
    v1::{KeyReport, ReportKeysRequest, ReportKeysResponse},
};

use crate::{Keypackages, error::Error};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    _ctx: Ctx,
    request: ReportKeysRequest,
) -> Result<ReportKeysResponse, Error> {
    let mut answer = ReportKeysResponse::default();
    for device in &request.device_ids {
        let device = DeviceId::try_from(device)?;
        for suite in Suite::ALL {
            let (key_packages, last_resort) = state.store.stock(device, suite).await?;
            let suite = suite.id().into();
            answer.keys.push(KeyReport { device_id: device.to_bytes(), suite, key_packages, last_resort });
        }
        if state.store.has_queue_key(device).await? {
            answer.queue_keys.push(device.to_bytes());
        }
    }
    Ok(answer)
}
