//! Groups.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use qpc_chassis::db::Tx;
use qpc_crypto::receipt::Link;
use qpc_wire::{AccountId, DeviceId, GroupId, v1::GroupKind};

use crate::{
    domain::direct::Pair,
    error::Error,
    store::{Change, Mark, Member, NewGroup, Single, Store},
};

pub(super) async fn check(store: &Store) {
    one_change_wins_an_epoch(store).await;
    a_change_without_epoch_moves_the_revision(store).await;
    chains_have_no_holes(store).await;
    what_is_single_is_founded_once(store).await;
    a_successor_takes_the_place(store).await;
    roles_follow_the_policy(store).await;
    tags_tell_forks(store).await;
    a_deleted_group_leaves_nothing(store).await;
    revoked_devices_are_out(store).await;
    invites_are_counted(store).await;
    tokens_are_spent_once(store).await;
}

fn id(n: u8) -> GroupId {
    GroupId([n; 16])
}

fn member(n: u8) -> Member {
    Member { device: DeviceId([n; 16]), account: AccountId([n; 16]), role: 2 }
}

fn group(n: u8, single: Option<Single>) -> NewGroup {
    NewGroup {
        id: id(n),
        kind: GroupKind::Direct,
        epoch: 1,
        mark: Mark { tag: [1; 16], delivery_key: None },
        state: vec![1],
        members: vec![member(1), member(2)],
        single,
        predecessor: None,
        next: Link { seq: 2, prev: [1; 32], not_before_ms: 1 },
        shared: None,
    }
}

