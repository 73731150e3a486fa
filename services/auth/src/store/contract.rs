//! What the store does on every engine.

mod admin;
mod invites;

use std::time::Duration;

use futures_util::future::join_all;
use qpc_chassis::{Runtime, db::Db};
use qpc_crypto::{AccountKey, DeviceCertificate, DeviceKey, KsfParams};
use qpc_wire::{AccountId, DeviceId};
use rand::RngCore;

use super::{MIGRATIONS, NewAccount, NewSession, RecoverySet, Revocation, Store, accounts, restored};
use crate::{domain::name_key::NameKey, error::Error};

/// Devices that an account may have.
const MOST: u32 = 5;
/// When [`revoke`] revokes.
const REVOKED_MS: u64 = 30;

/// A store in a new folder, which goes when the second value does.
pub(crate) async fn sqlite() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let setting = format!("sqlite:{}", folder.path().display());
    (Store::new(Db::open(&setting, "auth", 1, MIGRATIONS).await.unwrap()), folder)
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let (store, _folder) = sqlite().await;
    check(&store).await;
}

#[tokio::test]
#[ignore = "needs Postgres: cargo xtask test"]
#[allow(clippy::disallowed_methods, reason = "tests of servers are told where they are")]
async fn postgres_keeps_the_contract() {
    let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
    let scope = format!("t{:016x}", Runtime::system().rng().next_u64());
    let db = Db::open(&url, &scope, 16, MIGRATIONS).await.unwrap();
    // All connections at once, or the first would have done most of a race before the others are there.
    drop(join_all((0..16).map(|_| db.begin())).await);
    let store = Store::new(db);
    check(&store).await;
    a_revocation_waits_for_the_one_before_it(&store).await;
}

async fn check(store: &Store) {
    the_first_setup_stays(store).await;
    names_and_accounts_are_taken_once(store).await;
    sessions_end_in_every_way(store).await;
    devices_are_limited(store).await;
    a_revoked_device_stays_out(store).await;
    devices_are_renamed_by_their_account(store).await;
    revocations_become_visible_in_order(store).await;
    what_was_told_is_not_told_again(store).await;
    users_are_found_by_their_exact_name(store).await;
    admin::check(store).await;
    invites::check(store).await;
    tokens_are_counted_by_account_and_day(store).await;
    a_recovery_code_is_used_once(store).await;
    a_deleted_account_leaves_its_name_and_nothing_else(store).await;
    what_an_admin_wants_gone_goes_when_its_time_is_over(store).await;
    after_a_restore_no_session_of_before_is_good(store).await;
}

struct Person {
    key: AccountKey,
}

impl Person {
    fn new() -> Self {
        Self { key: AccountKey::generate(&mut Runtime::system().rng()) }
    }

    fn id(&self) -> AccountId {
        qpc_crypto::account_id(&self.key.public())
    }

    fn certify(&self) -> DeviceCertificate {
        let device = DeviceKey::generate(&mut Runtime::system().rng());
        DeviceCertificate::issue(&self.key, &device.public(), 1)
    }
}

fn name_tag(name: &str) -> [u8; 32] {
    qpc_crypto::sha256(&[name.as_bytes()])
}

async fn register(store: &Store, name: &str, certificate: &DeviceCertificate) -> Result<(), Error> {
    let account = NewAccount {
        username: name.to_owned(),
        name_tag: name_tag(name),
        certificate: certificate.clone(),
        setup_id: 1,
        credential_id: [4; 16],
        record: vec![7; 192],
        ksf: KsfParams::FLOOR,
        now_ms: 10,
    };
    let mut tx = store.db().begin().await?;
    Store::register(&mut tx, &account).await?;
    Ok(tx.commit().await?)
}

async fn log_in(store: &Store, certificate: &DeviceCertificate, expires_ms: u64) -> Result<[u8; 32], Error> {
    let mut token_hash = [0; 32];
    Runtime::system().rng().fill_bytes(&mut token_hash);
    let session = NewSession { certificate: certificate.clone(), token_hash, now_ms: 20, expires_ms };
    store.open_session(&session, MOST).await?;
    Ok(token_hash)
}

async fn revoke(store: &Store, account: AccountId, caller: DeviceId, device: DeviceId) -> Result<(), Error> {
    let mut tx = store.db().begin().await?;
    Store::revoke(&mut tx, account, caller, device, REVOKED_MS).await?;
    Ok(tx.commit().await?)
}

