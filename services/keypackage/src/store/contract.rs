//! What the store does on every engine.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use qpc_chassis::{Runtime, db::Db};
use qpc_crypto::Suite;
use qpc_wire::DeviceId;
use rand::RngCore;

use super::{MIGRATIONS, QueueKey, Store, Taken, restored};
use crate::{domain::Upload, error::Error};

const LIMIT: u32 = 100;

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let setting = format!("sqlite:{}", folder.path().display());
    check(&Store::new(Db::open(&setting, "keypackage", 1, MIGRATIONS).await.unwrap())).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
#[allow(clippy::disallowed_methods, reason = "tests of servers are told where they are")]
async fn postgres_keeps_the_contract() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let scope = format!("t{:016x}", Runtime::system().rng().next_u64());
    let db = Db::open(&url, &scope, 32, MIGRATIONS).await.unwrap();
    // All connections at once, or the first would have done most of a race before the others are there.
    drop(join_all((0..32).map(|_| db.begin())).await);
    let store = Store::new(db);
    check(&store).await;
    claimers_do_not_wait_for_each_other(&store).await;
}

async fn check(store: &Store) {
    packages_go_out_oldest_first_then_the_last_resort(store).await;
    concurrent_claimers_get_distinct_packages(store).await;
    a_claim_that_is_rolled_back_leaves_the_package(store).await;
    uploads_are_limited_and_refused_whole(store).await;
    concurrent_uploads_keep_the_limit(store).await;
    old_packages_are_swept(store).await;
    queue_keys_are_replaced_and_found(store).await;
    a_forgotten_device_leaves_nothing_and_brings_nothing(store).await;
    after_a_restore_no_single_use_package_is_left(store).await;
}

fn device() -> DeviceId {
    let mut id = [0; 16];
    Runtime::system().rng().fill_bytes(&mut id);
    DeviceId(id)
}

fn package() -> Bytes {
    let mut package = vec![0; 64];
    Runtime::system().rng().fill_bytes(&mut package);
    package.into()
}

fn packages(number: usize) -> Vec<Bytes> {
    (0..number).map(|_| package()).collect()
}

async fn upload(
    store: &Store,
    device: DeviceId,
    suite: Suite,
    key_packages: &[Bytes],
    last_resort: Option<&Bytes>,
) -> Result<u32, Error> {
    let upload = Upload { suite, key_packages: key_packages.to_vec(), last_resort: last_resort.cloned() };
    let mut tx = store.db().begin().await?;
    let available = Store::upload(&mut tx, device, &upload, LIMIT, 1_000).await?;
    tx.commit().await?;
    Ok(available)
}

async fn take(store: &Store, device: DeviceId, suite: Suite) -> Option<Taken> {
    let mut tx = store.db().begin().await.unwrap();
    let taken = Store::take(&mut tx, device, suite).await.unwrap();
    tx.commit().await.unwrap();
    taken
}

