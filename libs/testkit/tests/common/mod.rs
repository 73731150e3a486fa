//! What the scenarios share.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{future::Future, time::Duration};

use qpc_sdk::{Client, ConversationId, Error, MessageState};
use qpc_testkit::{Cluster, eventually};
use tokio::time::Instant;

/// A client that is connected, however long the bus takes to let it.
pub async fn client(cluster: &Cluster, name: &str, device: usize, gateway: usize) -> Client {
    open(cluster.client_options(name, device, gateway)).await
}

pub async fn open(options: qpc_sdk::ClientOptions) -> Client {
    let client = Client::open(options).await.unwrap();
    client.start();
    eventually("the connection", || async { client.whoami().await.unwrap().connected.then_some(()) }).await;
    client
}

/// What a person does who is told that it did not work this time: tries again, for a minute.
pub async fn insist<T, F: Future<Output = Result<T, Error>>>(what: &str, mut action: impl FnMut() -> F) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        match action().await {
            Ok(value) => return value,
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    panic!("{what} never succeeds");
}

/// Texts that others wrote, in the order shown.
pub async fn received(client: &Client, conversation: ConversationId) -> Vec<String> {
    let history = client.history(conversation, 10_000).await.unwrap();
    history.into_iter().filter(|m| m.state == MessageState::Received).map(|m| m.text).collect()
}

/// Waits until exactly `expected` has been received from the one other device, in its order.
pub async fn receives(client: &Client, conversation: ConversationId, expected: &[String]) {
    let texts = eventually("all messages", || async {
        let texts = received(client, conversation).await;
        (texts.len() >= expected.len()).then_some(texts)
    })
    .await;
    assert_eq!(texts, expected, "once each, in order");
}

/// Waits until everything that was written here has a receipt that holds.
pub async fn all_accepted(client: &Client, conversation: ConversationId) {
    eventually("all receipts", || async {
        let history = client.history(conversation, 10_000).await.unwrap();
        let open = history.iter().any(|m| matches!(m.state, MessageState::Queued | MessageState::Sent));
        (!open).then_some(())
    })
    .await;
    let history = client.history(conversation, 10_000).await.unwrap();
    for message in history {
        let fine = matches!(
            message.state,
            MessageState::Accepted | MessageState::Delivered | MessageState::Read | MessageState::Received
        );
        assert!(fine, "{message:?}");
    }
}

/// All clients are in the same epoch with the same secrets, and have read everything.
pub async fn agree(clients: &[&Client], conversation: ConversationId) {
    eventually("one epoch", || async {
        let mut authenticators = Vec::new();
        for client in clients {
            authenticators.push(client.epoch_authenticator(conversation).await.unwrap());
        }
        authenticators.iter().all(|one| *one == authenticators[0]).then_some(())
    })
    .await;
    for client in clients {
        assert_eq!(client.stats().await.unwrap().undecryptable, 0);
    }
}

pub fn numbered(who: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{who} says {n}")).collect()
}
