//! 700 ListDevices: those of the caller's account that are not revoked.

use std::sync::Arc;

use qpc_chassis::rpc::Ctx;
use qpc_wire::v1::{self, ListDevicesRequest, ListDevicesResponse};

use crate::{Auth, error::Error};

pub(super) async fn handle(
    auth: Arc<Auth>,
    ctx: Ctx,
    _request: ListDevicesRequest,
) -> Result<ListDevicesResponse, Error> {
    let devices = auth.store.devices(ctx.identity()?.account).await?;
    let devices = devices
        .into_iter()
        .map(|device| v1::Device {
            device_id: device.device.to_bytes(),
            device_certificate: device.certificate.into(),
            added_at_ms: device.added_ms,
            name: device.name.into(),
        })
        .collect();
    Ok(ListDevicesResponse { devices })
}
