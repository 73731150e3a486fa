use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{bus::Subscription, push};
use qpc_wire::{
    Code, DeviceId, Status, bus, methods,
    v1::{self, EventType},
};

use crate::world::{Connection, Person, World, bytes, code, connection, key};

async fn revoke(world: &World, from: &Connection, device: DeviceId) -> Result<v1::RevokeDeviceResponse, Status> {
    let request = v1::RevokeDeviceRequest { idempotency_key: key(), device_id: device.to_bytes() };
    world.call::<methods::RevokeDevice>(from, request).await
}

async fn resolve(world: &World, from: &Connection, name: &str) -> Result<v1::ResolveUserResponse, Status> {
    let request = v1::ResolveUserRequest { username: name.to_owned() };
    world.call::<methods::ResolveUser>(from, request).await
}

async fn logged_in(world: &World, name: &str) -> (Person, Bytes) {
    let person = Person::new(name);
    world.register(&person).await;
    let token = world.log_in(&connection(2), &person).await.unwrap().session_token;
    (person, token)
}

#[tokio::test]
async fn a_session_attaches_its_device_to_any_connection_until_it_expires() {
    let world = World::new().await;
    let (alice, token) = logged_in(&world, "alice").await;
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
    let (alice, token) = logged_in(&world, "alice").await;
    let (mallory, _) = logged_in(&world, "mallory").await;
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
    let (alice, token) = logged_in(&world, "alice").await;
    let (mallory, _) = logged_in(&world, "mallory").await;
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
async fn a_revoked_device_is_told_and_stays_out() {
    let world = World::new().await;
    let (alice, _) = logged_in(&world, "alice").await;
    let lost = alice.another_device();
    let token = world.log_in(&connection(2), &lost).await.unwrap().session_token;
    let lost_id = lost.certificate.device_id();
    let mut doorbells = listen(&world, lost_id).await;

    let repeated = v1::RevokeDeviceRequest { idempotency_key: key(), device_id: lost_id.to_bytes() };
    for _ in 0..2 {
        world.call::<methods::RevokeDevice>(&alice.attached(3), repeated.clone()).await.unwrap();
    }
    let rung = next(&mut *doorbells).await;
    assert_eq!((rung.device_id, rung.event_type), (lost_id.to_bytes(), EventType::SessionEnded as u32));
    assert_eq!(v1::SessionEndedEvent::decode(rung.body).unwrap(), v1::SessionEndedEvent {});

    let from = connection(4);
    let attached = world.attach(&from, &token, lost.attach_proof(&from, &token)).await;
    assert_eq!(code(attached), Code::Unauthenticated);
    assert_eq!(code(world.log_in(&from, &lost).await), Code::PermissionDenied);
    let vengeful = revoke(&world, &lost.attached(4), alice.certificate.device_id()).await;
    assert_eq!(code(vengeful), Code::PermissionDenied, "though its gateway has not heard yet");
    let devices = world.call::<methods::ListDevices>(&alice.attached(3), v1::ListDevicesRequest {}).await.unwrap();
    let ids: Vec<_> = devices.devices.iter().map(|device| device.device_id.clone()).collect();
    assert_eq!(ids, [alice.certificate.device_id().to_bytes()]);
    let resolved = resolve(&world, &alice.attached(3), "alice").await.unwrap();
    assert_eq!(resolved.device_certificates, [bytes(&alice.certificate.to_bytes())]);
}

#[tokio::test]
async fn devices_of_others_cannot_be_revoked() {
    let world = World::new().await;
    let (alice, token) = logged_in(&world, "alice").await;
    let (mallory, _) = logged_in(&world, "mallory").await;
    let alice_id = alice.certificate.device_id();
    assert_eq!(code(revoke(&world, &mallory.attached(3), alice_id).await), Code::NotFound);
    assert_eq!(code(revoke(&world, &mallory.attached(3), DeviceId([1; 16])).await), Code::NotFound);
    assert_eq!(code(revoke(&world, &connection(3), alice_id).await), Code::Unauthenticated);
    let short = v1::RevokeDeviceRequest { idempotency_key: key(), device_id: bytes(b"short") };
    assert_eq!(code(world.call::<methods::RevokeDevice>(&alice.attached(3), short).await), Code::InvalidArgument);
    let from = connection(4);
    world.attach(&from, &token, alice.attach_proof(&from, &token)).await.unwrap();
}

#[tokio::test]
async fn users_are_resolved_by_their_exact_name() {
    let world = World::new().await;
    let (alice, _) = logged_in(&world, "alice").await;
    let second = alice.another_device();
    world.log_in(&connection(2), &second).await.unwrap();
    let (bob, _) = logged_in(&world, "bob").await;
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

/// Doorbells of a device that is attached at a gateway.
async fn listen(world: &World, device: DeviceId) -> Box<dyn Subscription> {
    let doorbells = world.deps.bus.subscribe(push::subject("gateway-1"), None).await.unwrap();
    world.deps.push().register(&[device], "gateway-1").await.unwrap();
    doorbells
}

async fn next(doorbells: &mut dyn Subscription) -> bus::Push {
    let delivery = tokio::time::timeout(Duration::from_secs(10), doorbells.next()).await.unwrap().unwrap();
    let mut batch = bus::PushBatch::decode(delivery.payload).unwrap();
    assert_eq!(batch.pushes.len(), 1);
    batch.pushes.remove(0)
}
