//! What admins do, and what the audit log says of it.

use std::time::Duration;

use prost::Message;
use qpc_chassis::push;
use qpc_wire::{
    Code, DeviceId, Method, Status,
    admin::v1::{self as admin, Who, who},
    bus,
    limits::quotas,
    methods,
    v1::{self, EventType, administer_request::Call, administer_response::Answer},
};

use crate::world::{Connection, Person, World, bytes, code, connection};

pub(crate) async fn administer(world: &World, call: Call) -> Result<Answer, Status> {
    let request = v1::AdministerRequest { actor: "a1b2".to_owned(), call: Some(call) };
    world.deps.client().call_unasked::<methods::Administer>(&request).await.map(|answer| answer.answer.unwrap())
}

fn name(username: &str) -> Option<Who> {
    Some(Who { who: Some(who::Who::Username(username.to_owned())) })
}

fn id(person: &Person) -> Option<Who> {
    Some(Who { who: Some(who::Who::AccountId(person.certificate.account_id().to_bytes())) })
}

pub(crate) fn set_quota(person: &Person, name: &str, value: Option<u64>) -> Call {
    Call::SetQuota(admin::SetQuotaRequest { user: id(person), name: name.to_owned(), value })
}

fn ban(user: Option<Who>) -> Call {
    Call::BanUser(admin::BanUserRequest { user, reason: "spam".to_owned() })
}

fn unban(user: Option<Who>) -> Call {
    Call::UnbanUser(admin::UnbanUserRequest { user })
}

pub(crate) async fn audit(world: &World, before: u64) -> Vec<admin::AuditEntry> {
    match administer(world, Call::ListAudit(admin::ListAuditRequest { before, limit: 500 })).await.unwrap() {
        Answer::ListAudit(list) => list.entries,
        other => panic!("{other:?}"),
    }
}

async fn verify(world: &World) -> (u64, u64) {
    match administer(world, Call::VerifyAudit(admin::VerifyAuditRequest {})).await.unwrap() {
        Answer::VerifyAudit(answer) => (answer.entries, answer.broken_at),
        other => panic!("{other:?}"),
    }
}

async fn resolve(world: &World, from: &Connection, username: &str) -> v1::ResolveUserResponse {
    let request = v1::ResolveUserRequest { username: username.to_owned() };
    world.call::<methods::ResolveUser>(from, request).await.unwrap()
}

#[tokio::test]
async fn a_banned_account_is_out_until_it_is_not() {
    let world = World::new().await;
    let (alice, token) = world.logged_in("alice").await;
    let (bob, _) = world.logged_in("bob").await;
    let second = alice.another_device();
    world.log_in(&connection(2), &second).await.unwrap();
    let mut doorbells = world.deps.bus.subscribe(push::EVERYWHERE.to_owned(), None).await.unwrap();

    administer(&world, ban(name("alice"))).await.unwrap();
    let mut rung = Vec::new();
    for _ in 0..2 {
        let delivery = tokio::time::timeout(Duration::from_secs(10), doorbells.next()).await.unwrap().unwrap();
        let push = bus::PushBatch::decode(delivery.payload).unwrap().pushes.remove(0);
        assert_eq!(push.event_type, EventType::SessionEnded as u32);
        rung.push(push.device_id);
    }
    let mut devices = [&alice, &second].map(|person| person.certificate.device_id().to_bytes());
    rung.sort();
    devices.sort();
    assert_eq!(rung, devices, "gateways hear of all devices");
    let feed = async |after| {
        let request = v1::RevokedSinceRequest { after };
        let news = world.deps.client().call_unasked::<methods::RevokedSince>(&request).await.unwrap();
        (news.revocations.iter().map(|revocation| revocation.device_id.clone()).collect::<Vec<_>>(), news.head)
    };
    let (mut heard, head) = feed(0).await;
    heard.sort();
    assert_eq!((heard, head), (devices.to_vec(), 2), "also those that missed the doorbell");

    let from = connection(4);
    let attached = world.attach(&from, &token, alice.attach_proof(&from, &token)).await;
    assert_eq!(code(attached), Code::Unauthenticated);
    assert_eq!(code(world.log_in(&from, &alice).await), Code::PermissionDenied);
    assert_eq!(code(world.log_in(&from, &alice.another_device()).await), Code::PermissionDenied);
    let found = resolve(&world, &bob.attached(3), "alice").await;
    assert_eq!(found.account_id, alice.certificate.account_id().to_bytes());
    assert!(found.device_certificates.is_empty(), "nobody reaches its devices");

    administer(&world, unban(id(&alice))).await.unwrap();
    assert_eq!(resolve(&world, &bob.attached(3), "alice").await.device_certificates.len(), 2);
    let attached = world.attach(&from, &token, alice.attach_proof(&from, &token)).await;
    assert_eq!(code(attached), Code::Unauthenticated, "old sessions stay over");
    let token = world.log_in(&from, &alice).await.unwrap().session_token;
    world.attach(&from, &token, alice.attach_proof(&from, &token)).await.unwrap();
    assert_eq!(code(administer(&world, unban(id(&alice))).await), Code::FailedPrecondition);

    // Again: the feed goes on.
    administer(&world, ban(id(&alice))).await.unwrap();
    assert_eq!(feed(2).await.0.len(), 2);
    assert_eq!(world.others.keys.lock().unwrap().len(), 0, "a ban is no revocation");
}

