//! Accounts as a shell sees them: whose key it is, coming back without a device, taking everything away, the end.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;

use common::{
    Server,
    pty::Terminal,
    repl::Repl,
    shell::{json, json_in, place, printed, run, run_in, said},
};
use qpc_sdk::{PeerTrust, Runtime, SafetyProof};
use rqrr::PreparedImage;
use serde_json::Value;

/// Pixels of a module of a QR code, so that it is a picture.
const SCALE: usize = 4;
/// Codes that one address may show in an hour.
const SHOWN: usize = 10;

/// Makes accounts.
async fn registered(server: &Server, names: &[&str]) {
    for name in names {
        json(server, name, &["register-user", name], 0).await;
    }
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_else(|| panic!("no {field} in {line}"))
}

/// What a camera reads off a screen with a QR code on it.
fn scan(screen: &str) -> Vec<u8> {
    let drawn = |line: &&str| line.chars().any(|character| "█▀▄".contains(character));
    let lines: Vec<Vec<char>> = screen.lines().filter(drawn).map(|line| line.chars().collect()).collect();
    let light = |x: usize, y: usize| match lines[y / 2].get(x) {
        Some('█') => true,
        Some('▀') => y.is_multiple_of(2),
        Some('▄') => !y.is_multiple_of(2),
        _ => false,
    };
    let (width, height) = (lines.iter().map(Vec::len).max().unwrap(), lines.len() * 2);
    let mut picture = PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, |x, y| {
        if light(x / SCALE, y / SCALE) { 255 } else { 0 }
    });
    let mut bytes = Vec::new();
    picture.detect_grids()[0].decode_to(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_see_one_number_and_other_digits_mark_nobody() {
    let server = Server::start().await;
    registered(&server, &["alice"]).await;
    let bob = server.client("bob").await;
    json(&server, "alice", &["verify", "nobody"], 5).await;
    json(&server, "alice", &["verify", "alice"], 2).await;
    json(&server, "alice", &["dm", "bob"], 0).await;

    let shown = json(&server, "alice", &["verify", "@bob"], 0).await;
    let digits = text(&shown[0], "digits").to_owned();
    assert_eq!((digits.len(), text(&shown[0], "trust")), (60, "unverified"));
    assert_eq!(digits, bob.safety_number("alice").await.unwrap().digits(), "bob sees the same");
    assert_eq!((&shown[0]["schema"], &shown[0]["other_digits"]), (&"qpc.safety_number/1".into(), &Value::Null));

    // A picture of what stands on alice's terminal is proof enough for bob.
    let mut terminal = Terminal::qpc(&server, "alice", &["verify", "bob"], 80, 60);
    assert_eq!(terminal.ends(), 0);
    let screen = terminal.shows(&[&format!("  {} {} ", &digits[..5], &digits[5..10]), "▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀"]);
    bob.verify_peer("alice", &SafetyProof::Scan(scan(&screen))).await.unwrap();
    assert_eq!(bob.peer("alice").await.unwrap().trust, PeerTrust::Verified);

    let last = if digits.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &digits[..59]);
    let refused = run(&server, "alice", &["verify", "bob", "--confirm", &wrong]).await;
    assert_eq!(refused.status.code(), Some(8));
    assert!(said(&refused).contains("somebody may stand between you"), "{}", said(&refused));
    json(&server, "alice", &["verify", "bob", "--confirm", "12345"], 2).await;
    assert_eq!(text(&json(&server, "alice", &["verify", "bob"], 0).await[0], "trust"), "unverified");

    // As they are read aloud.
    let aloud = format!("{} {}-{}", &digits[..5], &digits[5..10], &digits[10..]);
    let marked = json(&server, "alice", &["verify", "bob", "--confirm", &aloud], 0).await;
    assert_eq!(text(&marked[0], "trust"), "verified");
    assert_eq!(text(&json(&server, "alice", &["list"], 0).await[0], "trust"), "verified");
    assert!(printed(&run(&server, "alice", &["list"]).await).contains("bob · direct · ✔ verified"));
    json(&server, "alice", &["verify", "bob", "--accept"], 5).await;
    json(&server, "alice", &["verify", "nobody", "--unverify"], 5).await;
    assert_eq!(text(&json(&server, "alice", &["verify", "bob", "--unverify"], 0).await[0], "trust"), "unverified");

    // The same in a chat.
    let mut alice = Repl::online(&server, "alice").await;
    alice.types(&format!("/verify bob {wrong}\n/verify bob {aloud}\n/verify bob off\n")).await;
    alice.shows("the safety number is another one").await;
    alice.shows("bob: verified").await;
    alice.shows("bob: unverified").await;
    assert_eq!(alice.ends().await, 8, "the first failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_shown_and_nothing_is_sent_before_a_person_decides() {
    let server = Server::start().await;
    registered(&server, &["alice"]).await;
    // One that is honest, and one that gives another key under bob's name.
    let (honest, lying) = server.split().await;
    registered(&honest, &["bob"]).await;
    registered(&lying, &["bob"]).await;
    json(&honest, "alice", &["send", "@bob", "before"], 0).await;
    let digits = text(&json(&honest, "alice", &["verify", "bob"], 0).await[0], "digits").to_owned();
    json(&honest, "alice", &["verify", "bob", "--confirm", &digits], 0).await;

    let alice = place(&honest, "alice");
    let at_liar = async |arguments: &[&str], code| json_in(&lying, &alice, "alice", "pw alice", arguments, code).await;
    let shown = at_liar(&["verify", "bob"], 8).await;
    assert_eq!((text(&shown[0], "trust"), text(&shown[0], "digits")), ("changed", digits.as_str()));
    assert!(text(&shown[0], "other_digits").len() == 60 && text(&shown[0], "other_digits") != digits);
    assert_ne!(shown[0]["other_account"], shown[0]["account"]);
    let told = run_in(&lying, &alice, "alice", "pw alice", &["verify", "bob"]).await;
    assert!(printed(&told).contains("⚠ the server shows another key"), "{}", printed(&told));
    assert!(said(&told).contains("qpc verify bob --accept") && said(&told).contains("--keep"), "{}", said(&told));

    // Not even to the honest one, as nobody has said which one that is.
    let refused = run(&honest, "alice", &["send", "@bob", "held back"]).await;
    assert_eq!(refused.status.code(), Some(8));
    assert!(said(&refused).contains("Nothing was sent"), "{}", said(&refused));
    assert!(printed(&run(&honest, "alice", &["list"]).await).contains("⚠ another key is shown"));
    json(&honest, "alice", &["verify", "bob", "--confirm", &digits], 8).await;
    json(&honest, "alice", &["verify", "bob", "--keep"], 0).await;
    json(&honest, "alice", &["send", "@bob", "after"], 0).await;
    json(&honest, "bob", &["sync"], 0).await;
    let history = json(&honest, "bob", &["history", "@alice"], 0).await;
    let texts: Vec<_> = history.iter().map(|message| text(message, "text")).collect();
    assert_eq!(texts, ["before", "after"]);

    // Accepted, the number is that of the other key, and nobody has compared it.
    let other = text(&shown[0], "other_digits").to_owned();
    let accepted = at_liar(&["verify", "bob", "--accept"], 0).await;
    assert_eq!((text(&accepted[0], "trust"), text(&accepted[0], "digits")), ("unverified", other.as_str()));
}

/// A chat in which the key changes says so without being asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_tells_of_another_key_and_takes_the_decision() {
    let server = Server::start().await;
    registered(&server, &["alice"]).await;
    let (honest, lying) = server.split().await;
    registered(&honest, &["bob"]).await;
    registered(&lying, &["bob"]).await;
    json(&honest, "alice", &["dm", "bob"], 0).await;
    let mut alice = Repl::start_in(&lying, &place(&honest, "alice"), "alice", "pw alice");
    alice.shows("is online").await;
    alice.types("/create club bob\n").await;
    alice.shows("⚠ bob: the server shows another key").await;
    alice.types("/verify bob\n").await;
    alice.shows("bob: changed").await;
    alice.shows("⚠ the server shows another key under this name").await;
    alice.types("/verify bob keep\n").await;
    alice.shows("bob: unverified").await;
    assert_eq!(alice.ends().await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_brings_the_account_back_once() {
    let server = Server::start().await;
    registered(&server, &["alice", "bob"]).await;
    json(&server, "alice", &["send", "@bob", "before"], 0).await;
    let status = json(&server, "alice", &["recovery", "status"], 0).await;
    assert_eq!(status[0]["codes_left"], 0);
    let made = json(&server, "alice", &["recovery", "setup"], 0).await;
    let codes: Vec<String> =
        made[0]["codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().into()).collect();
    assert_eq!(codes.len(), 8);
    assert_eq!(json(&server, "alice", &["recovery", "status"], 0).await[0]["codes_left"], 8);
    let again = run(&server, "alice", &["recovery", "setup"]).await;
    assert_eq!(again.status.code(), Some(6));
    assert!(said(&again).contains("qpc recovery rotate"), "{}", said(&again));
    fs::remove_dir_all(server.folder.path().join("alice")).unwrap();

    // As it is typed from paper.
    let (file, bad) = (place(&server, "code"), place(&server, "bad code"));
    fs::write(&file, format!(" {} \n", codes[2].to_lowercase())).unwrap();
    fs::write(&bad, "ABCD\n").unwrap();
    let restore = async |folder: &str, file: &str, code| {
        json_in(&server, folder, "alice", "another", &["recovery", "restore", "--code-file", file], code).await
    };
    restore("alice 2", &bad, 2).await;
    // Nor with nobody to ask for it.
    json_in(&server, "alice 2", "alice", "another", &["recovery", "restore"], 2).await;
    let back = restore("alice 2", &file, 0).await;
    assert_eq!((text(&back[0], "username"), back[0]["codes_left"].as_u64()), ("alice", Some(7)));
    let listed = json_in(&server, "alice 2", "alice", "another", &["list"], 0).await;
    assert_eq!((listed[0]["peer_name"].as_str(), &listed[0]["active"]), (Some("bob"), &Value::Bool(true)));
    json_in(&server, "alice 2", "alice", "another", &["send", "@bob", "back again"], 0).await;
    json(&server, "bob", &["sync"], 0).await;
    assert_eq!(text(&json(&server, "bob", &["history", "@alice", "-n", "1"], 0).await[0], "text"), "back again");

    // Used up; and where a device is, none comes to be.
    restore("alice 2", &file, 6).await;
    restore("alice 3", &file, 5).await;
    assert!(!server.folder.path().join("alice 3").exists(), "nothing is left of it");
    // Two were shown; the rest of the hour is wrong ones.
    let wrong = place(&server, "wrong code");
    for _ in 2..SHOWN {
        fs::write(&wrong, never_made()).unwrap();
        restore("alice 3", &wrong, 5).await;
    }
    fs::write(&file, &codes[3]).unwrap();
    let arguments = ["recovery", "restore", "--code-file", &file];
    let limited = run_in(&server, "alice 3", "alice", "another", &arguments).await;
    assert_eq!(limited.status.code(), Some(9), "a right one is not looked at either: {}", said(&limited));
}

/// A code that is well formed and nobody was given.
fn never_made() -> String {
    qpc_crypto::RecoveryCode::generate(&mut Runtime::system().rng()).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_gone_from_the_server_and_from_here_if_that_is_wanted() {
    let server = Server::start().await;
    registered(&server, &["alice", "bob"]).await;
    json(&server, "alice", &["send", "@bob", "goodbye"], 0).await;

    // Not without its name.
    let refused = run(&server, "alice", &["delete-account"]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("--yes-delete NAME"), "{}", said(&refused));
    json(&server, "alice", &["delete-account", "--yes-delete", "bob"], 2).await;
    let mut asked = Terminal::qpc(&server, "alice", &["delete-account"], 100, 24);
    asked.shows(&["Type the name"]);
    asked.types("alicia\r");
    assert_eq!(asked.ends(), 2);
    asked.shows(&["this is the account of alice, not of alicia"]);
    json(&server, "alice", &["login"], 0).await;

    let mut asked = Terminal::qpc(&server, "alice", &["delete-account"], 100, 24);
    asked.shows(&["Type the name"]);
    asked.types("alice\r");
    assert_eq!(asked.ends(), 0, "{}", asked.contents());
    asked.shows(&["alice is deleted"]);
    json(&server, "alice", &["login"], 3).await;
    json(&server, "bob", &["sync"], 0).await;
    json(&server, "bob", &["dm", "alice"], 5).await;
    json_in(&server, "alice 2", "alice", "pw alice", &["register-user", "alice"], 6).await;
    // What was written stays until it is wiped.
    assert_eq!(text(&json(&server, "alice", &["history", "@bob"], 0).await[0], "text"), "goodbye");
    json(&server, "alice", &["logout", "--wipe", "--yes"], 0).await;
    assert!(!server.folder.path().join("alice").exists());

    let gone = json(&server, "bob", &["delete-account", "--yes-delete", "bob", "--wipe"], 0).await;
    assert_eq!((&gone[0]["username"], &gone[0]["wiped"]), (&"bob".into(), &Value::Bool(true)));
    assert!(!server.folder.path().join("bob").exists(), "nothing is left");
    json(&server, "bob", &["login"], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_for_its_owner_and_has_keys_only_when_asked() {
    let server = Server::start().await;
    registered(&server, &["alice"]).await;
    json(&server, "alice", &["send", "notes", "buy bread"], 0).await;
    let (file, other) = (place(&server, "alice.json"), place(&server, "keys.json"));
    let written = json(&server, "alice", &["export-account", &file], 0).await;
    assert_eq!((text(&written[0], "file"), &written[0]["keys"]), (file.as_str(), &Value::Bool(false)));
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777, 0o600);
    let exported: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(exported["account"]["username"], "alice");
    assert_eq!(exported["conversations"][0]["messages"][0]["text"], "buy bread");
    assert_eq!(exported["server"]["devices"].as_array().unwrap().len(), 1);
    assert_eq!(exported.get("keys"), None);

    // Nothing is replaced, unless it is to be.
    json(&server, "alice", &["export-account", &file, "--keys"], 6).await;
    json(&server, "alice", &["export-account", &file, "--keys", "--force"], 0).await;
    let exported: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let key = text(&exported["keys"], "account").to_owned();
    assert_eq!(key.len(), 64);
    let piped = run(&server, "alice", &["export-account", "-"]).await;
    assert_eq!(piped.status.code(), Some(0));
    let piped = printed(&piped);
    let again: Value = serde_json::from_str(&piped).unwrap();
    assert!(again["account"] == exported["account"] && !piped.contains(&key));
    // Half a file is none.
    let cut_off = ["export-account", &other, "--server", "127.0.0.1:1", "--timeout", "1"];
    json(&server, "alice", &cut_off, 4).await;
    assert!(!server.folder.path().join("keys.json").exists());
}
