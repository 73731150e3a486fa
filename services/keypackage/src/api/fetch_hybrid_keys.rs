//! 304 FetchHybridKeys: devices without a key are left out, and told when they are revoked.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    DeviceId,
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
    let revoked = if keys.len() < devices.len() { state.store.forgotten_among(&devices).await? } else { Vec::new() };
    Ok(FetchHybridKeysResponse {
        keys: keys.into_iter().map(Into::into).collect(),
        revoked_ids: revoked.into_iter().map(DeviceId::to_bytes).collect(),
    })
}
