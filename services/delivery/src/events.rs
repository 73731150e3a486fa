//! What this service says on the bus: doorbells to the devices whose mailboxes have grown. It hears nothing but calls.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::push::Doorbell;
use qpc_wire::{
    DeviceId,
    limits::MAX_INLINE_PUSH,
    v1::{EventType, MailboxEvent, RelayedEvent},
};

use crate::domain::mailbox::{Payload, Placed, entry};

/// One doorbell for each device, carrying the entries themselves as long as they are small.
pub(crate) fn mailbox(payloads: &[Payload], placed: &[Placed]) -> Vec<Doorbell> {
    let mut events: BTreeMap<DeviceId, (MailboxEvent, usize)> = BTreeMap::new();
    for item in placed {
        let payload = &payloads[item.payload];
        let (event, size) = events.entry(item.device).or_default();
        event.head = item.seq;
        *size += payload.size(&item.sealed_key);
        // Once one does not fit, the following would be out of order.
        if *size <= MAX_INLINE_PUSH {
            event.entries.push(entry(payload, item));
        }
    }
    events
        .into_iter()
        .map(|(device, (event, _))| Doorbell { device, event: EventType::Mailbox, body: event.encode_to_vec().into() })
        .collect()
}

/// One doorbell for each device, with what is relayed to it.
pub(crate) fn relayed(event: &RelayedEvent, devices: impl Iterator<Item = DeviceId>) -> Vec<Doorbell> {
    let body = Bytes::from(event.encode_to_vec());
    devices.map(|device| Doorbell { device, event: EventType::Relayed, body: body.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use qpc_wire::{GroupId, v1::EnvelopeKind};

    use super::*;
    use crate::domain::mailbox::Recipient;

    #[test]
    fn a_doorbell_carries_small_entries_up_to_the_first_large_one() {
        let device = DeviceId([1; 16]);
        let payload = |len: usize| Payload {
            id: [0; 16],
            group: GroupId([0; 16]),
            kind: EnvelopeKind::Application,
            epoch: 1,
            accepted_ms: 0,
            body: Bytes::from(vec![0; len]),
            shared: None,
            receipt: None,
            franking: None,
            disappears_ms: None,
            recipients: vec![Recipient::plain(device)],
        };
        let payloads = [payload(10), payload(MAX_INLINE_PUSH), payload(10)];
        let placed = crate::domain::mailbox::place(&payloads, &BTreeMap::from([(device, 9)]));
        let doorbells = mailbox(&payloads, &placed);
        assert_eq!(doorbells.len(), 1);
        let event = MailboxEvent::decode(doorbells[0].body.clone()).unwrap();
        assert_eq!((event.head, event.entries.len(), event.entries[0].seq), (9, 1, 7));
    }
}
