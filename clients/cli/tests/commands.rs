//! Every subcommand as a shell sees it: text, JSON, notes and exit codes, in the order of a day. What differs from run to run
//! is masked; `QPC_BLESS=1 cargo test -p qpc-cli --test commands` writes the file anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

mod common;

use std::{fmt::Write as _, fs, path::Path, process::Stdio};

use common::{
    Server,
    repl::{PATIENCE, qpc},
};
use qpc_sdk::Client;
use tokio::{io::AsyncWriteExt as _, time::timeout};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/commands.txt");

/// What was typed and what came of it.
struct Script<'a> {
    server: &'a Server,
    text: String,
}

impl Script<'_> {
    /// `qpc` with these arguments as alice.
    async fn alice(&mut self, arguments: &[&str]) -> String {
        self.run("alice", "pw alice", arguments, None).await
    }

    /// The same as text and as JSON, which must change nothing.
    async fn both(&mut self, arguments: &[&str]) {
        self.alice(arguments).await;
        self.alice(&[arguments, &["--json"]].concat()).await;
    }

    async fn run(&mut self, folder: &str, password: &str, arguments: &[&str], input: Option<&str>) -> String {
        let mut command = qpc(self.server, folder, password, arguments);
        if let Some(user) = folder.split(' ').next() {
            command.env("QPC_USERNAME", user);
        }
        let home = self.server.folder.path().join("home");
        command.env("HOME", &home).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        command.env_remove("VISUAL").env_remove("EDITOR");
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().unwrap();
        if let Some(input) = input {
            child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        }
        let output = timeout(PATIENCE * 4, child.wait_with_output()).await.unwrap().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let mask = |text: &str| mask(text, self.server);
        let shown: Vec<String> = arguments.iter().map(|word| mask(&shell_word(word))).collect();
        writeln!(self.text, "$ qpc {}", shown.join(" ")).unwrap();
        mask(&out).lines().for_each(|line| writeln!(self.text, "{line}").unwrap());
        let err = mask(&String::from_utf8_lossy(&output.stderr));
        err.lines().for_each(|line| writeln!(self.text, "2> {line}").unwrap());
        match output.status.code().unwrap() {
            0 => {}
            code => writeln!(self.text, "exit code {code}").unwrap(),
        }
        self.text.push('\n');
        out
    }
}

fn shell_word(word: &str) -> String {
    if word.contains([' ', '#']) { format!("\"{word}\"") } else { word.to_owned() }
}

/// Ids, times, durations, links, pictures and places of this run.
fn mask(text: &str, server: &Server) -> String {
    let text = text.replace(&server.address(), "SERVER").replace(&server.folder.path().display().to_string(), "FOLDER");
    // Bob's device may tell at once that it has a message, or later.
    let text = text.replace("✓✓ delivered", "✓ accepted").replace("\"delivered\"", "\"accepted\"");
    let text = text.replace("\"delivered_to\":1", "\"delivered_to\":0");
    let lines = text.lines().filter(|line| !line.chars().any(|character| "█▀▄".contains(character)));
    lines.map(mask_line).collect::<Vec<_>>().join("\n")
}

/// What stands before numbers that depend on how fast others are.
const COUNTED: [&str; 7] = ["_ms\":", "\"bytes\":", "\"ms\":", "epoch ", "\"epoch\":", "read up to ", "\"cursor\":"];

/// The same for what stands after them.
fn is_measured(after: &str) -> bool {
    after.starts_with(" ms") || after.starts_with(" KiB")
}

fn mask_line(line: &str) -> String {
    // A safety number.
    let is_group = |word: &str| word.len() == 5 && word.bytes().all(|byte| byte.is_ascii_digit());
    if line.starts_with("  ") && line.split_whitespace().all(is_group) {
        return "  DIGITS".to_owned();
    }
    let (mut masked, mut rest) = (String::new(), line);
    while let Some(first) = rest.chars().next() {
        let run = |fits: fn(&u8) -> bool| rest.bytes().take_while(fits).count();
        let hex = run(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase());
        let number = run(|byte| byte.is_ascii_digit() || *byte == b'.');
        let key = run(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        let len = if key == 87 {
            masked.push_str("KEY");
            key
        } else if rest.starts_with("qpc:join/") {
            masked.push_str("LINK");
            run(|byte| byte.is_ascii_graphic() && *byte != b'"')
        } else if hex >= 32 {
            masked.push_str("ID");
            hex
        } else if is_time(rest) {
            masked.push_str("TIME");
            if rest[16..].starts_with('Z') { 17 } else { 16 }
        } else if number > 0 && (COUNTED.iter().any(|before| masked.ends_with(before)) || is_measured(&rest[number..]))
        {
            masked.push('N');
            number
        } else {
            masked.push(first);
            first.len_utf8()
        };
        rest = &rest[len..];
    }
    masked
}

/// `2026-11-20 14:03`
fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-dd dd:dd";
    text.len() >= pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        })
}

