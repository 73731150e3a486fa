use bytes::Bytes;
use qpc_crypto::{QueueKey, Suite};
use qpc_wire::{Code, Status, limits::MAX_HYBRID_KEYS, methods, proofs, v1};

use crate::world::{Machine, World, bytes, code, key, rng};

fn signed(machine: &Machine, public_key: Vec<u8>) -> v1::UploadHybridKeyRequest {
    let signature = bytes(&machine.key.sign(&proofs::queue_key(&public_key)));
    v1::UploadHybridKeyRequest { public_key: public_key.into(), signature }
}

fn new_key() -> Vec<u8> {
    QueueKey::generate(&mut rng()).public_bytes()
}

async fn upload(
    world: &World,
    from: &Machine,
    request: v1::UploadHybridKeyRequest,
) -> Result<v1::UploadHybridKeyResponse, Status> {
    world.call::<methods::UploadHybridKey>(Some(from), request).await
}

async fn fetch(world: &World, from: &Machine, device_id: Bytes) -> Result<v1::HybridKey, Status> {
    let request = v1::FetchHybridKeyRequest { device_id };
    world.call::<methods::FetchHybridKey>(Some(from), request).await.map(|response| response.key.unwrap())
}

#[tokio::test]
async fn the_latest_key_of_a_device_is_found() {
    let world = World::new().await;
    let (bob, alice, nobody) = (world.machine(), world.machine(), world.machine());
    upload(&world, &bob, signed(&bob, new_key())).await.unwrap();
    let latest = signed(&bob, new_key());
    for _ in 0..2 {
        upload(&world, &bob, latest.clone()).await.unwrap();
    }
    let expected =
        v1::HybridKey { device_id: bob.id().to_bytes(), public_key: latest.public_key, signature: latest.signature };
    assert_eq!(fetch(&world, &alice, bob.id().to_bytes()).await.unwrap(), expected);
    let request = v1::FetchHybridKeysRequest { device_ids: vec![nobody.id().to_bytes(), bob.id().to_bytes()] };
    let many = world.call::<methods::FetchHybridKeys>(Some(&alice), request).await.unwrap();
    assert_eq!(many.keys, [expected]);
    assert_eq!(code(fetch(&world, &alice, nobody.id().to_bytes()).await), Code::NotFound);
}

#[tokio::test]
async fn keys_that_the_device_did_not_sign_or_nobody_can_use_are_refused() {
    let world = World::new().await;
    let (bob, mallory, revoked) = (world.machine(), world.machine(), world.machine());
    world.revoke(&revoked);
    let short = upload(&world, &bob, signed(&bob, new_key()[..1215].to_vec())).await;
    assert_eq!(code(short), Code::InvalidArgument);
    let unusable = upload(&world, &bob, signed(&bob, vec![0xff; 1216])).await;
    assert_eq!(code(unusable), Code::InvalidArgument);
    let foreign = upload(&world, &bob, signed(&mallory, new_key())).await;
    assert_eq!(code(foreign), Code::InvalidArgument);
    let mut swapped = signed(&bob, new_key());
    swapped.public_key = new_key().into();
    assert_eq!(code(upload(&world, &bob, swapped).await), Code::InvalidArgument);
    let late = upload(&world, &revoked, signed(&revoked, new_key())).await;
    assert_eq!(code(late), Code::PermissionDenied);
    let stolen = bob.stolen_by(&mallory);
    let late = upload(&world, &stolen, signed(&stolen, new_key())).await;
    assert_eq!(code(late), Code::PermissionDenied, "auth does not list it under this account");
    let anonymous = world.call::<methods::UploadHybridKey>(None, signed(&bob, new_key())).await;
    assert_eq!(code(anonymous), Code::Unauthenticated);
    for machine in [&bob, &revoked] {
        assert_eq!(code(fetch(&world, &bob, machine.id().to_bytes()).await), Code::NotFound);
    }
}

#[tokio::test]
async fn fetches_are_bounded() {
    let world = World::new().await;
    let alice = world.machine();
    let many = |number: usize| v1::FetchHybridKeysRequest { device_ids: (0..number).map(|_| key()).collect() };
    let none = world.call::<methods::FetchHybridKeys>(Some(&alice), many(MAX_HYBRID_KEYS)).await.unwrap();
    assert_eq!(none.keys, []);
    let refused = world.call::<methods::FetchHybridKeys>(Some(&alice), many(MAX_HYBRID_KEYS + 1)).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    assert_eq!(code(fetch(&world, &alice, bytes(b"short")).await), Code::InvalidArgument);
    assert_eq!(code(world.call::<methods::FetchHybridKeys>(None, many(1)).await), Code::Unauthenticated);
}

#[tokio::test]
async fn a_revoked_device_leaves_nothing_and_brings_nothing() {
    let world = World::new().await;
    let (lost, alice) = (world.machine(), world.machine());
    let packages = |machine: &Machine| v1::UploadKeyPackageRequest {
        idempotency_key: key(),
        suite: Suite::Classic.id().into(),
        key_packages: machine.packages(Suite::Classic, 2),
        last_resort: machine.package(Suite::Classic, true),
    };
    world.call::<methods::UploadKeyPackage>(Some(&lost), packages(&lost)).await.unwrap();
    upload(&world, &lost, signed(&lost, new_key())).await.unwrap();

    let forget = v1::ForgetDeviceKeysRequest { device_id: lost.id().to_bytes() };
    let from_a_client = world.call::<methods::ForgetDeviceKeys>(Some(&alice), forget.clone()).await;
    assert_eq!(code(from_a_client), Code::Unimplemented, "should a gateway let it through");
    for _ in 0..2 {
        world.deps.client().call_unasked::<methods::ForgetDeviceKeys>(&forget).await.unwrap();
    }

    let request = v1::FetchKeyPackageRequest {
        idempotency_key: key(),
        suite: Suite::Classic.id().into(),
        device_ids: vec![lost.id().to_bytes()],
    };
    let taken = world.call::<methods::FetchKeyPackage>(Some(&alice), request).await.unwrap();
    assert_eq!(taken.key_packages, []);
    assert_eq!(code(fetch(&world, &alice, lost.id().to_bytes()).await), Code::NotFound);
    let request = v1::FetchHybridKeysRequest { device_ids: [&lost, &alice].map(|one| one.id().to_bytes()).to_vec() };
    let keys = world.call::<methods::FetchHybridKeys>(Some(&alice), request).await.unwrap();
    assert_eq!((keys.keys, keys.revoked_ids), (vec![], vec![lost.id().to_bytes()]), "Alice has none yet");
    // Auth of these tests still lists the device: the service knows by itself.
    let late = world.call::<methods::UploadKeyPackage>(Some(&lost), packages(&lost)).await;
    assert_eq!(code(late), Code::PermissionDenied);
    assert_eq!(code(upload(&world, &lost, signed(&lost, new_key())).await), Code::PermissionDenied);
    upload(&world, &alice, signed(&alice, new_key())).await.expect("others go on");

    let short = v1::ForgetDeviceKeysRequest { device_id: bytes(b"short") };
    let refused = world.deps.client().call_unasked::<methods::ForgetDeviceKeys>(&short).await;
    assert_eq!(code(refused), Code::InvalidArgument);
}
