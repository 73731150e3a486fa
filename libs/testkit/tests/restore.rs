//! The databases of the server are put back from a copy, and clients come that know more than it.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{
    all_accepted, call, client, has, identity, in_one_epoch, let_in, numbered, random_key, received, show_log, until,
};
use qpc_sdk::{Client, ConversationId, Event, Finding, GapReason, Identification, ReceiptFile, Suite, verify_receipts};
use qpc_testkit::{Backend, Cluster, Copied, Halted, Shape, eventually};
use qpc_wire::{methods::FetchKeyPackage, v1};

/// More than anybody has read since the copy was made.
const MANY: usize = 20;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Takes a package of a device; tells whether it was the one of last resort.
async fn take_package(cluster: &Cluster, taker: &Identification, owner: &Identification) -> (Bytes, bool) {
    let request = v1::FetchKeyPackageRequest {
        idempotency_key: random_key(cluster),
        suite: Suite::Hybrid.id().into(),
        device_ids: vec![owner.device.to_bytes()],
    };
    let mut answer = call::<FetchKeyPackage>(cluster, Some(identity(taker)), &request).await.unwrap();
    let package = answer.key_packages.pop().unwrap();
    (package.key_package, package.last_resort)
}

/// Everybody leaves, and all goes off.
async fn halt(cluster: &mut Cluster, people: impl IntoIterator<Item = Client>) -> Halted {
    for client in people {
        client.close().await;
    }
    cluster.halt().await.unwrap()
}

/// A copy is made, and all is on again.
async fn copied(cluster: &mut Cluster, people: impl IntoIterator<Item = Client>) -> Copied {
    let halted = halt(cluster, people).await;
    let copy = cluster.copy_databases().await.unwrap();
    cluster.resume(halted).await.unwrap();
    copy
}

/// The copy is put back, and all is on again. Returns what the services say.
async fn go_back(cluster: &mut Cluster, people: impl IntoIterator<Item = Client>, copy: &Copied) -> Vec<String> {
    let halted = halt(cluster, people).await;
    cluster.put_back(copy).await.unwrap();
    let said = cluster.restored().await.unwrap();
    cluster.resume(halted).await.unwrap();
    said
}

async fn write(client: &Client, id: ConversationId, texts: &[String]) {
    for text in texts {
        client.send(id, text).await.unwrap();
    }
    all_accepted(client, id).await;
}

/// Waits until all of `texts` were read, once each and in their order, among others.
async fn reads(client: &Client, id: ConversationId, texts: &[String]) {
    eventually("all messages", || async {
        let read = received(client, id).await;
        let among: Vec<_> = read.into_iter().filter(|text| texts.contains(text)).collect();
        (among == texts).then_some(())
    })
    .await;
}

async fn people_go_on(backend: Backend) {
    show_log();
    let mut cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let [alice, bob, carol, dave] = everybody(&cluster).await;
    let (bob_is, carol_is) = (bob.whoami().await.unwrap(), carol.whoami().await.unwrap());
    let dm = alice.dm("bob").await.unwrap();
    let group = alice.create_group("Before", &names(&["bob", "carol"])).await.unwrap();
    let_in(&bob, group).await;
    let_in(&carol, group).await;
    write(&alice, dm, &["one".into()]).await;
    write(&alice, group, &["all".into()]).await;
    has(&bob, dm, &["one"]).await;
    has(&bob, group, &["all"]).await;
    has(&carol, group, &["all"]).await;
    let copy = copied(&mut cluster, [alice, bob, carol, dave]).await;

    // What the server is to forget: messages, an epoch, packages that were handed out, a mailbox.
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 1).await;
    let dave = client(&cluster, "dave", 0, 1).await;
    write(&alice, dm, &numbered("before", 3)).await;
    alice.update_keys(group).await.unwrap();
    write(&alice, group, &["of another epoch".into()]).await;
    has(&bob, group, &["all", "of another epoch"]).await;
    reads(&bob, dm, &numbered("before", 3)).await;
    let mut handed = Vec::new();
    for _ in 0..3 {
        let (package, last_resort) = take_package(&cluster, &bob_is, &carol_is).await;
        assert!(!last_resort, "there are others");
        handed.push(package);
    }
    let late = alice.create_group("Since", &names(&["dave"])).await.unwrap();
    let_in(&dave, late).await;
    write(&alice, late, &numbered("late", 3)).await;
    reads(&dave, late, &numbered("late", 3)).await;
    assert_eq!(go_back(&mut cluster, [alice, bob, dave], &copy).await.len(), 4);

    let (last_resort, is_one) = take_package(&cluster, &bob_is, &carol_is).await;
    assert!(is_one && !handed.contains(&last_resort), "none is handed out twice");
    // Others write before the readers are there: a mailbox that went back would have come again to where they have read.
    let alice = client(&cluster, "alice", 0, 0).await;
    let mut events = alice.events();
    let texts = numbered("after", MANY);
    // At a place that was given away before: accepted all the same, and the proof is kept.
    let first = alice.send(dm, &texts[0]).await.unwrap();
    until(&mut events, "a receipt", |event| matches!(event, Event::Accepted { message, .. } if *message == first))
        .await;
    let mut file = Vec::new();
    alice.export_receipts(&mut file).await.unwrap();
    let findings = verify_receipts(&[ReceiptFile::read(file.as_slice()).unwrap()]).findings;
    assert!(findings.iter().any(|finding| matches!(finding, Finding::Two { .. })), "{findings:?}");
    write(&alice, dm, &texts[1..]).await;
    let bob = Client::open(cluster.client_options("bob", 0, 1)).await.unwrap();
    let mut events = bob.events();
    bob.start();
    let gap = |event: &Event| matches!(event, Event::Gap { reason: GapReason::Restored, .. });
    until(&mut events, "the gap", gap).await;
    reads(&bob, dm, &texts).await;
    let anew = bob.create_group("Anew", &names(&["dave"])).await.unwrap();
    write(&bob, anew, &numbered("anew", MANY)).await;
    let dave = client(&cluster, "dave", 0, 1).await;
    let_in(&dave, anew).await;
    reads(&dave, anew, &numbered("anew", MANY)).await;

    // The group of which an epoch is gone heals by itself, though nobody writes, with one who has never seen that epoch.
    let carol = client(&cluster, "carol", 0, 0).await;
    in_one_epoch(&[&alice, &bob, &carol], group).await;
    write(&alice, group, &["healed?".into()]).await;
    write(&carol, group, &["so it is".into()]).await;
    reads(&bob, group, &["healed?".into(), "so it is".into()]).await;

    // The same copy once more, though mailboxes have moved on from it.
    go_back(&mut cluster, [alice, bob, carol, dave], &copy).await;
    let alice = client(&cluster, "alice", 0, 0).await;
    write(&alice, dm, &numbered("again", MANY)).await;
    let bob = client(&cluster, "bob", 0, 1).await;
    reads(&bob, dm, &numbered("again", MANY)).await;
}

