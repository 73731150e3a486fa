//! 304 FetchHybridKeys: devices without a key are left out, and told when they are revoked.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    limits::MAX_HYBRID_KEYS,
    v1::{FetchHybridKeysRequest, FetchHybridKeysResponse},
};

use crate::{Keypackages, domain, error::Error};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    ctx: Ctx,
    request: FetchHybridKeysRequest,
) -> Result<FetchHybridKeysResponse, Error> {
    ctx.identity()?;
    let devices = domain::devices(&request.device_ids, MAX_HYBRID_KEYS)?;
    let keys = state.store.queue_keys(&devices).await?;
    let mut revoked_ids = Vec::new();
    if keys.len() < devices.len() {
        let without = devices.iter().filter(|device| keys.iter().all(|key| key.device != **device));
        for device in without {
            if state.store.is_forgotten(*device).await? {
                revoked_ids.push(device.to_bytes());
            }
        }
    }
    Ok(FetchHybridKeysResponse { keys: keys.into_iter().map(Into::into).collect(), revoked_ids })
}
