//! Mailboxes: who gets what, in which order, and what a fetch may carry.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use qpc_wire::{
    DeviceId, GroupId,
    v1::{Entry, Envelope, EnvelopeKind, Franking, Gap, GapReason, Pointer, Receipt, entry::Body},
};

/// Epochs that a message may be behind its group when it is accepted. Members keep the keys of five past epochs; a reader
/// can be ahead of what is accepted here by a commit of its own, merged before it reads its mailbox.
pub const PAST_EPOCHS: u64 = 3;

/// Something that is stored once and put into mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Time-ordered, unique: see [`payload_id`].
    pub id: [u8; 16],
    /// Group it belongs to.
    pub group: GroupId,
    /// What it is.
    pub kind: EnvelopeKind,
    /// Epoch of the group.
    pub epoch: u64,
    /// Unix milliseconds.
    pub accepted_ms: u64,
    /// As it goes to the devices.
    pub body: Bytes,
    /// What is fetched besides, or instead.
    pub shared: Option<Pointer>,
    /// What the sender got for it.
    pub receipt: Option<Receipt>,
    /// What a report of it is checked by.
    pub franking: Option<Franking>,
    /// When whoever has not fetched it gets a gap instead, Unix milliseconds, if it is not kept as long as others.
    pub disappears_ms: Option<u64>,
    /// Who gets it.
    pub recipients: Vec<Recipient>,
}

impl Payload {
    /// Gives it the receipt that says it was accepted.
    pub fn accept(&mut self, receipt: &Receipt) {
        self.accepted_ms = receipt.accepted_at_ms;
        self.receipt = Some(receipt.clone());
    }

    /// When it expires, if others do then.
    pub fn expires_ms(&self, others_ms: u64) -> u64 {
        self.disappears_ms.map_or(others_ms, |ms| ms.min(others_ms))
    }

    /// Bytes of an entry on the wire, with room for the small fields, a pointer among them.
    pub fn size(&self, sealed_key: &[u8]) -> usize {
        let receipt = self.receipt.as_ref().map_or(0, Message::encoded_len);
        let franking = self.franking.as_ref().map_or(0, Message::encoded_len);
        self.body.len() + sealed_key.len() + receipt + franking + 160
    }
}

/// One mailbox that gets a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Owner of the mailbox.
    pub device: DeviceId,
    /// Key of the payload, sealed to this device; empty for what is not sealed.
    pub sealed_key: Bytes,
}

impl Recipient {
    /// A recipient of an unsealed payload.
    pub fn plain(device: DeviceId) -> Self {
        Self { device, sealed_key: Bytes::new() }
    }
}

/// An id whose order is that of time, so that inserts go to the end of the index.
pub fn payload_id(now_ms: u64, random: [u8; 10]) -> [u8; 16] {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    id[6..].copy_from_slice(&random);
    id
}

/// How many new entries each device gets, in ascending order of devices: the order in which their heads are locked, so
/// that concurrent fan-outs never wait for each other in a circle.
pub fn growth(payloads: &[Payload]) -> BTreeMap<DeviceId, u64> {
    let mut counts = BTreeMap::new();
    for recipient in payloads.iter().flat_map(|payload| &payload.recipients) {
        *counts.entry(recipient.device).or_default() += 1;
    }
    counts
}

/// An entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Owner of the mailbox.
    pub device: DeviceId,
    /// Place in it.
    pub seq: u64,
    /// Index of the payload.
    pub payload: usize,
    /// Sealed key of the payload for this device.
    pub sealed_key: Bytes,
}

/// Gives every entry its sequence. `heads` says, for each device of [`growth`], its newest sequence after the growth.
pub fn place(payloads: &[Payload], heads: &BTreeMap<DeviceId, u64>) -> Vec<Placed> {
    let mut next: BTreeMap<DeviceId, u64> = growth(payloads)
        .into_iter()
        .map(|(device, count)| (device, heads.get(&device).copied().unwrap_or(count) - count))
        .collect();
    let mut placed = Vec::new();
    for (payload, item) in payloads.iter().enumerate() {
        for recipient in &item.recipients {
            let seq = next.entry(recipient.device).or_default();
            *seq += 1;
            placed.push(Placed {
                device: recipient.device,
                seq: *seq,
                payload,
                sealed_key: recipient.sealed_key.clone(),
            });
        }
    }
    placed
}

