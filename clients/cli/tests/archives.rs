//! Files that are sent and taken, transcripts and backups, as a shell sees them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;

use common::{
    Server,
    repl::{PATIENCE, Repl, qpc},
    shell::{json, json_in, place, run},
};
use serde_json::Value;
use tokio::time::timeout;

/// Bytes of the file that is sent: more than one range of a download.
const SIZE: usize = (4 << 20) + 12_345;

/// Alice and bob have accounts, and have said something.
async fn talked(server: &Server) {
    let (mut alice, mut bob) = tokio::join!(Repl::online(server, "alice"), Repl::online(server, "bob"));
    alice.types("/dm bob\nhello bob\n").await;
    bob.shows("alice: hello bob").await;
    bob.types("/dm alice\nhello \u{7}alice\n").await;
    alice.shows("bob: hello").await;
    assert_eq!((alice.ends().await, bob.ends().await), (0, 0));
    fs::write(server.folder.path().join("words"), "correct horse\n").unwrap();
    fs::write(server.folder.path().join("other words"), "battery staple\n").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_back_as_it_was() {
    let server = Server::start().await;
    talked(&server).await;
    let content: Vec<u8> =
        (0..SIZE as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).take(SIZE).collect();
    let (original, taken) = (place(&server, "plan.bin"), place(&server, "taken.bin"));
    fs::write(&original, &content).unwrap();
    let small = place(&server, "note.txt");
    fs::write(&small, "small").unwrap();

    let sent = json(&server, "alice", &["send-file", "@bob", &original, &small, "--caption", "look"], 0).await;
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0]["schema"].as_str(), sent[0]["size"].as_u64()), (Some("qpc.file_sent/1"), Some(SIZE as u64)));
    assert_eq!((sent[1]["name"].as_str(), &sent[1]["message"]), (Some("note.txt"), &sent[0]["message"]));
    let id = sent[0]["message"].as_str().unwrap();

    json(&server, "bob", &["sync"], 0).await;
    let listed = json(&server, "bob", &["files", "@alice"], 0).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!((&listed[0]["blob"], &listed[0]["message"]), (&sent[0]["blob"], &sent[0]["message"]));
    let shown = String::from_utf8(run(&server, "bob", &["files", "@alice"]).await.stdout).unwrap();
    assert!(shown.contains(&format!("plan.bin · application/octet-stream · 4.01 MiB · {} --n 1", &id[..8])), "{shown}");
    let saved = json(&server, "bob", &["get-file", "@alice", &id[..8], "--n", "1", "-o", &taken], 0).await;
    assert_eq!(saved[0]["path"], taken.as_str());
    assert!(fs::read(&taken).unwrap() == content);
    assert_eq!(saved[0]["sha256"], hex(&qpc_crypto::sha256(&[&content])));

    // Nothing is replaced, unless it is to be; two files do not go to one place.
    json(&server, "bob", &["get-file", "@alice", "--n", "2", "-o", &taken], 6).await;
    json(&server, "bob", &["get-file", "@alice", "--n", "3", "-o", &taken], 5).await;
    json(&server, "bob", &["get-file", "@alice", "-o", &taken], 2).await;
    assert!(fs::read(&taken).unwrap() == content);
    json(&server, "bob", &["get-file", "@alice", "--n", "2", "-o", &taken, "--force"], 0).await;
    assert_eq!(fs::read(&taken).unwrap(), b"small");
    let folder = place(&server, "pictures");
    fs::create_dir(&folder).unwrap();
    assert_eq!(json(&server, "bob", &["get-file", "@alice", "-o", &folder], 0).await.len(), 2);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "and nothing else is left");

    // The same in a chat.
    let (mut alice, mut bob) = tokio::join!(Repl::online(&server, "alice"), Repl::online(&server, "bob"));
    alice.types(&format!("/switch bob\n/send-file {small}\n")).await;
    alice.shows("✓ note.txt").await;
    let chatted = place(&server, "chatted.txt");
    bob.shows("alice").await;
    bob.types(&format!("/switch alice\n/files\n/save {chatted}\n")).await;
    bob.shows("chatted.txt").await;
    assert_eq!(fs::read(&chatted).unwrap(), b"small");
    bob.types(&format!("/save {chatted}\n")).await;
    bob.shows("exists").await;
    assert_eq!((alice.ends().await, bob.ends().await), (0, 6));

    // Damaged at the server.
    let blobs = server.folder.path().join("server");
    damage_large(&blobs);
    json(&server, "bob", &["get-file", "@alice", &id[..8], "--n", "1", "-o", &place(&server, "damaged")], 8).await;
    assert!(!server.folder.path().join("damaged").exists());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Changes a byte of each file of the server that is as large as the one that was sent.
