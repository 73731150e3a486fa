use std::time::Duration;

use qpc_wire::{Code, Status, methods, v1};

use crate::world::{Connection, World, bytes, code, connection, key};

async fn resolve(world: &World, from: &Connection, name: &str) -> Result<v1::ResolveUserResponse, Status> {
    let request = v1::ResolveUserRequest { username: name.to_owned() };
    world.call::<methods::ResolveUser>(from, request).await
}

#[tokio::test]
async fn a_session_attaches_its_device_to_any_connection_until_it_expires() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    for binding in [2, 3] {
        let from = connection(binding);
        let attached = world.attach(&from, &token, alice.attach_proof(&from, &token)).await.unwrap();
        assert_eq!(attached.account_id, alice.certificate.account_id().to_bytes());
        assert_eq!(attached.device_id, alice.certificate.device_id().to_bytes());
    }
    world.pass(Duration::from_secs(30 * 24 * 60 * 60));
    let from = connection(4);
    let late = world.attach(&from, &token, alice.attach_proof(&from, &token)).await;
    assert_eq!(code(late), Code::Unauthenticated);
}

#[tokio::test]
async fn stolen_replayed_and_unknown_tokens_look_the_same() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let (from, other) = (connection(3), connection(4));
    let proof = alice.attach_proof(&from, &token);
    world.attach(&from, &token, proof.clone()).await.unwrap();

    let replayed = world.attach(&other, &token, proof.clone()).await.unwrap_err();
    assert_eq!(replayed.code, Code::Unauthenticated);
    let stolen = world.attach(&other, &token, mallory.attach_proof(&other, &token)).await.unwrap_err();
    assert_eq!(stolen, replayed);
    let unknown = bytes(&[9; 32]);
    let unknown = world.attach(&other, &unknown, alice.attach_proof(&other, &unknown)).await.unwrap_err();
    assert_eq!(unknown, replayed);
    let empty = world.attach(&other, &token, bytes(b"")).await.unwrap_err();
    assert_eq!(empty, replayed);
    let unbound = Connection { binding: None, ..connection(3) };
    assert_eq!(code(world.attach(&unbound, &token, proof).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_device_ends_its_own_sessions_only() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let end = |from, idempotency_key| {
        let request = v1::SessionEndRequest { idempotency_key, session_token: token.clone() };
        let world = &world;
        async move { world.call::<methods::SessionEnd>(&from, request).await }
    };
    assert_eq!(code(end(connection(3), key()).await), Code::Unauthenticated);
    assert_eq!(code(end(mallory.attached(3), key()).await), Code::NotFound);
    let repeated = key();
    end(alice.attached(3), repeated.clone()).await.unwrap();
    end(alice.attached(3), repeated).await.expect("the same call again");
    assert_eq!(code(end(alice.attached(3), key()).await), Code::NotFound);
    let from = connection(5);
    let void = world.attach(&from, &token, alice.attach_proof(&from, &token)).await;
    assert_eq!(code(void), Code::Unauthenticated);
}

#[tokio::test]
async fn users_are_resolved_by_their_exact_name() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let second = alice.another_device();
    world.log_in(&connection(2), &second).await.unwrap();
    let (bob, _) = world.logged_in("bob").await;
    let resolved = resolve(&world, &bob.attached(3), "alice").await.unwrap();
    assert_eq!(resolved.account_id, alice.certificate.account_id().to_bytes());
    assert_eq!(resolved.account_key, bytes(&alice.account.public()));
    let mut certificates = resolved.device_certificates;
    certificates.sort();
    let mut expected = vec![bytes(&alice.certificate.to_bytes()), bytes(&second.certificate.to_bytes())];
    expected.sort();
    assert_eq!(certificates, expected);
    assert_eq!(code(resolve(&world, &bob.attached(3), "alic").await), Code::NotFound);
    assert_eq!(code(resolve(&world, &bob.attached(3), "Alice").await), Code::InvalidArgument);
    assert_eq!(code(resolve(&world, &connection(3), "alice").await), Code::Unauthenticated);
}
