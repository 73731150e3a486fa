//! The binary from outside: the demonstration, and two people on pipes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{Server, repl::Repl};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_proves_what_it_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_qpc")).args(["demo", "--json"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let messages = report["messages"].as_array().unwrap();
    assert!(messages.iter().filter(|message| message["reader_offline"] == true).count() >= 2);
    for count in ["accepted", "receipts_verified", "delivered"] {
        assert_eq!(report[count], messages.len(), "{count}");
    }
    assert_eq!(report["suite"], "MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk_and_slips_stay_at_home() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (Repl::start(&server, "alice", "pw a"), Repl::start(&server, "bob", "pw b"));
    bob.shows("is online").await;
    alice.types("/dm bob\nhello\n/hsitory\n//slash\n").await;
    alice.shows("nothing was sent").await;
    alice.shows("✓ /slash").await;
    bob.shows("alice: hello").await;
    // The next message is this one: the slip between them was not sent.
    assert!(bob.output.next_line().await.unwrap().unwrap().starts_with("alice: /slash"));
    bob.types("/switch alice\nhi\n/list\n").await;
    alice.shows("bob: hi").await;
    bob.shows("*1 alice").await;
    bob.types("/quit\n").await;
    assert_eq!(bob.ends().await, 0);

    // Written to somebody who is away, and the pipe ends at once.
    alice.types("see you\n").await;
    assert_eq!(alice.ends().await, 2, "the slip");
    let mut bob = Repl::start(&server, "bob", "pw b");
    bob.shows("alice: see you").await;
    bob.types("/switch 1\n/history 2\n").await;
    bob.shows("bob: hi ✓").await;
    bob.shows("alice: see you").await;
    assert_eq!(bob.ends().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_why() {
    let server = Server::start().await;
    let mut alice = Repl::start(&server, "alice", "right");
    alice.shows("is online").await;
    alice.types("/dm nobody\n").await;
    alice.shows("no user").await;
    assert_eq!(alice.ends().await, 5);
    assert_eq!(Repl::start(&server, "alice", "wrong").ends().await, 3);
    // The same name from another device, which has another store.
    std::fs::rename(server.folder.path().join("alice"), server.folder.path().join("moved")).unwrap();
    assert_eq!(Repl::start(&server, "alice", "wrong").ends().await, 6);
    assert_eq!(Repl::start(&server, "Alice", "x").ends().await, 2);
}
