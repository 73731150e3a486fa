use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use prost::Message;
use qpc_auth::Config;
use qpc_chassis::cache::{Cache, CacheError, MemoryCache, Take, Taken};
use qpc_wire::{Code, Status, methods, v1};

use crate::world::{Connection, Person, World, bytes, code, connection};

async fn finish(
    world: &World,
    from: &Connection,
    request: v1::OpaqueLoginFinishRequest,
) -> Result<v1::OpaqueLoginFinishResponse, Status> {
    world.call::<methods::OpaqueLoginFinish>(from, request).await
}

/// What a client that does not know the password can send.
async fn guess(world: &World, from: &Connection, person: &Person, name: &str) -> (usize, Status) {
    let started = world.start_login(from, name, "wrong").await.unwrap();
    let request = v1::OpaqueLoginFinishRequest {
        device_proof: person.login_proof(from, &started.response.login_state),
        login_state: started.response.login_state.clone(),
        credential_finalization: bytes(&[7; 64]),
        device_certificate: bytes(&person.certificate.to_bytes()),
    };
    (started.response.encoded_len(), finish(world, from, request).await.unwrap_err())
}

#[tokio::test]
async fn the_right_password_gives_a_session_of_the_device() {
    let world = World::new().await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    let from = connection(2);
    let session = world.log_in(&from, &alice).await.unwrap();
    assert_eq!(session.session_token.len(), 32);
    assert_eq!(session.account_id, alice.certificate.account_id().to_bytes());
    assert_eq!(session.device_id, alice.certificate.device_id().to_bytes());
    assert_eq!(session.expires_at_ms, world.deps.runtime.now_ms() + 30 * 24 * 60 * 60 * 1000);
    let other = world.log_in(&from, &alice).await.unwrap();
    assert_ne!(other.session_token, session.session_token);
}

#[tokio::test]
async fn a_wrong_password_cannot_be_told_from_an_unknown_user() {
    let world = World::new().await;
    let mut alice = Person::new("alice");
    world.register(&alice).await;
    let from = connection(2);
    let (wrong_len, wrong) = guess(&world, &from, &alice, "alice").await;
    // A recorded cost encodes in as many bytes as the recommended one.
    alice.name = "alicf".to_owned();
    let (unknown_len, unknown) = guess(&world, &from, &alice, "alicf").await;
    assert_eq!(wrong_len, unknown_len);
    assert_eq!(wrong, unknown);
    assert_eq!((wrong.code, wrong.message.as_str()), (Code::Unauthenticated, "login failed"));
    assert_eq!(wrong.encode(), unknown.encode());
}

#[tokio::test]
async fn expired_and_foreign_login_states_fail_like_a_wrong_password() {
    let world = World::new().await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    let (from, other) = (connection(2), connection(3));
    let (_, wrong) = guess(&world, &from, &alice, "alice").await;

    let started = world.start_login(&from, "alice", alice.password).await.unwrap();
    let request = alice.finish_login(&from, started);
    let moved = v1::OpaqueLoginFinishRequest {
        device_proof: alice.login_proof(&other, &request.login_state),
        ..request.clone()
    };
    assert_eq!(finish(&world, &other, moved).await.unwrap_err(), wrong, "another connection");
    let mut forged = request.clone();
    forged.login_state =
        [&request.login_state[..100], &[!request.login_state[100]], &request.login_state[101..]].concat().into();
    assert_eq!(finish(&world, &from, forged).await.unwrap_err(), wrong, "changed state");
    let mut unproven = request.clone();
    unproven.device_proof = bytes(&[1; 64]);
    assert_eq!(finish(&world, &from, unproven).await.unwrap_err(), wrong, "no proof");
    let mut empty = request.clone();
    empty.login_state = bytes(b"");
    assert_eq!(finish(&world, &from, empty).await.unwrap_err(), wrong, "no state");

    world.pass(Duration::from_millis(59_999));
    finish(&world, &from, request.clone()).await.expect("in time");
    world.pass(Duration::from_millis(1));
    assert_eq!(finish(&world, &from, request).await.unwrap_err(), wrong, "too late");
}

#[tokio::test]
async fn only_devices_of_the_account_log_in() {
    let world = World::new().await;
    let (alice, mallory) = (Person::new("alice"), Person::new("mallory"));
    world.register(&alice).await;
    world.register(&mallory).await;
    let from = connection(2);
    let started = world.start_login(&from, "alice", alice.password).await.unwrap();
    let mut request = alice.finish_login(&from, started);
    request.device_certificate = bytes(&mallory.certificate.to_bytes());
    request.device_proof = mallory.login_proof(&from, &request.login_state);
    assert_eq!(code(finish(&world, &from, request.clone()).await), Code::PermissionDenied);
    request.device_certificate = bytes(b"nonsense");
    assert_eq!(code(finish(&world, &from, request.clone()).await), Code::InvalidArgument);
    request.device_certificate = bytes(&alice.certificate.to_bytes());
    let stolen = finish(&world, &from, request).await;
    assert_eq!(code(stolen), Code::Unauthenticated, "the proof is of another device");
}

