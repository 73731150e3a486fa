//! Who may register, by each mode of the setting.

use std::time::Duration;

use futures_util::future::join_all;
use qpc_auth::{Config, Registration};
use qpc_crypto::{AccountInvite, admission::Puzzle};
use qpc_wire::{
    Code, Status,
    admin::v1 as admin,
    methods,
    status::Detail,
    v1::{
        self, InviteVerdict, OpaqueRegisterFinishRequest, RegistrationMode, administer_request::Call,
        administer_response::Answer,
    },
};

use crate::{
    admin::{administer, audit},
    recovery,
    world::{Connection, Person, World, bytes, code, connection, key},
};

/// Bits of the tests' work: 64 tries on average.
const BITS: u32 = 6;

fn config(registration: Registration) -> Config {
    Config { registration, registration_work: BITS, ..Config::default() }
}

/// Where nothing is counted by address.
fn unlimited(registration: Registration) -> Config {
    Config { registrations_per_address: "off".parse().unwrap(), ..config(registration) }
}

async fn world(registration: Registration) -> World {
    let mut world = World::new().await;
    world.restart(config(registration)).await;
    world
}

async fn finish(world: &World, request: OpaqueRegisterFinishRequest) -> Result<(), Status> {
    world.call::<methods::OpaqueRegisterFinish>(&connection(1), request).await.map(drop)
}

async fn invited(world: &World, name: &str, invite: &AccountInvite) -> Result<(), Status> {
    let request = world.registration(&connection(1), &Person::new(name)).await;
    finish(world, OpaqueRegisterFinishRequest { invite: bytes(&invite.to_bytes()), ..request }).await
}

fn refusal(result: Result<(), Status>) -> (Code, RegistrationMode, InviteVerdict) {
    let status = result.expect_err("it was to be refused");
    match status.detail {
        Some(Detail::RegistrationRefused(refused)) => {
            (status.code, refused.terms.as_ref().unwrap().mode(), refused.invite())
        }
        other => panic!("{:?} {other:?}", status.code),
    }
}

