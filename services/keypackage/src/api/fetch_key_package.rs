//! 301 FetchKeyPackage: each single-use package leaves the store with the answer that contains it (G6).

use std::sync::Arc;

use prost::Message;
use qpc_chassis::{
    db::{Claim, DbError, claim, remember},
    rpc::Ctx,
};
use qpc_wire::{
    limits::MAX_FETCH_DEVICES,
    v1::{DeviceKeyPackage, FetchKeyPackageRequest, FetchKeyPackageResponse},
};

use crate::{Keypackages, domain, error::Error, events, store::Store};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    ctx: Ctx,
    request: FetchKeyPackageRequest,
) -> Result<FetchKeyPackageResponse, Error> {
    ctx.identity()?;
    let suite = domain::suite(request.suite)?;
    let devices = domain::devices(&request.device_ids, MAX_FETCH_DEVICES)?;
    let mut response = FetchKeyPackageResponse::default();
    let mut low = Vec::new();

    // `once` by hand, since what is left in the store does not belong in the response.
    let call = ctx.idempotent()?;
    let mut tx = state.store.db().begin().await?;
    if let Claim::Done(first) = claim(&mut tx, call).await? {
        let first = FetchKeyPackageResponse::decode(first.as_slice());
        return Ok(first.map_err(|_| DbError::Damaged("idempotent response"))?);
    }
    for device in devices {
        let Some(taken) = Store::take(&mut tx, device, suite).await? else { continue };
        if taken.available <= state.config.key_packages_low {
            low.push((device, taken.available));
        }
        response.key_packages.push(DeviceKeyPackage {
            device_id: device.to_bytes(),
            key_package: taken.package.into(),
            last_resort: taken.last_resort,
        });
    }
    remember(&mut tx, call, &response.encode_to_vec()).await?;
    tx.commit().await?;

    events::running_low(&state.push, suite, &low).await;
    Ok(response)
}
