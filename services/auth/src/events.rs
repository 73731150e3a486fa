//! What devices hear from this service. A lost doorbell costs nothing but time: a revoked device cannot attach again.

use prost::Message;
use qpc_chassis::push::{Doorbell, Push};
use qpc_wire::{
    DeviceId,
    v1::{EventType, SessionEndedEvent},
};

/// Tells the gateway that holds `device` that its sessions are void.
pub(crate) async fn session_ended(push: &Push, device: DeviceId) {
    let body = SessionEndedEvent {}.encode_to_vec().into();
    push.ring(vec![Doorbell { device, event: EventType::SessionEnded, body }]).await;
}
