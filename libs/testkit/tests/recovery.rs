//! An account of which the only device is lost.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, path::Path};

use common::{client, has, received};
use qpc_sdk::{Client, ClientOptions, Error, PeerTrust, Recovery, RecoveryCode, SafetyProof, transport::CallError};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::Code;

/// Codes that one address may show in an hour.
const SHOWN: usize = 10;

async fn cluster(backend: Backend) -> Cluster {
    Cluster::start(Shape { gateways: 2, replicas: 2, backend, faults: None }).await.unwrap()
}

/// Where the account is to come back.
fn elsewhere(cluster: &Cluster, store: usize) -> ClientOptions {
    ClientOptions { username: String::new(), ..cluster.client_options("alice", store, 1) }
}

async fn everything_is_lost_and_comes_back(cluster: &Cluster) -> (Client, Vec<RecoveryCode>) {
    let alice = client(cluster, "alice", 0, 0).await;
    let bob = client(cluster, "bob", 0, 1).await;
    let dm = alice.dm("bob").await.unwrap();
    alice.send(dm, "before").await.unwrap();
    eventually("the message", || async { (received(&bob, dm).await == ["before"]).then_some(()) }).await;
    alice.set_petname(dm, "Bobby").await.unwrap();
    bob.verify_peer("alice", &SafetyProof::Scan(alice.safety_number("bob").await.unwrap().scan())).await.unwrap();
    let number = bob.safety_number("alice").await.unwrap();
    alice.verify_peer("bob", &SafetyProof::Scan(number.scan())).await.unwrap();

    assert_eq!(alice.recovery_status().await.unwrap(), None);
    let codes = alice.recovery_setup().await.unwrap();
    assert_eq!(codes.len(), 8);
    assert!(matches!(alice.recovery_setup().await, Err(Error::RecoveryExists)));
    let made = alice.recovery_status().await.unwrap().unwrap();
    assert_eq!((made.codes_left, made.updated_at_ms), (8, made.created_at_ms));
    // What comes later is kept without anybody asking.
    let group = alice.create_group("Family", &["bob".to_owned()]).await.unwrap();
    eventually("a newer bundle", || async {
        (alice.recovery_status().await.unwrap().unwrap().updated_at_ms > made.updated_at_ms).then_some(())
    })
    .await;
    let before = alice.whoami().await.unwrap();
    let lost = cluster.client_options("alice", 0, 0);
    alice.close().await;
    fs::remove_dir_all(&lost.data).unwrap();

    let code = codes[3].to_string().parse().unwrap();
    let restored = Recovery::restore(elsewhere(cluster, 1), &code, "another password").await.unwrap();
    assert_eq!(restored.codes_left, 7);
    let alice = restored.client;
    alice.connect().await.unwrap();
    let now = alice.whoami().await.unwrap();
    assert_eq!((&now.username, now.account), (&"alice".to_owned(), before.account));
    assert_ne!(now.device, before.device);
    assert_eq!(alice.revoke_others().await.unwrap(), [before.device]);
    for id in [dm, group] {
        eventually("the groups", || async { alice.conversation(id).await.ok().filter(|info| info.active) }).await;
    }
    assert_eq!(alice.conversation(dm).await.unwrap().petname.as_deref(), Some("Bobby"));
    assert_eq!(alice.conversation(group).await.unwrap().name.as_deref(), Some("Family"));
    assert_eq!(alice.conversation(dm).await.unwrap().trust, PeerTrust::Verified);

    // Read and written, and nobody has noticed anything but another device.
    bob.send(dm, "are you there?").await.unwrap();
    bob.send(group, "all of you?").await.unwrap();
    has(&alice, dm, &["are you there?"]).await;
    has(&alice, group, &["all of you?"]).await;
    alice.send(dm, "back again").await.unwrap();
    has(&bob, dm, &["before", "are you there?", "back again"]).await;
    assert_eq!(bob.conversation(dm).await.unwrap().trust, PeerTrust::Verified, "the key is the same");
    assert_eq!(bob.safety_number("alice").await.unwrap(), number);
    eventually("the lost device to go", || async {
        let members = bob.members(dm).await.unwrap();
        members.iter().all(|member| !member.devices.contains(&before.device)).then_some(())
    })
    .await;

    // The old password is no good any more.
    let options =
        ClientOptions { account_key: Some(alice.export_account_key()), ..cluster.client_options("alice", 2, 0) };
    assert!(matches!(Client::open(options).await.unwrap().login().await, Err(Error::LoginRefused(_))));
    (alice, codes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_device_is_lost_and_a_code_brings_the_account_back_embedded() {
    let cluster = cluster(Backend::Embedded).await;
    let (alice, codes) = everything_is_lost_and_comes_back(&cluster).await;
    the_database_shows_neither_codes_nor_keys(&cluster, &alice, &codes);
    used_replaced_and_wrong_codes_are_refused(&cluster, &alice, &codes).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS, Redis: cargo xtask test"]
async fn the_only_device_is_lost_and_a_code_brings_the_account_back_on_the_servers() {
    let cluster = cluster(Backend::servers().unwrap()).await;
    let (alice, codes) = everything_is_lost_and_comes_back(&cluster).await;
    used_replaced_and_wrong_codes_are_refused(&cluster, &alice, &codes).await;
}

async fn used_replaced_and_wrong_codes_are_refused(cluster: &Cluster, alice: &Client, codes: &[RecoveryCode]) {
    let refused = |result: Result<_, Error>| matches!(result.map(drop), Err(Error::NoSuchCode));
    assert!(refused(Recovery::restore(elsewhere(cluster, 7), &codes[3], "x").await), "used");
    assert!(matches!(
        Recovery::restore(elsewhere(cluster, 1), &codes[4], "x").await.map(drop),
        Err(Error::StoreExists(_))
    ));
    let new = alice.recovery_rotate().await.unwrap();
    assert_eq!(alice.recovery_status().await.unwrap().unwrap().codes_left, 8);
    assert!(refused(Recovery::restore(elsewhere(cluster, 7), &codes[5], "x").await), "replaced");
    // One was right, two were not: the others of this hour.
    for _ in 3..SHOWN {
        let code = RecoveryCode::generate(&mut cluster.deps().runtime.rng());
        assert!(refused(Recovery::restore(elsewhere(cluster, 7), &code, "x").await), "never made");
    }
    match Recovery::restore(elsewhere(cluster, 7), &new[0], "x").await.map(drop) {
        Err(Error::Call(CallError::Status(status))) => {
            assert_eq!(status.code, Code::ResourceExhausted);
            assert!(status.retry_after_ms > 0);
        }
        other => panic!("a right one is not looked at either: {other:?}"),
    }
}

fn files(folder: &Path, out: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.extend(fs::read(path).unwrap()) }
    }
}

fn the_database_shows_neither_codes_nor_keys(cluster: &Cluster, alice: &Client, codes: &[RecoveryCode]) {
    let mut stored = Vec::new();
    for file in fs::read_dir(cluster.folder()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            stored.extend(fs::read(path).unwrap());
        }
    }
    files(&cluster.folder().join("server"), &mut stored);
    let shows = |needle: &[u8]| stored.windows(needle.len()).any(|window| window == needle);
    let account = alice.export_account_key();
    let mut secrets = vec![account.to_vec(), hex::encode(account.as_ref()).into_bytes()];
    for code in codes {
        let keys = code.keys().unwrap();
        assert!(shows(&keys.lookup()) || code == &codes[3], "a code that was not used stands there by its hash");
        secrets.push(keys.token().to_vec());
        secrets.push(qpc_crypto::base32::decode::<20>(&code.to_string()).unwrap()[..16].to_vec());
        secrets.push(code.to_string().replace('-', "").into_bytes());
    }
    secrets.iter().for_each(|secret| assert!(!shows(secret), "a secret stands in the database"));
}
