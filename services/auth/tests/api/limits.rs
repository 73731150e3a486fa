//! The first call that is refused, and until when.

use std::{sync::Arc, time::Duration};

use qpc_auth::Config;
use qpc_chassis::cache::MemoryCache;
use qpc_wire::{Code, Status, methods, v1};

use crate::{
    login::BrokenCache,
    world::{Connection, Person, World, code, connection},
};

fn wait<R>(result: Result<R, Status>) -> (Code, u64) {
    let refused = result.err().expect("the call was to be refused");
    (refused.code, refused.retry_after_ms)
}

async fn register(world: &World, from: &Connection, name: &str) -> Result<v1::OpaqueRegisterFinishRequest, Status> {
    let request = world.registration(from, &Person::new(name)).await;
    world.call::<methods::OpaqueRegisterFinish>(from, request.clone()).await.map(|_| request)
}

#[tokio::test]
async fn an_address_registers_six_accounts_and_one_every_half_minute() {
    let world = World::new().await;
    let from = |address| Connection { address, ..connection(1) };
    let mut first = None;
    for number in 0..6 {
        first = Some(register(&world, &from(b"one"), &format!("user{number}")).await.unwrap());
    }
    world.pass(Duration::from_secs(10));
    assert_eq!(wait(register(&world, &from(b"one"), "user6").await), (Code::ResourceExhausted, 20_000));
    let repeated = first.unwrap();
    world.call::<methods::OpaqueRegisterFinish>(&from(b"one"), repeated).await.expect("a repetition is free");
    register(&world, &from(b"two"), "user7").await.expect("another address");
    for number in 10..20 {
        register(&world, &from(b""), &format!("user{number}")).await.expect("no address, no limit");
    }
    world.pass(Duration::from_secs(20));
    register(&world, &from(b"one"), "user6").await.expect("half a minute is over");
    assert_eq!(wait(register(&world, &from(b"one"), "user8").await), (Code::ResourceExhausted, 30_000));
}

#[tokio::test]
async fn without_a_cache_nobody_registers() {
    let world = World::with(Config::default(), |_| Arc::new(BrokenCache)).await;
    let from = Connection { address: b"one", ..connection(1) };
    assert_eq!(wait(register(&world, &from, "alice").await), (Code::Unavailable, 1_000));
}

async fn look_up(world: &World, from: &Connection, name: &str) -> Result<v1::ResolveUserResponse, Status> {
    world.call::<methods::ResolveUser>(from, v1::ResolveUserRequest { username: name.to_owned() }).await
}

#[tokio::test]
async fn an_account_looks_up_a_hundred_names_and_one_every_quarter() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let second = alice.another_device();
    world.log_in(&connection(2), &second).await.unwrap();
    for number in 0..100 {
        let from = if number % 2 == 0 { alice.attached(3) } else { second.attached(4) };
        let name = if number % 3 == 0 { "bob" } else { "nobody" };
        assert_ne!(look_up(&world, &from, name).await.err().map(|status| status.code), Some(Code::ResourceExhausted));
    }
    let quarter = 15 * 60 * 1000;
    assert_eq!(wait(look_up(&world, &second.attached(4), "bob").await), (Code::ResourceExhausted, quarter));
    look_up(&world, &bob.attached(5), "alice").await.expect("another account");
    world.pass(Duration::from_millis(quarter - 1));
    assert_eq!(wait(look_up(&world, &alice.attached(3), "bob").await), (Code::ResourceExhausted, 1));
    world.pass(Duration::from_millis(1));
    look_up(&world, &alice.attached(3), "bob").await.expect("a quarter of an hour is over");
    assert_eq!(wait(look_up(&world, &alice.attached(3), "bob").await), (Code::ResourceExhausted, quarter));
}

#[tokio::test]
async fn without_a_cache_each_replica_limits_lookups_by_itself() {
    let config = Config { name_lookups: "3:1/1m".parse().unwrap(), ..Config::default() };
    let world = World::with(config, |_| Arc::new(BrokenCache)).await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    for _ in 0..3 {
        look_up(&world, &alice.attached(3), "alice").await.unwrap();
    }
    assert_eq!(wait(look_up(&world, &alice.attached(3), "alice").await), (Code::ResourceExhausted, 60_000));
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let unlimited = || "off".parse().unwrap();
    let config = Config {
        registrations_per_address: unlimited(),
        links_per_address: unlimited(),
        login_failures_per_address: unlimited(),
        login_failures_per_name: unlimited(),
        name_lookups: unlimited(),
        ..Config::default()
    };
    let world = World::with(config, |clock| Arc::new(MemoryCache::new(clock))).await;
    let from = Connection { address: b"one", ..connection(1) };
    for number in 0..20 {
        register(&world, &from, &format!("user{number}")).await.unwrap();
        world.start_login(&from, "user0", "wrong").await.unwrap();
    }
    assert_eq!(code(look_up(&world, &from, "user0").await), Code::Unauthenticated);
}
