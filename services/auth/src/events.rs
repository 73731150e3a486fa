//! What devices hear from this service. A lost doorbell costs seconds: gateways read the feed of revocations as well.

use prost::Message;
use qpc_chassis::push::{Doorbell, Push};
use qpc_wire::{
    DeviceId,
    v1::{EventType, SessionEndedEvent},
};

/// Tells all gateways that the sessions of `device` are void. It may be attached at several, of which presence knows one.
pub(crate) async fn session_ended(push: &Push, device: DeviceId) {
    let body = SessionEndedEvent {}.encode_to_vec().into();
    push.ring_everywhere(vec![Doorbell { device, event: EventType::SessionEnded, body }]).await;
}
