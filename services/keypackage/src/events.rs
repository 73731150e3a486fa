//! What devices hear from this service. A lost doorbell is made up for by the next fetch of a package.

use prost::Message;
use qpc_chassis::push::{Doorbell, Push};
use qpc_crypto::Suite;
use qpc_wire::{
    DeviceId,
    v1::{EventType, KeyPackageLowEvent},
};

/// Tells devices how few single-use packages they have left.
pub(crate) async fn running_low(push: &Push, suite: Suite, low: &[(DeviceId, u32)]) {
    let doorbells = low
        .iter()
        .map(|(device, available)| Doorbell {
            device: *device,
            event: EventType::KeyPackageLow,
            body: KeyPackageLowEvent { suite: suite.id().into(), available: *available }.encode_to_vec().into(),
        })
        .collect();
    push.ring(doorbells).await;
}
