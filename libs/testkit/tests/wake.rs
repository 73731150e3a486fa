//! Somebody is away and is woken by a request that says nothing. In a file of its own, since it takes over the log of its
//! process.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{path::Path, time::Duration};

use common::{Log, client, receives};
use qpc_sdk::PushState;
use qpc_testkit::{Backend, Cluster, PushService, Shape, eventually};
use tracing_subscriber::EnvFilter;

const TEXT: &str = "the eagle has landed";
const SECRET: &str = "bobs-own-secret-endpoint";

fn files(folder: &Path, out: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.extend(std::fs::read(path).unwrap()) }
    }
}

fn shows(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_is_woken_by_a_request_that_says_nothing() {
    let log = Log::default();
    let filter = EnvFilter::new("trace,rustls=debug,sqlx=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone()).init();
    let push = PushService::start().await;
    let ca = push.ca();
    let cluster = Cluster::start_with(Shape::pairs(Backend::Embedded), move |options| {
        options.delivery.wake_after_ms = 300;
        options.delivery.wake_allow = vec!["127.0.0.1".parse().unwrap()];
        options.delivery.wake_ca = Some(ca.clone());
    })
    .await
    .unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    alice.send(conversation, "are you there?").await.unwrap();
    receives(&bob, conversation, &["are you there?".into()]).await;
    assert_eq!(bob.push_endpoint().await.unwrap().state, PushState::Off);
    bob.set_push_endpoint(&push.url(SECRET)).await.unwrap();
    let set = bob.push_endpoint().await.unwrap();
    assert_eq!((set.state, set.url), (PushState::Set, Some(push.url(SECRET))));
    assert!(bob.settle(Duration::from_secs(20)).await);
    bob.close().await;

    let heard_before = push.heard().len();
    for _ in 0..3 {
        alice.send(conversation, TEXT).await.unwrap();
    }
    let heard = eventually("a wake-up", || async { push.heard().get(heard_before).cloned() }).await;
    assert_eq!((heard.method.as_str(), heard.body), ("POST", 0));
    assert_eq!(heard.path, format!("/{SECRET}"));
    // What bob does when he is woken.
    let bob = client(&cluster, "bob", 0, 0).await;
    let texts = ["are you there?", TEXT, TEXT, TEXT].map(String::from);
    receives(&bob, conversation, &texts).await;
    assert_eq!(push.heard().len(), heard_before + 1);
    // The push service hears of it before the server has its answer.
    let metrics = eventually("the end of the wake-up", || async {
        let figures = cluster.deps().metrics.render();
        figures.contains("qpc_delivery_wakes_sent_total 1\n").then_some(figures)
    })
    .await
    .into_bytes();

    let mut export = Vec::new();
    bob.export_account(qpc_sdk::ExportOptions::default(), &mut export).await.unwrap();
    let lines = log.0.lock().unwrap().clone();
    let mut stored = Vec::new();
    files(&cluster.folder(), &mut stored);
    assert!(shows(&lines, "wake-up"), "there is something to look at");
    assert!(shows(&export, "\"push_host\":\"127.0.0.1\""));
    for (place, bytes) in [("log", &lines), ("metrics", &metrics), ("files", &stored), ("export", &export)] {
        for secret in [SECRET, TEXT] {
            // An export is all that its owner wrote and read.
            if place != "export" || secret == SECRET {
                assert!(!shows(bytes, secret), "{secret} stands in the {place}");
            }
        }
    }

    let delivery = rusqlite::Connection::open(cluster.folder().join("delivery.db")).unwrap();
    delivery.busy_timeout(Duration::from_secs(10)).unwrap();
    let endpoints =
        || delivery.query_row("SELECT count(*) FROM push_endpoint", [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(endpoints(), 1);
    bob.delete_account("correct horse battery staple").await.unwrap();
    eventually("the end of the endpoint", || {
        let left = endpoints();
        async move { (left == 0).then_some(()) }
    })
    .await;
    bob.close().await;
    alice.close().await;
    assert!(cluster.stop().await);
}
