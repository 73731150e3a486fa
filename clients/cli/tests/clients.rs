//! Clients of the SDK against a whole server.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::Server;
use qpc_sdk::{
    Client, ClientOptions, ConversationId, Error, Event, EventStream, Suite,
    transport::{ConnectError, Trust},
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn until<T>(events: &mut EventStream, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = pick(&events.next().await.unwrap()) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.unwrap()
}

async fn read(events: &mut EventStream) -> (ConversationId, String) {
    until(events, |event| match event {
        Event::MessageReceived(message) => Some((message.conversation, message.text.clone())),
        Event::Undecryptable { error, .. } => panic!("{error}"),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_begin_at_the_same_time_find_one_conversation() {
    let server = Server::start().await;
    let (alice, bob) = tokio::join!(server.client("alice"), server.client("bob"));
    let (mut of_alice, mut of_bob) = (alice.events(), bob.events());
    let (a, b) = tokio::join!(alice.dm("bob"), bob.dm("alice"));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a, b);
    alice.send(a, "from alice").await.unwrap();
    bob.send(b, "from bob").await.unwrap();
    assert_eq!(read(&mut of_bob).await, (a, "from alice".into()));
    assert_eq!(read(&mut of_alice).await, (a, "from bob".into()));
    assert_eq!(alice.conversations().await.unwrap().len(), 1);
    assert_eq!(bob.conversations().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_device_of_both_reads_and_writes() {
    let server = Server::start().await;
    let alice = server.client("alice").await;
    let further = ClientOptions {
        account_key: Some(alice.export_account_key()),
        suite: Suite::Classic,
        ..server.options("alice 2", "alice")
    };
    let alice2 = Client::open(further).await.unwrap();
    alice2.connect().await.unwrap();
    let bob = server.client("bob").await;
    let (mut of_alice, mut of_bob) = (alice.events(), bob.events());
    let id = alice2.dm("bob").await.unwrap();
    assert_eq!(alice2.conversation(id).await.unwrap().suite, Suite::Classic);
    alice2.send(id, "to both").await.unwrap();
    assert_eq!(read(&mut of_alice).await, (id, "to both".into()));
    assert_eq!(read(&mut of_bob).await, (id, "to both".into()));
    assert_eq!(alice.dm("bob").await.unwrap(), id, "known by its Welcome");
    let mut of_alice2 = alice2.events();
    bob.send(id, "and back").await.unwrap();
    assert_eq!(read(&mut of_alice).await.1, "and back");
    assert_eq!(read(&mut of_alice2).await.1, "and back");
}

#[tokio::test(flavor = "multi_thread")]
async fn committers_race_and_nobody_is_left_behind() {
    const ROUNDS: u64 = 4;
    let server = Server::start().await;
    let (alice, bob) = tokio::join!(server.client("alice"), server.client("bob"));
    let mut everybody = vec![alice.clone(), bob.clone()];
    for (name, first) in [("alice", &alice), ("bob", &bob)] {
        let key = first.export_account_key();
        let options = ClientOptions { account_key: Some(key), ..server.options(&format!("{name} 2"), name) };
        let second = Client::open(options).await.unwrap();
        second.connect().await.unwrap();
        everybody.push(second);
    }
    let id = alice.dm("bob").await.unwrap();
    for client in &everybody {
        let mut events = client.events();
        while client.conversation(id).await.is_err() {
            until(&mut events, |event| matches!(event, Event::ConversationAdded(_)).then_some(())).await;
        }
    }

    let mut running = tokio::task::JoinSet::new();
    for (number, client) in everybody.iter().enumerate() {
        let client = client.clone();
        running.spawn(async move {
            let mut epochs = Vec::new();
            for round in 0..ROUNDS {
                epochs.push(client.update_keys(id).await.unwrap());
                client.send(id, &format!("{number} {round}")).await.unwrap();
            }
            epochs
        });
    }
    let epochs: Vec<u64> = running.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<u64> = epochs.iter().copied().collect();
    assert_eq!(distinct.len(), epochs.len(), "one commit an epoch");
    let last = 1 + everybody.len() as u64 * ROUNDS;
    assert_eq!(distinct.last(), Some(&last));

    let mut secrets = BTreeSet::new();
    for client in &everybody {
        assert!(client.flush(PATIENCE).await);
        client.sync().await.unwrap();
        assert_eq!(client.conversation(id).await.unwrap().epoch, last);
        secrets.insert(client.epoch_authenticator(id).await.unwrap());
    }
    assert_eq!(secrets.len(), 1);
    for client in &everybody {
        client.sync().await.unwrap();
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
        let texts: BTreeSet<String> =
            client.history(id, 1_000).await.unwrap().into_iter().map(|message| message.text).collect();
        assert_eq!(texts.len() as u64, everybody.len() as u64 * ROUNDS, "{texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_prove_itself_is_told_nothing() {
    let (server, other) = (Server::start().await, Server::start().await);
    let options = ClientOptions { trust: Trust::PemFile(other.certificate()), ..server.options("alice", "alice") };
    let alice = Client::open(options).await.unwrap();
    let refused = alice.connect().await.unwrap_err();
    assert!(matches!(refused.root(), Error::Connect(ConnectError::Untrusted(_))), "{refused}");
    assert!(!alice.whoami().await.unwrap().registered);
}
