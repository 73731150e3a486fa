//! A bus that loses, doubles and reorders; replicas and gateways that come and go; many who commit at once. Nothing is
//! lost, nothing is shown twice, order is kept, and everyone ends in the same epoch (G1 to G4, G10, G12).
//!
//! `QPC_SEEDS=FROM..TO cargo test -p qpc-testkit --test faults` tries other seeds.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::print_stderr)]

mod common;

use std::time::Duration;

use common::{agree, all_accepted, client, insist, numbered, receives, show_log};
use futures_util::future::join_all;
use qpc_sdk::{Client, ConversationId};
use qpc_testkit::{Backend, Cluster, Faults, Shape};

fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("QPC_SEEDS") else { return 1..4 };
    let (from, to) = range.split_once("..").unwrap_or_else(|| panic!("QPC_SEEDS=FROM..TO, not {range}"));
    from.parse().unwrap()..to.parse().unwrap()
}

/// Writes `texts`, with a commit after every fifth.
async fn talk(client: &Client, conversation: ConversationId, texts: &[String]) {
    for (n, text) in texts.iter().enumerate() {
        client.send(conversation, text).await.unwrap();
        if n % 5 == 4 {
            insist("a commit", || client.update_keys(conversation)).await;
        }
    }
}

async fn a_bad_bus_costs_time_only(seed: u64, backend: Backend) {
    show_log();
    eprintln!("replay with QPC_SEEDS={seed}..{}", seed + 1);
    let shape = Shape { faults: Some(Faults::heavy(seed)), ..Shape::pairs(backend) };
    let cluster = Cluster::start(shape).await.unwrap();
    let (alice, bob) = tokio::join!(client(&cluster, "alice", 0, 0), client(&cluster, "bob", 0, 1));
    let conversation = insist("the conversation", || alice.dm("bob")).await;
    assert_eq!(insist("the conversation", || bob.dm("alice")).await, conversation);

    let (a, b) = (numbered("alice", 20), numbered("bob", 20));
    tokio::join!(talk(&alice, conversation, &a), talk(&bob, conversation, &b));
    tokio::join!(receives(&bob, conversation, &a), receives(&alice, conversation, &b));
    tokio::join!(all_accepted(&alice, conversation), all_accepted(&bob, conversation));
    agree(&[&alice, &bob], conversation).await;
    let epoch = alice.conversation(conversation).await.unwrap().epoch;
    assert!(epoch > 8, "eight commits at least: {epoch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_local_bus_costs_time_only() {
    for seed in seeds() {
        a_bad_bus_costs_time_only(seed, Backend::Embedded).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn a_bad_nats_costs_time_only() {
    for seed in seeds() {
        a_bad_bus_costs_time_only(seed, Backend::servers().unwrap()).await;
    }
}

async fn everything_is_replaced_under_way(backend: Backend) {
    let mut cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    assert_eq!(bob.dm("alice").await.unwrap(), conversation);
    let (a, b) = (numbered("alice", 60), numbered("bob", 60));
    let roll = async {
        for gateway in [0, 1] {
            cluster.add_services().await.unwrap();
            assert!(cluster.drain_services().await, "services finish their calls");
            assert!(cluster.replace_gateway(gateway).await.unwrap(), "gateways finish theirs");
        }
    };
    tokio::join!(talk(&alice, conversation, &a), talk(&bob, conversation, &b), roll);
    tokio::join!(receives(&bob, conversation, &a), receives(&alice, conversation, &b));
    tokio::join!(all_accepted(&alice, conversation), all_accepted(&bob, conversation));
    agree(&[&alice, &bob], conversation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_embedded_is_replaced_under_way() {
    everything_is_replaced_under_way(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn everything_on_the_servers_is_replaced_under_way() {
    everything_is_replaced_under_way(Backend::servers().unwrap()).await;
}

/// Two accounts with eight devices each, all of which commit at the same time, twice.
async fn sixteen_committers_take_turns(backend: Backend) {
    let cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let mut clients = Vec::new();
    for name in ["alice", "bob"] {
        let mut key = None;
        for device in 0..8 {
            let mut options = cluster.client_options(name, device, device % 2);
            options.account_key = key.clone();
            // Every epoch of this test is one that it asks for.
            options.warm_every = Duration::from_secs(3600);
            clients.push(common::open(options).await);
            key = key.or_else(|| Some(clients.last()?.export_account_key()));
        }
    }
    let conversation = clients[0].dm("bob").await.unwrap();
    for client in &clients {
        qpc_testkit::eventually("the conversation", || async { client.conversation(conversation).await.ok() }).await;
    }
    let before = clients[0].conversation(conversation).await.unwrap().epoch;
    for _ in 0..2 {
        join_all(clients.iter().map(|client| insist("a commit", || client.update_keys(conversation)))).await;
    }
    let everyone: Vec<&Client> = clients.iter().collect();
    agree(&everyone, conversation).await;
    let after = clients[0].conversation(conversation).await.unwrap().epoch;
    assert_eq!(after - before, 32, "each commit is one epoch, and none was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_committers_take_turns_embedded() {
    sixteen_committers_take_turns(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn sixteen_committers_take_turns_on_the_servers() {
    sixteen_committers_take_turns(Backend::servers().unwrap()).await;
}
