//! 303 FetchHybridKey.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::{
    DeviceId,
    v1::{FetchHybridKeyRequest, FetchHybridKeyResponse},
};

use crate::{Keypackages, error::Error};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    ctx: Ctx,
    request: FetchHybridKeyRequest,
) -> Result<FetchHybridKeyResponse, Error> {
    ctx.identity()?;
    let device = DeviceId::try_from(&request.device_id)?;
    let key = state.store.queue_keys(&[device]).await?.pop().ok_or(Error::NoQueueKey)?;
    Ok(FetchHybridKeyResponse { key: Some(key.into()) })
}
