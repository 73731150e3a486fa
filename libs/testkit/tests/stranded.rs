//! Where a device, or a person, could be lost for good: what is needed is gone, or the server knows less than its clients.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;

use common::{
    all_accepted, call, client, copy, delivery_tables, has, identity, in_one_epoch, let_in, open, random_key, show_log,
    until,
};
use qpc_chassis::db::{Arg, Db};
use qpc_sdk::{Client, ConversationId, Event, MessageState, Role, Suite};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{methods::FetchKeyPackage, v1};

async fn cluster() -> Cluster {
    show_log();
    Cluster::start(Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None }).await.unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn execute(db: &Db, sql: &'static str, args: &[Arg<'_>]) -> u64 {
    let mut tx = db.begin().await.unwrap();
    let changed = tx.execute(sql, args).await.unwrap();
    tx.commit().await.unwrap();
    changed
}

/// Takes KeyPackages of a device until as many are gone.
async fn take_packages(cluster: &Cluster, taker: &Client, owner: &Client, suite: Suite, count: usize) {
    let (taker, owner) = (taker.whoami().await.unwrap(), owner.whoami().await.unwrap());
    for _ in 0..count {
        let request = v1::FetchKeyPackageRequest {
            idempotency_key: random_key(cluster),
            suite: suite.id().into(),
            device_ids: vec![owner.device.to_bytes()],
        };
        call::<FetchKeyPackage>(cluster, Some(identity(&taker)), &request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_whose_secrets_are_lost_is_made_good_by_joining() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let options = cluster.client_options("bob", 0, 0);
    bob.close().await;
    let backup = cluster.folder().join("backup");
    copy(&options.data, &backup);

    // All that the copy has secrets of is used up and replaced.
    let bob = open(options.clone()).await;
    take_packages(&cluster, &alice, &bob, Suite::Hybrid, 20).await;
    let low = v1::UploadKeyPackageRequest {
        idempotency_key: random_key(&cluster),
        suite: Suite::Hybrid.id().into(),
        ..Default::default()
    };
    let of_bob = identity(&bob.whoami().await.unwrap());
    eventually("a new stock", || async {
        let request = v1::UploadKeyPackageRequest { idempotency_key: random_key(&cluster), ..low.clone() };
        let stock = call::<qpc_wire::methods::UploadKeyPackage>(&cluster, Some(of_bob), &request).await.unwrap();
        (stock.available >= 10).then_some(())
    })
    .await;
    bob.close().await;
    fs::remove_dir_all(&options.data).unwrap();
    copy(&backup, &options.data);

    let id = alice.create_group("Welcome back", &names(&["bob"])).await.unwrap();
    alice.send(id, "can you read this?").await.unwrap();
    all_accepted(&alice, id).await;
    let bob = Client::open(options).await.unwrap();
    let mut events = bob.events();
    bob.start();
    until(&mut events, "noticing", |event| matches!(event, Event::Undecryptable { .. })).await;
    let_in(&bob, id).await;
    in_one_epoch(&[&alice, &bob], id).await;
    has(&bob, id, &["can you read this?"]).await;
    bob.send(id, "I can").await.unwrap();
    has(&alice, id, &["can you read this?", "I can"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_whose_shared_part_is_gone_is_made_good_by_joining() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let options = cluster.client_options("bob", 0, 0);
    bob.close().await;
    let id = alice.create_group("Late", &names(&["bob"])).await.unwrap();
    assert!(execute(&delivery_tables(&cluster).await, "DELETE FROM shared", &[]).await >= 1);
    let bob = open(options).await;
    let_in(&bob, id).await;
    in_one_epoch(&[&alice, &bob], id).await;
}

/// Brings the tables of groups back to what they were when `copy_tables` was called.
const TABLES: [&str; 4] = ["mls_group", "group_state", "group_member", "group_epoch"];

async fn copy_tables(db: &Db) {
    for table in TABLES {
        let sql: &'static str = format!("CREATE TABLE old_{table} AS SELECT * FROM {table}").leak();
        execute(db, sql, &[]).await;
    }
}

async fn restore_tables(db: &Db) {
    for table in TABLES {
        for sql in [format!("DELETE FROM {table}"), format!("INSERT INTO {table} SELECT * FROM old_{table}")] {
            execute(db, sql.leak(), &[]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_go_on_when_the_server_was_restored_from_an_older_state() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let id = alice.create_group("Restored", &names(&["bob"])).await.unwrap();
    let_in(&bob, id).await;
    alice.send(id, "before").await.unwrap();
    has(&bob, id, &["before"]).await;
    let tables = delivery_tables(&cluster).await;
    copy_tables(&tables).await;
    alice.update_keys(id).await.unwrap();
    bob.sync().await.unwrap();
    bob.update_keys(id).await.unwrap();
    in_one_epoch(&[&alice, &bob], id).await;
    restore_tables(&tables).await;

    // Both are two epochs ahead of the server, which learns of neither.
    let mut events = alice.events();
    alice.send(id, "after").await.unwrap();
    until(&mut events, "healing", |event| matches!(event, Event::Healed(healed) if *healed == id)).await;
    bob.send(id, "me too").await.unwrap();
    for (client, other) in [(&alice, "me too"), (&bob, "after")] {
        eventually("the message", || async {
            let history = client.history(id, 100).await.unwrap();
            history.iter().any(|message| message.text == other).then_some(())
        })
        .await;
    }
    in_one_epoch(&[&alice, &bob], id).await;
    all_accepted(&alice, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_noticed_by_a_message_and_by_an_acknowledgement() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let id = alice.dm("bob").await.unwrap();
    let_in(&bob, id).await;
    alice.send(id, "one").await.unwrap();
    has(&bob, id, &["one"]).await;
    let tables = delivery_tables(&cluster).await;
    let other_group = async || execute(&tables, "UPDATE group_epoch SET tag = ZEROBLOB(16)", &[]).await;

    // Who writes is told before anybody else could be confused.
    assert!(other_group().await >= 1);
    let mut events = alice.events();
    alice.send(id, "two").await.unwrap();
    until(&mut events, "noticing", |event| matches!(event, Event::Stuck(stuck) if *stuck == id)).await;
    until(&mut events, "healing", |event| matches!(event, Event::Healed(healed) if *healed == id)).await;
    has(&bob, id, &["one", "two"]).await;
    in_one_epoch(&[&alice, &bob], id).await;

    // Who only reads is told when it acknowledges the first thing of an epoch.
    let mut events = bob.events();
    let options = cluster.client_options("bob", 0, 0);
    drop(bob.clone());
    let epoch = alice.conversation(id).await.unwrap().epoch;
    bob.close().await;
    drop(events);
    alice.update_keys(id).await.unwrap();
    assert!(other_group().await >= 1);
    let bob = Client::open(options).await.unwrap();
    events = bob.events();
    bob.start();
    until(&mut events, "noticing", |event| matches!(event, Event::Stuck(stuck) if *stuck == id)).await;
    until(&mut events, "healing", |event| matches!(event, Event::Healed(healed) if *healed == id)).await;
    in_one_epoch(&[&alice, &bob], id).await;
    assert!(alice.conversation(id).await.unwrap().epoch > epoch + 1);
}

/// Nobody can add the devices of this client any more.
async fn make_unreachable(cluster: &Cluster, client: &Client) {
    let device = client.whoami().await.unwrap().device;
    let db = rusqlite::Connection::open(cluster.folder().join("keypackage.db")).unwrap();
    for table in ["key_packages", "last_resorts"] {
        let gone = db.execute(&format!("DELETE FROM {table} WHERE device_id = ?1"), [device.as_ref()]).unwrap();
        assert!(gone > 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_comes_back_into_a_group_that_was_reset_without_it() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let carol = client(&cluster, "carol", 0, 0).await;
    let id = alice.create_group("Palace", &names(&["bob", "carol"])).await.unwrap();
    for client in [&bob, &carol] {
        let_in(client, id).await;
    }
    alice.set_role(id, "bob", Role::Admin).await.unwrap();
    bob.sync().await.unwrap();
    make_unreachable(&cluster, &alice).await;
    let mut events = carol.events();
    let lost = bob.reset(id).await.unwrap();
    let owner = alice.whoami().await.unwrap().account;
    assert_eq!(lost, [owner]);
    until(
        &mut events,
        "that the owner is gone",
        |event| matches!(event, Event::MembersChanged { removed, .. } if *removed == [owner]),
    )
    .await;

    // Nothing was asked of her and nothing is of anybody else.
    alice.send(id, "I am still here").await.unwrap();
    has(&carol, id, &["I am still here"]).await;
    in_one_epoch(&[&alice, &bob, &carol], id).await;
    let role = |member: &qpc_sdk::Member| (member.account == owner).then_some(member.role);
    assert_eq!(carol.members(id).await.unwrap().iter().find_map(role), Some(Role::Owner));
    alice.remove(id, "bob").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_out_of_a_reset_is_told_and_writes_on_elsewhere() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let id = alice.create_group("Without bob", &names(&["bob"])).await.unwrap();
    let elsewhere = alice.dm("bob").await.unwrap();
    for id in [id, elsewhere] {
        let_in(&bob, id).await;
    }
    make_unreachable(&cluster, &bob).await;
    assert_eq!(alice.reset(id).await.unwrap().len(), 1);
    let mut events = bob.events();
    let message = bob.send(id, "hello?").await.unwrap();
    bob.send(elsewhere, "what happened?").await.unwrap();
    has(&alice, elsewhere, &["what happened?"]).await;
    until(&mut events, "being out", |event| matches!(event, Event::Removed(removed) if *removed == id)).await;
    eventually("the refusal", || async {
        let history = bob.history(id, 10).await.unwrap();
        history.iter().any(|it| it.id == message && it.state == MessageState::Failed).then_some(())
    })
    .await;
}

async fn break_group(db: &Db, id: ConversationId) {
    let sql = "UPDATE mls_group SET chain = ZEROBLOB(1), epoch = epoch WHERE id = $1";
    assert_eq!(execute(db, sql, &[Arg::from(&id)]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_the_server_cannot_read_holds_up_no_other() {
    let cluster = cluster().await;
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;
    let broken = alice.create_group("Broken", &names(&["bob"])).await.unwrap();
    let whole = alice.dm("bob").await.unwrap();
    for id in [broken, whole] {
        let_in(&bob, id).await;
    }
    let tables = delivery_tables(&cluster).await;
    let sql = "CREATE TABLE old_chain AS SELECT id, chain FROM mls_group";
    execute(&tables, sql, &[]).await;
    break_group(&tables, broken).await;

    // Neither a message nor a commit of the one stands in the way of the other, in both directions.
    alice.send(broken, "stays").await.unwrap();
    alice.send(whole, "goes").await.unwrap();
    has(&bob, whole, &["goes"]).await;
    assert!(alice.update_keys(broken).await.is_err(), "no verdict");
    bob.send(whole, "comes").await.unwrap();
    has(&alice, whole, &["goes", "comes"]).await;

    let mend = "UPDATE mls_group SET chain = (SELECT chain FROM old_chain o WHERE o.id = mls_group.id) \
         WHERE LENGTH(chain) = 1";
    assert_eq!(execute(&tables, mend, &[]).await, 1);
    eventually("the message that stayed", || async {
        let history = bob.history(broken, 10).await.unwrap();
        history.iter().any(|message| message.text == "stays").then_some(())
    })
    .await;
    in_one_epoch(&[&alice, &bob], broken).await;
}
