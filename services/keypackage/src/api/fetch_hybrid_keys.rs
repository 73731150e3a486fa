//! 304 FetchHybridKeys: devices without a key are left out.

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
    Ok(FetchHybridKeysResponse { keys: keys.into_iter().map(Into::into).collect() })
}
