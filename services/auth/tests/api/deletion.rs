use std::sync::atomic::Ordering;

use qpc_chassis::push;
use qpc_crypto::token::TokenRequest;
use qpc_wire::{
    Code, Status,
    admin::v1::{self as admin, Who, who},
    methods, proofs,
    v1::{self, administer_request::Call},
};

use crate::{
    admin::administer,
    devices::next,
    world::{Connection, Person, World, bytes, code, connection, key, rng, until},
};

pub(crate) fn request(on: &Connection, person: &Person) -> v1::DeleteAccountRequest {
    let proof = proofs::delete_account(&on.binding.unwrap(), &person.certificate.account_id().0);
    v1::DeleteAccountRequest { idempotency_key: key(), account_proof: bytes(&person.account.sign(&proof)) }
}

async fn delete(world: &World, person: &Person) -> Result<v1::DeleteAccountResponse, Status> {
    let from = person.attached(3);
    world.call::<methods::DeleteAccount>(&from, request(&from, person)).await
}

#[tokio::test]
async fn a_deleted_account_is_logged_out_and_unknown_and_its_name_stays_taken() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let phone = alice.another_device();
    world.log_in(&connection(2), &phone).await.unwrap();
    let mut doorbells = world.deps.bus.subscribe(push::EVERYWHERE.to_owned(), None).await.unwrap();
    world.others.delivery_fails.store(1, Ordering::SeqCst);
    world.others.blob_fails.store(1, Ordering::SeqCst);
    let repeated = request(&alice.attached(3), &alice);
    for _ in 0..2 {
        world.call::<methods::DeleteAccount>(&alice.attached(3), repeated.clone()).await.expect("the first answer");
    }

    let mut rung = [next(&mut *doorbells).await.device_id, next(&mut *doorbells).await.device_id];
    let mut devices = [alice.certificate.device_id().to_bytes(), phone.certificate.device_id().to_bytes()];
    rung.sort();
    devices.sort();
    assert_eq!(rung, devices, "all gateways hear of both devices");
    // Told until it has answered.
    until(|| !world.others.accounts.lock().unwrap().is_empty()).await;
    assert_eq!(*world.others.accounts.lock().unwrap(), [(alice.certificate.account_id().to_bytes(), 2)]);
    assert_eq!(*world.others.files.lock().unwrap(), [alice.certificate.account_id().to_bytes()]);
    assert_eq!(world.others.delivery_fails.load(Ordering::SeqCst), 0);
    until(|| world.others.keys.lock().unwrap().len() == 2 && world.others.mailboxes.lock().unwrap().len() == 2).await;

    let from = connection(4);
    assert_eq!(code(world.attach(&from, &token, alice.attach_proof(&from, &token)).await), Code::Unauthenticated);
    let resolve = v1::ResolveUserRequest { username: "alice".to_owned() };
    assert_eq!(code(world.call::<methods::ResolveUser>(&bob.attached(3), resolve).await), Code::NotFound);
    let again = world.registration(&from, &Person::new("alice")).await;
    assert_eq!(code(world.call::<methods::OpaqueRegisterFinish>(&from, again).await), Code::AlreadyExists);
    world.log_in(&connection(2), &bob).await.expect("others are as they were");
    assert_eq!(code(delete(&world, &alice).await), Code::PermissionDenied, "by a gateway that has not heard yet");
}

#[tokio::test]
async fn only_the_account_key_deletes_on_its_connection() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let (mallory, _) = world.logged_in("mallory").await;
    let from = alice.attached(3);
    for wrong in [request(&alice.attached(4), &alice), request(&from, &mallory)] {
        let refused = world.call::<methods::DeleteAccount>(&from, wrong).await;
        assert_eq!(code(refused), Code::PermissionDenied);
    }
    let anonymous = world.call::<methods::DeleteAccount>(&connection(3), request(&from, &alice)).await;
    assert_eq!(code(anonymous), Code::Unauthenticated);
    world.log_in(&connection(2), &alice).await.expect("nothing has happened");
}

#[tokio::test]
async fn an_account_is_told_what_is_kept_of_it() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let phone = alice.another_device();
    world.log_in(&connection(2), &phone).await.unwrap();
    world.log_in(&connection(2), &phone).await.unwrap();
    let report = world.call::<methods::AccountReport>(&alice.attached(3), v1::AccountReportRequest {}).await.unwrap();
    assert_eq!((report.username.as_str(), report.account_key), ("alice", bytes(alice.certificate.account_key())));
    assert_eq!((report.recovery, report.groups.len(), report.devices.len()), (None, 1, 2));
    assert_eq!((report.ban, report.files.unwrap().blob_rows[0].size), (None, 70));
    let mut sessions = Vec::new();
    for device in report.devices {
        let id = device.device.unwrap().device_id;
        let mailbox = device.mailbox.unwrap();
        assert_eq!((&mailbox.device_id, mailbox.entries, mailbox.bytes), (&id, 2, 200));
        assert_eq!((device.keys.len(), device.keys[0].key_packages, device.queue_key), (1, 20, true));
        sessions.push(device.sessions);
    }
    sessions.sort();
    assert_eq!(sessions, [1, 2]);

    let set = |name: &str, value| {
        let user = Some(Who { who: Some(who::Who::Username("alice".to_owned())) });
        administer(&world, Call::SetQuota(admin::SetQuotaRequest { user, name: name.to_owned(), value: Some(value) }))
    };
    set("blob-bytes-day", 5).await.unwrap();
    set("devices", 6).await.unwrap();
    let current =
        world.call::<methods::TokenKeys>(&connection(9), v1::TokenKeysRequest {}).await.unwrap().keys.remove(0);
    let blinded = TokenRequest::new(&mut rng(), current.key_epoch, 3).unwrap().blinded();
    let tokens = v1::IssueTokensRequest { idempotency_key: key(), key_epoch: current.key_epoch, blinded };
    world.call::<methods::IssueTokens>(&alice.attached(3), tokens).await.unwrap();
    let user = Some(Who { who: Some(who::Who::AccountId(alice.certificate.account_id().to_bytes())) });
    let ban = admin::BanUserRequest { user, reason: "spam".to_owned() };
    administer(&world, Call::BanUser(ban)).await.unwrap();
    // By a gateway that has not heard yet.
    let report = world.call::<methods::AccountReport>(&alice.attached(3), v1::AccountReportRequest {}).await.unwrap();
    let quotas: Vec<_> =
        report.quotas.iter().map(|quota| (quota.name.as_str(), quota.used, quota.limit, quota.set)).collect();
    let expected = [("devices", 2, 10, Some(6)), ("tokens-day", 3, 200, None), ("blob-bytes-day", 80, 90, Some(5))];
    assert_eq!(quotas, expected);
    let now_ms = world.deps.runtime.now_ms();
    let ban = v1::BanReport { banned_at_ms: now_ms, reason: "spam".to_owned(), deletion_requested_at_ms: 0 };
    assert_eq!(report.ban, Some(ban));
    let refused = world.call::<methods::AccountReport>(&connection(3), v1::AccountReportRequest {}).await;
    assert_eq!(code(refused), Code::Unauthenticated);
}
