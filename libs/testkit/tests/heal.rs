//! What goes wrong heals: devices that have lost track, messages that were lost on the way.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, time::Duration};

use common::{agree, all_accepted, client, copy, delivery_tables, has, in_one_epoch, open, received, until};
use qpc_chassis::db::{Arg, Db};
use qpc_sdk::{Client, Event};
use qpc_testkit::{Backend, Cluster, Shape, eventually};

async fn cluster() -> Cluster {
    Cluster::start(Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_restored_from_an_old_copy_joins_again_and_gets_what_it_missed() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let id = alice.create_group("Backups", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    has(&carol, id, &[]).await;
    alice.send(id, "one").await.unwrap();
    has(&bob, id, &["one"]).await;
    let options = cluster.client_options("bob", 0, 0);
    bob.close().await;
    let backup = cluster.folder().join("backup");
    copy(&options.data, &backup);

    // Bob goes on, follows two commits, and reads: all of that is then forgotten, and gone from his mailbox.
    let bob = open(options.clone()).await;
    alice.update_keys(id).await.unwrap();
    carol.update_keys(id).await.unwrap();
    alice.send(id, "two").await.unwrap();
    // Else the other one may overtake it.
    all_accepted(&alice, id).await;
    carol.send(id, "three").await.unwrap();
    has(&bob, id, &["one", "two", "three"]).await;
    eventually("the acknowledgement", || async { (bob.stats().await.unwrap().outbox == 0).then_some(()) }).await;
    bob.close().await;
    fs::remove_dir_all(&options.data).unwrap();
    copy(&backup, &options.data);

    let bob = Client::open(options).await.unwrap();
    let mut events = bob.events();
    bob.start();
    carol.send(id, "four").await.unwrap();
    until(&mut events, "noticing", |event| matches!(event, Event::Stuck(stuck) if *stuck == id)).await;
    until(&mut events, "healing", |event| matches!(event, Event::Healed(healed) if *healed == id)).await;
    in_one_epoch(&[&alice, &bob, &carol], id).await;
    // Nothing is asked of a person: who wrote what is missing sends it again, and it stands where it stood.
    has(&bob, id, &["one", "two", "three", "four"]).await;
    bob.send(id, "I am back").await.unwrap();
    has(&alice, id, &["one", "two", "three", "four", "I am back"]).await;
    has(&carol, id, &["one", "two", "three", "four", "I am back"]).await;
    assert_eq!(bob.conversation(id).await.unwrap().missing, 0);
}

async fn lose(db: &Db, client: &Client) -> u64 {
    let device = client.whoami().await.unwrap().device;
    let mut tx = db.begin().await.unwrap();
    let lost = tx.execute("DELETE FROM mailbox_entry WHERE device = $1", &[Arg::from(&device)]).await.unwrap();
    tx.commit().await.unwrap();
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_loses_is_noticed_and_sent_again() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let id = alice.dm("bob").await.unwrap();
    alice.send(id, "one").await.unwrap();
    has(&bob, id, &["one"]).await;
    let options = cluster.client_options("bob", 0, 0);
    bob.clone().close().await;
    for text in ["two", "three"] {
        alice.send(id, text).await.unwrap();
    }
    all_accepted(&alice, id).await;
    // The receipts are given, and then the server forgets.
    assert!(lose(&delivery_tables(&cluster).await, &bob).await >= 2);
    drop(bob);

    let bob = Client::open(options).await.unwrap();
    let mut events = bob.events();
    bob.start();
    alice.send(id, "four").await.unwrap();
    until(&mut events, "the gap", |event| matches!(event, Event::Gap { .. })).await;
    has(&bob, id, &["one", "two", "three", "four"]).await;
    agree(&[&alice, &bob], id).await;
    assert_eq!(received(&bob, id).await.len(), 4, "nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_server_loses_costs_one_message_of_time() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let id = alice.dm("bob").await.unwrap();
    alice.send(id, "one").await.unwrap();
    has(&bob, id, &["one"]).await;
    let options = cluster.client_options("bob", 0, 0);
    bob.clone().close().await;
    alice.update_keys(id).await.unwrap();
    assert!(lose(&delivery_tables(&cluster).await, &bob).await >= 1);
    drop(bob);

    let bob = Client::open(options).await.unwrap();
    let mut events = bob.events();
    bob.start();
    alice.send(id, "in the next epoch").await.unwrap();
    until(&mut events, "noticing", |event| matches!(event, Event::Stuck(_))).await;
    has(&bob, id, &["one", "in the next epoch"]).await;
    in_one_epoch(&[&alice, &bob], id).await;
    bob.send(id, "read").await.unwrap();
    has(&alice, id, &["one", "in the next epoch", "read"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_is_shown_as_missing() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let id = alice.create_group("Fading", &["bob".to_owned(), "carol".to_owned()]).await.unwrap();
    has(&carol, id, &[]).await;
    alice.send(id, "one").await.unwrap();
    has(&bob, id, &["one"]).await;
    let options = cluster.client_options("bob", 0, 0);
    bob.clone().close().await;
    carol.send(id, "to be lost").await.unwrap();
    all_accepted(&carol, id).await;
    // Its writer goes for good, before anybody could ask.
    carol.close().await;
    assert!(lose(&delivery_tables(&cluster).await, &bob).await >= 1);
    drop(bob);
    let bob = Client::open(options).await.unwrap();
    let mut events = bob.events();
    bob.start();
    alice.send(id, "two").await.unwrap();
    has(&bob, id, &["one", "two"]).await;
    // Asked for six times, each time with a longer pause.
    let lost = tokio::time::timeout(Duration::from_secs(300), async {
        loop {
            if let Some(Event::Lost { count, .. }) = events.next().await {
                return count;
            }
        }
    });
    // What carol's client has told others about arrivals may be among it: nobody is left to say that it was nothing.
    let count = lost.await.unwrap();
    assert!(count >= 1);
    assert_eq!(bob.conversation(id).await.unwrap().missing, count);
}
