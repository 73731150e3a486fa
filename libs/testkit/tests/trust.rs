//! Safety numbers, and a server that gives another key under a known name.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{client, has, link, received, until};
use qpc_sdk::{Error, Event, MessageState, PeerTrust, SafetyMismatch, SafetyProof};
use qpc_testkit::{Backend, Cluster, Shape, eventually};

async fn cluster() -> Cluster {
    Cluster::start(Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None }).await.unwrap()
}

/// What a server does that wants to stand between: `mallory` is found under the name of `bob`.
fn swap(cluster: &Cluster) {
    let sql = rusqlite::Connection::open(cluster.folder().join("auth.db")).unwrap();
    sql.busy_timeout(Duration::from_secs(10)).unwrap();
    for (from, to) in [("bob", "nobody"), ("mallory", "bob")] {
        assert_eq!(sql.execute("UPDATE accounts SET username = ?2 WHERE username = ?1", [from, to]).unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_read_the_same_number_and_all_devices_know_the_mark() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let mallory = client(&cluster, "mallory", 0, 0).await;
    let dm = alice.dm("bob").await.unwrap();
    let tablet = link(&cluster, &alice, 1, 0).await;
    eventually("the conversation", || async { tablet.conversation(dm).await.ok().filter(|info| info.active) }).await;

    let (ours, theirs) = (alice.safety_number("bob").await.unwrap(), bob.safety_number("alice").await.unwrap());
    assert_eq!(ours.to_string(), theirs.to_string());
    let other = SafetyProof::Scan(mallory.safety_number("alice").await.unwrap().scan());
    let refused = alice.verify_peer("bob", &other).await;
    assert!(matches!(refused, Err(Error::Safety(SafetyMismatch::Different))), "{refused:?}");
    alice.verify_peer("bob", &SafetyProof::Scan(theirs.scan())).await.unwrap();
    for device in [&alice, &tablet] {
        eventually("the mark", || async {
            (device.conversation(dm).await.unwrap().trust == PeerTrust::Verified).then_some(())
        })
        .await;
    }
    assert_eq!(bob.conversation(dm).await.unwrap().trust, PeerTrust::Unverified, "that is for Bob to say");
    tablet.unverify("bob").await.unwrap();
    eventually("no mark", || async {
        (alice.conversation(dm).await.unwrap().trust == PeerTrust::Unverified).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_swaps_a_key_is_refused_and_shown() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let mallory = client(&cluster, "mallory", 0, 0).await;
    let dm = alice.dm("bob").await.unwrap();
    alice.send(dm, "before").await.unwrap();
    eventually("the message", || async { (received(&bob, dm).await == ["before"]).then_some(()) }).await;
    alice.verify_peer("bob", &SafetyProof::Digits(bob.safety_number("alice").await.unwrap().digits())).await.unwrap();

    swap(&cluster);
    let mut events = alice.events();
    // Everything that asks for the name fails, and says why.
    let names = ["bob".to_owned()];
    assert!(matches!(alice.create_group("Us", &names).await, Err(Error::IdentityChanged(_))));
    let shown = until(&mut events, "the alarm", |event| matches!(event, Event::IdentityChanged { .. })).await;
    let Event::IdentityChanged { username, pinned, shown } = shown else { unreachable!() };
    let (theirs, other) = (bob.whoami().await.unwrap().account, mallory.whoami().await.unwrap().account);
    assert_eq!((username.as_str(), pinned, shown), ("bob", theirs, other));
    assert!(matches!(alice.dm("bob").await, Err(Error::IdentityChanged(_))));
    assert_eq!(alice.conversation(dm).await.unwrap().trust, PeerTrust::Changed);

    // What is written waits, and comes to nobody.
    alice.send(dm, "held back").await.unwrap();
    assert!(!alice.flush(Duration::from_millis(500)).await);
    let history = alice.history(dm, 9).await.unwrap();
    assert_eq!(history.last().unwrap().state, MessageState::Queued);
    let members = alice.members(dm).await.unwrap();
    assert!(members.iter().any(|member| member.account == theirs && member.trust == PeerTrust::Changed));

    // Accepted, the name means the new account from now on; what was written goes to whom it was written to.
    alice.accept_identity("bob").await.unwrap();
    eventually("the message", || async { (received(&bob, dm).await == ["before", "held back"]).then_some(()) }).await;
    let new = alice.dm("bob").await.unwrap();
    assert_ne!(new, dm);
    assert_eq!(alice.conversation(new).await.unwrap().trust, PeerTrust::Unverified);
    assert_eq!(alice.conversation(dm).await.unwrap().trust, PeerTrust::Former);
    alice.send(new, "to the new one").await.unwrap();
    eventually("the message", || async { (received(&mallory, new).await == ["to the new one"]).then_some(()) }).await;
    has(&bob, dm, &["before", "held back"]).await;
}