async fn end(store: &Store, token: &[u8; 32], device: DeviceId) -> Result<(), Error> {
    let mut tx = store.db().begin().await?;
    Store::end_session(&mut tx, token, device).await?;
    Ok(tx.commit().await?)
}

async fn a_recovery_code_is_used_once(store: &Store) {
    let person = Person::new();
    let device = person.certify();
    register(store, "forgetful", &device).await.unwrap();
    let set = async |id: u8, caller: DeviceId| {
        let codes = (0..8).map(|code| ([id * 8 + code; 32], vec![code; 104])).collect();
        let mut tx = store.db().begin().await.unwrap();
        let set = RecoverySet { id: [id; 16], codes, bundle: vec![id; 9] };
        Store::set_recovery(&mut tx, person.id(), caller, &set, 40).await?;
        Ok::<_, Error>(tx.commit().await?)
    };
    let take = async |lookup: u8| {
        let mut tx = store.db().begin().await.unwrap();
        let used = Store::use_code(&mut tx, &[lookup; 32]).await?;
        tx.commit().await?;
        Ok::<_, Error>(used)
    };
    assert_eq!(store.recovery(person.id()).await.unwrap(), None);
    assert!(matches!(set(1, DeviceId([0; 16])).await, Err(Error::DeviceRevoked)), "a device of nobody");
    set(1, device.device_id()).await.unwrap();

    let takers = join_all((0..8).map(|_| take(9))).await;
    let (won, lost): (Vec<_>, Vec<_>) = takers.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.iter().all(|result| matches!(result, Err(Error::UnknownCode))));
    let used = won.into_iter().next().unwrap().unwrap();
    assert_eq!((used.set, used.wrapped, used.bundle, used.codes_left), ([1; 16], vec![1; 104], vec![1; 9], 7));
    let status = store.recovery(person.id()).await.unwrap().unwrap();
    assert_eq!((status.set, status.codes_left, status.created_ms), ([1; 16], 7, 40));

    store.update_recovery(person.id(), device.device_id(), &[1; 16], b"newer", 50).await.unwrap();
    assert_eq!(take(8).await.unwrap().bundle, b"newer");
    set(2, device.device_id()).await.unwrap();
    assert!(matches!(take(10).await, Err(Error::UnknownCode)), "of the set before");
    let late = store.update_recovery(person.id(), device.device_id(), &[1; 16], b"late", 60).await;
    assert!(matches!(late, Err(Error::RecoverySet)));
    assert_eq!(take(16).await.unwrap().codes_left, 7);
}

async fn a_deleted_account_leaves_its_name_and_nothing_else(store: &Store) {
    let (person, other) = (Person::new(), Person::new());
    let (device, lost) = (person.certify(), person.certify());
    register(store, "deleted", &device).await.unwrap();
    let token = log_in(store, &lost, 1_000).await.unwrap();
    revoke(store, person.id(), device.device_id(), lost.device_id()).await.unwrap();
    let before = store.revocation_head().await.unwrap();
    let delete = async |caller: DeviceId| {
        let mut tx = store.db().begin().await.unwrap();
        let gone = Store::delete_account(&mut tx, person.id(), caller, &name_tag("deleted"), 50).await?;
        tx.commit().await?;
        Ok::<_, Error>(gone)
    };
    assert!(matches!(delete(lost.device_id()).await, Err(Error::DeviceRevoked)), "not by a revoked device");
    assert_eq!(delete(device.device_id()).await.unwrap(), [device.device_id()]);
    assert!(matches!(delete(device.device_id()).await, Err(Error::DeviceRevoked)));

    assert_eq!(store.user("deleted").await.unwrap(), None);
    assert_eq!(store.password("deleted").await.unwrap(), None);
    assert_eq!(store.session(&token, 20).await.unwrap(), None);
    assert_eq!(store.devices(person.id()).await.unwrap(), []);
    let news: Vec<_> = store.revoked_since(before).await.unwrap().into_iter().map(|it| it.device).collect();
    assert_eq!(news, [device.device_id()], "gateways hear of it");
    let mut devices = vec![device.device_id(), lost.device_id()];
    devices.sort();
    let [deletion] = &store.deletions().await.unwrap()[..] else { panic!("one to be told of") };
    assert_eq!((deletion.account, &deletion.devices), (person.id(), &devices));
    store.finish_deletion(person.id()).await.unwrap();
    assert_eq!(store.deletions().await.unwrap(), []);
    assert_eq!(store.good_until(person.id(), device.device_id()).await.unwrap(), Some(50));
    assert_eq!(store.good_until(person.id(), lost.device_id()).await.unwrap(), Some(REVOKED_MS));
    let of_account = "SELECT 1 FROM revocations WHERE account_id = $1";
    assert!(store.db().row(of_account, &[(&person.id()).into()]).await.unwrap().is_none());

    assert!(matches!(register(store, "deleted", &other.certify()).await, Err(Error::Taken)), "the name is nobody's");
    assert!(matches!(register(store, "deleted", &person.certify()).await, Err(Error::Taken)));
    assert!(matches!(register(store, "again", &device).await, Err(Error::Taken)), "the device stays revoked");
    register(store, "again", &person.certify()).await.unwrap();
    assert!(matches!(log_in(store, &device, 1_000).await, Err(Error::ForeignDevice)));
}