async fn everybody(cluster: &Cluster) -> [Client; 4] {
    let (alice, bob) = (client(cluster, "alice", 0, 0).await, client(cluster, "bob", 0, 1).await);
    [alice, bob, client(cluster, "carol", 0, 0).await, client(cluster, "dave", 0, 1).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_know_more_than_a_restored_server_miss_nothing_new_embedded() {
    people_go_on(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn clients_that_know_more_than_a_restored_server_miss_nothing_new_on_the_servers() {
    people_go_on(Backend::servers().unwrap()).await;
}

/// A group in which people came and went since the copy was made heals although nobody writes, and an admin does again what was
/// done.
async fn who_came_and_went(backend: Backend) {
    show_log();
    let mut cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let [alice, bob, carol, dave] = everybody(&cluster).await;
    let group = alice.create_group("Changing", &names(&["bob", "carol"])).await.unwrap();
    let_in(&bob, group).await;
    let_in(&carol, group).await;
    write(&carol, group, &["all".into()]).await;
    has(&alice, group, &["all"]).await;
    let (carol_is, dave_is) = (carol.whoami().await.unwrap(), dave.whoami().await.unwrap());
    let copy = copied(&mut cluster, [alice, bob, carol, dave]).await;

    let [alice, bob, carol, dave] = everybody(&cluster).await;
    alice.remove(group, "carol").await.unwrap();
    alice.add(group, &names(&["dave"])).await.unwrap();
    let_in(&dave, group).await;
    write(&alice, group, &["without carol".into()]).await;
    reads(&dave, group, &["without carol".into()]).await;
    // Nothing is left to be said that would show anybody where the server is.
    for client in [&alice, &bob, &dave] {
        assert!(client.settle(Duration::from_secs(30)).await);
    }
    go_back(&mut cluster, [alice, bob, carol, dave], &copy).await;

    let alice = Client::open(cluster.client_options("alice", 0, 0)).await.unwrap();
    let mut events = alice.events();
    alice.start();
    until(&mut events, "healing", |event| matches!(event, Event::Healed(healed) if *healed == group)).await;
    let bob = client(&cluster, "bob", 0, 1).await;
    in_one_epoch(&[&alice, &bob], group).await;
    let (carol, dave) = (client(&cluster, "carol", 0, 0).await, client(&cluster, "dave", 0, 1).await);
    let members = alice.members(group).await.unwrap();
    let is_in = |who: &Identification| members.iter().any(|member| member.account == who.account);
    assert!(is_in(&carol_is) && !is_in(&dave_is), "as it was when the copy was made");
    assert!(!carol.conversation(group).await.unwrap().active, "who was told to be out stays out by itself");
    alice.remove(group, "carol").await.unwrap();
    alice.add(group, &names(&["dave"])).await.unwrap();
    in_one_epoch(&[&alice, &bob, &dave], group).await;
    write(&dave, group, &["in again".into()]).await;
    write(&alice, group, &["all of us".into()]).await;
    reads(&bob, group, &["in again".into(), "all of us".into()]).await;
    reads(&dave, group, &["all of us".into()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_and_went_since_is_where_they_were_embedded() {
    who_came_and_went(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn who_came_and_went_since_is_where_they_were_on_the_servers() {
    who_came_and_went(Backend::servers().unwrap()).await;
}