fn damage_large(folder: &std::path::Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage_large(&path);
        } else if !path.to_string_lossy().contains(".db") && fs::metadata(&path).unwrap().len() > 100_000 {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_is_checked_by_anybody_and_read_with_its_passphrase() {
    let server = Server::start().await;
    talked(&server).await;
    let (file, words) = (place(&server, "bob.qpct"), place(&server, "words"));
    let export = ["export", "@bob", &file, "--passphrase-file", &words];
    json(&server, "alice", &export[..3], 2).await;
    assert!(!server.folder.path().join("bob.qpct").exists(), "nobody was there to choose a passphrase");
    let exported = json(&server, "alice", &export, 0).await;
    assert_eq!((exported[0]["file"].as_str(), exported[0]["records"].as_u64()), (Some(&*file), Some(3)));
    json(&server, "alice", &export, 6).await;
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);

    // In a chat without a terminal the passphrase comes from a file as well.
    let mut chat = Repl::online(&server, "alice").await;
    let chatted = place(&server, "chatted.qpct");
    chat.types(&format!("/switch bob\n/export {chatted}\n")).await;
    chat.shows("no passphrase").await;
    chat.types(&format!("/export {chatted} --passphrase-file {words}\n")).await;
    chat.shows("chatted.qpct").await;
    chat.types(&format!("/export {chatted} --passphrase-file {words}\n")).await;
    chat.shows("exists").await;
    let saved = place(&server, "chatted.qpcb");
    chat.types(&format!(
        "/export {chatted} --passphrase-file {words} --force\n/backup {saved} --passphrase-file {words}\n"
    ))
    .await;
    chat.shows("chatted.qpct").await;
    chat.shows("chatted.qpcb").await;
    assert_eq!(chat.ends().await, 2, "the first slip");
    assert_eq!(json(&server, "nobody", &["export-verify", &chatted], 0).await[0]["whole"], true);
    let restore = ["restore", &saved, "--passphrase-file", &words];
    assert_eq!(json_in(&server, "alice 2", "alice", "pw alice", &restore, 0).await[0]["messages"], 2);

    // Nobody who checks it needs an account.
    let whole = json(&server, "nobody", &["export-verify", &file], 0).await;
    assert_eq!((&whole[0]["whole"], &whole[0]["root"]), (&Value::Bool(true), &exported[0]["root"]));
    let decrypt = ["export-verify", &file, "--decrypt", "--passphrase-file"];
    let entries = json(&server, "nobody", &[&decrypt[..], &[&words]].concat(), 0).await;
    assert_eq!(entries.len(), 4, "{entries:?}");
    assert_eq!((entries[0]["record"].as_str(), entries[1]["text"].as_str()), (Some("conversation"), Some("hello bob")));
    json(&server, "nobody", &[&decrypt[..], &[&place(&server, "other words")]].concat(), 3).await;
    let shown = run(&server, "nobody", &[&decrypt[..], &[&words]].concat()).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("alice: hello bob") && shown.contains("bob: hello ·alice"), "{shown}");

    // A byte of the second record, which follows a head of 319 bytes and the first.
    let mut bytes = fs::read(&file).unwrap();
    let first = u32::from_be_bytes(bytes[319..323].try_into().unwrap()) as usize;
    let second = 319 + 4 + 32 + first + 32;
    bytes[second + 50] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let found = json(&server, "nobody", &["export-verify", &file], 8).await;
    let damage = &found[0]["damage"][0];
    assert_eq!((damage["record"].as_u64(), damage["offset"].as_u64()), (Some(1), Some(second as u64)), "{found:?}");
    let told = run(&server, "nobody", &["export-verify", &file]).await;
    assert!(String::from_utf8_lossy(&told.stdout).contains(&format!("record 1, at byte {second}")));
    let entries = json(&server, "nobody", &[&decrypt[..], &[&words]].concat(), 8).await;
    assert_eq!(entries.len(), 2, "what stands before the damage, and where it is: {entries:?}");
    fs::write(&file, "dear bob, this is a letter and no transcript").unwrap();
    json(&server, "nobody", &["export-verify", &file], 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_was_lost_is_restored_from_its_backup() {
    let server = Server::start().await;
    talked(&server).await;
    json(&server, "alice", &["send", "notes", "buy bread"], 0).await;
    let (file, words) = (place(&server, "alice.qpcb"), place(&server, "words"));
    let made = json(&server, "alice", &["backup", &file, "--passphrase-file", &words], 0).await;
    assert_eq!(made[0]["messages"], 3);
    let restore = ["restore", &file, "--passphrase-file", &words];
    json(&server, "alice", &restore, 6).await;
    json(&server, "alice", &["logout", "--wipe", "--yes"], 0).await;
    assert!(!server.folder.path().join("alice").exists());

    let other = place(&server, "other words");
    json(&server, "alice", &["restore", &file, "--passphrase-file", &other], 3).await;
    json(&server, "carol", &restore, 6).await;
    let wrong = qpc(&server, "alice", "wrong", &[&restore[..], &["-u", "alice"]].concat()).output();
    assert_eq!(timeout(PATIENCE * 4, wrong).await.unwrap().unwrap().status.code(), Some(3));
    assert!(!server.folder.path().join("alice").exists(), "nothing is left of any of these");

    let restored = json(&server, "alice", &restore, 0).await;
    assert_eq!((&restored[0]["messages"], &restored[0]["account"]), (&Value::from(3), &made[0]["account"]));
    let history = json(&server, "alice", &["history", "@bob"], 0).await;
    let texts: Vec<_> = history.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hello bob", "hello \u{7}alice"]);
    assert_eq!(json(&server, "alice", &["history", "notes"], 0).await[0]["text"], "buy bread");
    // And the conversation goes on.
    json(&server, "alice", &["send", "@bob", "here again"], 0).await;
    json(&server, "bob", &["sync"], 0).await;
    let last = json(&server, "bob", &["history", "@alice", "-n", "1"], 0).await;
    assert_eq!(last[0]["text"], "here again");

    // A damaged one leaves nothing.
    json(&server, "alice", &["logout", "--wipe", "--yes"], 0).await;
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    json(&server, "alice", &restore, 8).await;
    assert!(!server.folder.path().join("alice").exists());
}
