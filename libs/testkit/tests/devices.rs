//! Several devices of one account: linking, history, what they share, revoking.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{agree, client, has, link, received};
use qpc_sdk::{Event, Linking, Runtime};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use tokio::time::Instant;

async fn cluster() -> Cluster {
    Cluster::start(Shape { gateways: 2, replicas: 1, backend: Backend::Embedded, faults: None }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_device_is_in_every_conversation_with_its_history() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 1).await;
    let dm = alice.dm("bob").await.unwrap();
    let group = alice.create_group("Family", &["bob".to_owned()]).await.unwrap();
    alice.send(dm, "one").await.unwrap();
    eventually("the message", || async { (received(&bob, dm).await.len() == 1).then_some(()) }).await;
    bob.send(dm, "two").await.unwrap();
    bob.send(group, "hello family").await.unwrap();
    has(&alice, dm, &["one", "two"]).await;
    has(&alice, group, &["hello family"]).await;
    alice.set_petname(dm, "Bobby").await.unwrap();
    let notes = alice.notes().await.unwrap();
    alice.send(notes, "mine alone").await.unwrap();

    let tablet = link(&cluster, &alice, 1, 1).await;
    has(&tablet, dm, &["one", "two"]).await;
    has(&tablet, group, &["hello family"]).await;
    for id in [dm, group] {
        eventually("the groups", || async { tablet.conversation(id).await.ok().filter(|info| info.active) }).await;
    }
    eventually("the petname", || async {
        (tablet.conversation(dm).await.unwrap().petname.as_deref() == Some("Bobby")).then_some(())
    })
    .await;
    assert_eq!(tablet.conversation(group).await.unwrap().name.as_deref(), Some("Family"));
    assert!(tablet.history(notes, 9).await.unwrap().is_empty(), "notes never leave their device");

    // Both devices write and read, and what one has read the other has too.
    tablet.send(dm, "from the tablet").await.unwrap();
    has(&alice, dm, &["one", "two", "from the tablet"]).await;
    has(&bob, dm, &["one", "two", "from the tablet"]).await;
    bob.send(dm, "unread").await.unwrap();
    for device in [&alice, &tablet] {
        eventually("the message", || async { (device.conversation(dm).await.unwrap().unread > 0).then_some(()) }).await;
    }
    tablet.mark_read(dm).await.unwrap();
    eventually("the read mark", || async { (alice.conversation(dm).await.unwrap().unread == 0).then_some(()) }).await;
    agree(&[&alice, &tablet, &bob], dm).await;

    // The server sees that there is a name, and nothing of it.
    let id = tablet.whoami().await.unwrap().device;
    alice.rename_device(id, "Tablet in the kitchen").await.unwrap();
    let devices = tablet.devices().await.unwrap();
    assert_eq!(devices.len(), 2);
    let this = devices.iter().find(|device| device.is_this).unwrap();
    assert_eq!((this.id, this.name.as_deref()), (id, Some("Tablet in the kitchen")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_out_everywhere_within_five_seconds() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let dm = alice.dm("bob").await.unwrap();
    let tablet = link(&cluster, &alice, 1, 1).await;
    eventually("the group", || async { tablet.conversation(dm).await.ok().filter(|info| info.active) }).await;
    let lost = tablet.whoami().await.unwrap().device;
    let mut events = tablet.events();

    let begun = Instant::now();
    alice.revoke_device(lost).await.unwrap();
    let refused = async {
        loop {
            match events.next().await {
                Some(Event::LoginRefused(_)) => return,
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    // The promise is of the product, so it is the one thing that is timed here.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    eventually("the removal", || async {
        let members = bob.members(dm).await.unwrap();
        members.iter().all(|member| !member.devices.contains(&lost)).then_some(())
    })
    .await;
    bob.send(dm, "between us").await.unwrap();
    has(&alice, dm, &["between us"]).await;
    assert_eq!(alice.devices().await.unwrap().len(), 1);
    agree(&[&alice, &bob], dm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_not_the_offers_gives_nothing_away() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let wrong = "00000-00000-00000-00000-00000-00000-00000-00000".parse().unwrap();
    assert!(alice.link_device(&wrong).await.unwrap_err().to_string().contains("expired"));
    let options = cluster.client_options("alice", 1, 0);
    let linking = Linking::begin(&options.server, options.server_name.as_deref(), &options.trust, Runtime::system())
        .await
        .unwrap();
    // The offer is found by the first part, and answered under a secret that the new device does not have.
    let mistyped: String = {
        let code = linking.code().to_string();
        let last = if code.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &code[..code.len() - 1])
    };
    alice.link_device(&mistyped.parse().unwrap()).await.unwrap();
    assert!(linking.finish(Duration::from_secs(10)).await.is_err());
    assert_eq!(alice.devices().await.unwrap().len(), 1);
}