async fn what_an_admin_wants_gone_goes_when_its_time_is_over(store: &Store) {
    let (person, names) = (Person::new(), NameKey::new([3; 32]));
    let device = person.certify();
    register(store, "unwanted", &device).await.unwrap();
    let mut tx = store.db().begin().await.unwrap();
    accounts::ban(&mut tx, person.id(), "spam", 60).await.unwrap();
    accounts::set_quota(&mut tx, person.id(), "devices", Some(1)).await.unwrap();
    Store::count_tokens(&mut tx, person.id(), 1, 9, 60).await.unwrap();
    accounts::request_deletion(&mut tx, person.id(), 60).await.unwrap();
    tx.commit().await.unwrap();

    assert!(!store.delete_requested(names, 59, 70).await.unwrap(), "not before");
    assert!(store.user("unwanted").await.unwrap().is_some());
    let done = join_all((0..4).map(|_| store.delete_requested(names, 60, 70))).await;
    assert!(done.into_iter().any(|done| done.unwrap()));
    assert!(!store.delete_requested(names, 60, 70).await.unwrap());
    assert_eq!(store.user("unwanted").await.unwrap(), None);
    for sql in [
        "SELECT 1 FROM bans WHERE account_id = $1",
        "SELECT 1 FROM deletion_requests WHERE account_id = $1",
        "SELECT 1 FROM quotas WHERE account_id = $1",
        "SELECT 1 FROM tokens_issued WHERE account_id = $1",
    ] {
        assert!(store.db().row(sql, &[(&person.id()).into()]).await.unwrap().is_none(), "{sql}");
    }
    let ended = "SELECT 1 FROM ended_sessions WHERE device_id = $1";
    assert!(store.db().row(ended, &[(&device.device_id()).into()]).await.unwrap().is_none());
    let news = store.revoked_since(0).await.unwrap();
    assert!(news.iter().any(|it| it.device == device.device_id()), "gateways hear of it");
    let [deletion] = &store.deletions().await.unwrap()[..] else { panic!("one to be told of") };
    assert_eq!(deletion.account, person.id());
    store.finish_deletion(person.id()).await.unwrap();
    let tag = names.tag("unwanted");
    let taken = store.db().row("SELECT 1 FROM deleted_names WHERE name_tag = $1", &[tag.as_slice().into()]).await;
    assert!(taken.unwrap().is_some());
}

async fn the_first_setup_stays(store: &Store) {
    assert_eq!(store.setups().await.unwrap(), []);
    store.add_setup(1, b"first", 0).await.unwrap();
    store.add_setup(1, b"second", 0).await.unwrap();
    assert_eq!(store.setups().await.unwrap(), [(1, b"first".to_vec())]);
}

async fn names_and_accounts_are_taken_once(store: &Store) {
    let (one, other) = (Person::new(), Person::new());
    let device = one.certify();
    register(store, "taken", &device).await.unwrap();
    assert!(matches!(register(store, "taken", &other.certify()).await, Err(Error::Taken)), "name");
    assert!(matches!(register(store, "again", &one.certify()).await, Err(Error::Taken)), "account");
    let stolen = DeviceCertificate::issue(&other.key, device.device_key(), 1);
    assert!(matches!(register(store, "thief", &stolen).await, Err(Error::Taken)), "device");
    assert!(store.user("thief").await.unwrap().is_none(), "a refused registration leaves nothing");

    let password = store.password("taken").await.unwrap().unwrap();
    assert_eq!((password.account_key, password.setup_id), (one.key.public(), 1));
    assert_eq!((password.record, password.ksf), (vec![7; 192], KsfParams::FLOOR));
    assert_eq!(store.password("again").await.unwrap(), None);

    let racers: Vec<_> = (0..8).map(|_| Person::new().certify()).collect();
    let results = join_all(racers.iter().map(|certificate| register(store, "raced", certificate))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Taken))), "{results:?}");
}

