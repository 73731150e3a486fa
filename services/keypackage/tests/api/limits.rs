//! The first fetch that is refused, and until when.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use qpc_chassis::cache::{Cache, CacheError, Take, Taken};
use qpc_crypto::Suite;
use qpc_keypackage::Config;
use qpc_wire::{Code, Status, methods, v1};

use crate::world::{Machine, World, bytes, key};

const TEN_MINUTES: u64 = 10 * 60 * 1000;

async fn fetch(world: &World, from: &Machine, of: &[&Machine]) -> Result<v1::FetchKeyPackageRequest, Status> {
    let request = v1::FetchKeyPackageRequest {
        idempotency_key: key(),
        suite: Suite::Classic.id().into(),
        device_ids: of.iter().map(|machine| machine.id().to_bytes()).collect(),
    };
    world.call::<methods::FetchKeyPackage>(Some(from), request.clone()).await.map(|_| request)
}

fn wait<R>(result: Result<R, Status>) -> (Code, u64) {
    let refused = result.err().expect("the call was to be refused");
    (refused.code, refused.retry_after_ms)
}

async fn stock(world: &World, machine: &Machine) {
    let request = v1::UploadKeyPackageRequest {
        idempotency_key: key(),
        suite: Suite::Classic.id().into(),
        key_packages: machine.packages(Suite::Classic, 12),
        last_resort: bytes(b""),
    };
    world.call::<methods::UploadKeyPackage>(Some(machine), request).await.unwrap();
}

#[tokio::test]
async fn an_account_fetches_six_packages_of_a_device_and_one_every_ten_minutes() {
    let world = World::new().await;
    let (bob, carol, alice) = (world.machine(), world.machine(), world.machine());
    let second = alice.sibling(&world);
    stock(&world, &bob).await;
    let mut last = None;
    for number in 0..6 {
        let from = if number % 2 == 0 { &alice } else { &second };
        last = Some(fetch(&world, from, &[&bob]).await.unwrap());
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(wait(fetch(&world, &alice, &[&bob]).await), (Code::ResourceExhausted, TEN_MINUTES - 60_000));
    let repeated = last.unwrap();
    world.call::<methods::FetchKeyPackage>(Some(&second), repeated).await.expect("a repetition is free");
    assert_eq!(wait(fetch(&world, &second, &[&carol, &bob]).await).0, Code::ResourceExhausted, "the whole call");
    for _ in 0..6 {
        fetch(&world, &alice, &[&carol]).await.expect("the refused call took nothing of the other device");
    }
    fetch(&world, &carol, &[&bob]).await.expect("another account");

    world.pass(Duration::from_millis(TEN_MINUTES - 60_000));
    fetch(&world, &alice, &[&bob]).await.expect("ten minutes are over");
    assert_eq!(wait(fetch(&world, &alice, &[&bob]).await), (Code::ResourceExhausted, TEN_MINUTES));
}

#[tokio::test]
async fn devices_of_the_own_account_are_let_in_without_limit() {
    let world = World::new().await;
    let (alice, bob) = (world.machine(), world.machine());
    let second = alice.sibling(&world);
    for _ in 0..20 {
        fetch(&world, &alice, &[&second]).await.unwrap();
    }
    for _ in 0..6 {
        fetch(&world, &alice, &[&second, &bob]).await.unwrap();
    }
    assert_eq!(wait(fetch(&world, &alice, &[&second, &bob]).await), (Code::ResourceExhausted, TEN_MINUTES));
}

#[tokio::test]
async fn without_a_cache_nobody_fetches_packages() {
    let world = World::with(Config::default(), |_| Arc::new(Away)).await;
    let (alice, bob) = (world.machine(), world.machine());
    assert_eq!(wait(fetch(&world, &alice, &[&bob]).await), (Code::Unavailable, 1_000));
}

struct Away;

fn away<T: Send + 'static>() -> BoxFuture<'static, Result<T, CacheError>> {
    async { Err(CacheError::Timeout) }.boxed()
}

impl Cache for Away {
    fn get_many(&self, _: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, CacheError>> {
        away()
    }

    fn set_many(&self, _: Vec<(String, String)>, _: Duration) -> BoxFuture<'_, Result<Vec<bool>, CacheError>> {
        away()
    }

    fn set_new(&self, _: String, _: String, _: Duration) -> BoxFuture<'_, Result<String, CacheError>> {
        away()
    }

    fn remove_if(&self, _: String, _: String) -> BoxFuture<'_, Result<bool, CacheError>> {
        away()
    }

    fn take(&self, _: Vec<Take>, _: u64) -> BoxFuture<'_, Result<Taken, CacheError>> {
        away()
    }

    fn give_back(&self, _: Vec<Take>, _: u64) -> BoxFuture<'_, Result<(), CacheError>> {
        away()
    }
}
