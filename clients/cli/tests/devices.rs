//! Further devices, and receipts that are taken away.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::{fs, process::Output};

use common::{
    Server, copy,
    repl::{PATIENCE, Repl, qpc},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

const SECOND: &str = "alice's laptop";

async fn output(mut command: Command) -> Output {
    timeout(PATIENCE * 4, command.output()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `qpc devices` of alice's first device; its lines of JSON.
async fn devices(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["devices", "--json", "-u", "alice"], arguments].concat();
    let output = output(qpc(server, "alice", "pw alice", &arguments)).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Alice and bob have talked; she has ended her session.
async fn talked(server: &Server) -> (Repl, Repl) {
    let (mut alice, mut bob) = tokio::join!(Repl::online(server, "alice"), Repl::online(server, "bob"));
    alice.types("/dm bob\nbefore the laptop\n").await;
    bob.shows("alice: before the laptop").await;
    bob.types("/dm alice\nan answer\n").await;
    alice.shows("bob: an answer").await;
    (alice, bob)
}

/// A second device of alice, linked while her first one runs `qpc devices link`.
async fn link(server: &Server) -> Value {
    let mut new = qpc(server, SECOND, "pw alice", &["link", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
    let mut line = async || -> Value {
        let line = timeout(PATIENCE * 2, lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line.unwrap_or_else(|| panic!("qpc link has ended"))).unwrap()
    };
    let code = line().await["code"].as_str().unwrap().to_owned();
    // As it is read aloud.
    let code = code.to_lowercase().replace('-', " ");
    let words: Vec<&str> = ["link"].into_iter().chain(code.split(' ')).collect();
    let (linked, made) = tokio::join!(devices(server, &words), line());
    assert_eq!(linked[0]["id"], made["device"]);
    assert!(timeout(PATIENCE, new.wait()).await.unwrap().unwrap().success());
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_device_reads_what_was_written_before_it() {
    let server = Server::start().await;
    let (alice, mut bob) = talked(&server).await;
    assert_eq!(alice.ends().await, 0);
    let made = link(&server).await;
    assert_eq!(made["username"], "alice");

    let mut laptop = Repl::start_in(&server, SECOND, "alice", "pw alice");
    laptop.shows("is online").await;
    let there = |line: &str| line.contains("bob") && line.contains("2 messages") && !line.contains("you are not in it");
    laptop.shows_at_last("/list\n", &["1 bob", "1 ?", "no conversations yet"], there).await;
    laptop.types("/switch bob\n/history\n").await;
    laptop.shows("alice: before the laptop").await;
    laptop.shows("bob: an answer").await;
    laptop.types("from the laptop\n").await;
    laptop.shows("✓ from the laptop").await;
    bob.shows("alice: from the laptop").await;

    devices(&server, &["rename", made["device"].as_str().unwrap(), SECOND]).await;
    let listed = devices(&server, &[]).await;
    let names: Vec<&Value> = listed.iter().map(|device| &device["name"]).collect();
    assert!(names.len() == 2 && names.contains(&&SECOND.into()), "{listed:?}");
    assert_eq!(devices(&server, &["revoke", SECOND]).await[0]["id"], made["device"]);
    laptop.shows("the server refuses").await;
    assert_eq!(laptop.ends().await, 3);
    assert_eq!(devices(&server, &["list"]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_names_and_revokes_devices_and_gives_conversations_new_keys() {
    let server = Server::start().await;
    let (mut alice, mut bob) = talked(&server).await;
    alice.types("/update-key\n").await;
    alice.shows("new keys: epoch 2").await;
    let mut new = qpc(&server, SECOND, "pw alice", &["link", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
    let offered: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    alice.types(&format!("/link {}\n", offered["code"].as_str().unwrap())).await;
    alice.shows("the new device was told").await;
    assert!(timeout(PATIENCE, new.wait()).await.unwrap().unwrap().success());
    let mut laptop = Repl::start_in(&server, SECOND, "alice", "pw alice");
    laptop.shows("is online").await;

    // The numbers are those of the list.
    alice.types("/devices\n").await;
    let two = [alice.shows(" · added ").await, alice.shows(" · added ").await];
    let other = two.iter().find(|line| !line.ends_with("this device")).unwrap();
    let other = other.split_whitespace().next().unwrap().to_owned();
    alice.types(&format!("/name-device {other} the laptop\n")).await;
    alice.shows("the laptop").await;
    alice.types(&format!("/devices\n/revoke-device {other}\n")).await;
    assert!(alice.shows("the laptop (").await.starts_with(&format!("{other} ")));
    laptop.shows("the server refuses").await;
    assert_eq!(laptop.ends().await, 3);
    alice.types("goodbye laptop\n").await;
    bob.shows("alice: goodbye laptop").await;
    assert_eq!(alice.ends().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_put_back_is_repaired_and_its_session_says_so() {
    let server = Server::start().await;
    let (mut alice, bob) = talked(&server).await;
    assert_eq!(bob.ends().await, 0);
    let (store, backup) = (server.folder.path().join("bob"), server.folder.path().join("backup"));
    copy(&store, &backup);
    let mut bob = Repl::online(&server, "bob").await;
    alice.types("/update-key\nafter the copy\n").await;
    bob.shows("alice: after the copy").await;
    assert_eq!(bob.ends().await, 0);

    fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    let mut bob = Repl::online(&server, "bob").await;
    alice.types("/update-key\n").await;
    for line in ["are gone", "cannot follow the group", "alice: repaired"] {
        bob.shows(line).await;
    }
    alice.types("welcome back\n").await;
    // What the copy has not, Alice's device says again, before or after that.
    let again = ["a message that was missing has come", "alice: after the copy"];
    let (mut welcomed, mut made_good) = (false, false);
    while !(welcomed && made_good) {
        let line = bob.shows_one(&["alice: welcome back", again[0], again[1]]).await;
        let welcome = line.contains("alice: welcome back");
        (welcomed, made_good) = (welcomed || welcome, made_good || !welcome);
    }
    bob.types("/switch alice\n/history\n").await;
    bob.shows("alice: after the copy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_a_link_with_the_wrong_password() {
    let server = Server::start().await;
    let mut alice = Repl::online(&server, "alice").await;
    let mut new = qpc(&server, SECOND, "wrong", &["link", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(new.stdout.take().unwrap()).lines();
    let offered: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    alice.types(&format!("/link {}\n", offered["code"].as_str().unwrap())).await;
    alice.shows("the new device was told").await;
    assert_eq!(timeout(PATIENCE, new.wait()).await.unwrap().unwrap().code(), Some(3));
    let left: Vec<_> = fs::read_dir(server.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(SECOND)), "{left:?}");
    alice.types("/link nonsense\n/devices\n").await;
    alice.shows("! this is no link code").await;
    assert!(alice.shows("1 ").await.ends_with("this device"));
    assert_eq!(alice.ends().await, 2);

    // A place that is taken is no place for a device, and nobody is asked for a code.
    let taken = output(qpc(&server, "alice", "pw alice", &["link"])).await;
    assert_eq!(taken.status.code(), Some(6), "{}", text(&taken.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_tell_of_a_message_that_was_withheld() {
    let server = Server::start().await;
    let (mut alice, mut bob) = talked(&server).await;
    alice.types("one\ntwo\nthree\n").await;
    bob.shows("alice: three").await;
    alice.shows("✓ three").await;
    bob.types("the end\n").await;
    bob.shows("✓ the end").await;
    alice.shows("bob: the end").await;
    assert_eq!((alice.ends().await, bob.ends().await), (0, 0));

    let files: Vec<String> =
        ["alice", "bob"].iter().map(|name| format!("{}/{name}.receipts", server.folder.path().display())).collect();
    for (name, file) in ["alice", "bob"].iter().zip(&files) {
        let arguments = ["receipts", "export", "-u", name, "-o", file];
        let output = output(qpc(&server, name, &format!("pw {name}"), &arguments)).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let verify = async |files: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qpc"));
        command.args(["receipts", "verify"]).args(files);
        output(command).await
    };
    let clean = verify(&[&files[0], &files[1]]).await;
    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean.stdout));
    assert!(text(&clean.stdout).contains("Nothing is wrong"));

    // A message of alice that did not reach bob.
    let kept = fs::read_to_string(&files[1]).unwrap();
    let given = kept.lines().skip(3).position(|line| line.contains("\"own\":false")).unwrap() + 3;
    assert!(given + 2 < kept.lines().count(), "not the last one");
    let lines: Vec<&str> = kept.lines().enumerate().filter(|(at, _)| *at != given).map(|(_, line)| line).collect();
    fs::write(&files[1], lines.join("\n") + "\n").unwrap();
    let found = verify(&[&files[0], &files[1]]).await;
    assert_eq!(found.status.code(), Some(8), "{}", text(&found.stdout));
    assert!(text(&found.stdout).contains("never gave it to device"), "{}", text(&found.stdout));
    let json = verify(&["--json", &files[1]]).await;
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "missing", "alone it is a hole");

    fs::write(&files[1], "dear bob").unwrap();
    assert_eq!(verify(&[&files[0], &files[1]]).await.status.code(), Some(10));
}
