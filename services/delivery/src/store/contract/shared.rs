//! What is fetched in pieces and brought in parts.

use bytes::Bytes;
use qpc_wire::{DeviceId, limits::PART, v1::Pointer};

use super::{NOW_MS, payload, put};
use crate::{
    domain::mailbox::Payload,
    store::{SHARED_MS, StagedPart, Store},
};

const HOUR_MS: u64 = 60 * 60 * 1000;

pub(super) async fn check(store: &Store) {
    pieces_make_the_whole(store).await;
    a_device_stages_two_commits(store).await;
    what_no_mailbox_points_to_goes_soon(store).await;
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn what_no_mailbox_points_to_goes_soon(store: &Store) {
    const KEPT_MS: u64 = 1_000 * HOUR_MS;
    let pointer = Pointer { id: vec![6; 16].into(), size: 9, key: Bytes::new() };
    let welcome = |tag, device| Payload { shared: Some(pointer.clone()), ..payload(tag, 0, &[device]) };
    let mut tx = store.db.begin().await.unwrap();
    Store::share(&mut tx, &[6; 16], b"a tree", KEPT_MS).await.unwrap();
    tx.commit().await.unwrap();
    put(store, &[welcome(600, 60), welcome(601, 61)], KEPT_MS).await;
    let expires_ms = async || store.shared(&[6; 16]).await.unwrap().unwrap().1;
    store.ack(&DeviceId([60; 16]), 1, NOW_MS).await.unwrap();
    assert_eq!(expires_ms().await, KEPT_MS, "somebody still waits for it");
    store.ack(&DeviceId([61; 16]), 1, NOW_MS).await.unwrap();
    assert_eq!(expires_ms().await, NOW_MS + SHARED_MS);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn pieces_make_the_whole(store: &Store) {
    let body: Vec<u8> = (0..PART + 100).map(|n| (n % 251) as u8).collect();
    let mut tx = store.db.begin().await.unwrap();
    Store::share(&mut tx, &[1; 16], &body, 50).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.shared(&[1; 16]).await.unwrap(), Some((body.len() as u64, 50)));
    let piece = async |offset: u64| store.piece(&[1; 16], offset).await.unwrap().unwrap();
    assert_eq!(piece(0).await, body[..PART]);
    assert_eq!(piece(PART as u64).await, body[PART..]);
    assert_eq!(piece(7).await, body[7..PART + 7]);
    for beyond in [body.len() as u64, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(piece(beyond).await, [0; 0]);
    }
    assert!(store.piece(&[2; 16], 0).await.unwrap().is_none() && store.shared(b"").await.unwrap().is_none());
    assert_eq!(store.expire_shared(49).await.unwrap(), 0);
    assert_eq!(store.expire_shared(50).await.unwrap(), 1);
    assert!(store.piece(&[1; 16], 0).await.unwrap().is_none());
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_device_stages_two_commits(store: &Store) {
    let device = DeviceId([30; 16]);
    let part = |part, body: &str| StagedPart { part, total: 9, body: body.as_bytes().to_vec() };
    let stage = async |id: u8, part: &StagedPart, now_ms| store.stage(&device, &[id; 16], part, now_ms).await.unwrap();
    let staged = async |id: u8| store.staged(&device, &[id; 16]).await.unwrap();
    stage(1, &part(1, "b"), 10).await;
    stage(1, &part(0, "a"), 10).await;
    stage(1, &part(1, "B"), 11).await;
    assert_eq!(staged(1).await, [part(0, "a"), part(1, "B")]);
    stage(2, &part(0, "c"), 20).await;
    stage(3, &part(0, "d"), 30).await;
    assert_eq!((staged(1).await.len(), staged(2).await.len(), staged(3).await.len()), (0, 1, 1), "the oldest goes");
    assert!(store.staged(&DeviceId([31; 16]), &[2; 16]).await.unwrap().is_empty(), "each device has its own");
    assert_eq!(store.expire_shared(HOUR_MS + 20).await.unwrap(), 1);
    let mut tx = store.db.begin().await.unwrap();
    Store::unstage(&mut tx, &device, &[3; 16]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(staged(3).await.is_empty());
}
