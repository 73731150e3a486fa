use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_auth::Config;
use qpc_crypto::{KsfParams, opaque::RegisterClient, recovery, sha256};
use qpc_wire::{Code, Status, methods, proofs, v1};

use crate::{
    login::BrokenCache,
    world::{Connection, Person, World, bytes, code, connection, context, key, rng},
};

/// The token of one of the codes that [`set`] makes.
fn token(set: u8, code: u8) -> Bytes {
    bytes(&[&[set, code][..], &[0; 30]].concat())
}

fn set(id: u8) -> v1::SetRecoveryRequest {
    let row = |code| v1::RecoveryCodeRow {
        lookup: bytes(&recovery::lookup(&token(id, code))),
        wrapped: vec![code; recovery::WRAPPED_LEN].into(),
    };
    v1::SetRecoveryRequest {
        idempotency_key: key(),
        set_id: bytes(&[id; 16]),
        codes: (0..8).map(row).collect(),
        bundle: bytes(b"bundle"),
    }
}

async fn show(world: &World, from: &Connection, token: Bytes) -> Result<v1::UseRecoveryCodeResponse, Status> {
    let request = v1::UseRecoveryCodeRequest { idempotency_key: key(), token };
    world.call::<methods::UseRecoveryCode>(from, request).await
}

async fn status(world: &World, person: &Person) -> v1::RecoveryStatusResponse {
    world.call::<methods::RecoveryStatus>(&person.attached(3), v1::RecoveryStatusRequest {}).await.unwrap()
}

#[tokio::test]
async fn a_code_opens_once_and_a_repetition_is_the_same_use() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let stranger = connection(9);
    assert_eq!(status(&world, &alice).await, v1::RecoveryStatusResponse::default());
    assert_eq!(code(world.call::<methods::SetRecovery>(&stranger, set(1)).await), Code::Unauthenticated);
    world.call::<methods::SetRecovery>(&alice.attached(3), set(1)).await.unwrap();
    assert_eq!((status(&world, &alice).await.codes_left, status(&world, &alice).await.set_id), (8, bytes(&[1; 16])));

    let request = v1::UseRecoveryCodeRequest { idempotency_key: key(), token: token(1, 3) };
    for _ in 0..2 {
        let used = world.call::<methods::UseRecoveryCode>(&stranger, request.clone()).await.unwrap();
        assert_eq!((used.set_id, used.bundle, used.codes_left), (bytes(&[1; 16]), bytes(b"bundle"), 7));
        assert_eq!(used.wrapped, bytes(&[3; recovery::WRAPPED_LEN]));
    }
    // Used, never made, and of a set that was replaced: the same whole error.
    let used = show(&world, &stranger, token(1, 3)).await.unwrap_err();
    let never = show(&world, &stranger, token(7, 7)).await.unwrap_err();
    world.call::<methods::SetRecovery>(&alice.attached(3), set(2)).await.unwrap();
    let replaced = show(&world, &stranger, token(1, 4)).await.unwrap_err();
    assert_eq!(used.code, Code::NotFound);
    assert_eq!(used, never);
    assert_eq!(used, replaced);
    assert_eq!(show(&world, &stranger, bytes(b"short")).await.unwrap_err(), used);
    assert_eq!(status(&world, &alice).await.codes_left, 8);

    let from = alice.attached(3);
    let update = |set_id: &[u8], bundle: &[u8]| {
        let request = v1::UpdateRecoveryRequest { set_id: bytes(set_id), bundle: bytes(bundle) };
        world.call::<methods::UpdateRecovery>(&from, request)
    };
    assert_eq!(code(update(&[1; 16], b"late").await), Code::FailedPrecondition);
    assert_eq!(code(update(&[2; 16], b"").await), Code::InvalidArgument);
    assert_eq!(code(update(&[2; 16], &vec![1; (256 << 10) + 1]).await), Code::InvalidArgument);
    update(&[2; 16], &vec![1; 256 << 10]).await.unwrap();
    assert_eq!(show(&world, &stranger, token(2, 0)).await.unwrap().bundle.len(), 256 << 10);
}

#[tokio::test]
async fn a_set_has_eight_codes_of_its_own() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let keep = |person: &Person, request| {
        let from = person.attached(3);
        let world = &world;
        async move { world.call::<methods::SetRecovery>(&from, request).await }
    };
    let mut seven = set(1);
    seven.codes.pop();
    assert_eq!(code(keep(&alice, seven).await), Code::InvalidArgument);
    let mut twice = set(1);
    twice.codes[1] = twice.codes[0].clone();
    assert_eq!(code(keep(&alice, twice).await), Code::InvalidArgument);
    let mut short = set(1);
    short.codes[1].wrapped = bytes(b"short");
    assert_eq!(code(keep(&alice, short).await), Code::InvalidArgument);
    keep(&alice, set(1)).await.unwrap();
    assert_eq!(code(keep(&mallory, set(1)).await), Code::InvalidArgument, "codes of somebody else");
    assert_eq!(show(&world, &connection(9), token(1, 0)).await.unwrap().codes_left, 7, "stay what they are");
}

