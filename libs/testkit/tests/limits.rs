//! Clients of a server with the limits that it has by default, or narrower ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use qpc_chassis::config::Process;
use qpc_sdk::{Client, ClientOptions, Error, Event, KsfParams, Message, MessageState, transport::Trust};
use qpc_server::{Embedded, Options};
use tempfile::TempDir;

async fn start(folder: &TempDir, change: impl FnOnce(&mut Options)) -> Embedded {
    let mut options =
        Options { data: folder.path().join("server"), listen: ([127, 0, 0, 1], 0).into(), ..Options::default() };
    change(&mut options);
    let process = Process { log: "warn".into(), drain_seconds: 10, ..Process::default() };
    qpc_server::start(options, &process).await.unwrap()
}

async fn client(server: &Embedded, folder: &TempDir, name: &str) -> Client {
    let trust = Trust::PemFile(server.certificate.clone());
    let options = ClientOptions {
        server_name: Some("localhost".into()),
        ksf: KsfParams::FLOOR,
        ..ClientOptions::new(folder.path().join(name), name, "password", server.local_addr().to_string(), trust)
    };
    let client = Client::open(options).await.unwrap();
    client.connect().await.unwrap();
    client
}

#[tokio::test]
async fn a_sender_who_is_too_fast_waits_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, |options| options.delivery.sends = "5:10/1s".parse().unwrap()).await;
    let (alice, bob) = (client(&server, &folder, "alice").await, client(&server, &folder, "bob").await);
    let dm = alice.dm("bob").await.unwrap();
    let mut heard = bob.events();
    let texts: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    for text in &texts {
        alice.send(dm, text).await.unwrap();
    }
    let mut received = Vec::new();
    while received.len() < texts.len() {
        let event =
            tokio::time::timeout(Duration::from_secs(60), heard.next()).await.expect("a message in time").unwrap();
        if let Event::MessageReceived(message) = event {
            received.push(message.text);
        }
    }
    assert_eq!(received, texts, "in order, each once");
    assert!(alice.flush(Duration::from_secs(60)).await);
    let unsent = |message: &Message| matches!(message.state, MessageState::Queued | MessageState::Failed);
    let kept = alice.history(dm, 100).await.unwrap();
    assert_eq!((kept.len(), kept.iter().filter(|message| unsent(message)).count()), (texts.len(), 0));
    assert!(server.shutdown(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn whoever_is_limited_for_long_is_told_until_when() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(&folder, |options| options.auth.name_lookups = "1:1/1h".parse().unwrap()).await;
    let alice = client(&server, &folder, "alice").await;
    assert!(matches!(alice.dm("nobody").await, Err(Error::UnknownUser(_))));
    let refused = alice.dm("nobody").await.unwrap_err();
    let wait = refused.retry_after().expect("a time");
    assert!(wait > Duration::from_secs(3_000) && wait <= Duration::from_secs(3_600), "{wait:?}");
    assert!(server.shutdown(Duration::from_secs(10)).await);
}
