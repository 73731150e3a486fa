//! What the store does on every engine.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use qpc_chassis::limits::Rate;
use qpc_wire::{
    DeviceId, GroupId,
    v1::{Entry, EnvelopeKind, Franking, GapReason, Pointer, Receipt, entry::Body},
};

mod endpoint;
mod groups;
mod shared;

use super::{Acked, Fit, Store, append, append_within, restored};
use crate::{
    domain::{
        inbound::{Inbound, Over},
        mailbox::{Payload, Recipient, payload_id},
    },
    error::Error,
};

/// A time of acknowledgements.
const NOW_MS: u64 = 1_000;

/// Panics where `store`, over an empty schema of its own, departs from the contract.
#[allow(clippy::unwrap_used, reason = "test code")]
pub async fn check(store: &Store) {
    concurrent_fan_outs_leave_no_holes(store).await;
    acknowledged_entries_and_their_payloads_go(store).await;
    the_oldest_message_is_told_of_whom_one_waits_for(store).await;
    expired_entries_become_one_gap(store).await;
    what_disappears_goes_before_what_came_before_it(store).await;
    large_mailboxes_come_in_pieces(store).await;
    mailboxes_take_so_much_and_no_more(store).await;
    a_forgotten_mailbox_is_empty_and_goes_on(store).await;
    endpoint::check(store).await;
    groups::check(store).await;
    shared::check(store).await;
    // Last, since no mailbox is as it was.
    after_a_restore_mailboxes_go_on_where_nobody_has_read(store).await;
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
        shared: None,
        receipt: Some(Receipt { seq: u64::from(tag), ..Receipt::default() }),
        franking: Some(Franking { commitment: vec![tag as u8; 32].into(), tag: vec![9; 32].into(), anonymous: true }),
        disappears_ms: None,
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
    assert!(envelope.shared.is_none() && envelope.receipt.is_some());
    pointers_come_back(store).await;
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn pointers_come_back(store: &Store) {
    let pointer = Pointer { id: Bytes::from_static(&[7; 16]), size: 99, key: Bytes::from_static(b"secret") };
    put(store, &[Payload { shared: Some(pointer.clone()), receipt: None, ..payload(90, 0, &[40]) }], u64::MAX >> 1)
        .await;
    let fetched = store.fetch(&DeviceId([40; 16]), 0, 1).await.unwrap();
    let Some(Body::Envelope(envelope)) = &fetched.entries[0].body else { panic!("not an envelope") };
    assert_eq!(envelope.shared, Some(Pointer { key: Bytes::new(), ..pointer }), "the key is not stored");
    assert_eq!(envelope.receipt, None);
    store.ack(&DeviceId([40; 16]), 1, NOW_MS).await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn mailboxes_take_so_much_and_no_more(store: &Store) {
    let rate = Rate::new(1_000, 100, Duration::from_secs(1));
    // Far from 0, as times are.
    let inbound = |at_ms: u64| Inbound { rate, now_ms: 1_900_000_000_000 + at_ms };
    let put = async |payloads: &[Payload], at_ms| {
        let mut tx = store.db.begin().await.unwrap();
        match append_within(&mut tx, payloads, u64::MAX >> 1, &inbound(at_ms)).await.unwrap() {
            Fit::Placed(placed) => {
                tx.commit().await.unwrap();
                Ok(placed.len())
            }
            Fit::Over(over) => Err(over),
        }
    };
    assert_eq!(put(&[payload(600, 400, &[70, 71]), payload(601, 600, &[70])], 0).await, Ok(3));
    let over = |payload, retry_after_ms| Err(vec![Over { payload, retry_after_ms }]);
    assert_eq!(put(&[payload(602, 600, &[71]), payload(603, 1, &[70, 71])], 0).await, over(1, 10));
    assert_eq!(put(&[payload(602, 600, &[71])], 0).await, Ok(1), "what was rolled back was not counted");
    assert_eq!(put(&[payload(604, 10, &[70])], 99).await, over(0, 1));
    assert_eq!(put(&[payload(604, 10, &[70])], 100).await, Ok(1));
    assert_eq!(put(&[payload(605, 1_000, &[70, 71])], 3_600_000).await, Ok(2), "full, and no fuller");
    assert_eq!(put(&[payload(606, 1, &[70, 71])], 3_600_000).await, over(0, 10));
    for device in [70, 71] {
        store.empty(&DeviceId([device; 16]), NOW_MS).await.unwrap();
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_forgotten_mailbox_is_empty_and_goes_on(store: &Store) {
    let device = DeviceId([41; 16]);
    let payloads: Vec<_> = (0..1100).map(|n| payload(500 + n, 1, &[41])).collect();
    put(store, &payloads, u64::MAX >> 1).await;
    let before = payload_rows(store).await;
    store.empty(&device, NOW_MS).await.unwrap();
    store.empty(&device, NOW_MS).await.unwrap();
    assert_eq!(payload_rows(store).await, before - 1100);
    assert!(store.fetch(&device, 0, 10).await.unwrap().entries.is_empty());
    put(store, &[payload(91, 1, &[41])], u64::MAX >> 1).await;
    assert_eq!(seqs(&store.fetch(&device, 0, 10).await.unwrap().entries), [1101], "sequences go on");
    assert_eq!(store.ack(&device, 1101, NOW_MS).await.unwrap(), Acked { seq: 1101, removed: 1 });
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn acknowledged_entries_and_their_payloads_go(store: &Store) {
    let [one, two, three] = [1, 2, 3].map(|n| DeviceId([n; 16]));
    assert_eq!(store.ack(&one, 40, NOW_MS).await.unwrap().seq, 40);
    assert_eq!(store.ack(&three, 40, NOW_MS).await.unwrap().seq, 40);
    assert_eq!(payload_rows(store).await, 80, "device 2 still needs all of them");
    assert_eq!(store.ack(&two, 30, NOW_MS).await.unwrap().seq, 30);
    assert_eq!(store.ack(&two, 10, NOW_MS).await.unwrap().seq, 30, "an older acknowledgement changes nothing");
    assert!(matches!(store.ack(&two, 81, NOW_MS).await, Err(Error::AckBeyondHead { head: 80 })));
    assert_eq!(payload_rows(store).await, 50);
    assert_eq!(seqs(&store.fetch(&two, 0, 2).await.unwrap().entries), [31, 32]);
    assert_eq!(store.ack(&two, 80, NOW_MS).await.unwrap().seq, 80);
    assert_eq!(payload_rows(store).await, 0);
    put(store, &[payload(200, 1, &[2])], u64::MAX >> 1).await;
    assert_eq!(seqs(&store.fetch(&two, 80, 10).await.unwrap().entries), [81], "sequences go on");
    store.ack(&two, 81, NOW_MS).await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn the_oldest_message_is_told_of_whom_one_waits_for(store: &Store) {
    let [one, two, three] = [81, 82, 83].map(|n| DeviceId([n; 16]));
    for (n, accepted_ms, recipients) in [(700, 500, &[81][..]), (701, 400, &[81, 82]), (702, 600, &[82])] {
        put(store, &[Payload { accepted_ms, ..payload(n, 1, recipients) }], u64::MAX >> 1).await;
    }
    // In the order of the mailbox, which is that of acceptance but for clocks.
    assert_eq!(store.oldest(&[one, two, three]).await.unwrap(), [(one, 500), (two, 400)].into());
    store.ack(&two, 1, NOW_MS).await.unwrap();
    assert_eq!(store.oldest(&[two, three]).await.unwrap(), [(two, 600)].into());
    assert!(store.oldest(&[]).await.unwrap().is_empty());
    for device in [one, two] {
        store.empty(&device, NOW_MS).await.unwrap();
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn what_disappears_goes_before_what_came_before_it(store: &Store) {
    let device = DeviceId([11; 16]);
    for (n, disappears_ms) in [None, Some(50), Some(60), None, Some(50), Some(u64::MAX >> 1)].into_iter().enumerate() {
        put(store, &[Payload { disappears_ms, ..payload(400 + n as u16, 5, &[11]) }], 5_000).await;
    }
    let shape = async || {
        let entries = store.fetch(&device, 0, 10).await.unwrap().entries;
        let gap = |entry: &Entry| match &entry.body {
            Some(Body::Gap(gap)) => (gap.from, gap.to),
            _ => (entry.seq, entry.seq),
        };
        let gaps = entries.iter().filter(|entry| matches!(entry.body, Some(Body::Gap(_)))).count();
        (entries.iter().map(gap).collect::<Vec<_>>(), gaps)
    };
    store.expire(59).await.unwrap();
    assert_eq!(shape().await, (vec![(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)], 2));
    store.expire(60).await.unwrap();
    assert_eq!(shape().await, (vec![(1, 1), (2, 3), (4, 4), (5, 5), (6, 6)], 2));
    assert_eq!(store.expire(4_999).await.unwrap(), 0);
    // None stays longer than the server keeps others.
    store.expire(5_000).await.unwrap();
    assert_eq!(shape().await, (vec![(1, 6)], 1));
    store.ack(&device, 6, NOW_MS).await.unwrap();
    assert_eq!(payload_rows(store).await, 0);
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
    store.ack(&device, 3, NOW_MS).await.unwrap();
    assert_eq!(payload_rows(store).await, 0);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn after_a_restore_mailboxes_go_on_where_nobody_has_read(store: &Store) {
    const AT_MS: u64 = 1_900_000_000_000;
    let [old, new] = [190, 191].map(|n| DeviceId([n; 16]));
    let step = async |now_ms| {
        let mut tx = store.db.begin().await.unwrap();
        let done = restored(&mut tx, now_ms).await.unwrap();
        tx.commit().await.unwrap();
        assert!(done.ends_with(" mailboxes moved on, with a gap in each") && !done.starts_with('0'), "{done}");
    };
    let gap_of = |entry: &Entry| match &entry.body {
        Some(Body::Gap(gap)) => Some((gap.from, gap.to, gap.reason())),
        _ => None,
    };
    put(store, &[payload(800, 1, &[190]), payload(801, 1, &[190])], u64::MAX >> 1).await;
    store.ack(&old, 1, NOW_MS).await.unwrap();
    step(AT_MS).await;
    put(store, &[payload(802, 1, &[190, 191]), payload(803, 1, &[191])], u64::MAX >> 1).await;
    let fetched = store.fetch(&old, 0, 10).await.unwrap();
    assert_eq!(
        (seqs(&fetched.entries), fetched.head),
        (vec![2, AT_MS, AT_MS + 1], AT_MS + 1),
        "what waits still comes"
    );
    assert_eq!(gap_of(&fetched.entries[1]), Some((3, AT_MS, GapReason::Restored)));
    assert_eq!(seqs(&store.fetch(&old, 7, 10).await.unwrap().entries), [AT_MS, AT_MS + 1], "to one who was ahead");
    let fetched = store.fetch(&new, 2, 10).await.unwrap();
    assert_eq!((seqs(&fetched.entries), fetched.acked), (vec![AT_MS + 1, AT_MS + 2], 0), "no mailbox begins below");

    // Once more at the same time, which is in the past of one mailbox; then later.
    step(AT_MS).await;
    step(AT_MS + 5_000_000).await;
    put(store, &[payload(804, 1, &[190]), payload(805, 1, &[192])], 50).await;
    let entries = store.fetch(&old, AT_MS + 1, 10).await.unwrap().entries;
    assert_eq!(seqs(&entries), [AT_MS + 1_000_001, AT_MS + 5_000_000, AT_MS + 5_000_001]);
    assert_eq!(gap_of(&entries[1]), Some((AT_MS + 1_000_002, AT_MS + 5_000_000, GapReason::Restored)));
    assert_eq!(seqs(&store.fetch(&DeviceId([192; 16]), 0, 10).await.unwrap().entries), [AT_MS + 5_000_001]);
    // What expires beside them is another thing.
    store.expire(60).await.unwrap();
    let entries = store.fetch(&old, AT_MS + 1_000_001, 10).await.unwrap().entries;
    let reasons: Vec<_> = entries.iter().filter_map(gap_of).map(|(.., reason)| reason).collect();
    assert_eq!(reasons, [GapReason::Restored, GapReason::Expired]);
    store.ack(&old, AT_MS + 5_000_001, NOW_MS).await.unwrap();
    assert!(store.fetch(&old, 0, 10).await.unwrap().entries.is_empty());
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
    store.ack(&device, 5, NOW_MS).await.unwrap();
}