async fn create(world: &World, uses: u32, valid_ms: u64) -> (AccountInvite, admin::Invite) {
    let request = admin::CreateInviteRequest { uses, valid_ms, note: "for a test".to_owned() };
    match administer(world, Call::CreateInvite(request)).await.unwrap() {
        Answer::CreateInvite(made) => (made.code.parse().unwrap(), made.invite.unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn list(world: &World) -> Vec<admin::Invite> {
    match administer(world, Call::ListInvites(admin::ListInvitesRequest::default())).await.unwrap() {
        Answer::ListInvites(list) => list.invites,
        other => panic!("{other:?}"),
    }
}

fn solve(request: OpaqueRegisterFinishRequest, bits: u32) -> OpaqueRegisterFinishRequest {
    let puzzle = Puzzle::new(&request.registration_state, bits).unwrap();
    OpaqueRegisterFinishRequest { work: puzzle.solve(0, |_| true).unwrap().unwrap(), ..request }
}

#[tokio::test]
async fn each_mode_says_what_it_wants_and_who_comes_without_is_told_what_to_do() {
    for (registration, mode, ends, says) in [
        (Registration::Closed, RegistrationMode::Closed, Code::PermissionDenied, "no new accounts"),
        (Registration::InviteOnly, RegistrationMode::InviteOnly, Code::PermissionDenied, "newer client takes one"),
        (Registration::ProofOfWork, RegistrationMode::ProofOfWork, Code::FailedPrecondition, "newer client makes it"),
    ] {
        let world = world(registration).await;
        let (request, terms) = world.terms(&connection(1), &Person::new("alice")).await;
        assert_eq!((terms.mode(), terms.work.is_some()), (mode, registration == Registration::ProofOfWork));
        // As a client does that knows of nothing.
        let refused = finish(&world, request).await;
        let message = refused.clone().unwrap_err().message;
        assert!(message.contains(says), "{message}");
        assert_eq!(refusal(refused), (ends, mode, InviteVerdict::Missing));
    }
    let (_, terms) = World::new().await.terms(&connection(1), &Person::new("alice")).await;
    assert_eq!(terms, v1::RegistrationTerms::default(), "open by default");
}

#[tokio::test]
async fn a_closed_server_still_has_its_accounts() {
    let mut world = World::new().await;
    let alice = Person::new("alice");
    world.register(&alice).await;
    world.restart(config(Registration::Closed)).await;
    world.log_in(&connection(2), &alice).await.expect("who is there stays");
    recovery::reset(&world, &connection(3), "alice", &alice, "another").await.expect("and can come back");
    assert_eq!(code(invited(&world, "bob", &AccountInvite::from_random([1; 15])).await), Code::PermissionDenied);
}

#[tokio::test]
async fn work_counts_for_its_name_and_in_its_time() {
    let world = world(Registration::ProofOfWork).await;
    let (alice, from) = (Person::new("alice"), connection(1));
    let (request, terms) = world.terms(&from, &alice).await;
    let work = terms.work.unwrap();
    assert_eq!((work.bits, work.expires_at_ms), (BITS, world.deps.runtime.now_ms() + 600_000));
    let solved = solve(request, work.bits);
    let puzzle = Puzzle::new(&solved.registration_state, BITS).unwrap();
    let wrong = (0..).find(|nonce| !puzzle.check(*nonce).unwrap()).unwrap();
    let off = OpaqueRegisterFinishRequest { work: wrong, ..solved.clone() };
    assert_eq!(refusal(finish(&world, off).await).1, RegistrationMode::ProofOfWork);

    // Brought under another name it is no state of this server for it, and so no work.
    let mallory = Person::new("mallory");
    let taken = OpaqueRegisterFinishRequest {
        registration_state: solved.registration_state.clone(),
        work: solved.work,
        ..world.registration(&from, &mallory).await
    };
    assert_eq!(code(finish(&world, taken).await), Code::InvalidArgument);

    world.pass(Duration::from_millis(600_000));
    assert_eq!(refusal(finish(&world, solved).await).1, RegistrationMode::ProofOfWork, "too late");
    let again = solve(world.registration(&from, &alice).await, BITS);
    world.pass(Duration::from_millis(599_999));
    finish(&world, again).await.expect("just in time");
}

#[tokio::test]
async fn what_was_begun_before_the_server_wanted_work_is_begun_anew() {
    let mut world = World::new().await;
    let request = world.registration(&connection(1), &Person::new("alice")).await;
    world.restart(config(Registration::ProofOfWork)).await;
    assert_eq!(refusal(finish(&world, request).await).1, RegistrationMode::ProofOfWork);
    let solved = solve(world.registration(&connection(1), &Person::new("bob")).await, BITS);
    world.restart(config(Registration::Open)).await;
    finish(&world, solved).await.expect("what is wanted no longer does no harm");
}

/// Everybody shows the same state and nonce, each with keys of his own.
async fn work_is_spent_once(mut world: World) {
    world.restart(unlimited(Registration::ProofOfWork)).await;
    world.add_replica(unlimited(Registration::ProofOfWork)).await;
    let from = connection(1);
    let solved = solve(world.registration(&from, &Person::new("alice")).await, BITS);
    let racers: Vec<_> = (0..8).map(|_| Person::new("alice")).collect();
    let requests = racers.iter().map(|racer| OpaqueRegisterFinishRequest {
        idempotency_key: key(),
        device_certificate: bytes(&racer.certificate.to_bytes()),
        account_proof: racer.register_proof(&from),
        ..solved.clone()
    });
    let ends = join_all(requests.map(|request| finish(&world, request))).await;
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 1);
    assert!(ends.into_iter().filter_map(Result::err).all(|status| status.code == Code::AlreadyExists));
}

#[tokio::test]
async fn work_is_spent_with_its_name_on_two_replicas() {
    work_is_spent_once(World::new().await).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn work_is_spent_with_its_name_on_two_replicas_on_postgres() {
    work_is_spent_once(World::on_postgres(Config::default()).await).await;
}

async fn uses_are_counted(mut world: World) {
    world.restart(unlimited(Registration::InviteOnly)).await;
    world.add_replica(unlimited(Registration::InviteOnly)).await;
    let (invite, _) = create(&world, 3, 0).await;
    let names: Vec<_> = (0..12).map(|number| format!("user{number}")).collect();
    let ends = join_all(names.iter().map(|name| invited(&world, name, &invite))).await;
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), 3);
    for refused in ends.into_iter().filter(Result::is_err) {
        let used_up = (Code::PermissionDenied, RegistrationMode::InviteOnly, InviteVerdict::UsedUp);
        assert_eq!(refusal(refused), used_up);
    }
    assert_eq!(list(&world).await[0].used, 3);
}

#[tokio::test]
async fn the_last_use_of_an_invite_goes_to_one_of_many_on_two_replicas() {
    uses_are_counted(World::new().await).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
async fn the_last_use_of_an_invite_goes_to_one_of_many_on_two_replicas_on_postgres() {
    uses_are_counted(World::on_postgres(Config::default()).await).await;
}

#[tokio::test]
async fn what_fails_or_is_repeated_uses_no_invite() {
    let world = world(Registration::InviteOnly).await;
    let (invite, _) = create(&world, 2, 0).await;
    let request = world.registration(&connection(1), &Person::new("alice")).await;
    let request = OpaqueRegisterFinishRequest { invite: bytes(&invite.to_bytes()), ..request };
    for _ in 0..3 {
        finish(&world, request.clone()).await.expect("the first answer stands");
    }
    assert_eq!(code(invited(&world, "alice", &invite).await), Code::AlreadyExists);
    assert_eq!(list(&world).await[0].used, 1);
    invited(&world, "bob", &invite).await.expect("one is left");
}

#[tokio::test]
async fn an_invite_is_good_until_it_is_used_up_expires_or_is_revoked() {
    let world = world(Registration::InviteOnly).await;
    let verdict = |result| refusal(result).2;
    let made_ms = world.deps.runtime.now_ms();
    let (once, row) = create(&world, 0, 0).await;
    assert_eq!((row.uses, row.used, row.expires_at_ms), (1, 0, made_ms + 7 * 86_400_000), "unless it is said");
    world.pass(Duration::from_millis(1));
    let (short, row_of_short) = create(&world, 5, 10_000).await;
    assert_eq!(list(&world).await, [row_of_short.clone(), row.clone()]);
    assert_eq!(verdict(invited(&world, "alice", &AccountInvite::from_random([1; 15])).await), InviteVerdict::Unknown);
    let odd = world.registration(&connection(1), &Person::new("alice")).await;
    let odd = OpaqueRegisterFinishRequest { invite: bytes(b"short"), ..odd };
    assert_eq!(verdict(finish(&world, odd).await), InviteVerdict::Unknown);

    invited(&world, "alice", &once).await.unwrap();
    assert_eq!(verdict(invited(&world, "bob", &once).await), InviteVerdict::UsedUp);
    world.pass(Duration::from_millis(9_999));
    invited(&world, "bob", &short).await.unwrap();
    world.pass(Duration::from_millis(1));
    assert_eq!(verdict(invited(&world, "carol", &short).await), InviteVerdict::Expired);

    let (revoked, row) = create(&world, 5, 10_000).await;
    invited(&world, "carol", &revoked).await.unwrap();
    let revoke = || Call::RevokeInvite(admin::RevokeInviteRequest { invite_id: row.invite_id.clone() });
    administer(&world, revoke()).await.unwrap();
    assert_eq!(code(administer(&world, revoke()).await), Code::NotFound);
    assert_eq!(verdict(invited(&world, "dave", &revoked).await), InviteVerdict::Unknown);
    let log = audit(&world, 0).await;
    let of_invite: Vec<_> = log.iter().filter(|entry| entry.subject == hex::encode(&row.invite_id)).collect();
    let actions: Vec<_> = of_invite.iter().map(|entry| (&*entry.action, entry.code)).collect();
    assert_eq!(actions, [("RevokeInvite", Code::NotFound as u32), ("RevokeInvite", 0), ("CreateInvite", 0)]);
    for request in [
        admin::CreateInviteRequest { uses: 100_001, ..Default::default() },
        admin::CreateInviteRequest { valid_ms: 366 * 86_400_000 + 1, ..Default::default() },
        admin::CreateInviteRequest { note: "x".repeat(257), ..Default::default() },
    ] {
        assert_eq!(code(administer(&world, Call::CreateInvite(request)).await), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn an_address_shows_six_invites_and_one_every_half_minute_right_or_wrong() {
    let world = world(Registration::InviteOnly).await;
    let (right, _) = create(&world, 5, 0).await;
    let from = |address| Connection { address, ..connection(1) };
    let show = async |address, name: &str, invite: &AccountInvite| {
        let request = world.registration(&from(address), &Person::new(name)).await;
        let request = OpaqueRegisterFinishRequest { invite: bytes(&invite.to_bytes()), ..request };
        world.call::<methods::OpaqueRegisterFinish>(&from(address), request).await.map(drop)
    };
    for number in 0..6 {
        let wrong = AccountInvite::from_random([number; 15]);
        assert_eq!(refusal(show(b"one", "alice", &wrong).await).2, InviteVerdict::Unknown);
    }
    world.pass(Duration::from_secs(10));
    let refused = show(b"one", "alice", &right).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (Code::ResourceExhausted, 20_000),
        "nor is a right one looked at"
    );
    show(b"two", "bob", &right).await.expect("another address");
    world.pass(Duration::from_secs(20));
    show(b"one", "alice", &right).await.expect("half a minute is over");
}

#[tokio::test]
async fn an_address_shows_work_six_times_and_once_every_half_minute() {
    let world = world(Registration::ProofOfWork).await;
    let from = Connection { address: b"one", ..connection(1) };
    let finish = |request| world.call::<methods::OpaqueRegisterFinish>(&from, request);
    for number in 0..6 {
        let request = world.registration(&from, &Person::new(&format!("user{number}"))).await;
        finish(solve(request, BITS)).await.unwrap();
    }
    let solved = solve(world.registration(&from, &Person::new("late")).await, BITS);
    let refused = finish(solved.clone()).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::ResourceExhausted, 30_000));
    world.pass(Duration::from_secs(30));
    finish(solved).await.expect("the same work, later");
}
