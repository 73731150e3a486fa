//! 301 FetchKeyPackage: each single-use package leaves the store with the answer that contains it (G6).

use std::{collections::HashSet, sync::Arc};

use prost::Message;
use qpc_chassis::{
    db::{Claim, DbError, claim, remember, replay},
    limits::Limited,
    rpc::{Ctx, Identity},
};
use qpc_wire::{
    DeviceId,
    limits::MAX_FETCH_DEVICES,
    methods::ListDevices,
    v1::{DeviceKeyPackage, FetchKeyPackageRequest, FetchKeyPackageResponse, ListDevicesRequest},
};

use crate::{Keypackages, domain, error::Error, events, store::Store};

pub(super) async fn handle(
    state: Arc<Keypackages>,
    ctx: Ctx,
    request: FetchKeyPackageRequest,
) -> Result<FetchKeyPackageResponse, Error> {
    let caller = ctx.identity()?;
    let suite = domain::suite(request.suite)?;
    let devices = domain::devices(&request.device_ids, MAX_FETCH_DEVICES)?;
    let mut response = FetchKeyPackageResponse::default();
    let mut low = Vec::new();

    let call = ctx.idempotent()?;
    if let Some(first) = replay(state.store.db(), call).await? {
        return Ok(first);
    }
    admit(&state, &ctx, caller, &devices).await?;

    // `once` by hand, since what is left in the store does not belong in the response.
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

    let last_resorts = response.key_packages.iter().filter(|package| package.last_resort).count();
    state.taken.inc_by(response.key_packages.len() as u64);
    state.last_resorts.inc_by(last_resorts as u64);
    events::running_low(&state.push, suite, &low).await;
    Ok(response)
}

/// Strangers could use a device's packages up. The caller's own devices do not count: a new one is let into all groups.
async fn admit(state: &Keypackages, ctx: &Ctx, caller: Identity, devices: &[DeviceId]) -> Result<(), Error> {
    let buckets = |devices: &[DeviceId]| {
        let of = |device: &DeviceId| state.fetches.one(&[caller.account.as_ref(), device.as_ref()]);
        state.limits.admit("key packages fetched of this device", devices.iter().map(of).collect::<Vec<_>>())
    };
    match buckets(devices).await {
        // Only now is it worth a question whose the devices are.
        Err(refused @ Limited::TooMany { .. }) => {
            let listed = state.client.call::<ListDevices>(ctx, &ListDevicesRequest {}).await?.devices;
            let own: HashSet<_> = listed.into_iter().map(|device| device.device_id).collect();
            let strange: Vec<_> = devices.iter().copied().filter(|device| !own.contains(&device.to_bytes())).collect();
            if strange.len() == devices.len() {
                return Err(refused.into());
            }
            Ok(buckets(&strange).await?)
        }
        admitted => Ok(admitted?),
    }
}
