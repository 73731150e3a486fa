//! KeyPackages are taken by others and replaced by their owner.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{call, client, identity, random_key};
use qpc_sdk::{Identification, Suite};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{
    methods::{FetchKeyPackage, UploadKeyPackage},
    v1,
};

/// Packages that are left when their owner is told.
const LOW: u32 = 10;

/// Packages of `owner` in stock.
async fn stock(cluster: &Cluster, owner: &Identification) -> u32 {
    let request = v1::UploadKeyPackageRequest {
        idempotency_key: random_key(cluster),
        suite: Suite::Hybrid.id().into(),
        ..Default::default()
    };
    call::<UploadKeyPackage>(cluster, Some(identity(owner)), &request).await.unwrap().available
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_that_runs_low_is_filled_up_again_and_again() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let (owner, taker) = (alice.whoami().await.unwrap(), bob.whoami().await.unwrap());
    let has_more_than = async |few: u32| stock(&cluster, &owner).await > few;
    let mut taken = 0;
    for _ in 0..4 {
        eventually("a stock", || async { has_more_than(LOW).await.then_some(()) }).await;
        // Low is told more than once, since more are taken while the owner is at work.
        while has_more_than(LOW / 2).await {
            let request = v1::FetchKeyPackageRequest {
                idempotency_key: random_key(&cluster),
                suite: Suite::Hybrid.id().into(),
                device_ids: vec![owner.device.to_bytes()],
            };
            let answer = call::<FetchKeyPackage>(&cluster, Some(identity(&taker)), &request).await.unwrap();
            assert!(!answer.key_packages[0].last_resort);
            taken += 1;
        }
    }
    assert!(taken > 20, "more than one stock: {taken}");
    assert_eq!(alice.stats().await.unwrap().undecryptable, 0);
}
