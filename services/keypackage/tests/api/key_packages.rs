use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message;
use qpc_chassis::push;
use qpc_crypto::Suite;
use qpc_wire::{
    Code, Status, bus,
    limits::{MAX_FETCH_DEVICES, MAX_KEY_PACKAGES},
    methods,
    v1::{self, EventType},
};

use crate::world::{Machine, World, bytes, code, key};

fn upload(suite: Suite, key_packages: Vec<Bytes>) -> v1::UploadKeyPackageRequest {
    v1::UploadKeyPackageRequest {
        idempotency_key: key(),
        suite: suite.id().into(),
        key_packages,
        last_resort: Bytes::new(),
    }
}

async fn send(world: &World, from: &Machine, request: v1::UploadKeyPackageRequest) -> Result<u32, Status> {
    world.call::<methods::UploadKeyPackage>(Some(from), request).await.map(|response| response.available)
}

fn fetch(suite: Suite, devices: &[&Machine]) -> v1::FetchKeyPackageRequest {
    v1::FetchKeyPackageRequest {
        idempotency_key: key(),
        suite: suite.id().into(),
        device_ids: devices.iter().map(|machine| machine.id().to_bytes()).collect(),
    }
}

async fn take(
    world: &World,
    from: &Machine,
    request: v1::FetchKeyPackageRequest,
) -> Result<Vec<v1::DeviceKeyPackage>, Status> {
    world.call::<methods::FetchKeyPackage>(Some(from), request).await.map(|response| response.key_packages)
}

#[tokio::test]
async fn packages_go_out_once_each_then_the_last_resort() {
    let world = World::without_rates().await;
    let (bob, alice, nobody) = (world.machine(), world.machine(), world.machine());
    for suite in Suite::ALL {
        let (two, resort) = (bob.packages(suite, 2), bob.package(suite, true));
        let request = v1::UploadKeyPackageRequest { last_resort: resort.clone(), ..upload(suite, two.clone()) };
        assert_eq!(send(&world, &bob, request).await.unwrap(), 2);
        for (package, last_resort) in [(&two[0], false), (&two[1], false), (&resort, true), (&resort, true)] {
            let taken = take(&world, &alice, fetch(suite, &[&nobody, &bob])).await.unwrap();
            let expected =
                v1::DeviceKeyPackage { device_id: bob.id().to_bytes(), key_package: package.clone(), last_resort };
            assert_eq!(taken, [expected]);
        }
    }
    let figures = world.deps.metrics.render();
    for line in ["qpc_keypackage_taken_total 8\n", "qpc_keypackage_last_resorts_total 4\n"] {
        assert!(figures.contains(line), "{figures}");
    }
}

#[tokio::test]
async fn a_repeated_fetch_gets_the_same_package_and_takes_no_other() {
    let world = World::new().await;
    let (bob, alice) = (world.machine(), world.machine());
    let two = bob.packages(Suite::Classic, 2);
    let request = upload(Suite::Classic, two.clone());
    for _ in 0..2 {
        assert_eq!(send(&world, &bob, request.clone()).await.unwrap(), 2, "a repeated upload is one upload");
    }
    let request = fetch(Suite::Classic, &[&bob]);
    let first = take(&world, &alice, request.clone()).await.unwrap();
    assert_eq!(first[0].key_package, two[0]);
    assert_eq!(take(&world, &alice, request.clone()).await.unwrap(), first);
    let next = take(&world, &alice, fetch(Suite::Classic, &[&bob])).await.unwrap();
    assert_eq!(next[0].key_package, two[1]);
    let other = v1::FetchKeyPackageRequest { suite: Suite::Hybrid.id().into(), ..request };
    assert_eq!(code(take(&world, &alice, other).await), Code::InvalidArgument, "the key stands for another request");
}

#[tokio::test]
async fn sixty_four_claimers_get_sixty_four_packages() {
    let world = World::without_rates().await;
    let (bob, alice) = (world.machine(), world.machine());
    let packages = bob.packages(Suite::Classic, 64);
    send(&world, &bob, upload(Suite::Classic, packages.clone())).await.unwrap();
    let claims = (0..64).map(|_| take(&world, &alice, fetch(Suite::Classic, &[&bob])));
    let taken: HashSet<Bytes> =
        join_all(claims).await.into_iter().flat_map(|taken| taken.unwrap()).map(|taken| taken.key_package).collect();
    assert_eq!(taken, packages.into_iter().collect());
    assert_eq!(take(&world, &alice, fetch(Suite::Classic, &[&bob])).await.unwrap(), []);
}

