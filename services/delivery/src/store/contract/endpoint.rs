//! Who is to be woken, and by whom.

use futures_util::future::join_all;
use qpc_wire::DeviceId;

use super::{payload, put};
use crate::{
    domain::mailbox::Payload,
    store::{Due, EndpointState, Store, Times},
};

const FIRST: DeviceId = DeviceId([0; 16]);
const LAST: DeviceId = DeviceId([255; 16]);
const AFTER_MS: u64 = 5_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Far from 0, as times are.
const T: u64 = 100 * DAY_MS;

pub(super) async fn check(store: &Store) {
    who_does_not_come_is_due_once(store).await;
    a_claim_that_nobody_settles_lapses(store).await;
    an_endpoint_that_was_replaced_is_not_touched(store).await;
    endpoints_come_in_pages(store).await;
    each_is_claimed_once(store).await;
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn due(store: &Store, now_ms: u64) -> Vec<Due> {
    store.claim_due(&FIRST, &LAST, Times { now_ms, after_ms: AFTER_MS }, 100).await.unwrap()
}

async fn arrives(store: &Store, tag: u16, device: u8, accepted_ms: u64) {
    put(store, &[Payload { accepted_ms, ..payload(tag, 5, &[device]) }], u64::MAX >> 1).await;
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn who_does_not_come_is_due_once(store: &Store) {
    let device = DeviceId([80; 16]);
    store.set_endpoint(&device, b"sealed", T, 30_000).await.unwrap();
    assert_eq!(due(store, T).await, [], "no mailbox");
    arrives(store, 700, 80, T).await;
    assert_eq!(due(store, T + AFTER_MS - 1).await, []);
    arrives(store, 701, 80, T + AFTER_MS).await;
    let found = due(store, T + AFTER_MS).await;
    let expected = Due { device, sealed: b"sealed".to_vec(), head: 2, failures: 0, refusals: 0 };
    assert_eq!(found, [expected], "the oldest counts");
    store.settle_woken(&found[0], T + 35_000).await.unwrap();

    arrives(store, 702, 80, T + AFTER_MS).await;
    assert_eq!(due(store, T + DAY_MS).await, [], "not before it has come");
    store.ack(&device, 1, T).await.unwrap();
    assert_eq!(due(store, T + DAY_MS).await, [], "and has taken all that it was woken for");
    assert_eq!(due(store, T + DAY_MS + 35_000).await.len(), 1, "but for a day at the most");
    store.settle_woken(&Due { head: 2, ..found[0].clone() }, T + 35_000).await.unwrap();
    store.ack(&device, 2, T).await.unwrap();
    assert_eq!(due(store, T + 34_999).await, []);
    assert_eq!(due(store, T + 35_000).await.len(), 1, "it has come, and something new is there");
    store.settle_woken(&found[0], T).await.unwrap();
    store.ack(&device, 3, T).await.unwrap();
    assert_eq!(due(store, T + 10 * DAY_MS).await, [], "nothing waits");
    store.clear_endpoint(&device).await.unwrap();
    assert_eq!(store.endpoint(&device).await.unwrap(), None);
    store.remove_endpoint(&device).await.unwrap();
    assert_eq!(store.endpoint(&device).await.unwrap(), None);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_claim_that_nobody_settles_lapses(store: &Store) {
    let device = DeviceId([81; 16]);
    store.set_endpoint(&device, b"sealed", T, 30_000).await.unwrap();
    arrives(store, 710, 81, T).await;
    assert_eq!(due(store, T + AFTER_MS).await.len(), 1);
    assert_eq!(due(store, T + AFTER_MS + 59_999).await, []);
    let found = due(store, T + AFTER_MS + 60_000).await;
    assert_eq!(found.len(), 1);
    store.settle_failed(&Due { failures: 3, refusals: 2, ..found[0].clone() }, T + 100_000).await.unwrap();
    assert_eq!(due(store, T + 99_999).await, []);
    let again = due(store, T + 100_000).await;
    assert_eq!((again[0].failures, again[0].refusals), (3, 2));
    store.settle_over(&again[0], EndpointState::Gone, T).await.unwrap();
    assert_eq!(due(store, T + 10 * DAY_MS).await, []);
    let left = store.endpoint(&device).await.unwrap().unwrap();
    assert_eq!((left.sealed, left.state, left.since_day), (Vec::new(), EndpointState::Gone, 100));
    store.remove_endpoint(&device).await.unwrap();
    store.ack(&device, 1, T).await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn an_endpoint_that_was_replaced_is_not_touched(store: &Store) {
    let device = DeviceId([82; 16]);
    store.set_endpoint(&device, b"old", T, 30_000).await.unwrap();
    arrives(store, 720, 82, T).await;
    let old = due(store, T + AFTER_MS).await.remove(0);
    // The claim goes on for no longer than a pause, and no shorter for having been taken away in between.
    store.clear_endpoint(&device).await.unwrap();
    store.set_endpoint(&device, b"new", T + AFTER_MS, 30_000).await.unwrap();
    store.settle_over(&old, EndpointState::Gone, T).await.unwrap();
    store.settle_woken(&old, T + 10 * DAY_MS).await.unwrap();
    store.settle_failed(&old, T + 10 * DAY_MS).await.unwrap();
    assert_eq!(due(store, T + AFTER_MS + 29_999).await, []);
    let new = due(store, T + AFTER_MS + 30_000).await;
    assert_eq!((new[0].sealed.as_slice(), new[0].failures), (b"new".as_slice(), 0));
    store.remove_endpoint(&device).await.unwrap();
    store.ack(&device, 1, T).await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn endpoints_come_in_pages(store: &Store) {
    let devices: Vec<DeviceId> = (90..95).map(|n| DeviceId([n; 16])).collect();
    for (n, device) in devices.iter().enumerate() {
        store.set_endpoint(device, b"sealed", T, 30_000).await.unwrap();
        arrives(store, 730 + n as u16, device.0[0], T).await;
    }
    assert_eq!(store.endpoints_end(&FIRST, 2).await.unwrap(), Some(devices[1]));
    assert_eq!(store.endpoints_end(&devices[1], 3).await.unwrap(), Some(devices[4]));
    assert_eq!(store.endpoints_end(&devices[1], 4).await.unwrap(), None);
    let times = Times { now_ms: T + AFTER_MS, after_ms: AFTER_MS };
    let of = async |after, to, most| {
        let due = store.claim_due(after, to, times, most).await.unwrap();
        due.into_iter().map(|due| due.device).collect::<Vec<_>>()
    };
    assert_eq!(of(&devices[0], &devices[3], 2).await, devices[1..3]);
    assert_eq!(of(&devices[0], &devices[3], 9).await, devices[3..4], "above the first and up to the last");
    for device in &devices {
        store.remove_endpoint(device).await.unwrap();
        store.ack(device, 1, T).await.unwrap();
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn each_is_claimed_once(store: &Store) {
    for n in 0..20 {
        let device = 100 + n;
        store.set_endpoint(&DeviceId([device; 16]), b"sealed", T, 30_000).await.unwrap();
        arrives(store, 740 + u16::from(n), device, T).await;
    }
    let claimed = join_all((0..8).map(|_| due(store, T + AFTER_MS))).await.concat();
    let mut devices: Vec<u8> = claimed.iter().map(|due| due.device.0[0]).collect();
    devices.sort_unstable();
    assert_eq!(devices, (100..120).collect::<Vec<u8>>());
    for n in 100..120 {
        let device = DeviceId([n; 16]);
        store.remove_endpoint(&device).await.unwrap();
        store.ack(&device, 1, T).await.unwrap();
    }
}