/// The wire form of a placed entry.
pub fn entry(payload: &Payload, placed: &Placed) -> Entry {
    Entry {
        seq: placed.seq,
        body: Some(Body::Envelope(Envelope {
            kind: payload.kind as i32,
            group_id: payload.group.to_bytes(),
            epoch: payload.epoch,
            payload: payload.body.clone(),
            sealed_key: placed.sealed_key.clone(),
            accepted_at_ms: payload.accepted_ms,
            shared: payload.shared.clone(),
            receipt: payload.receipt.clone(),
            franking: payload.franking.clone(),
        })),
    }
}

/// The wire form of a gap.
pub fn gap(from: u64, to: u64, reason: GapReason) -> Entry {
    Entry { seq: to, body: Some(Body::Gap(Gap { from, to, reason: reason as i32 })) }
}

/// Ranges of sequences, from and to included, where those that overlap or lie side by side are one.
pub fn merged(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some((_, last)) if from <= last.saturating_add(1) => *last = to.max(*last),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Of entries with these sequences and sizes, oldest first, the last one that a response of `max_bytes` still holds. The
/// first always fits: a response without progress would stop the mailbox for ever.
pub fn cut(sizes: &[(u64, u64)], max_bytes: u64) -> Option<u64> {
    let mut total = 0;
    let mut last = None;
    for (seq, size) in sizes {
        total += size;
        if total > max_bytes && last.is_some() {
            break;
        }
        last = Some(*seq);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(recipients: &[u8]) -> Payload {
        Payload {
            id: [0; 16],
            group: GroupId([0; 16]),
            kind: EnvelopeKind::Application,
            epoch: 1,
            accepted_ms: 0,
            body: Bytes::new(),
            shared: None,
            receipt: None,
            franking: None,
            disappears_ms: None,
            recipients: recipients.iter().map(|n| Recipient::plain(DeviceId([*n; 16]))).collect(),
        }
    }

    #[test]
    fn sequences_follow_the_order_of_payloads_without_holes() {
        let payloads = [payload(&[2, 1]), payload(&[1]), payload(&[1, 3])];
        let [one, two, three] = [1, 2, 3].map(|n| DeviceId([n; 16]));
        assert_eq!(growth(&payloads), BTreeMap::from([(one, 3), (two, 1), (three, 1)]));
        let placed = place(&payloads, &BTreeMap::from([(one, 10), (two, 1), (three, 5)]));
        let seen: Vec<_> = placed.iter().map(|entry| (entry.device.0[0], entry.seq, entry.payload)).collect();
        assert_eq!(seen, [(2, 1, 0), (1, 8, 0), (1, 9, 1), (1, 10, 2), (3, 5, 2)]);
    }

    #[test]
    fn a_cut_respects_the_limit_but_always_makes_progress() {
        assert_eq!(cut(&[], 10), None);
        assert_eq!(cut(&[(7, 100)], 10), Some(7));
        assert_eq!(cut(&[(1, 5), (2, 5), (3, 1)], 10), Some(2));
        assert_eq!(cut(&[(1, 100), (2, 1)], 10), Some(1));
    }

    #[test]
    fn gaps_side_by_side_become_one() {
        assert_eq!(merged(vec![(5, 5), (1, 2), (3, 3), (7, 9), (8, 8)]), [(1, 3), (5, 5), (7, 9)]);
        assert_eq!(merged(vec![(u64::MAX, u64::MAX), (1, 1)]), [(1, 1), (u64::MAX, u64::MAX)]);
    }

    #[test]
    fn payload_ids_ascend_with_time() {
        assert!(payload_id(1, [255; 10]) < payload_id(2, [0; 10]));
    }
}