/// A single-use package as soon as there is one: on Postgres the rollback of a dropped transaction takes a moment.
async fn take_single(store: &Store, device: DeviceId, suite: Suite) -> Vec<u8> {
    let wait = async {
        loop {
            match take(store, device, suite).await {
                Some(taken) if !taken.last_resort => return taken.package,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("a package comes back")
}

fn single(package: &Bytes, available: u32) -> Option<Taken> {
    Some(Taken { package: package.to_vec(), last_resort: false, available })
}

fn last(package: &Bytes) -> Option<Taken> {
    Some(Taken { package: package.to_vec(), last_resort: true, available: 0 })
}

async fn packages_go_out_oldest_first_then_the_last_resort(store: &Store) {
    let (owner, other) = (device(), device());
    let (two, resort) = (packages(2), package());
    assert_eq!(upload(store, owner, Suite::Hybrid, &two, Some(&resort)).await.unwrap(), 2);
    assert_eq!(take(store, other, Suite::Hybrid).await, None, "another device");
    assert_eq!(take(store, owner, Suite::Classic).await, None, "another suite");
    assert_eq!(take(store, owner, Suite::Hybrid).await, single(&two[0], 1));
    assert_eq!(take(store, owner, Suite::Hybrid).await, single(&two[1], 0));
    assert_eq!(take(store, owner, Suite::Hybrid).await, last(&resort));
    let newer = package();
    assert_eq!(upload(store, owner, Suite::Hybrid, &[], Some(&newer)).await.unwrap(), 0);
    for _ in 0..2 {
        assert_eq!(take(store, owner, Suite::Hybrid).await, last(&newer));
    }
}

async fn concurrent_claimers_get_distinct_packages(store: &Store) {
    let owner = device();
    let resort = package();
    upload(store, owner, Suite::Classic, &packages(64), Some(&resort)).await.unwrap();
    let taken = join_all((0..64).map(|_| take(store, owner, Suite::Classic))).await;
    let distinct: HashSet<Vec<u8>> = taken.iter().flatten().map(|taken| taken.package.clone()).collect();
    assert_eq!(distinct.len(), 64);
    assert!(taken.iter().flatten().all(|taken| !taken.last_resort), "free packages existed");
    assert_eq!(take(store, owner, Suite::Classic).await, last(&resort));
}

async fn a_claim_that_is_rolled_back_leaves_the_package(store: &Store) {
    let owner = device();
    let one = packages(1);
    upload(store, owner, Suite::Hybrid, &one, None).await.unwrap();
    let mut tx = store.db().begin().await.unwrap();
    assert_eq!(Store::take(&mut tx, owner, Suite::Hybrid).await.unwrap(), single(&one[0], 0));
    drop(tx);
    assert_eq!(take_single(store, owner, Suite::Hybrid).await, one[0].to_vec());
    assert_eq!(take(store, owner, Suite::Hybrid).await, None);
}

/// Where transactions run side by side.
async fn claimers_do_not_wait_for_each_other(store: &Store) {
    let owner = device();
    let (two, resort) = (packages(2), package());
    upload(store, owner, Suite::Hybrid, &two, Some(&resort)).await.unwrap();
    let mut first = store.db().begin().await.unwrap();
    let mut second = store.db().begin().await.unwrap();
    let mut third = store.db().begin().await.unwrap();
    let package = |taken: Option<Taken>| taken.map(|taken| (taken.package, taken.last_resort));
    let taken = Store::take(&mut first, owner, Suite::Hybrid).await.unwrap();
    assert_eq!(package(taken), Some((two[0].to_vec(), false)));
    let taken = Store::take(&mut second, owner, Suite::Hybrid).await.unwrap();
    assert_eq!(package(taken), Some((two[1].to_vec(), false)), "the held one is passed over");
    let taken = Store::take(&mut third, owner, Suite::Hybrid).await.unwrap();
    assert_eq!(package(taken), Some((resort.to_vec(), true)), "all are held");
    drop((first, second, third));
    let mut back = [take_single(store, owner, Suite::Hybrid).await, take_single(store, owner, Suite::Hybrid).await];
    back.sort();
    let mut expected = [two[0].to_vec(), two[1].to_vec()];
    expected.sort();
    assert_eq!(back, expected);
}

async fn uploads_are_limited_and_refused_whole(store: &Store) {
    let owner = device();
    let first = packages(99);
    upload(store, owner, Suite::Classic, &first, None).await.unwrap();
    let full = upload(store, owner, Suite::Classic, &packages(2), None).await;
    assert!(matches!(full, Err(Error::Full { limit: LIMIT, available: 99 })), "{full:?}");
    let duplicate = upload(store, owner, Suite::Classic, &first[..1], None).await;
    assert!(matches!(duplicate, Err(Error::Duplicate)), "{duplicate:?}");
    let one = package();
    let twice = upload(store, device(), Suite::Classic, &[one.clone(), one.clone()], None).await;
    assert!(matches!(twice, Err(Error::Duplicate)), "{twice:?}");
    assert_eq!(upload(store, owner, Suite::Classic, &[one], None).await.unwrap(), 100, "nothing of the above is kept");
    assert_eq!(upload(store, owner, Suite::Classic, &[], Some(&package())).await.unwrap(), 100);
    assert_eq!(upload(store, owner, Suite::Hybrid, &packages(1), None).await.unwrap(), 1, "suites count apart");
}

async fn concurrent_uploads_keep_the_limit(store: &Store) {
    let owner = device();
    let batches: Vec<_> = (0..8).map(|_| packages(30)).collect();
    let results = join_all(batches.iter().map(|batch| upload(store, owner, Suite::Classic, batch, None))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(upload(store, owner, Suite::Classic, &[], None).await.unwrap(), 90);
}

async fn old_packages_are_swept(store: &Store) {
    let owner = device();
    let resort = package();
    upload(store, owner, Suite::Hybrid, &packages(3), Some(&resort)).await.unwrap();
    assert_eq!(store.sweep(1_000).await.unwrap(), 0);
    assert_eq!(take(store, owner, Suite::Hybrid).await.map(|taken| taken.last_resort), Some(false));
    assert!(store.sweep(1_001).await.unwrap() >= 3);
    assert_eq!(take(store, owner, Suite::Hybrid).await, None, "what has expired is no last resort either");
}

async fn queue_keys_are_replaced_and_found(store: &Store) {
    let key = |device, byte| QueueKey { device, public_key: vec![byte; 1216], signature: vec![byte; 64] };
    let (one, two, unknown) = (device(), device(), device());
    store.set_queue_key(&key(one, 1), 1).await.unwrap();
    store.set_queue_key(&key(two, 2), 1).await.unwrap();
    store.set_queue_key(&key(one, 3), 2).await.unwrap();
    let mut found = store.queue_keys(&[one, unknown, two]).await.unwrap();
    found.sort_by_key(|key| key.public_key[0]);
    assert_eq!(found, [key(two, 2), key(one, 3)]);
    assert_eq!(store.queue_keys(&[unknown]).await.unwrap(), []);
    assert_eq!(store.queue_keys(&[]).await.unwrap(), []);
}

async fn a_forgotten_device_leaves_nothing_and_brings_nothing(store: &Store) {
    let (gone, stays) = (device(), device());
    let key = |device| QueueKey { device, public_key: vec![1; 1216], signature: vec![1; 64] };
    for owner in [gone, stays] {
        for suite in [Suite::Classic, Suite::Hybrid] {
            upload(store, owner, suite, &packages(2), Some(&package())).await.unwrap();
        }
        store.set_queue_key(&key(owner), 1).await.unwrap();
    }
    // Uploads at the same moment come before, and go, or after, and are refused.
    let late = async { upload(store, gone, Suite::Classic, &packages(1), None).await };
    let late_key = async { store.set_queue_key(&key(gone), 2).await };
    let (_, _, forgotten) = tokio::join!(late, late_key, store.forget(gone, 5));
    forgotten.unwrap();
    store.forget(gone, 6).await.expect("once more changes nothing");

    for suite in [Suite::Classic, Suite::Hybrid] {
        assert_eq!(take(store, gone, suite).await, None);
        assert!(take(store, stays, suite).await.is_some());
        let refused = upload(store, gone, suite, &packages(1), None).await;
        assert!(matches!(refused, Err(Error::Forgotten)), "{refused:?}");
        let refused = upload(store, gone, suite, &[], Some(&package())).await;
        assert!(matches!(refused, Err(Error::Forgotten)), "{refused:?}");
    }
    assert!(matches!(store.set_queue_key(&key(gone), 7).await, Err(Error::Forgotten)));
    assert_eq!(store.queue_keys(&[gone, stays]).await.unwrap(), [key(stays)]);
}

async fn after_a_restore_no_single_use_package_is_left(store: &Store) {
    let owner = device();
    let (resort, suites) = (package(), [Suite::Classic, Suite::Hybrid]);
    for suite in suites {
        upload(store, owner, suite, &packages(3), Some(&resort)).await.unwrap();
    }
    let step = async || {
        let mut tx = store.db().begin().await.unwrap();
        let done = restored(&mut tx, 1).await.unwrap();
        tx.commit().await.unwrap();
        done
    };
    let done = step().await;
    let purged: u32 = done.split(' ').next().unwrap().parse().unwrap();
    assert!(purged >= 6, "{done}");
    for suite in suites {
        assert_eq!(take(store, owner, suite).await, last(&resort));
    }
    assert_eq!(step().await, "0 single-use KeyPackages purged, those of last resort stay");
    let new = packages(1);
    upload(store, owner, Suite::Hybrid, &new, None).await.unwrap();
    assert_eq!(take(store, owner, Suite::Hybrid).await, single(&new[0], 0));
}