fn change(n: u8, epoch: u64) -> Change {
    Change {
        id: id(n),
        epoch,
        mark: Some(Mark { tag: [epoch as u8; 16], delivery_key: Some([epoch as u8; 32]) }),
        state: vec![epoch as u8],
        added: Vec::new(),
        removed: Vec::new(),
        roles: Vec::new(),
        next: Link { seq: epoch + 1, prev: [epoch as u8; 32], not_before_ms: epoch },
        shared: None,
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn create(store: &Store, group: &NewGroup) -> Result<(), Error> {
    let mut tx = store.db.begin().await.unwrap();
    Store::create_group(&mut tx, group).await?;
    tx.commit().await.unwrap();
    Ok(())
}

/// Takes a step as the calls do.
async fn step(tx: &mut Tx, from: (u64, u64), change: &Change) -> Result<(), Error> {
    Store::lock_one(tx, change.id).await?.expect(from.0, from.1)?;
    Store::advance(tx, change).await
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn one_change_wins_an_epoch(store: &Store) {
    create(store, &group(50, None)).await.unwrap();
    let outcomes = join_all((0..16u8).map(|n| async move {
        let mut tx = store.db.begin().await.unwrap();
        let change = Change {
            state: vec![n],
            added: vec![member(100 + n)],
            removed: vec![DeviceId([2; 16])],
            shared: Some([n; 16]),
            ..change(50, 2)
        };
        let outcome = step(&mut tx, (1, 0), &change).await;
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
    let row = store.group(&id(50)).await.unwrap().unwrap();
    assert_eq!((row.epoch, row.revision, row.kind, row.successor), (2, 1, GroupKind::Direct, None));
    assert_eq!((row.state, row.shared), (vec![winners[0]], (vec![winners[0]; 16], 2)));
    assert_eq!(store.members(&id(50)).await.unwrap(), [member(1), member(100 + winners[0])]);

    let mut tx = store.db.begin().await.unwrap();
    let mut rosters = Store::rosters(&mut tx, &BTreeSet::from([id(50), id(51)])).await.unwrap();
    let roster = rosters.remove(&id(50)).unwrap();
    assert_eq!(roster.members, BTreeMap::from([(DeviceId([1; 16]), 2), (DeviceId([100 + winners[0]; 16]), 2)]));
    let mark = |n: u8, delivery_key| Mark { tag: [n; 16], delivery_key };
    assert_eq!(roster.marks, BTreeMap::from([(1, mark(1, None)), (2, mark(2, Some([2; 32])))]));
    assert_eq!(roster.head.link, Link { seq: 3, prev: [2; 32], not_before_ms: 2 });
    assert!(rosters.is_empty(), "unknown groups are left out");
    assert!(matches!(Store::lock_one(&mut tx, id(51)).await, Err(Error::NoSuchGroup)));
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_change_without_epoch_moves_the_revision(store: &Store) {
    create(store, &group(52, None)).await.unwrap();
    let proposal = Change { mark: None, removed: vec![DeviceId([2; 16])], ..change(52, 1) };
    let mut tx = store.db.begin().await.unwrap();
    step(&mut tx, (1, 0), &proposal).await.unwrap();
    assert!(matches!(step(&mut tx, (1, 0), &change(52, 2)).await, Err(Error::Moved)));
    step(&mut tx, (1, 1), &change(52, 2)).await.unwrap();
    tx.commit().await.unwrap();
    let row = store.group(&id(52)).await.unwrap().unwrap();
    assert_eq!((row.epoch, row.revision), (2, 2));
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn chains_have_no_holes(store: &Store) {
    for n in [53, 54] {
        create(store, &group(n, None)).await.unwrap();
    }
    // Opposite orders of groups would deadlock if they were not locked in one.
    join_all((0..20u8).map(|n| async move {
        let mut tx = store.db.begin().await.unwrap();
        let rosters = Store::rosters(&mut tx, &BTreeSet::from([id(53), id(54)])).await.unwrap();
        let places = rosters
            .into_iter()
            .map(|(group, roster)| (group, Link { seq: roster.head.link.seq + 1, prev: [n; 32], not_before_ms: 7 }))
            .collect();
        Store::follow(&mut tx, &places).await.unwrap();
        tx.commit().await.unwrap();
    }))
    .await;
    let mut tx = store.db.begin().await.unwrap();
    let heads = Store::lock(&mut tx, &BTreeSet::from([id(53), id(54)])).await.unwrap();
    assert_eq!(heads.values().map(|head| head.link.seq).collect::<Vec<_>>(), [22, 22]);
    assert_eq!(heads[&id(53)].link.prev, heads[&id(54)].link.prev);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn what_is_single_is_founded_once(store: &Store) {
    let pair = Pair { low: AccountId([1; 16]), high: AccountId([2; 16]) };
    for (first, single) in [(60, Single::Direct(pair)), (70, Single::Own(AccountId([1; 16])))] {
        let attempts = (first..first + 8).map(|n| async move { (n, create(store, &group(n, Some(single))).await) });
        let outcomes = join_all(attempts).await;
        let winner = outcomes.iter().find(|(_, outcome)| outcome.is_ok()).unwrap().0;
        for (n, outcome) in outcomes {
            match outcome {
                Ok(()) => assert_eq!(n, winner),
                Err(Error::ConversationExists(existing)) => assert_eq!(existing, id(winner)),
                Err(other) => panic!("{other}"),
            }
        }
        assert!(matches!(create(store, &group(winner, None)).await, Err(Error::GroupExists)));
    }
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_successor_takes_the_place(store: &Store) {
    let [one, two, three] = [81, 82, 83].map(|n| AccountId([n; 16]));
    let single = Some(Single::Direct(Pair { low: one, high: two }));
    create(store, &group(80, single)).await.unwrap();
    let other = Some(Single::Direct(Pair { low: one, high: three }));
    let next = |n, single| NewGroup { predecessor: Some(id(80)), ..group(n, single) };
    assert!(matches!(create(store, &next(81, other)).await, Err(Error::NotDirect)), "other accounts");
    create(store, &next(81, single)).await.unwrap();
    let row = store.group(&id(80)).await.unwrap().unwrap();
    assert_eq!((row.successor, row.revision), (Some(id(81)), 1));
    assert!(matches!(create(store, &group(82, single)).await, Err(Error::ConversationExists(now)) if now == id(81)));

    let mut tx = store.db.begin().await.unwrap();
    assert!(matches!(step(&mut tx, (1, 1), &change(80, 2)).await, Err(Error::Replaced(now)) if now == id(81)));
    let head = Store::lock_one(&mut tx, id(81)).await.unwrap();
    let may = async |tx: &mut Tx, account: u8, least| {
        Store::check_predecessor(tx, Some(&head), &id(81), &AccountId([account; 16]), least).await
    };
    assert!(may(&mut tx, 1, 2).await.is_ok());
    assert!(matches!(may(&mut tx, 1, 3).await, Err(Error::NotAdmin)));
    assert!(matches!(may(&mut tx, 9, 1).await, Err(Error::NoSuchGroup)));
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn roles_follow_the_policy(store: &Store) {
    let second = Member { device: DeviceId([9; 16]), ..member(1) };
    create(store, &NewGroup { members: vec![member(1), second, member(2)], ..group(84, None) }).await.unwrap();
    let mut tx = store.db.begin().await.unwrap();
    let roles = vec![(AccountId([1; 16]), 1), (AccountId([77; 16]), 4)];
    Store::advance(&mut tx, &Change { roles, ..change(84, 2) }).await.unwrap();
    tx.commit().await.unwrap();
    let roles: Vec<u8> = store.members(&id(84)).await.unwrap().iter().map(|member| member.role).collect();
    assert_eq!(roles, [1, 2, 1]);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn tags_tell_forks(store: &Store) {
    create(store, &group(85, None)).await.unwrap();
    let mut tx = store.db.begin().await.unwrap();
    for epoch in 2..=66 {
        Store::advance(&mut tx, &change(85, epoch)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let forked = async |device: u8, epoch: u64, tag: u8| {
        store.has_forked(&DeviceId([device; 16]), &id(85), epoch, &[tag; 16]).await.unwrap()
    };
    assert!(!forked(1, 66, 66).await);
    assert!(forked(1, 66, 65).await);
    assert!(forked(1, 3, 9).await, "64 epochs are kept");
    assert!(!forked(1, 2, 9).await, "and no more");
    assert!(!forked(3, 66, 65).await, "nobody else is told");
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn a_deleted_group_leaves_nothing(store: &Store) {
    let single = Some(Single::Own(AccountId([86; 16])));
    create(store, &group(86, single)).await.unwrap();
    let mut tx = store.db.begin().await.unwrap();
    Store::delete_group(&mut tx, &id(86)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.group(&id(86)).await.unwrap().is_none() && store.members(&id(86)).await.unwrap().is_empty());
    create(store, &group(86, single)).await.unwrap();
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn revoked_devices_are_out(store: &Store) {
    let gone = DeviceId([90; 16]);
    create(store, &NewGroup { members: vec![member(1), member(90)], ..group(87, None) }).await.unwrap();
    store.revoke(&gone, 5).await.unwrap();
    store.revoke(&gone, 6).await.unwrap();
    assert_eq!(store.members(&id(87)).await.unwrap(), [member(1)]);
    assert!(store.is_revoked(&gone).await.unwrap() && !store.is_revoked(&DeviceId([1; 16])).await.unwrap());
    let many: Vec<DeviceId> = (0..=255).map(|n| DeviceId([n; 16])).collect();
    let mut tx = store.db.begin().await.unwrap();
    assert_eq!(Store::revoked_of(&mut tx, &many).await.unwrap(), BTreeSet::from([gone]));
    assert!(Store::revoked_of(&mut tx, &[]).await.unwrap().is_empty());
    drop(tx);
    assert_eq!(store.revoked_among(&[gone]).await.unwrap(), BTreeSet::from([gone]));
    assert!(store.revoked_among(&many[..90]).await.unwrap().is_empty());
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn invites_are_counted(store: &Store) {
    let mut tx = store.db.begin().await.unwrap();
    for expected in [1, 2] {
        assert_eq!(Store::use_invite(&mut tx, &id(88), &[1; 32]).await.unwrap(), expected);
    }
    assert_eq!(Store::use_invite(&mut tx, &id(88), &[2; 32]).await.unwrap(), 1);
    Store::keep_invites(&mut tx, &id(88), |key| *key == [2; 32]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.invite_uses(&id(88), &[1; 32]).await.unwrap(), 0);
    assert_eq!(store.invite_uses(&id(88), &[2; 32]).await.unwrap(), 1);
}

#[allow(clippy::unwrap_used, reason = "test code")]
async fn tokens_are_spent_once(store: &Store) {
    let tokens = |from: u8, to: u8| (from..to).map(|n| ([n; 32], 100 + u64::from(n))).collect::<BTreeMap<_, _>>();
    let spend = async |tokens: BTreeMap<[u8; 32], u64>| {
        let mut tx = store.db.begin().await.unwrap();
        let fresh = Store::spend(&mut tx, &tokens).await.unwrap();
        tx.commit().await.unwrap();
        fresh.len()
    };
    assert_eq!(spend(BTreeMap::new()).await, 0);
    assert_eq!(join_all((0..16).map(|_| spend(tokens(0, 40)))).await.iter().sum::<usize>(), 40);
    assert_eq!(spend(tokens(30, 50)).await, 10);
    let mut tx = store.db.begin().await.unwrap();
    assert_eq!(Store::spend(&mut tx, &tokens(60, 61)).await.unwrap().len(), 1);
    drop(tx);
    assert_eq!(spend(tokens(60, 61)).await, 1, "what is rolled back is not spent");
    assert_eq!(store.expire_spent(119).await.unwrap(), 20);
    assert_eq!(spend(tokens(19, 21)).await, 1, "until it would not be taken any more");
}
