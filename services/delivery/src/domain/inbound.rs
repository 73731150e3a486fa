//! How much others may send to a mailbox. The bucket stands in the row of the mailbox, which every message locks and writes
//! anyway: so it costs no question, is exact whatever the number of replicas, and is as durable as what it counts.
//!
//! Only messages count, whose number nothing else bounds by their size. A handshake must not be refused for a full mailbox:
//! it may be what removes the one who filled it.

use std::collections::BTreeMap;

use qpc_chassis::limits::Rate;
use qpc_wire::{DeviceId, v1::EnvelopeKind};

use super::mailbox::Payload;

/// The limit, and the time.
#[derive(Debug, Clone, Copy)]
pub struct Inbound {
    /// Bytes.
    pub rate: Rate,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// A payload that is too much for a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Its index.
    pub payload: usize,
    /// Milliseconds until it fits unless others come first; 0 when it never does.
    pub retry_after_ms: u64,
}

impl Inbound {
    /// Where nothing is counted.
    pub const UNLIMITED: Self = Self { rate: Rate::UNLIMITED, now_ms: 0 };

    /// Unix microseconds.
    pub fn now_us(&self) -> u64 {
        self.now_ms.saturating_mul(1000)
    }

    /// What a payload takes of each mailbox, in microseconds that the bucket needs to get it back.
    fn cost_us(&self, payload: &Payload) -> u64 {
        let counts = payload.kind == EnvelopeKind::Application && self.rate != Rate::UNLIMITED;
        if counts { self.rate.cost_us(payload.body.len() as u64) } else { 0 }
    }

    /// What all payloads take of each mailbox.
    pub fn charges(&self, payloads: &[Payload]) -> BTreeMap<DeviceId, u64> {
        let mut charges = BTreeMap::<DeviceId, u64>::new();
        for payload in payloads {
            let cost_us = self.cost_us(payload);
            for recipient in &payload.recipients {
                let charge = charges.entry(recipient.device).or_default();
                *charge = charge.saturating_add(cost_us);
            }
        }
        charges
    }

    /// Which payloads do not fit, when those before them that fit are there. `full_us` says of each mailbox when its bucket
    /// is full again if all payloads come in.
    pub fn over(&self, payloads: &[Payload], mut full_us: BTreeMap<DeviceId, u64>) -> Vec<Over> {
        let Some(capacity_us) = self.rate.capacity_us() else { return Vec::new() };
        let limit_us = self.now_us().saturating_add(capacity_us);
        if full_us.values().all(|full_us| *full_us <= limit_us) {
            return Vec::new();
        }
        for (device, charge) in self.charges(payloads) {
            full_us.entry(device).and_modify(|full_us| *full_us = full_us.saturating_sub(charge));
        }
        let mut over = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let cost_us = self.cost_us(payload);
            let latest = payload.recipients.iter().filter_map(|recipient| full_us.get(&recipient.device)).max();
            let excess_us = latest.map_or(0, |latest| (latest + cost_us).saturating_sub(limit_us));
            if excess_us > 0 && cost_us > 0 {
                let retry_after_ms = if cost_us > capacity_us { 0 } else { excess_us.div_ceil(1000) };
                over.push(Over { payload: index, retry_after_ms });
                continue;
            }
            for recipient in &payload.recipients {
                full_us.entry(recipient.device).and_modify(|full_us| *full_us += cost_us);
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use qpc_wire::GroupId;

    use super::*;
    use crate::domain::mailbox::Recipient;

    fn payload(kind: EnvelopeKind, bytes: usize, devices: &[u8]) -> Payload {
        Payload {
            id: [0; 16],
            group: GroupId([9; 16]),
            kind,
            epoch: 1,
            accepted_ms: 1,
            body: Bytes::from(vec![0; bytes]),
            shared: None,
            receipt: None,
            franking: None,
            disappears_ms: None,
            recipients: devices.iter().map(|n| Recipient::plain(DeviceId([*n; 16]))).collect(),
        }
    }

    fn message(bytes: usize, devices: &[u8]) -> Payload {
        payload(EnvelopeKind::Application, bytes, devices)
    }

    /// The buckets once everything is in, of mailboxes whose buckets were full.
    fn fresh(inbound: &Inbound, payloads: &[Payload]) -> BTreeMap<DeviceId, u64> {
        let charges = inbound.charges(payloads).into_iter();
        charges.map(|(device, charge)| (device, inbound.now_us() + charge)).collect()
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_comes_after_it_may_fit() {
        let inbound = Inbound { rate: Rate::new(1_000, 100, Duration::from_secs(1)), now_ms: 5_000 };
        let payloads = [message(600, &[1, 2]), message(500, &[2, 3]), message(400, &[2]), message(400, &[3])];
        let over = inbound.over(&payloads, fresh(&inbound, &payloads));
        assert_eq!(
            over,
            [Over { payload: 1, retry_after_ms: 1_000 }],
            "the whole message, for the sake of one mailbox"
        );
        let fitting = [message(600, &[1, 2]), message(400, &[2])];
        assert_eq!(inbound.over(&fitting, fresh(&inbound, &fitting)), []);
    }

    #[test]
    fn handshakes_are_neither_counted_nor_refused() {
        let inbound = Inbound { rate: Rate::new(1_000, 100, Duration::from_secs(1)), now_ms: 5_000 };
        let payloads = [message(1_000, &[1]), payload(EnvelopeKind::Handshake, 900, &[1]), message(1, &[1])];
        let over = inbound.over(&payloads, fresh(&inbound, &payloads));
        assert_eq!(over, [Over { payload: 2, retry_after_ms: 10 }]);
    }

    #[test]
    fn what_never_fits_names_no_time() {
        let inbound = Inbound { rate: Rate::new(1_000, 100, Duration::from_secs(1)), now_ms: 5_000 };
        let payloads = [message(1_001, &[1])];
        assert_eq!(inbound.over(&payloads, fresh(&inbound, &payloads)), [Over { payload: 0, retry_after_ms: 0 }]);
        assert_eq!(Inbound::UNLIMITED.over(&payloads, fresh(&Inbound::UNLIMITED, &payloads)), []);
    }
}