/// Waits until a client has so many unread messages.
async fn unread(client: &Client, count: usize) {
    let mut events = client.events();
    while client.unread(100).await.unwrap().len() < count {
        timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    }
}

async fn writes(client: &Client, user: &str, text: &str) {
    let id = client.dm(user).await.unwrap();
    client.send(id, text).await.unwrap();
    assert!(client.flush(PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_a_shell() {
    let server = Server::start().await;
    fs::create_dir(server.folder.path().join("home")).unwrap();
    let (bob, carol) = tokio::join!(server.client("bob"), server.client("carol"));
    let mut script = Script { server: &server, text: String::new() };
    accounts(&mut script).await;
    conversations(&mut script, &bob).await;
    messages(&mut script, &bob).await;
    archives(&mut script).await;
    groups(&mut script, &carol).await;
    program(&mut script).await;
    account(&mut script, &carol).await;
    script.alice(&["logout"]).await;
    script.alice(&["logout", "--wipe", "--no-input"]).await;
    script.alice(&["logout", "--wipe", "--yes", "--json"]).await;
    script.alice(&["list"]).await;
    assert!(!server.folder.path().join("alice").exists());
    compare(&script.text);
}

async fn accounts(script: &mut Script<'_>) {
    script.alice(&["whoami"]).await;
    script.alice(&["register-user", "alice"]).await;
    script.alice(&["register-user", "alice"]).await;
    script.run("bob 2", "another", &["register-user", "bob"], None).await;
    assert!(!script.server.folder.path().join("bob 2").exists(), "nothing is left of a name that is taken");
    script.both(&["whoami"]).await;
    script.run("alice", "wrong", &["login"], None).await;
    script.alice(&["login", "--json"]).await;
    script.both(&["devices"]).await;
    script.alice(&["devices", "rm", "nothing"]).await;
    script.alice(&["devices", "add", "nonsense"]).await;
    script.both(&["devices", "push"]).await;
    script.alice(&["devices", "push", "set", "http://push.example.org/x"]).await;
    script.both(&["devices", "push", "set", "https://push.example.org/a-secret"]).await;
    script.both(&["devices", "push", "show"]).await;
    script.both(&["devices", "push", "off"]).await;
    script.alice(&["list"]).await;
}

async fn conversations(script: &mut Script<'_>, bob: &Client) {
    script.both(&["dm", "bob"]).await;
    script.alice(&["dm", "nobody"]).await;
    script.both(&["send", "@bob", "hello bob"]).await;
    script.run("alice", "pw alice", &["send", "@bob"], Some("from a pipe\n")).await;
    script.alice(&["send", "@bob", "kept for now", "--wait", "queued", "--json", "--fields", "text,state"]).await;
    script.both(&["outbox"]).await;
    script.alice(&["send", "@bob", "a slip", "--wait", "queued", "--key", "slip"]).await;
    script.alice(&["send", "@bob", "another", "--wait", "queued", "--key", "slip"]).await;
    let waits = script.alice(&["outbox", "--fields", "id,text"]).await;
    let slip: serde_json::Value = serde_json::from_str(waits.lines().last().unwrap()).unwrap();
    script.alice(&["outbox", "cancel", slip["id"].as_str().unwrap(), "--json"]).await;
    script.alice(&["outbox", "cancel", "nothing"]).await;
    script.alice(&["outbox", "retry", "--json", "--fields", "text,state"]).await;
    script.alice(&["outbox", "retry"]).await;
    script.alice(&["sync"]).await;
    script.alice(&["outbox"]).await;
    script.both(&["send", "@bob", "once", "--key", "1"]).await;
    unread(bob, 5).await;
    script.alice(&["send", "@nobody", "hello"]).await;
    script.alice(&["send", "#nowhere", "hello"]).await;
    script.alice(&["send", "@bob", ""]).await;
    script.alice(&["send", "@bob", "-e"]).await;
    script.alice(&["send", "@bob", "to nobody", "--server", "127.0.0.1:1", "--timeout", "5"]).await;
    script.both(&["dm", "self"]).await;
    script.both(&["send", "notes", "buy bread"]).await;
}

async fn messages(script: &mut Script<'_>, bob: &Client) {
    writes(bob, "alice", "hi alice").await;
    writes(bob, "alice", "a \u{1b}[2Jtrick\u{202e}\nand a second line").await;
    script.both(&["sync"]).await;
    script.both(&["unread"]).await;
    script.alice(&["list", "--unread"]).await;
    script.alice(&["recv", "--keep-unread"]).await;
    script.alice(&["recv", "--count", "1", "--json"]).await;
    script.alice(&["recv", "--in", "@bob"]).await;
    script.alice(&["recv"]).await;
    script.alice(&["recv", "--count", "1", "--timeout", "1"]).await;
    script.both(&["history", "@bob", "-n", "3"]).await;
    script.both(&["history", "@bob", "--search", "TRICK"]).await;
    script.both(&["search", "bread"]).await;
    script.alice(&["search", "xyzzy"]).await;
    script.both(&["info", "notes"]).await;
    script.alice(&["info", "notes", "ffff"]).await;
    script.both(&["read", "@bob"]).await;
    script.run("alice", "pw alice", &["chat", "@bob"], Some("by chat\n\n")).await;
    script.alice(&["history", "@bob", "-n", "1", "--fields", "text"]).await;
}

async fn archives(script: &mut Script<'_>) {
    let place = |name: &str| script.server.folder.path().join(name).display().to_string();
    let (file, words, saved) = (place("plan.txt"), place("words"), place("saved.txt"));
    let (transcript, backup) = (place("bob.qpct"), place("alice.qpcb"));
    fs::write(&file, "the plan").unwrap();
    fs::write(&words, "correct horse").unwrap();
    script.alice(&["files", "@bob"]).await;
    script.both(&["send-file", "@bob", &file, "--caption", "as promised"]).await;
    script.alice(&["send-file", "@bob", &place("nothing.txt")]).await;
    script.alice(&["files", "@bob", "-n", "1", "--json"]).await;
    script.alice(&["get-file", "@bob", "-o", &saved]).await;
    script.alice(&["get-file", "@bob", "-o", &saved]).await;
    script.alice(&["get-file", "@bob", "-o", &saved, "--force", "--json"]).await;
    script.alice(&["get-file", "@bob", "--n", "2"]).await;
    script.alice(&["export", "@bob", &transcript]).await;
    script.alice(&["export", "@bob", &transcript, "--passphrase-file", &words]).await;
    script.alice(&["export", "@bob", &transcript, "--passphrase-file", &words, "--force", "--json"]).await;
    script.both(&["export-verify", &transcript]).await;
    script.alice(&["export-verify", &transcript, "--decrypt", "--passphrase-file", &words]).await;
    script.alice(&["backup", &backup, "--passphrase-file", &words]).await;
    let only = ["--json", "--fields", "file,username,messages"];
    script.alice(&[&["backup", &backup, "--passphrase-file", &words, "--force"], &only[..]].concat()).await;
    script.alice(&["export-verify", &backup]).await;
    script.alice(&["restore", &backup, "--passphrase-file", &words]).await;
}

async fn groups(script: &mut Script<'_>, carol: &Client) {
    script.both(&["create-group", "club", "-m", "bob,nobody"]).await;
    script.alice(&["members", "club"]).await;
    let listed = script.alice(&["list", "--json"]).await;
    let one = listed.lines().find(|line| line.contains("\"club\"")).unwrap();
    let group: serde_json::Value = serde_json::from_str(one).unwrap();
    let id = group["id"].as_str().unwrap();
    script.both(&["members", id]).await;
    script.alice(&["rename", id, "Book club"]).await;
    let group = "#Book club";
    script.both(&["invite", group, "carol"]).await;
    script.alice(&["invite", group, "nobody"]).await;
    script.both(&["role", group, "carol", "admin"]).await;
    script.alice(&["role", group, "carol", "king"]).await;
    script.alice(&["petname", group, "readers"]).await;
    script.alice(&["petname", group]).await;
    script.both(&["rotate-keys", group]).await;
    script.alice(&["rotate-keys", "--all", "--json"]).await;
    script.alice(&["invite", group, "--link", "--hours", "1", "--uses", "1"]).await;
    script.both(&["invites", group]).await;
    script.alice(&["invites", group, "revoke", "1"]).await;
    script.alice(&["invites", group, "revoke", "7"]).await;
    script.alice(&["remove", group, "bob", "--json"]).await;
    script.alice(&["remove", group, "bob"]).await;
    script.both(&["suite", group, "classic"]).await;
    script.alice(&["reset", group]).await;
    script.alice(&["leave", group]).await;
    script.alice(&["role", group, "carol", "owner"]).await;
    script.alice(&["leave", group, "--json"]).await;
    script.alice(&["send", group, "too late"]).await;
    let theirs = carol.create_group("theirs", &[]).await.unwrap();
    let link = carol.invite(theirs, std::time::Duration::from_secs(3_600), 0).await.unwrap().to_string();
    script.alice(&["join", &link, "--fields", "kind,active"]).await;
    script.alice(&["join", "nonsense"]).await;
    script.alice(&["list", "--fields", "kind,active"]).await;
}

async fn account(script: &mut Script<'_>, carol: &Client) {
    script.both(&["verify", "bob"]).await;
    script.alice(&["verify", "bob", "--confirm", "12345"]).await;
    script.alice(&["verify", "bob", "--confirm", &"0".repeat(60)]).await;
    let digits = carol.safety_number("alice").await.unwrap().digits();
    script.both(&["verify", "carol", "--confirm", &digits]).await;
    script.both(&["recovery", "status"]).await;
    let file = script.server.folder.path().join("alice.json").display().to_string();
    script.alice(&["export-account", &file]).await;
    script.alice(&["export-account", &file]).await;
    script.alice(&["export-account", &file, "--keys", "--force", "--json"]).await;
    script.alice(&["delete-account"]).await;
    script.alice(&["delete-account", "--yes-delete", "alicia"]).await;
}

async fn program(script: &mut Script<'_>) {
    script.both(&["status"]).await;
    script.both(&["ping"]).await;
    script.alice(&["ping", "--server", "127.0.0.1:1", "--timeout", "1"]).await;
    script.both(&["version"]).await;
    script.both(&["exit-codes"]).await;
    script.both(&["config", "path"]).await;
    script.alice(&["config", "set", "theme", "light"]).await;
    script.alice(&["-P", "work", "config", "set", "server", "chat.example:7000", "--json"]).await;
    script.alice(&["config", "set", "suite", "quantum"]).await;
    script.alice(&["config", "set", "sweet", "x"]).await;
    script.both(&["config", "get"]).await;
    script.alice(&["config", "get", "theme"]).await;
    script.alice(&["config", "unset", "theme"]).await;
    script.alice(&["config", "edit"]).await;
    script.alice(&["profile", "use", "nowhere"]).await;
    script.alice(&["profile", "use", "work"]).await;
    script.both(&["profile"]).await;
    script.alice(&["profile", "use", "default", "--json"]).await;
    script.both(&["doctor", "--redact"]).await;
    script.alice(&["doctor", "--redact", "--server", "127.0.0.1:1", "--timeout", "1"]).await;
    let receipts = script.server.folder.path().join("receipts").display().to_string();
    script.alice(&["receipts", "export", "-o", &receipts, "--quiet", "--json", "--fields", "file"]).await;
    script.alice(&["lst"]).await;
}

/// With the file that was blessed.
fn compare(text: &str) {
    if std::env::var_os("QPC_BLESS").is_some() {
        fs::create_dir_all(Path::new(GOLDEN).parent().unwrap()).unwrap();
        return fs::write(GOLDEN, text).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    let differs = golden.lines().zip(text.lines()).position(|(before, now)| before != now);
    let same = golden == text;
    let at = differs.unwrap_or_else(|| golden.lines().count().min(text.lines().count())).saturating_sub(3);
    let part = |text: &str| text.lines().skip(at).take(12).collect::<Vec<_>>().join("\n");
    assert!(same, "line {at} on\n--- {GOLDEN}\n{}\n+++ now\n{}", part(&golden), part(text));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_one_store_are_told_apart() {
    let server = Server::start().await;
    let alice = common::repl::Repl::online(&server, "alice").await;
    let output = timeout(PATIENCE, qpc(&server, "alice", "pw alice", &["list", "-u", "alice"]).output()).await;
    let output = output.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("in use by another process") && said.contains("/quit"), "{said}");
    assert_eq!(alice.ends().await, 0);
}

/// The reference is made of the tables, and so are manual pages and completions.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_of_the_tables_is_up_to_date() {
    let run = async |arguments: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_qpc")).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
    let page = run(&["reference"]).await;
    assert!(fs::read_to_string(path).unwrap_or_default() == page, "out of date; run: cargo xtask docs");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).await;
        assert!(script.contains("create-group") && !script.contains("xdg-data-home"), "{shell}");
    }
    assert!(run(&["man"]).await.contains("EXIT STATUS"));
    assert!(run(&["man", "send"]).await.contains("qpc-send"));
    let listed = run(&["repl", "--help-commands"]).await;
    assert!(listed.lines().count() > 40 && listed.lines().all(|line| line.starts_with('/')), "{listed}");
    let json = run(&["repl", "--help-commands", "--json"]).await;
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["schema"], "qpc.slash/1");
}
