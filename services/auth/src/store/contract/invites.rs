//! Invites, on every engine.

use qpc_wire::v1::InviteVerdict;

use super::Store;
use crate::{
    admission::Refused,
    error::Error,
    store::invites::{self, NewInvite},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) async fn check(store: &Store) {
    uses_end_in_every_way(store).await;
    what_is_rolled_back_is_not_used(store).await;
    expired_ones_are_swept_in_their_time(store).await;
}

async fn create(store: &Store, id: u8, uses: u32, expires_ms: u64) {
    let mut tx = store.db().begin().await.unwrap();
    let invite = NewInvite { id: [id; 16], lookup: [id; 32], uses, note: "note", now_ms: id.into(), expires_ms };
    invites::create(&mut tx, &invite).await.unwrap();
    tx.commit().await.unwrap();
}

async fn take(store: &Store, id: u8, now_ms: u64) -> Result<(), InviteVerdict> {
    let mut tx = store.db().begin().await.unwrap();
    match Store::use_invite(&mut tx, &[id; 32], now_ms).await {
        Ok(()) => {
            tx.commit().await.unwrap();
            Ok(())
        }
        Err(Error::Registration(Refused::Invite(verdict))) => Err(verdict),
        Err(error) => panic!("{error}"),
    }
}

async fn rows(store: &Store, before_ms: u64, limit: u64) -> Vec<(u8, u64)> {
    let mut tx = store.db().begin().await.unwrap();
    let rows = invites::list(&mut tx, before_ms, limit).await.unwrap();
    rows.into_iter().map(|row| (row.invite_id[0], row.used)).collect()
}

async fn uses_end_in_every_way(store: &Store) {
    create(store, 1, 2, 1_000).await;
    create(store, 2, 9, 1_000).await;
    assert_eq!(take(store, 3, 999).await, Err(InviteVerdict::Unknown));
    for _ in 0..2 {
        take(store, 1, 999).await.unwrap();
    }
    assert_eq!(take(store, 1, 999).await, Err(InviteVerdict::UsedUp));
    assert_eq!(take(store, 1, 1_000).await, Err(InviteVerdict::Expired), "which is said first");
    take(store, 2, 999).await.unwrap();
    assert_eq!(take(store, 2, 1_000).await, Err(InviteVerdict::Expired));
    assert_eq!(rows(store, u64::MAX, 9).await, [(2, 1), (1, 2)], "newest first");
    assert_eq!(rows(store, 2, 9).await, [(1, 2)]);
    assert_eq!(rows(store, u64::MAX, 1).await, [(2, 1)]);
    let mut tx = store.db().begin().await.unwrap();
    invites::revoke(&mut tx, &[2; 16]).await.unwrap();
    assert!(matches!(invites::revoke(&mut tx, &[2; 16]).await, Err(Error::UnknownInvite)));
    tx.commit().await.unwrap();
    assert_eq!(take(store, 2, 999).await, Err(InviteVerdict::Unknown));
}

async fn what_is_rolled_back_is_not_used(store: &Store) {
    create(store, 4, 1, 1_000).await;
    let mut tx = store.db().begin().await.unwrap();
    Store::use_invite(&mut tx, &[4; 32], 5).await.unwrap();
    drop(tx);
    take(store, 4, 5).await.unwrap();
}

async fn expired_ones_are_swept_in_their_time(store: &Store) {
    create(store, 5, 1, 2 * DAY_MS).await;
    assert_eq!(store.sweep_invites(2 * DAY_MS).await.unwrap(), 2, "those of before");
    assert_eq!(rows(store, u64::MAX, 9).await, [(5, 0)]);
    assert_eq!(store.sweep_invites(2 * DAY_MS + 1).await.unwrap(), 1);
}
