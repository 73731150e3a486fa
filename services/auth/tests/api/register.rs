use qpc_crypto::{ReceiptKey, opaque::RegisterClient};
use qpc_wire::{Code, methods, v1};

use crate::world::{Connection, Person, World, bytes, code, connection, key, rng};

const FROM: Connection = Connection { binding: Some([1; 32]), address: b"", identity: None };

#[tokio::test]
async fn a_repeated_registration_gets_the_first_answer_also_on_another_connection() {
    let world = World::new().await;
    let alice = Person::new("alice");
    let request = world.registration(&connection(1), &alice).await;
    let first = world.call::<methods::OpaqueRegisterFinish>(&connection(1), request.clone()).await.unwrap();
    assert_eq!(first.account_id, alice.certificate.account_id().to_bytes());
    assert_eq!(first.device_id, alice.certificate.device_id().to_bytes());
    let again = world.call::<methods::OpaqueRegisterFinish>(&connection(1), request.clone()).await.unwrap();
    assert_eq!(again, first);

    let moved =
        v1::OpaqueRegisterFinishRequest { account_proof: alice.register_proof(&connection(2)), ..request.clone() };
    let again = world.call::<methods::OpaqueRegisterFinish>(&connection(2), moved).await.unwrap();
    assert_eq!(again, first);

    let other_request = v1::OpaqueRegisterFinishRequest {
        ksf: Some(v1::KsfParams { memory_kib: 1 << 20, iterations: 2, parallelism: 1 }),
        ..request
    };
    let reused = world.call::<methods::OpaqueRegisterFinish>(&connection(1), other_request).await;
    assert_eq!(code(reused), Code::InvalidArgument, "the key stands for another request");
}

#[tokio::test]
async fn names_and_accounts_are_taken_once() {
    let world = World::new().await;
    let (alice, mallory) = (Person::new("alice"), Person::new("alice"));
    world.register(&alice).await;
    let request = world.registration(&connection(1), &mallory).await;
    let refused = world.call::<methods::OpaqueRegisterFinish>(&connection(1), request).await;
    assert_eq!(code(refused), Code::AlreadyExists);

    let renamed = Person { name: "alice2".to_owned(), ..alice };
    let request = world.registration(&connection(1), &renamed).await;
    let refused = world.call::<methods::OpaqueRegisterFinish>(&connection(1), request).await;
    assert_eq!(code(refused), Code::AlreadyExists);
}

#[tokio::test]
async fn malformed_registrations_are_refused_and_leave_nothing() {
    let world = World::new().await;
    let (alice, mallory) = (Person::new("alice"), Person::new("mallory"));
    let from = connection(1);
    let good = world.registration(&from, &alice).await;
    let with = |change: &dyn Fn(&mut v1::OpaqueRegisterFinishRequest)| {
        let mut request = good.clone();
        request.idempotency_key = key();
        change(&mut request);
        request
    };
    let bad = [
        with(&|request| request.idempotency_key = bytes(&[1; 15])),
        with(&|request| request.username = "Alice".to_owned()),
        with(&|request| request.username = "alicf".to_owned()),
        with(&|request| request.registration_upload = bytes(&[1; 50])),
        with(&|request| request.ksf = None),
        with(&|request| request.ksf = Some(v1::KsfParams { memory_kib: 1024, iterations: 2, parallelism: 1 })),
        with(&|request| request.ksf = Some(v1::KsfParams { memory_kib: 1 << 21, iterations: 2, parallelism: 1 })),
        with(&|request| request.device_certificate = bytes(&[1; 137])),
        with(&|request| request.device_certificate = bytes(&mallory.certificate.to_bytes())),
        with(&|request| request.account_proof = bytes(&[1; 64])),
        with(&|request| request.account_proof = alice.register_proof(&connection(2))),
    ];
    for (index, request) in bad.into_iter().enumerate() {
        let refused = world.call::<methods::OpaqueRegisterFinish>(&from, request).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{index}");
    }
    let mut between_services = from.clone();
    between_services.binding = None;
    let refused = world.call::<methods::OpaqueRegisterFinish>(&between_services, good.clone()).await;
    assert_eq!(code(refused), Code::FailedPrecondition);
    world.call::<methods::OpaqueRegisterFinish>(&from, good).await.expect("nothing of the above was kept");
}

#[tokio::test]
async fn the_first_step_wants_a_name_and_a_request_of_opaque() {
    let world = World::new().await;
    let start = |username: &str, registration_request| {
        let request = v1::OpaqueRegisterStartRequest { username: username.to_owned(), registration_request };
        world.call::<methods::OpaqueRegisterStart>(&FROM, request)
    };
    let (_, request) = RegisterClient::start(&mut rng(), b"password").unwrap();
    for name in ["", "Alice", "-a", "a b"] {
        assert_eq!(code(start(name, request.clone().into()).await), Code::InvalidArgument, "{name:?}");
    }
    assert_eq!(code(start("alice", bytes(b"short")).await), Code::InvalidArgument);
    assert_eq!(start("alice", request.into()).await.unwrap().registration_response.len(), 64);
}

#[tokio::test]
async fn server_info_names_the_receipt_key() {
    let world = World::new().await;
    let info = world.call::<methods::ServerInfo>(&connection(1), v1::ServerInfoRequest {}).await.unwrap();
    let receipt_key = ReceiptKey::from_bytes(&world.deps.secrets.derive("delivery/receipt"));
    assert_eq!(info.receipt_key, bytes(&receipt_key.public()));
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
}
