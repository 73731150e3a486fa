use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{bus::Subscription, push};
use qpc_wire::{
    Code, DeviceId, Status, bus, methods,
    v1::{self, EventType},
};

use crate::world::{Connection, Person, World, bytes, code, connection, key, until};

async fn revoke(world: &World, from: &Connection, device: DeviceId) -> Result<v1::RevokeDeviceResponse, Status> {
    let request = v1::RevokeDeviceRequest { idempotency_key: key(), device_id: device.to_bytes() };
    world.call::<methods::RevokeDevice>(from, request).await
}

async fn since(world: &World, after: u64) -> (Vec<(u64, Bytes)>, u64) {
    let request = v1::RevokedSinceRequest { after };
    let news = world.deps.client().call_unasked::<methods::RevokedSince>(&request).await.unwrap();
    (news.revocations.into_iter().map(|revocation| (revocation.seq, revocation.device_id)).collect(), news.head)
}

/// Another device of the same person, logged in.
async fn second_device(world: &World, person: &Person) -> Person {
    let second = person.another_device();
    world.log_in(&connection(2), &second).await.unwrap();
    second
}

#[tokio::test]
async fn a_revoked_device_is_told_and_stays_out() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let lost = alice.another_device();
    let token = world.log_in(&connection(2), &lost).await.unwrap().session_token;
    let lost_id = lost.certificate.device_id();
    let mut doorbells = world.deps.bus.subscribe(push::EVERYWHERE.to_owned(), None).await.unwrap();

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
    let request = v1::ResolveUserRequest { username: "alice".to_owned() };
    let resolved = world.call::<methods::ResolveUser>(&alice.attached(3), request).await.unwrap();
    assert_eq!(resolved.device_certificates, [bytes(&alice.certificate.to_bytes())]);
}

#[tokio::test]
async fn devices_of_others_cannot_be_revoked() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
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
async fn devices_have_the_names_that_their_account_gives_them() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let second = second_device(&world, &alice).await;
    let second_id = second.certificate.device_id();
    let rename = |from: Connection, name: &[u8]| {
        let request =
            v1::RenameDeviceRequest { idempotency_key: key(), device_id: second_id.to_bytes(), name: bytes(name) };
        let world = &world;
        async move { world.call::<methods::RenameDevice>(&from, request).await }
    };
    let name = async || {
        let from = alice.attached(3);
        let listed = world.call::<methods::ListDevices>(&from, v1::ListDevicesRequest {}).await.unwrap().devices;
        assert_eq!(listed.len(), 2);
        listed.into_iter().find(|device| device.device_id == second_id.to_bytes()).unwrap().name
    };

    assert_eq!(name().await, bytes(b""));
    rename(alice.attached(3), &[9; 256]).await.unwrap();
    assert_eq!(name().await, bytes(&[9; 256]));
    rename(second.attached(4), b"sealed").await.unwrap();
    assert_eq!(code(rename(alice.attached(3), &[9; 257]).await), Code::InvalidArgument);
    assert_eq!(code(rename(mallory.attached(3), b"mine").await), Code::NotFound);
    assert_eq!(code(rename(connection(3), b"mine").await), Code::Unauthenticated);
    assert_eq!(name().await, bytes(b"sealed"), "nothing of the above was kept");

    let repeated =
        v1::RenameDeviceRequest { idempotency_key: key(), device_id: second_id.to_bytes(), name: bytes(b"first") };
    world.call::<methods::RenameDevice>(&alice.attached(3), repeated.clone()).await.unwrap();
    rename(alice.attached(3), b"later").await.unwrap();
    world.call::<methods::RenameDevice>(&alice.attached(3), repeated).await.unwrap();
    assert_eq!(name().await, bytes(b"later"), "a repetition does nothing");
}

#[tokio::test]
async fn the_feed_has_every_revocation_once_in_order() {
    let world = World::new().await;
    assert_eq!(since(&world, 0).await, (vec![], 0));
    let (alice, _) = world.logged_in("alice").await;
    let mut expected = Vec::new();
    for seq in 1..=3 {
        let lost = second_device(&world, &alice).await.certificate.device_id();
        for _ in 0..2 {
            revoke(&world, &alice.attached(3), lost).await.unwrap();
        }
        expected.push((seq, lost.to_bytes()));
    }
    assert_eq!(code(revoke(&world, &alice.attached(3), DeviceId([1; 16])).await), Code::NotFound);
    assert_eq!(since(&world, 0).await, (expected.clone(), 3));
    assert_eq!(since(&world, 2).await, (expected.split_off(2), 3));
    for after in [3, 4, u64::MAX] {
        assert_eq!(since(&world, after).await, (vec![], 3), "{after}");
    }
}

#[tokio::test]
async fn a_client_cannot_read_the_feed() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    for from in [connection(3), alice.attached(3)] {
        let refused = world.call::<methods::RevokedSince>(&from, v1::RevokedSinceRequest { after: 0 }).await;
        assert_eq!(code(refused), Code::Unimplemented, "should a gateway let it through");
    }
}

#[tokio::test]
async fn other_services_are_told_of_a_revocation_until_they_have_heard() {
    let world = World::new().await;
    world.others.keypackage_fails.store(2, Ordering::SeqCst);
    let (alice, _) = world.logged_in("alice").await;
    let lost = second_device(&world, &alice).await.certificate.device_id().to_bytes();
    revoke(&world, &alice.attached(3), DeviceId::try_from(&lost).unwrap()).await.unwrap();
    until(|| world.others.keys.lock().unwrap().len() == 1).await;
    assert_eq!(world.others.keypackage_fails.load(Ordering::SeqCst), 0);

    // Told in order, so that with the second one the first has had its time, too.
    let second = second_device(&world, &alice).await.certificate.device_id().to_bytes();
    revoke(&world, &alice.attached(3), DeviceId::try_from(&second).unwrap()).await.unwrap();
    let both = [lost, second];
    until(|| world.others.keys.lock().unwrap().len() >= 2 && world.others.mailboxes.lock().unwrap().len() >= 2).await;
    assert_eq!(*world.others.keys.lock().unwrap(), both, "each once");
    assert_eq!(*world.others.mailboxes.lock().unwrap(), both, "each once, though keypackage failed");
}

pub(crate) async fn next(doorbells: &mut dyn Subscription) -> bus::Push {
    let delivery = tokio::time::timeout(Duration::from_secs(10), doorbells.next()).await.unwrap().unwrap();
    let mut batch = bus::PushBatch::decode(delivery.payload).unwrap();
    assert_eq!(batch.pushes.len(), 1);
    batch.pushes.remove(0)
}
