//! Two people talk, in both shapes, over two gateways and two replicas of each service.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{agree, all_accepted, client, numbered, received, receives};
use qpc_sdk::{Client, Suite};
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