#[tokio::test]
async fn an_address_shows_ten_codes_and_then_one_in_six_minutes_right_or_wrong() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    world.call::<methods::SetRecovery>(&alice.attached(3), set(1)).await.unwrap();
    let from = |address| Connection { address, ..connection(9) };
    for number in 0..10 {
        assert_eq!(code(show(&world, &from(b"one"), token(9, number)).await), Code::NotFound);
    }
    world.pass(Duration::from_secs(60));
    let refused = show(&world, &from(b"one"), token(9, 10)).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 5 * 60 * 1000));
    let right = show(&world, &from(b"one"), token(1, 0)).await.unwrap_err();
    assert_eq!(right, refused, "nor is a right one looked at");
    show(&world, &from(b"two"), token(1, 0)).await.expect("another address");
    world.pass(Duration::from_secs(5 * 60));
    show(&world, &from(b"one"), token(1, 1)).await.expect("one more");
    assert_eq!(code(show(&world, &from(b"one"), token(1, 2)).await), Code::ResourceExhausted);

    let broken = World::with(Config::default(), |_| Arc::new(BrokenCache)).await;
    let refused = show(&broken, &from(b"one"), token(1, 0)).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.retry_after_ms > 0);
}

/// A new password for `name`, on the word of `person`.
pub(crate) async fn reset(
    world: &World,
    from: &Connection,
    name: &str,
    person: &Person,
    password: &str,
) -> Result<(), Status> {
    let request = begin(world, from, name, password).await;
    let request = sign(from, person, request);
    world.call::<methods::ResetPassword>(from, request).await.map(drop)
}

async fn begin(world: &World, from: &Connection, name: &str, password: &str) -> v1::ResetPasswordRequest {
    let (client, request) = RegisterClient::start(&mut rng(), password.as_bytes()).unwrap();
    let request = v1::OpaqueRegisterStartRequest { username: name.to_owned(), registration_request: request.into() };
    let started = world.call::<methods::OpaqueRegisterStart>(from, request).await.unwrap();
    let ksf = KsfParams::FLOOR;
    let (upload, _) = client.finish(&mut rng(), password.as_bytes(), &started.registration_response, ksf).unwrap();
    v1::ResetPasswordRequest {
        idempotency_key: key(),
        username: name.to_owned(),
        registration_upload: upload.into(),
        ksf: Some(v1::KsfParams {
            memory_kib: ksf.memory_kib,
            iterations: ksf.iterations,
            parallelism: ksf.parallelism,
        }),
        account_proof: Bytes::new(),
        registration_state: started.registration_state,
    }
}

fn sign(on: &Connection, person: &Person, request: v1::ResetPasswordRequest) -> v1::ResetPasswordRequest {
    let hash = sha256(&[&request.registration_upload]);
    let proof = proofs::reset_password(&on.binding.unwrap(), &hash, &request.username);
    v1::ResetPasswordRequest { account_proof: bytes(&person.account.sign(&proof)), ..request }
}

#[tokio::test]
async fn the_account_key_sets_another_password() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let from = connection(7);
    let foreign = reset(&world, &from, "alice", &mallory, "mine now").await.unwrap_err();
    assert_eq!(foreign.code, Code::Unauthenticated);
    assert_eq!(reset(&world, &from, "nobody", &mallory, "mine now").await.unwrap_err(), foreign);
    // A proof for another connection, another upload or another name proves nothing.
    let request = begin(&world, &from, "alice", "battery staple").await;
    let elsewhere = sign(&connection(8), &alice, request.clone());
    assert_eq!(world.call::<methods::ResetPassword>(&from, elsewhere).await.unwrap_err(), foreign);
    let other = begin(&world, &from, "alice", "other").await;
    let mixed = v1::ResetPasswordRequest { account_proof: sign(&from, &alice, other).account_proof, ..request.clone() };
    assert_eq!(world.call::<methods::ResetPassword>(&from, mixed).await.unwrap_err(), foreign);
    let begun_elsewhere = v1::ResetPasswordRequest {
        registration_state: begin(&world, &from, "mallory", "x").await.registration_state,
        ..request.clone()
    };
    let refused = world.call::<methods::ResetPassword>(&from, sign(&from, &alice, begun_elsewhere)).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    world.log_in(&connection(2), &alice).await.expect("nothing has changed");

    world.call::<methods::ResetPassword>(&from, sign(&from, &alice, request.clone())).await.unwrap();
    // Repeated over another connection, where the proof is another one.
    let again = connection(8);
    world.call::<methods::ResetPassword>(&again, sign(&again, &alice, request)).await.unwrap();
    let old = world.start_login(&connection(2), "alice", alice.password).await.unwrap();
    let (response, context) = (&old.response.credential_response, context(&[2; 32]));
    let opened = old.client.finish(&mut rng(), alice.password.as_bytes(), response, KsfParams::FLOOR, &context);
    assert!(opened.is_err(), "the old one opens nothing");
    let restored = Person { password: "battery staple", ..alice.another_device() };
    world.log_in(&connection(2), &restored).await.unwrap();
    world.attach(&from, &token, alice.attach_proof(&from, &token)).await.expect("sessions stay");
}

#[tokio::test]
async fn passwords_are_set_five_times_an_hour_and_strangers_cannot_use_that_up() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let from = |address| Connection { address, ..connection(9) };
    for _ in 0..10 {
        let refused = reset(&world, &from(b"mallory"), "alice", &mallory, "x").await;
        assert_eq!(code(refused), Code::Unauthenticated);
    }
    let refused = reset(&world, &from(b"mallory"), "alice", &mallory, "x").await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 360_000));
    for number in 0..5 {
        reset(&world, &from(b"alice"), "alice", &alice, &format!("password {number}")).await.unwrap();
    }
    let refused = reset(&world, &from(b"another"), "alice", &alice, "sixth").await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 720_000));
    world.pass(Duration::from_millis(refused.retry_after_ms));
    reset(&world, &from(b"another"), "alice", &alice, "sixth").await.unwrap();
}