#[tokio::test]
async fn packages_that_are_not_the_devices_own_or_not_as_said_are_refused() {
    let world = World::new().await;
    let (bob, mallory) = (world.machine(), world.machine());
    let stolen = bob.stolen_by(&mallory);
    let good = bob.package(Suite::Classic, false);
    let marked = bob.package(Suite::Classic, true);
    let mut changed = good.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let one = |package: &Bytes| upload(Suite::Classic, vec![package.clone()]);
    let resort = |package: &Bytes| v1::UploadKeyPackageRequest {
        last_resort: package.clone(),
        ..upload(Suite::Classic, vec![])
    };
    let refused = [
        (one(&bytes(b"nonsense")), Code::InvalidArgument),
        (one(&changed.into()), Code::InvalidArgument),
        (one(&bytes(&[0; 9000])), Code::InvalidArgument),
        (one(&bob.package(Suite::Hybrid, false)), Code::InvalidArgument),
        (one(&marked), Code::InvalidArgument),
        (resort(&good), Code::InvalidArgument),
        (one(&mallory.package(Suite::Classic, false)), Code::PermissionDenied),
        (one(&stolen.package(Suite::Classic, false)), Code::PermissionDenied),
        (resort(&mallory.package(Suite::Classic, true)), Code::PermissionDenied),
        (v1::UploadKeyPackageRequest { suite: 2, ..one(&good) }, Code::InvalidArgument),
        (v1::UploadKeyPackageRequest { suite: 0x1_0001, ..one(&good) }, Code::InvalidArgument),
        (v1::UploadKeyPackageRequest { idempotency_key: Bytes::new(), ..one(&good) }, Code::InvalidArgument),
        (upload(Suite::Classic, vec![good.clone(), good.clone()]), Code::AlreadyExists),
        (upload(Suite::Classic, vec![good.clone(); MAX_KEY_PACKAGES + 1]), Code::InvalidArgument),
    ];
    for (index, (request, expected)) in refused.into_iter().enumerate() {
        assert_eq!(code(send(&world, &bob, request).await), expected, "{index}");
    }
    assert_eq!(code(world.call::<methods::UploadKeyPackage>(None, one(&good)).await), Code::Unauthenticated);
    assert_eq!(send(&world, &bob, upload(Suite::Classic, vec![])).await.unwrap(), 0, "nothing of the above was kept");
    assert_eq!(send(&world, &bob, one(&good)).await.unwrap(), 1);
    assert_eq!(code(send(&world, &bob, one(&good)).await), Code::AlreadyExists);
}

#[tokio::test]
async fn a_full_store_names_its_limit() {
    let world = World::new().await;
    let bob = world.machine();
    assert_eq!(send(&world, &bob, upload(Suite::Hybrid, bob.packages(Suite::Hybrid, 20))).await.unwrap(), 20);
    let full = send(&world, &bob, upload(Suite::Hybrid, bob.packages(Suite::Hybrid, 1))).await.unwrap_err();
    assert_eq!(full.code, Code::ResourceExhausted);
    assert!(full.message.contains("20"), "{}", full.message);
}

#[tokio::test]
async fn a_fetch_names_each_device_once_and_not_too_many() {
    let world = World::new().await;
    let (bob, alice) = (world.machine(), world.machine());
    let twice = fetch(Suite::Classic, &[&bob, &bob]);
    assert_eq!(code(take(&world, &alice, twice).await), Code::InvalidArgument);
    let mut request = fetch(Suite::Classic, &[&bob]);
    request.device_ids.push(bytes(b"short"));
    assert_eq!(code(take(&world, &alice, request).await), Code::InvalidArgument);
    let mut request = fetch(Suite::Classic, &[]);
    request.device_ids = (0..=MAX_FETCH_DEVICES).map(|_| key()).collect();
    assert_eq!(code(take(&world, &alice, request.clone()).await), Code::InvalidArgument);
    request.device_ids.pop();
    assert_eq!(take(&world, &alice, request).await.unwrap(), []);
    let unknown = v1::FetchKeyPackageRequest { suite: 7, ..fetch(Suite::Classic, &[&bob]) };
    assert_eq!(code(take(&world, &alice, unknown).await), Code::InvalidArgument);
    let anonymous = world.call::<methods::FetchKeyPackage>(None, fetch(Suite::Classic, &[&bob])).await;
    assert_eq!(code(anonymous), Code::Unauthenticated);
}

#[tokio::test]
async fn a_device_hears_when_it_runs_low() {
    let world = World::new().await;
    let (bob, alice) = (world.machine(), world.machine());
    let mut doorbells = world.deps.bus.subscribe(push::subject("gateway-1"), None).await.unwrap();
    world.deps.push().register(&[bob.id()], "gateway-1").await.unwrap();
    send(&world, &bob, upload(Suite::Classic, bob.packages(Suite::Classic, 12))).await.unwrap();
    for _ in 0..2 {
        take(&world, &alice, fetch(Suite::Classic, &[&bob])).await.unwrap();
    }
    // The first fetch left eleven and rang nobody.
    let delivery = tokio::time::timeout(Duration::from_secs(10), doorbells.next()).await.unwrap().unwrap();
    let batch = bus::PushBatch::decode(delivery.payload).unwrap();
    let [rung] = batch.pushes.as_slice() else { panic!("one doorbell, not {}", batch.pushes.len()) };
    assert_eq!((&rung.device_id, rung.event_type), (&bob.id().to_bytes(), EventType::KeyPackageLow as u32));
    let event = v1::KeyPackageLowEvent::decode(rung.body.clone()).unwrap();
    assert_eq!(event, v1::KeyPackageLowEvent { suite: Suite::Classic.id().into(), available: 10 });
}