async fn after_a_restore_no_session_of_before_is_good(store: &Store) {
    let certificate = Person::new().certify();
    register(store, "restored", &certificate).await.unwrap();
    let before = log_in(store, &certificate, 1_000).await.unwrap();
    for _ in 0..2 {
        let mut tx = store.db().begin().await.unwrap();
        let done = restored(&mut tx, 1).await.unwrap();
        tx.commit().await.unwrap();
        assert!(done.ends_with(" sessions ended, devices log in again"), "{done}");
        assert_eq!(store.session(&before, 0).await.unwrap(), None);
    }
    let after = log_in(store, &certificate, 1_000).await.unwrap();
    assert!(store.session(&after, 0).await.unwrap().is_some(), "whoever has the password and is good comes in");
}

async fn sessions_end_in_every_way(store: &Store) {
    let person = Person::new();
    let (one, two) = (person.certify(), person.certify());
    register(store, "sessions", &one).await.unwrap();
    let stranger = Person::new().certify();
    assert!(matches!(log_in(store, &stranger, 100).await, Err(Error::ForeignDevice)), "no such account");

    let token = log_in(store, &one, 100).await.unwrap();
    let session = store.session(&token, 99).await.unwrap().unwrap();
    assert_eq!((session.account, session.device), (person.id(), one.device_id()));
    assert_eq!((session.device_key, session.expires_ms), (*one.device_key(), 100));
    assert_eq!(store.session(&token, 100).await.unwrap(), None, "expired");
    assert_eq!(store.session(&[0; 32], 0).await.unwrap(), None, "unknown");

    let second = log_in(store, &two, 200).await.unwrap();
    assert!(matches!(end(store, &token, two.device_id()).await, Err(Error::UnknownSession)), "another's");
    end(store, &second, two.device_id()).await.unwrap();
    assert_eq!(store.session(&second, 0).await.unwrap(), None, "ended");

    let later = log_in(store, &one, 101).await.unwrap();
    assert_eq!(store.sweep_sessions(100).await.unwrap(), 1);
    assert_eq!(store.sweep_sessions(100).await.unwrap(), 0);
    assert!(store.session(&later, 0).await.unwrap().is_some());

    let mut tokens = Vec::new();
    for expires_ms in 300..310 {
        tokens.push(log_in(store, &one, expires_ms).await.unwrap());
    }
    for (index, token) in tokens.iter().enumerate() {
        let kept = store.session(token, 0).await.unwrap().is_some();
        assert_eq!(kept, index >= 2, "a device keeps its eight latest sessions, {index}");
    }
}

async fn devices_are_limited(store: &Store) {
    let person = Person::new();
    let first = person.certify();
    register(store, "devices", &first).await.unwrap();
    for _ in 2..MOST {
        log_in(store, &person.certify(), 100).await.unwrap();
    }
    let racers: Vec<_> = (0..16).map(|_| person.certify()).collect();
    let results = join_all(racers.iter().map(|certificate| log_in(store, certificate, 100))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "there was room for one");
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::DeviceLimit(5)))), "{results:?}");
    let devices = store.devices(person.id()).await.unwrap();
    assert_eq!(devices.len(), MOST as usize);

    revoke(store, person.id(), first.device_id(), devices[1].device).await.unwrap();
    let late = person.certify();
    log_in(store, &late, 100).await.unwrap();
    log_in(store, &first, 100).await.expect("known devices log in at the limit");
}