#[tokio::test]
async fn an_account_has_a_limited_number_of_devices() {
    let chosen = Config { devices_per_account: 3, ..Config::default() };
    for (config, most) in [(Config::default(), 10), (chosen, 3)] {
        let world = World::with(config, |clock| Arc::new(MemoryCache::new(clock))).await;
        let alice = Person::new("alice");
        world.register(&alice).await;
        for _ in 1..most {
            world.log_in(&connection(2), &alice.another_device()).await.unwrap();
        }
        let refused = world.log_in(&connection(2), &alice.another_device()).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 0), "waiting does not help");
        world.log_in(&connection(2), &alice).await.expect("known devices still log in");
    }
}

#[tokio::test]
async fn guesses_at_a_name_are_limited_whether_it_exists_or_not() {
    let world = World::new().await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    let from = connection(2);
    for _ in 0..15 {
        world.log_in(&from, &alice).await.expect("logins that succeed are no failures");
    }
    for name in ["alice", "nobody"] {
        for _ in 0..10 {
            guess(&world, &from, &alice, name).await;
        }
        let refused = world.start_login(&from, name, alice.password).await.err().unwrap();
        assert_eq!(refused.code, Code::ResourceExhausted, "{name}");
        assert_eq!(refused.retry_after_ms, 6 * 60 * 1000, "{name}");
    }
    world.pass(Duration::from_secs(6 * 60) - Duration::from_millis(1));
    assert_eq!(world.log_in(&from, &alice).await.unwrap_err().retry_after_ms, 1, "trying does not lengthen the wait");
    world.pass(Duration::from_millis(1));
    world.log_in(&from, &alice).await.expect("one is forgiven every six minutes");
    guess(&world, &from, &alice, "alice").await;
    assert_eq!(code(world.log_in(&from, &alice).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_login_counts_as_finished_once() {
    let world = World::new().await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    let from = connection(2);
    let started = world.start_login(&from, "alice", alice.password).await.unwrap();
    let request = alice.finish_login(&from, started);
    for _ in 0..5 {
        finish(&world, &from, request.clone()).await.expect("the answer may have been lost");
    }
    for _ in 0..10 {
        guess(&world, &from, &alice, "alice").await;
    }
    assert_eq!(code(world.start_login(&from, "alice", "wrong").await), Code::ResourceExhausted);
}

#[tokio::test]
async fn an_address_guesses_a_hundred_times_and_a_hundred_times_an_hour() {
    let world = World::new().await;
    let from = |address| Connection { address, ..connection(2) };
    for number in 0..100 {
        world.start_login(&from(b"one"), &format!("user{number}"), "wrong").await.unwrap();
    }
    world.pass(Duration::from_secs(6));
    let refused = world.start_login(&from(b"one"), "another", "wrong").await.err().unwrap();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 30_000));
    world.start_login(&from(b"two"), "another", "wrong").await.expect("another address");
    for number in 0..101 {
        world.start_login(&from(b""), &format!("user{number}"), "wrong").await.expect("no address, no limit");
    }
    world.pass(Duration::from_secs(30));
    world.start_login(&from(b"one"), "another", "wrong").await.expect("one every 36 seconds");
    assert_eq!(code(world.start_login(&from(b"one"), "onemore", "wrong").await), Code::ResourceExhausted);
}

#[tokio::test]
async fn without_a_cache_nobody_guesses() {
    let world = World::with(Config::default(), |_| Arc::new(BrokenCache)).await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    assert_eq!(code(world.log_in(&connection(2), &alice).await), Code::Unavailable);
}

pub(crate) struct BrokenCache;

fn broken<T: Send + 'static>() -> BoxFuture<'static, Result<T, CacheError>> {
    async { Err(CacheError::Timeout) }.boxed()
}

impl Cache for BrokenCache {
    fn get_many(&self, _: Vec<String>) -> BoxFuture<'_, Result<Vec<Option<String>>, CacheError>> {
        broken()
    }

    fn set_many(&self, _: Vec<(String, String)>, _: Duration) -> BoxFuture<'_, Result<Vec<bool>, CacheError>> {
        broken()
    }

    fn set_new(&self, _: String, _: String, _: Duration) -> BoxFuture<'_, Result<String, CacheError>> {
        broken()
    }

    fn remove_if(&self, _: String, _: String) -> BoxFuture<'_, Result<bool, CacheError>> {
        broken()
    }

    fn take(&self, _: Vec<Take>, _: u64) -> BoxFuture<'_, Result<Taken, CacheError>> {
        broken()
    }

    fn give_back(&self, _: Vec<Take>, _: u64) -> BoxFuture<'_, Result<(), CacheError>> {
        broken()
    }
}