#[tokio::test]
async fn admins_see_accounts_and_devices() {
    let world = World::new().await;
    for username in ["carol", "alice", "bob"] {
        world.logged_in(username).await;
    }
    let list = async |after: &str, limit, banned_only| {
        let request = admin::ListUsersRequest { after: after.to_owned(), limit, banned_only };
        match administer(&world, Call::ListUsers(request)).await.unwrap() {
            Answer::ListUsers(list) => list.users,
            other => panic!("{other:?}"),
        }
    };
    let names = |users: &[admin::User]| users.iter().map(|user| user.username.clone()).collect::<Vec<_>>();
    assert_eq!(names(&list("", 2, false).await), ["alice", "bob"]);
    assert_eq!(names(&list("bob", 2, false).await), ["carol"]);
    administer(&world, ban(name("bob"))).await.unwrap();
    let banned = list("", 0, true).await;
    assert_eq!((names(&banned), banned[0].ban_reason.as_str()), (vec!["bob".to_owned()], "spam"));
    assert_eq!(banned[0].banned_at_ms, world.deps.runtime.now_ms());

    let devices = async |user| match administer(&world, Call::ListDevices(admin::ListDevicesRequest { user })).await {
        Ok(Answer::ListDevices(list)) => list.devices,
        other => panic!("{other:?}"),
    };
    let [device] = &devices(name("carol")).await[..] else { panic!("one device") };
    assert_eq!((device.sessions, device.revoked_at_ms), (1, 0));
    let revoke = admin::RevokeDeviceRequest { device_id: device.device_id.clone() };
    administer(&world, Call::RevokeDevice(revoke.clone())).await.unwrap();
    let [revoked] = &devices(name("carol")).await[..] else { panic!("one device") };
    assert_eq!((revoked.sessions, revoked.revoked_at_ms), (0, world.deps.runtime.now_ms()));
    crate::world::until(|| world.others.keys.lock().unwrap().len() == 1).await;
    administer(&world, Call::RevokeDevice(revoke)).await.expect("again changes nothing");
}

#[tokio::test]
async fn quotas_of_an_account_are_there_for_other_services() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let set = |name: &str, value| set_quota(&alice, name, value);
    for (name, value) in [("blob-bytes-day", Some(5)), ("devices", Some(3)), ("blob-bytes-day", Some(7))] {
        administer(&world, set(name, value)).await.unwrap();
    }
    administer(&world, set("devices", None)).await.unwrap();
    let request = v1::AccountQuotasRequest { account_id: alice.certificate.account_id().to_bytes() };
    let quotas = world.deps.client().call_unasked::<methods::AccountQuotas>(&request).await.unwrap().quotas;
    assert_eq!(quotas, [admin::Quota { name: "blob-bytes-day".to_owned(), value: 7 }]);
    for (name, value) in [("", Some(1)), ("Bytes", Some(1)), (&*"a".repeat(33), Some(1)), ("devices", Some(u64::MAX))] {
        assert_eq!(code(administer(&world, set(name, value)).await), Code::InvalidArgument, "{name}");
    }
}

