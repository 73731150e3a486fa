//! What the store does on every engine.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::future::join_all;
use qpc_wire::{
    AccountId, DeviceId, GroupId,
    v1::{Entry, EnvelopeKind, GapReason, GroupKind, entry::Body},
};

use super::{Change, NewGroup, Store, append};
use crate::{
    domain::{
        direct::Pair,
        mailbox::{Payload, Recipient, payload_id},
    },
    error::Error,
};

/// Panics where `store`, over an empty schema of its own, departs from the contract.
#[allow(clippy::unwrap_used, reason = "test code")]
pub async fn check(store: &Store) {
    concurrent_fan_outs_leave_no_holes(store).await;
    acknowledged_entries_and_their_payloads_go(store).await;
    expired_entries_become_one_gap(store).await;
    large_mailboxes_come_in_pieces(store).await;
    one_change_wins_an_epoch(store).await;
    a_pair_has_one_direct_conversation(store).await;
}

fn payload(tag: u16, body: usize, recipients: &[u8]) -> Payload {
    let mut random = [0; 10];
    random[..2].copy_from_slice(&tag.to_be_bytes());
    Payload {
        id: payload_id(1, random),
        group: GroupId([9; 16]),
        kind: EnvelopeKind::Application,
        epoch: 3,
        accepted_ms: 77,
        body: Bytes::from(vec![tag as u8; body]),
        recipients: recipients.iter().map(|n| Recipient::plain(DeviceId([*n; 16]))).collect(),
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn put(store: &Store, payloads: &[Payload], expires_ms: u64) {
    let mut tx = store.db.begin().await.unwrap();
    append(&mut tx, payloads, expires_ms).await.unwrap();
    tx.commit().await.unwrap();
}

fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn payload_rows(store: &Store) -> i64 {
    store.db.row("SELECT COUNT(*) FROM payload", &[]).await.unwrap().unwrap().int(0).unwrap()
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn concurrent_fan_outs_leave_no_holes(store: &Store) {
    // Opposite orders of recipients would deadlock if heads were locked in the order of the request.
    join_all((0..40u16).map(|n| async move {
        let recipients: &[u8] = if n % 2 == 0 { &[1, 2, 3] } else { &[3, 2, 1] };
        put(store, &[payload(n, 10, recipients), payload(100 + n, 10, &[2])], u64::MAX >> 1).await;
    }))
    .await;
    for (device, expected) in [(1, 40), (2, 80), (3, 40)] {
        let fetched = store.fetch(&DeviceId([device; 16]), 0, 500).await.unwrap();
        assert_eq!(seqs(&fetched.entries), (1..=expected).collect::<Vec<u64>>(), "device {device}");
        assert_eq!((fetched.head, fetched.acked), (expected, 0));
    }
    let Some(Body::Envelope(envelope)) = &store.fetch(&DeviceId([1; 16]), 39, 1).await.unwrap().entries[0].body else {
        panic!("not an envelope");
    };
    assert_eq!((envelope.epoch, envelope.accepted_at_ms, envelope.payload.len()), (3, 77, 10));
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn acknowledged_entries_and_their_payloads_go(store: &Store) {
    let [one, two, three] = [1, 2, 3].map(|n| DeviceId([n; 16]));
    assert_eq!(store.ack(&one, 40).await.unwrap(), 40);
    assert_eq!(store.ack(&three, 40).await.unwrap(), 40);
    assert_eq!(payload_rows(store).await, 80, "device 2 still needs all of them");
    assert_eq!(store.ack(&two, 30).await.unwrap(), 30);
    assert_eq!(store.ack(&two, 10).await.unwrap(), 30, "an older acknowledgement changes nothing");
    assert!(matches!(store.ack(&two, 81).await, Err(Error::AckBeyondHead { head: 80 })));
    assert_eq!(payload_rows(store).await, 50);
    assert_eq!(seqs(&store.fetch(&two, 0, 2).await.unwrap().entries), [31, 32]);
    assert_eq!(store.ack(&two, 80).await.unwrap(), 80);
    assert_eq!(payload_rows(store).await, 0);
    put(store, &[payload(200, 1, &[2])], u64::MAX >> 1).await;
    assert_eq!(seqs(&store.fetch(&two, 80, 10).await.unwrap().entries), [81], "sequences go on");
    store.ack(&two, 81).await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn expired_entries_become_one_gap(store: &Store) {
    let device = DeviceId([10; 16]);
    for (tag, expires_ms) in [(300, 50), (301, 60), (302, 5000)] {
        put(store, &[payload(tag, 5, &[10])], expires_ms).await;
    }
    let gap_of = |entry: &Entry| match &entry.body {
        Some(Body::Gap(gap)) => (entry.seq, gap.from, gap.to, gap.reason()),
        _ => panic!("not a gap"),
    };
    assert_eq!(store.expire(59).await.unwrap(), 1);
    let entries = store.fetch(&device, 0, 10).await.unwrap().entries;
    assert_eq!((gap_of(&entries[0]), entries.len()), ((1, 1, 1, GapReason::Expired), 3));
    assert_eq!(store.expire(60).await.unwrap(), 1);
    let entries = store.fetch(&device, 0, 10).await.unwrap().entries;
    assert_eq!((gap_of(&entries[0]), seqs(&entries)), ((2, 1, 2, GapReason::Expired), vec![2, 3]));
    assert_eq!(store.expire(60).await.unwrap(), 0);
    assert_eq!(payload_rows(store).await, 1);
    store.ack(&device, 3).await.unwrap();
    assert_eq!(payload_rows(store).await, 0);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn large_mailboxes_come_in_pieces(store: &Store) {
    let device = DeviceId([20; 16]);
    let payloads: Vec<_> = (0..5).map(|n| payload(400 + n, 256 << 10, &[20])).collect();
    put(store, &payloads, u64::MAX >> 1).await;
    let first = store.fetch(&device, 0, 500).await.unwrap();
    assert_eq!((seqs(&first.entries), first.head), (vec![1, 2], 5), "a response stays below 768 KiB");
    assert_eq!(seqs(&store.fetch(&device, 4, 500).await.unwrap().entries), [5]);
    assert_eq!(store.fetch(&device, 5, 500).await.unwrap().entries, []);
    store.ack(&device, 5).await.unwrap();
}

fn group(id: u8, pair: Option<Pair>) -> NewGroup {
    NewGroup {
        id: GroupId([id; 16]),
        kind: GroupKind::Direct,
        epoch: 1,
        state: vec![1],
        members: vec![DeviceId([1; 16]), DeviceId([2; 16])],
        pair,
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn one_change_wins_an_epoch(store: &Store) {
    let id = GroupId([50; 16]);
    let mut tx = store.db.begin().await.unwrap();
    Store::create_group(&mut tx, &group(50, None)).await.unwrap();
    tx.commit().await.unwrap();
    let outcomes = join_all((0..16u8).map(|n| async move {
        let mut tx = store.db.begin().await.unwrap();
        let change = Change {
            id,
            from: 1,
            state: vec![n],
            added: vec![DeviceId([100 + n; 16])],
            removed: vec![DeviceId([2; 16])],
        };
        let outcome = Store::advance(&mut tx, &change).await;
        if outcome.is_ok() {
            tx.commit().await.unwrap();
        }
        (n, outcome)
    }))
    .await;
    let winners: Vec<u8> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1);
    for (_, outcome) in &outcomes {
        assert!(matches!(outcome, Ok(()) | Err(Error::WrongEpoch { current: 2 })));
    }
    let row = store.group(&id).await.unwrap().unwrap();
    assert_eq!((row.epoch, row.state, row.kind), (2, vec![winners[0]], GroupKind::Direct));
    let mut tx = store.db.begin().await.unwrap();
    let mut rosters: BTreeMap<_, _> =
        Store::rosters(&mut tx, &BTreeSet::from([id, GroupId([51; 16])])).await.unwrap().into_iter().collect();
    let mut roster = rosters.remove(&id).unwrap();
    roster.members.sort();
    assert_eq!(roster.members, [DeviceId([1; 16]), DeviceId([100 + winners[0]; 16])]);
    assert!(rosters.is_empty(), "unknown groups are left out");
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_pair_has_one_direct_conversation(store: &Store) {
    let pair = Some(Pair { low: AccountId([1; 16]), high: AccountId([2; 16]) });
    let outcomes = join_all((60..68u8).map(|id| async move {
        let mut tx = store.db.begin().await.unwrap();
        let outcome = Store::create_group(&mut tx, &group(id, pair)).await;
        if outcome.is_ok() {
            tx.commit().await.unwrap();
        }
        (id, outcome)
    }))
    .await;
    let winner = outcomes.iter().find(|(_, outcome)| outcome.is_ok()).unwrap().0;
    for (id, outcome) in outcomes {
        match outcome {
            Ok(()) => assert_eq!(id, winner),
            Err(Error::ConversationExists(existing)) => assert_eq!(existing, GroupId([winner; 16])),
            Err(other) => panic!("{other}"),
        }
    }
    let mut tx = store.db.begin().await.unwrap();
    assert!(matches!(Store::create_group(&mut tx, &group(winner, None)).await, Err(Error::GroupExists)));
}
