//! 302 UploadHybridKey.

use std::sync::Arc;

use qpc_chassis::rpc::{Ctx, Identity};
use qpc_crypto::DeviceCertificate;
use qpc_wire::{
    methods::ListDevices,
    v1::{ListDevicesRequest, UploadHybridKeyRequest, UploadHybridKeyResponse},
};

use crate::{Keypackages, domain, error::Error, store::QueueKey};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    ctx: Ctx,
    request: UploadHybridKeyRequest,
) -> Result<UploadHybridKeyResponse, Error> {
    let owner = ctx.identity()?;
    let certificate = certificate(&state, &ctx, owner).await?;
    domain::check_queue_key(&mut state.runtime.rng(), &request, certificate.device_key())?;
    let key = QueueKey {
        device: owner.device,
        public_key: request.public_key.to_vec(),
        signature: request.signature.to_vec(),
    };
    state.store.set_queue_key(&key, state.runtime.now_ms()).await?;
    Ok(UploadHybridKeyResponse {})
}

/// A call says only the id of its device; auth knows the key behind it.
async fn certificate(state: &Keypackages, ctx: &Ctx, owner: Identity) -> Result<DeviceCertificate, Error> {
    let listed = state.client.call::<ListDevices>(ctx, &ListDevicesRequest {}).await?;
    let device =
        listed.devices.iter().find(|device| device.device_id == owner.device.as_ref()).ok_or(Error::UnlistedDevice)?;
    let certificate = DeviceCertificate::parse(&device.device_certificate)?;
    if certificate.device_id() != owner.device || certificate.account_id() != owner.account {
        return Err(Error::UnlistedDevice);
    }
    Ok(certificate)
}
