//! `qpc admin` and `qpc discover` from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{process::Output, time::Duration};

use qpc_sdk::{Client, ClientOptions, KsfParams, transport::Trust};
use qpc_server::{Embedded, Options};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

struct Server {
    folder: TempDir,
    embedded: Embedded,
}

impl Server {
    async fn start(change: impl FnOnce(&mut Options)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut options = Options {
            data: folder.path().join("server"),
            listen: ([127, 0, 0, 1], 0).into(),
            drain_grace_ms: 0,
            ..Options::default()
        };
        change(&mut options);
        let embedded = qpc_server::start(options, &defaults()).await.unwrap();
        Self { folder, embedded }
    }

    async fn admin(&self, arguments: &[&str]) -> Output {
        let address = self.embedded.admin.as_ref().unwrap().local_addr.to_string();
        Command::new(env!("CARGO_BIN_EXE_qpc"))
            .args(["admin", "--api", &address, "--folder"])
            .arg(self.folder.path().join("server/admin"))
            .args(arguments)
            .output()
            .await
            .unwrap()
    }
}

fn defaults<A: clap::Args>() -> A {
    let matches = A::augment_args(clap::Command::new("qpc-server")).get_matches_from(["qpc-server"]);
    A::from_arg_matches(&matches).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_bans_looks_and_is_told_how_it_ended() {
    let server = Server::start(|options| options.admin.admin_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let options = ClientOptions {
        ksf: KsfParams::FLOOR,
        ..ClientOptions::new(
            server.folder.path().join("alice"),
            "alice",
            "password",
            server.embedded.local_addr().to_string(),
            Trust::PemFile(server.embedded.certificate.clone()),
        )
    };
    let alice = Client::open(options).await.unwrap();
    alice.connect().await.unwrap();

    assert_eq!(json(&server.admin(&["stats", "--json"]).await)["users"], 1);
    assert_eq!(text(&server.admin(&["ban", "alice", "--reason", "spam"]).await), "done\n");
    let banned = json(&server.admin(&["users", "--banned", "--json"]).await);
    assert_eq!((&banned["users"][0]["username"], &banned["users"][0]["ban_reason"]), (&"alice".into(), &"spam".into()));
    let account = banned["users"][0]["account"].as_str().unwrap().to_owned();
    assert_eq!(text(&server.admin(&["unban", &account]).await), "done\n");
    assert_eq!(text(&server.admin(&["quota", "alice", "blob-bytes-day", "5"]).await), "done\n");
    let shown = json(&server.admin(&["show", "alice", "--json"]).await);
    assert_eq!((&shown["user"]["banned_at_ms"], &shown["quotas"]["blob-bytes-day"]), (&Value::Null, &5.into()));
    let shown = text(&server.admin(&["show", "alice"]).await);
    assert!(shown.contains("username alice") && shown.contains("created 20"), "{shown}");
    assert_eq!(text(&server.admin(&["reports"]).await), "no reports\n");

    let ended = async |arguments: &[&str]| server.admin(arguments).await.status.code();
    assert_eq!(ended(&["ban", "nobody"]).await, Some(5));
    assert_eq!(ended(&["unban", "alice"]).await, Some(6));
    assert_eq!(ended(&["revoke", "short"]).await, Some(2));
    assert_eq!(ended(&["quota", "alice", "UPPER", "1"]).await, Some(2));
    assert_eq!(ended(&["stats", "--api", "127.0.0.1:1"]).await, Some(4));

    let verified = json(&server.admin(&["audit", "verify", "--json"]).await);
    assert_eq!((&verified["broken_at"], &verified["entries"]), (&Value::Null, &11.into()));
    let log = json(&server.admin(&["audit", "list", "--limit", "3", "--json"]).await);
    let codes: Vec<_> = log["entries"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(codes, ["VerifyAudit", "SetQuota", "UnbanUser"]);
    alice.close().await;
    assert!(server.embedded.shutdown(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_found_on_the_local_network() {
    let server = Server::start(|options| {
        options.mdns = Some(true);
        options.domain = "chat.example".to_owned();
    })
    .await;
    // Others on this machine may run servers as well.
    let wanted = format!("quicprochat {}", server.embedded.gateway.id);
    let discover = async || {
        let output = Command::new(env!("CARGO_BIN_EXE_qpc"))
            .args(["discover", "--seconds", "2", "--json"])
            .output()
            .await
            .unwrap();
        text(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let mut found = None;
    // An announcement may be lost.
    for _ in 0..10 {
        found = discover().await.into_iter().find(|server| server["name"] == *wanted);
        if found.is_some() {
            break;
        }
    }
    let found = found.expect("an announcement");
    assert_eq!(found["addresses"], serde_json::json!([server.embedded.local_addr().to_string()]));
    assert_eq!((&found["domain"], &found["version"]), (&"chat.example".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(found["fingerprint"].as_str().unwrap().len(), 64);
    assert!(server.embedded.shutdown(Duration::from_secs(10)).await);
    assert!(discover().await.iter().all(|server| server["name"] != *wanted), "it has said goodbye");
}