async fn a_revoked_device_stays_out(store: &Store) {
    let (person, other) = (Person::new(), Person::new());
    let (one, two, foreign) = (person.certify(), person.certify(), other.certify());
    register(store, "revoker", &one).await.unwrap();
    register(store, "bystander", &foreign).await.unwrap();
    let token = log_in(store, &two, 100).await.unwrap();
    let (id, caller) = (person.id(), one.device_id());

    assert!(matches!(revoke(store, id, caller, foreign.device_id()).await, Err(Error::UnknownDevice)));
    assert!(matches!(revoke(store, id, caller, DeviceId([9; 16])).await, Err(Error::UnknownDevice)));
    assert_eq!(store.good_until(id, two.device_id()).await.unwrap(), Some(u64::MAX));
    revoke(store, id, caller, two.device_id()).await.unwrap();
    revoke(store, id, caller, two.device_id()).await.expect("once more changes nothing");
    assert_eq!(store.good_until(id, two.device_id()).await.unwrap(), Some(REVOKED_MS));
    assert_eq!(store.good_until(id, one.device_id()).await.unwrap(), Some(u64::MAX));
    for nobodys in [foreign.device_id(), DeviceId([9; 16])] {
        assert_eq!(store.good_until(id, nobodys).await.unwrap(), None);
    }
    assert_eq!(store.session(&token, 0).await.unwrap(), None);
    assert!(matches!(log_in(store, &two, 100).await, Err(Error::DeviceRevoked)));
    let refused = revoke(store, id, two.device_id(), one.device_id()).await;
    assert!(matches!(refused, Err(Error::DeviceRevoked)), "a revoked device revokes nobody");
    let devices = store.devices(id).await.unwrap();
    assert_eq!(devices.iter().map(|device| device.device).collect::<Vec<_>>(), [one.device_id()]);
}

async fn users_are_found_by_their_exact_name(store: &Store) {
    let person = Person::new();
    let one = person.certify();
    register(store, "exact", &one).await.unwrap();
    let user = store.user("exact").await.unwrap().unwrap();
    assert_eq!((user.account, user.account_key), (person.id(), person.key.public()));
    assert_eq!(user.certificates, [one.to_bytes().to_vec()]);
    for other in ["exac", "exact ", "EXACT", "%", ""] {
        assert_eq!(store.user(other).await.unwrap(), None, "{other:?}");
    }
    revoke(store, person.id(), one.device_id(), one.device_id()).await.unwrap();
    let user = store.user("exact").await.unwrap().unwrap();
    assert_eq!(user.certificates, Vec::<Vec<u8>>::new(), "an account may have no device left");
}

async fn devices_are_renamed_by_their_account(store: &Store) {
    let (person, other) = (Person::new(), Person::new());
    let (one, two, foreign) = (person.certify(), person.certify(), other.certify());
    register(store, "namer", &one).await.unwrap();
    register(store, "stranger", &foreign).await.unwrap();
    log_in(store, &two, 100).await.unwrap();
    let (id, caller) = (person.id(), one.device_id());
    let rename = async |caller, device, name: &[u8]| -> Result<(), Error> {
        let mut tx = store.db().begin().await?;
        Store::rename(&mut tx, id, caller, device, name).await?;
        Ok(tx.commit().await?)
    };
    let names = async || -> Vec<Vec<u8>> {
        let mut devices = store.devices(id).await.unwrap();
        devices.sort_by_key(|device| device.device != one.device_id());
        devices.into_iter().map(|device| device.name).collect()
    };

    assert_eq!(names().await, [b"", b""]);
    rename(caller, two.device_id(), b"laptop").await.unwrap();
    rename(caller, caller, b"\0\xff").await.unwrap();
    assert_eq!(names().await, [b"\0\xff".to_vec(), b"laptop".to_vec()]);
    rename(caller, two.device_id(), b"").await.unwrap();
    assert_eq!(names().await, [b"\0\xff".to_vec(), b"".to_vec()]);

    assert!(matches!(rename(caller, foreign.device_id(), b"mine").await, Err(Error::UnknownDevice)));
    assert!(matches!(rename(foreign.device_id(), caller, b"mine").await, Err(Error::DeviceRevoked)));
    revoke(store, id, caller, two.device_id()).await.unwrap();
    assert!(matches!(rename(caller, two.device_id(), b"late").await, Err(Error::UnknownDevice)));
    assert!(matches!(rename(two.device_id(), caller, b"late").await, Err(Error::DeviceRevoked)));
}

