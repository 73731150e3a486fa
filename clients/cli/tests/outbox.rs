//! What is written once for a key, sent again, or taken back, as a shell and a chat see it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{
    Server,
    repl::Repl,
    shell::{json, run, said},
};
use serde_json::Value;

async fn registered(server: &Server) {
    for name in ["alice", "bob"] {
        json(server, name, &["register-user", name], 0).await;
    }
    json(server, "alice", &["dm", "bob"], 0).await;
}

/// What somebody has read of a conversation, once everything has come.
async fn texts(server: &Server, name: &str, conversation: &str) -> Vec<String> {
    json(server, name, &["sync"], 0).await;
    let history = json(server, name, &["history", conversation], 0).await;
    history.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_key_is_written_once() {
    let server = Server::start().await;
    registered(&server).await;
    let broken = ["send", "@bob", "build 71 is broken", "--key", "build-71"];
    let first = json(&server, "alice", &broken, 0).await;
    assert_eq!((&first[0]["repeated"], &first[0]["state"]), (&Value::Bool(false), &"accepted".into()));
    let again = json(&server, "alice", &broken, 0).await;
    assert_eq!((&again[0]["repeated"], &again[0]["id"]), (&Value::Bool(true), &first[0]["id"]));
    assert!(said(&run(&server, "alice", &broken).await).contains("and not again"));

    // Before it has left, too; and a key is of its conversation.
    let kept = ["send", "@bob", "and 72", "--key", "build-72", "--wait", "queued"];
    assert_eq!(json(&server, "alice", &kept, 0).await[0]["state"], "queued");
    assert_eq!(json(&server, "alice", &kept, 0).await[0]["repeated"], true);
    assert_eq!(json(&server, "alice", &["outbox"], 0).await.len(), 1);
    json(&server, "alice", &kept[..5], 0).await;
    let notes = json(&server, "alice", &["send", "notes", "build 71 is broken", "--key", "build-71"], 0).await;
    assert_eq!(notes[0]["repeated"], false);
    assert_ne!(notes[0]["id"], first[0]["id"]);

    let other = run(&server, "alice", &["send", "@bob", "something else", "--key", "build-71"]).await;
    assert_eq!(other.status.code(), Some(6), "{}", said(&other));
    assert!(said(&other).contains("the key was used for another message"), "{}", said(&other));
    json(&server, "alice", &["send", "@bob", "x", "--key", ""], 2).await;
    json(&server, "alice", &["send", "@bob", "without a key"], 0).await;
    json(&server, "alice", &["send", "@bob", "without a key"], 0).await;
    let all = ["build 71 is broken", "and 72", "without a key", "without a key"];
    assert_eq!(texts(&server, "bob", "@alice").await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_left_is_taken_back_and_what_has_is_not() {
    let server = Server::start().await;
    registered(&server).await;
    let sent = json(&server, "alice", &["send", "@bob", "this one is sent"], 0).await;
    for text in ["a slip", "another slip"] {
        json(&server, "alice", &["send", "@bob", text, "--wait", "queued"], 0).await;
    }
    let waits = json(&server, "alice", &["outbox", "list"], 0).await;
    assert_eq!(waits.len(), 2);
    let id = waits[0]["id"].as_str().unwrap();
    let taken = json(&server, "alice", &["outbox", "cancel", &id[..8]], 0).await;
    assert_eq!((taken[0]["schema"].as_str(), taken[0]["text"].as_str()), (Some("qpc.cancelled/1"), Some("a slip")));
    json(&server, "alice", &["outbox", "cancel", &id[..8]], 5).await;
    json(&server, "alice", &["outbox", "cancel", sent[0]["id"].as_str().unwrap()], 5).await;

    // In a chat, by the numbers of the list; what goes on its way at once is seldom there to be taken back.
    let mut alice = Repl::start_at(&server, "127.0.0.1:1", "alice");
    alice.shows("not connected").await;
    alice.types("/outbox\n/cancel 1\n/outbox\n").await;
    alice.shows("another slip … queued").await;
    alice.shows("bob · taken back: another slip").await;
    alice.shows("nothing waits").await;
    alice.types("/switch bob\n/history\n/cancel 2\n").await;
    alice.shows("this one is sent").await;
    alice.shows("was sent, or may have been").await;
    assert_eq!(alice.ends().await, 4, "it could not connect");

    json(&server, "alice", &["send", "@bob", "no slip"], 0).await;
    assert_eq!(texts(&server, "bob", "@alice").await, ["this one is sent", "no slip"]);
    assert_eq!(texts(&server, "alice", "@bob").await, ["this one is sent", "no slip"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_sent_again_when_it_can_be() {
    let server = Server::start().await;
    registered(&server).await;
    json(&server, "bob", &["create-group", "club", "-m", "alice"], 0).await;
    json(&server, "alice", &["sync"], 0).await;
    json(&server, "alice", &["send", "club", "one", "--wait", "queued"], 0).await;
    json(&server, "alice", &["send", "club", "two", "--wait", "queued", "--key", "2"], 0).await;
    json(&server, "alice", &["send", "club", "three", "--wait", "queued"], 0).await;
    json(&server, "bob", &["remove", "club", "alice"], 0).await;
    json(&server, "alice", &["sync"], 0).await;
    let refused = json(&server, "alice", &["outbox"], 0).await;
    let states: Vec<_> = refused.iter().map(|message| message["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed"; 3]);
    let one = refused[0]["id"].as_str().unwrap();
    json(&server, "alice", &["outbox", "retry", one], 7).await;
    json(&server, "alice", &["outbox", "retry"], 10).await;
    json(&server, "alice", &["outbox", "retry", "ffffffff"], 5).await;
    assert_eq!(json(&server, "alice", &["outbox"], 0).await.len(), 3, "nothing is lost by trying");

    json(&server, "bob", &["invite", "club", "alice"], 0).await;
    json(&server, "alice", &["sync"], 0).await;
    let again = json(&server, "alice", &["outbox", "retry", one], 0).await;
    assert_eq!((&again[0]["id"], &again[0]["state"]), (&one.into(), &"accepted".into()));
    // The same key again is as good.
    let by_key = json(&server, "alice", &["send", "club", "two", "--key", "2"], 0).await;
    assert_eq!((&by_key[0]["repeated"], &by_key[0]["state"]), (&Value::Bool(true), &"accepted".into()));
    let mut alice = Repl::online(&server, "alice").await;
    alice.types("/outbox\n/retry 1\n").await;
    alice.shows("alice: three ⚠ not sent").await;
    alice.shows("✓ three").await;
    assert_eq!(alice.ends().await, 0);
    assert_eq!(json(&server, "alice", &["outbox", "retry"], 0).await, Vec::<Value>::new());
    assert_eq!(texts(&server, "bob", "club").await, ["one", "two", "three"]);
}
