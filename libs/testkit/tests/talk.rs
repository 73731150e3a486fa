//! Two people talk, in both shapes, over two gateways and two replicas of each service.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{agree, all_accepted, client, numbered, received, receives};
use qpc_chassis::db::Db;
use qpc_sdk::{Client, Event, Suite};
use qpc_testkit::{Backend, Cluster, Shape};

async fn send_all(client: &Client, conversation: qpc_sdk::ConversationId, texts: &[String]) {
    for text in texts {
        client.send(conversation, text).await.unwrap();
    }
}

async fn two_people_talk(backend: Backend) {
    let cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);

    // Both begin at the same moment, and it is one conversation.
    let (from_alice, from_bob) = tokio::join!(alice.dm("bob"), bob.dm("alice"));
    let conversation = from_alice.unwrap();
    assert_eq!(conversation, from_bob.unwrap());
    assert_eq!(alice.conversation(conversation).await.unwrap().suite, Suite::Hybrid);

    let (a, b) = (numbered("alice", 10), numbered("bob", 10));
    tokio::join!(send_all(&alice, conversation, &a), send_all(&bob, conversation, &b));
    receives(&bob, conversation, &a).await;
    receives(&alice, conversation, &b).await;

    bob.close().await;
    let later = numbered("alice, to whom nobody listens,", 5);
    send_all(&alice, conversation, &later).await;
    all_accepted(&alice, conversation).await;
    // At the other gateway than before.
    let bob = client(&cluster, "bob", 0, 0).await;
    receives(&bob, conversation, &[a, later].concat()).await;

    alice.update_keys(conversation).await.unwrap();
    bob.send(conversation, "after the commit").await.unwrap();
    all_accepted(&bob, conversation).await;
    receives(&alice, conversation, &[b, vec!["after the commit".into()]].concat()).await;
    agree(&[&alice, &bob], conversation).await;
    // Its messages, one commit for the winner of the founding at most, and one update.
    assert!(alice.stats().await.unwrap().receipts_verified >= 16);

    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await, "everything ended in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_over_the_embedded_parts() {
    two_people_talk(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn two_people_talk_over_the_servers() {
    two_people_talk(Backend::servers().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_offline_is_sent_later_in_order() {
    let mut cluster = Cluster::start(Shape { gateways: 1, ..Shape::pairs(Backend::Embedded) }).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 0).await);
    let conversation = alice.dm("bob").await.unwrap();
    let mut texts = numbered("before", 3);
    send_all(&alice, conversation, &texts).await;
    all_accepted(&alice, conversation).await;
    let options = cluster.client_options("alice", 0, 0);
    alice.close().await;

    let offline = Client::open(options.clone()).await.unwrap();
    let written = numbered("offline", 20);
    send_all(&offline, conversation, &written).await;
    assert_eq!(offline.stats().await.unwrap().outbox, 20);
    offline.close().await;
    assert!(cluster.replace_gateway(0).await.unwrap());

    let alice = common::open(options).await;
    texts.extend(written);
    receives(&bob, conversation, &texts).await;
    all_accepted(&alice, conversation).await;
    assert_eq!(received(&alice, conversation).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_restored_from_a_backup_goes_on_delivering_and_the_loss_is_told() {
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    let mut texts = numbered("alice", 8);
    send_all(&alice, conversation, &texts).await;
    receives(&bob, conversation, &texts).await;

    let mut events = bob.events();
    let device = bob.whoami().await.unwrap().device;
    let tables = Db::open(&cluster.deps().db, "delivery", 1, qpc_delivery::store::MIGRATIONS).await.unwrap();
    qpc_testkit::eventually("all acknowledged", || async {
        let left = tables.row("SELECT COUNT(*) FROM mailbox_entry", &[]).await.unwrap().unwrap();
        (left.int(0).unwrap() == 0).then_some(())
    })
    .await;
    let mut tx = tables.begin().await.unwrap();
    let back = "UPDATE mailbox_head SET last_seq = 2, acked = 2 WHERE device = $1";
    assert_eq!(tx.execute(back, &[(&device).into()]).await.unwrap(), 1);
    tx.commit().await.unwrap();

    alice.send(conversation, "after the restore").await.unwrap();
    texts.push("after the restore".into());
    receives(&bob, conversation, &texts).await;
    let told = loop {
        match events.next().await.unwrap() {
            Event::Gap { from, to, .. } => break (from, to),
            _ => continue,
        }
    };
    assert_eq!(told.1, 9, "up to what was read");
}