async fn revocations_become_visible_in_order(store: &Store) {
    const RACERS: usize = 8;
    let before = store.revocation_head().await.unwrap();
    let mut people = Vec::new();
    for racer in 0..RACERS {
        let person = Person::new();
        let device = person.certify();
        register(store, &format!("racer{racer}"), &device).await.unwrap();
        people.push((person.id(), device.device_id()));
    }
    let heard = async {
        // As a gateway does: whatever becomes visible below the cursor is missed for ever.
        let (mut cursor, mut heard) = (before, Vec::new());
        while heard.len() < RACERS {
            for revocation in store.revoked_since(cursor).await.unwrap() {
                cursor = revocation.seq;
                heard.push(revocation.device);
            }
            tokio::task::yield_now().await;
        }
        heard
    };
    let racers = join_all(people.iter().map(|(account, device)| revoke(store, *account, *device, *device)));
    let both = async { tokio::join!(racers, heard) };
    let (results, mut heard) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("all are heard");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    heard.sort();
    let mut expected: Vec<DeviceId> = people.iter().map(|(_, device)| *device).collect();
    expected.sort();
    assert_eq!(heard, expected);

    let all = store.revoked_since(0).await.unwrap();
    let head = store.revocation_head().await.unwrap();
    assert_eq!(head, before + RACERS as u64);
    assert_eq!(all.iter().map(|revocation| revocation.seq).collect::<Vec<_>>(), (1..=head).collect::<Vec<_>>());
    for end in [head, u64::MAX] {
        assert_eq!(store.revoked_since(end).await.unwrap(), []);
    }
}

/// Where transactions run side by side.
async fn a_revocation_waits_for_the_one_before_it(store: &Store) {
    let mut people = Vec::new();
    for name in ["earlier", "later"] {
        let person = Person::new();
        let device = person.certify();
        register(store, name, &device).await.unwrap();
        people.push((person.id(), device.device_id()));
    }
    let [(earlier_account, earlier), (later_account, later)] = people[..] else { unreachable!() };
    let before = store.revocation_head().await.unwrap();
    let mut first = store.db().begin().await.unwrap();
    Store::revoke(&mut first, earlier_account, earlier, earlier, 30).await.unwrap();
    let mut second = std::pin::pin!(revoke(store, later_account, later, later));
    let waits = async {
        while store.db().row("SELECT 1 FROM pg_locks WHERE NOT granted", &[]).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = &mut second => panic!("it has overtaken one that is not committed: {result:?}"),
        () = waits => {}
    }
    first.commit().await.unwrap();
    second.await.unwrap();
    let devices: Vec<_> =
        store.revoked_since(before).await.unwrap().into_iter().map(|revocation| revocation.device).collect();
    assert_eq!(devices, [earlier, later]);
}

async fn what_was_told_is_not_told_again(store: &Store) {
    let last = store.revocation_head().await.unwrap();
    let open = async || store.untold(last - 2).await.unwrap();
    let revocation = |before: &[Revocation], index: usize| (before[index].seq, before[index].told);
    let before = open().await;
    assert_eq!(before.iter().map(|revocation| revocation.seq).collect::<Vec<_>>(), [last - 1, last]);
    store.add_told(last - 1, 1).await.unwrap();
    store.add_told(last - 1, 1).await.unwrap();
    assert_eq!(revocation(&open().await, 0), (last - 1, 1), "one of two");
    store.add_told(last - 1, 2).await.unwrap();
    let after = open().await;
    assert_eq!((after.len(), revocation(&after, 0)), (1, (last, 0)));
    store.add_told(last, 3).await.unwrap();
    assert_eq!(open().await, []);
}

async fn tokens_are_counted_by_account_and_day(store: &Store) {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let (one, other) = (Person::new().id(), Person::new().id());
    let count = async |account: AccountId, count, now_ms| {
        let mut tx = store.db().begin().await.unwrap();
        Store::count_tokens(&mut tx, account, count, 10, now_ms).await?;
        tx.commit().await.map_err(Error::from)
    };
    count(one, 9, 5 * DAY_MS).await.unwrap();
    let refused = count(one, 2, 5 * DAY_MS + 100).await;
    assert!(
        matches!(refused, Err(Error::TooManyTokens { most: 10, retry_after_ms }) if retry_after_ms == DAY_MS - 100)
    );
    count(one, 1, 5 * DAY_MS + 100).await.expect("what was refused does not count");
    assert!(count(one, 1, 6 * DAY_MS - 1).await.is_err());
    let racing = join_all((0..11).map(|_| count(other, 1, 5 * DAY_MS))).await;
    assert_eq!(racing.iter().filter(|result| result.is_ok()).count(), 10);
    count(one, 10, 6 * DAY_MS).await.unwrap();
    assert_eq!(store.sweep_tokens(6 * DAY_MS).await.unwrap(), 2);
    assert!(count(one, 1, 6 * DAY_MS).await.is_err(), "today's stays");
}