#[tokio::test]
async fn an_account_that_is_to_be_deleted_stays_out() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let request = || Call::RequestDeletion(admin::RequestDeletionRequest { user: id(&alice) });
    let asked_ms = world.deps.runtime.now_ms();
    for _ in 0..2 {
        match administer(&world, request()).await.unwrap() {
            Answer::RequestDeletion(answer) => assert_eq!(answer.requested_at_ms, asked_ms),
            other => panic!("{other:?}"),
        }
        world.pass(Duration::from_secs(5));
    }
    assert_eq!(code(world.log_in(&connection(4), &alice).await), Code::PermissionDenied);
    assert_eq!(code(administer(&world, unban(id(&alice))).await), Code::FailedPrecondition);
}

async fn tell(world: &World, gateway_id: &str, draining: bool) -> bool {
    let request = v1::ReportGatewayRequest {
        gateway_id: gateway_id.to_owned(),
        version: "1.2.3".to_owned(),
        connections: 5,
        sessions: 4,
        draining,
    };
    world.deps.client().call_unasked::<methods::ReportGateway>(&request).await.unwrap().drain
}

#[tokio::test]
async fn gateways_are_listed_counted_and_told_to_drain() {
    let world = World::new().await;
    world.logged_in("alice").await;
    assert!(!tell(&world, "aa", false).await && !tell(&world, "bb", false).await);
    let drain = |gateway_id: &str| Call::DrainGateway(admin::DrainGatewayRequest { gateway_id: gateway_id.to_owned() });
    administer(&world, drain("aa")).await.unwrap();
    assert_eq!(code(administer(&world, drain("cc")).await), Code::NotFound);
    assert!(tell(&world, "aa", false).await && !tell(&world, "bb", false).await);
    assert!(tell(&world, "aa", true).await, "asked is asked");
    let stats = match administer(&world, Call::Stats(admin::StatsRequest {})).await.unwrap() {
        Answer::Stats(stats) => stats,
        other => panic!("{other:?}"),
    };
    let draining: Vec<_> = stats.gateways.iter().map(|gateway| (&*gateway.gateway_id, gateway.draining)).collect();
    assert_eq!(draining, [("aa", true), ("bb", false)]);
    assert_eq!((stats.users, stats.devices, stats.sessions, stats.banned), (1, 1, 1, 0));
    assert_eq!((stats.groups, stats.messages_waiting), (7, 9), "as delivery says");
    world.pass(Duration::from_millis(30_001));
    tell(&world, "bb", false).await;
    match administer(&world, Call::ListGateways(admin::ListGatewaysRequest {})).await.unwrap() {
        Answer::ListGateways(list) => assert_eq!(list.gateways.len(), 1, "one that is not heard is gone"),
        other => panic!("{other:?}"),
    }
}

