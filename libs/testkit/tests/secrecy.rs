//! What logs, metrics and files must not show (G13). In a file of its own, since it takes over the log of its process.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{Log, client, receives};
use qpc_testkit::{Backend, Cluster, Shape};
use tracing_subscriber::EnvFilter;

fn files(folder: &Path, out: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.extend(std::fs::read(path).unwrap()) }
    }
}

/// The forms in which bytes get into a log by accident.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let list = format!("{bytes:?}");
    vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
        list.trim_matches(['[', ']']).as_bytes().to_vec(),
    ]
}

fn shows(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_metrics_and_files_keep_secrets() {
    const TEXT: &str = "the launch code is 000000";
    let log = Log::default();
    // The database driver logs statements without arguments; everything of ours is logged whole.
    let filter =
        EnvFilter::new("debug,qpc_chassis=trace,qpc_gateway=trace,qpc_sdk=trace,qpc_delivery=trace,qpc_auth=trace");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone()).init();

    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    alice.send(conversation, TEXT).await.unwrap();
    receives(&bob, conversation, &[TEXT.into()]).await;
    let wrong = qpc_sdk::Client::open(qpc_sdk::ClientOptions {
        password: "not my password".to_owned().into(),
        ..cluster.client_options("alice", 9, 0)
    });
    assert!(wrong.await.unwrap().login().await.is_err());

    let account_key = alice.export_account_key();
    let mut secrets = forms(TEXT.as_bytes());
    secrets.extend(forms(b"correct horse battery staple"));
    secrets.extend(forms(b"not my password"));
    secrets.extend(forms(&account_key[..]));

    let lines = log.0.lock().unwrap().clone();
    let metrics = cluster.deps().metrics.render().into_bytes();
    let mut stored = Vec::new();
    files(&cluster.folder(), &mut stored);
    assert!(shows(&lines, b"correlation"), "there is a log");
    assert!(shows(&metrics, b"qpc_call_seconds"), "there are metrics");
    for secret in &secrets {
        for (place, bytes) in [("log", &lines), ("metrics", &metrics), ("files", &stored)] {
            assert!(!shows(bytes, secret), "{:?} stands in the {place}", String::from_utf8_lossy(secret));
        }
    }

    // One call can be followed from the client to the commit of its transaction.
    let text = String::from_utf8_lossy(&lines);
    let call = text.lines().find(|line| line.contains("qpc_sdk") && line.contains("method=\"Enqueue\"")).unwrap();
    let correlation = call.split("correlation=").nth(1).unwrap().split_whitespace().next().unwrap();
    let of_call: Vec<&str> = text.lines().filter(|line| line.contains(correlation)).collect();
    for part in ["qpc_sdk", "service=\"gateway\"", "service=\"delivery\"", "sqlx::query", "committed"] {
        assert!(of_call.iter().any(|line| line.contains(part)), "{part} in {of_call:#?}");
    }
}
