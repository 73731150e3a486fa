//! Registering where the server wants something for it, with the binary.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{
    Server,
    repl::{PATIENCE, Repl, qpc},
};
use qpc_sdk::{AccountInvite, Client, Event};
use qpc_server::Registration;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

async fn start(registration: Registration, bits: u32) -> Server {
    Server::start_with(|options| {
        (options.auth.registration, options.auth.registration_work) = (registration, bits);
        options.admin.admin_listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await
}

/// Exit code, and what stood on standard error.
async fn ended(mut command: Command) -> (i32, String) {
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn register(server: &Server, name: &str, arguments: &[&str]) -> Command {
    qpc(server, name, "password", &[&["register-user", name], arguments].concat())
}

async fn admin(server: &Server, arguments: &[&str]) -> Value {
    let api = server.embedded.admin.as_ref().unwrap().local_addr.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_qpc"));
    command.args(["admin", "--json", "--api", &api, "--folder"]).arg(server.folder.path().join("server/admin"));
    let output = command.args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_gets_in_as_often_as_it_was_said() {
    let server = start(Registration::InviteOnly, 1).await;
    let (code, error) = ended(register(&server, "alice", &[])).await;
    assert!(code == 7 && error.contains("--invite CODE"), "{code} {error}");
    assert!(!server.folder.path().join("alice").exists(), "what nobody can use is not left behind");
    assert_eq!(ended(register(&server, "alice", &["--invite", "nonsense"])).await.0, 2);
    let unknown = AccountInvite::from_random([7; 15]).to_string();
    let (code, error) = ended(register(&server, "alice", &["--invite", &unknown])).await;
    assert!(code == 5 && error.contains("no such invite"), "{code} {error}");

    let made = admin(&server, &["invites", "create", "--uses", "2", "--expires", "1h", "--note", "two of us"]).await;
    let invite = made["code"].as_str().unwrap().to_owned();
    assert_eq!(ended(register(&server, "alice", &["--invite", &invite.to_lowercase()])).await.0, 0);
    // A first start of the chat, told by the environment.
    let mut bob = qpc(&server, "bob", "password", &["repl", "-u", "bob"]);
    let (code, error) = ended(std::mem::replace(bob.env("QPC_INVITE", &invite), Command::new("true"))).await;
    assert_eq!(code, 0, "{error}");
    let (code, error) = ended(register(&server, "carol", &["--invite", &invite])).await;
    assert!(code == 5 && error.contains("used up"), "{code} {error}");
    let listed = admin(&server, &["invites", "list"]).await;
    let row = &listed["invites"][0];
    assert_eq!((&row["uses"], &row["used"], &row["note"]), (&2.into(), &2.into(), &"two of us".into()));
    assert!(!listed.to_string().contains(&invite), "a code is shown once");

    let more = admin(&server, &["invites", "create"]).await;
    assert_eq!(admin(&server, &["invites", "revoke", more["invite"].as_str().unwrap()]).await["done"], true);
    let (code, _) = ended(register(&server, "carol", &["--invite", more["code"].as_str().unwrap()])).await;
    assert_eq!(code, 5);
    let log = admin(&server, &["audit", "list"]).await;
    let actions: Vec<_> = log["entries"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["RevokeInvite", "CreateInvite", "ListInvites", "CreateInvite"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_done_by_itself_and_said_so() {
    let server = start(Registration::ProofOfWork, 8).await;
    assert_eq!(ended(register(&server, "alice", &[])).await.0, 0);
    let mut bob = Repl::start(&server, "bob", "password");
    bob.shows("proof of work").await;
    bob.shows("is online").await;
    assert_eq!(bob.ends().await, 0);

    let client = Client::open(server.options("carol", "carol")).await.unwrap();
    let mut events = client.events();
    client.connect().await.unwrap();
    match events.next().await.unwrap() {
        Event::Working { done: 0, expected: 256 } => {}
        other => panic!("{other:?}"),
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_server_lets_nobody_new_in() {
    let server = start(Registration::Closed, 1).await;
    let (code, error) = ended(register(&server, "alice", &[])).await;
    assert!(code == 7 && error.contains("no new accounts"), "{code} {error}");
    let mut bob = Repl::start(&server, "bob", "password");
    bob.shows("registering bob").await;
    assert_eq!(bob.ends().await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_ends_with_its_client() {
    // Some minutes of it.
    let server = start(Registration::ProofOfWork, 20).await;
    let client = Client::open(server.options("alice", "alice")).await.unwrap();
    let mut events = client.events();
    client.start();
    while !matches!(events.next().await.unwrap(), Event::Working { .. }) {}
    // Waits for the thread that works; opening the store again would fail otherwise.
    timeout(PATIENCE, client.close()).await.unwrap();
    let again = Client::open(server.options("alice", "alice")).await.unwrap();
    assert!(!again.whoami().await.unwrap().registered);
    // So does a registration that nobody waits for any more.
    let mut events = again.events();
    {
        let mut registering = std::pin::pin!(again.register());
        loop {
            tokio::select! {
                done = &mut registering => panic!("{done:?}"),
                event = events.next() => if matches!(event, Some(Event::Working { .. })) { break },
            }
        }
    }
    timeout(PATIENCE, again.close()).await.unwrap();
}