/// Every call once, most of them refused, with its subject.
fn every_call(alice: &Person) -> Vec<(Call, &'static str, Code, String)> {
    let (account, nobody) = (alice.certificate.account_id().to_string(), String::new());
    let stranger = || Some(Who { who: Some(who::Who::AccountId(bytes(&[1; 16]))) });
    vec![
        (Call::ListUsers(Default::default()), "ListUsers", Code::Ok, nobody.clone()),
        (Call::ShowUser(admin::ShowUserRequest { user: name("alice") }), "ShowUser", Code::Ok, account.clone()),
        (ban(name("nobody")), "BanUser", Code::NotFound, nobody.clone()),
        (ban(None), "BanUser", Code::InvalidArgument, nobody.clone()),
        (ban(id(alice)), "BanUser", Code::Ok, account.clone()),
        (unban(name("alice")), "UnbanUser", Code::Ok, account.clone()),
        (
            Call::RequestDeletion(admin::RequestDeletionRequest { user: stranger() }),
            "RequestDeletion",
            Code::NotFound,
            "01".repeat(16),
        ),
        (
            Call::SetQuota(admin::SetQuotaRequest {
                user: id(alice),
                name: quotas::DEVICES.to_owned(),
                value: Some(1),
            }),
            "SetQuota",
            Code::Ok,
            account.clone(),
        ),
        (Call::ListDevices(admin::ListDevicesRequest { user: id(alice) }), "ListDevices", Code::Ok, account),
        (
            Call::RevokeDevice(admin::RevokeDeviceRequest { device_id: DeviceId([2; 16]).to_bytes() }),
            "RevokeDevice",
            Code::NotFound,
            "02".repeat(16),
        ),
        (Call::ListReports(Default::default()), "ListReports", Code::Ok, nobody.clone()),
        (
            Call::ShowReport(admin::ShowReportRequest { report_id: bytes(&[3; 16]) }),
            "ShowReport",
            Code::NotFound,
            "03".repeat(16),
        ),
        (Call::ResolveReport(Default::default()), "ResolveReport", Code::InvalidArgument, nobody.clone()),
        (Call::ListGateways(Default::default()), "ListGateways", Code::Ok, nobody.clone()),
        (
            Call::DrainGateway(admin::DrainGatewayRequest { gateway_id: "ff".to_owned() }),
            "DrainGateway",
            Code::NotFound,
            "ff".to_owned(),
        ),
        (Call::Stats(Default::default()), "Stats", Code::Ok, nobody.clone()),
        (
            Call::CreateInvite(admin::CreateInviteRequest { uses: 100_001, ..Default::default() }),
            "CreateInvite",
            Code::InvalidArgument,
            nobody.clone(),
        ),
        (Call::ListInvites(Default::default()), "ListInvites", Code::Ok, nobody.clone()),
        (
            Call::RevokeInvite(admin::RevokeInviteRequest { invite_id: bytes(&[4; 16]) }),
            "RevokeInvite",
            Code::NotFound,
            "04".repeat(16),
        ),
        (Call::ListAudit(Default::default()), "ListAudit", Code::Ok, nobody.clone()),
        (Call::VerifyAudit(Default::default()), "VerifyAudit", Code::Ok, nobody),
    ]
}

#[tokio::test]
async fn each_call_leaves_one_entry_also_when_it_is_refused() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    let mut expected = Vec::new();
    for (call, action, ends, subject) in every_call(&alice) {
        let ended = administer(&world, call).await.map_or_else(|status| status.code, |_| Code::Ok);
        assert_eq!(ended, ends, "{action}");
        expected.push((expected.len() as u64 + 1, "a1b2".to_owned(), action.to_owned(), subject, ends as u32));
    }
    let mut entries = audit(&world, 0).await;
    entries.reverse();
    let found: Vec<_> =
        entries.into_iter().map(|entry| (entry.seq, entry.actor, entry.action, entry.subject, entry.code)).collect();
    assert_eq!(found, expected);
    assert_eq!(verify(&world).await, (expected.len() as u64 + 1, 0));
    // With the two questions just asked.
    let counted = format!("qpc_audit_entries_total {}\n", expected.len() + 2);
    assert!(world.deps.metrics.render().contains(&counted), "{counted}");
}

#[tokio::test]
async fn a_client_cannot_administer() {
    let world = World::new().await;
    let (alice, _) = world.logged_in("alice").await;
    for info in [methods::Administer::INFO, methods::ReportGateway::INFO, methods::AccountQuotas::INFO] {
        assert_eq!(info.access, qpc_wire::Access::Service);
    }
    for from in [connection(3), alice.attached(3)] {
        let request = v1::AdministerRequest { actor: String::new(), call: Some(ban(name("alice"))) };
        assert_eq!(code(world.call::<methods::Administer>(&from, request).await), Code::Unimplemented);
    }
}
