//! One call is one trace, from the client through gateway, bus and service to the statements of the database; and a trace
//! holds nothing by which people are known.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

mod collector;
mod common;

use std::fs;

use collector::{Collector, Traced, Tree, traced};
use common::{all_accepted, client, open, receives};
use qpc_sdk::ClientOptions;
use qpc_testkit::{Authority, Backend, Cluster, Shape};
use qpc_trace::export::ExportError;
use qpc_wire::CorrelationId;
use tonic::transport::{Identity, ServerTlsConfig};
use tracing_subscriber::layer::SubscriberExt as _;

/// All that a span may say.
const ATTRIBUTES: [&str; 4] = ["code", "db.query.text", "db.system.name", "service"];

fn sql(tree: &Tree) -> Vec<String> {
    tree.below.iter().map(Tree::name).collect()
}

fn is_whole(tree: &Tree) -> bool {
    tree.path("COMMIT").is_some()
}

/// Names, parents, times and attributes of a whole tree.
fn check(tree: &Tree, system: &str) {
    for at in tree.all() {
        let attributes = at.attributes();
        let foreign: Vec<_> = attributes.keys().filter(|key| !ATTRIBUTES.contains(&key.as_str())).collect();
        assert!(foreign.is_empty() && at.span.events.is_empty(), "{}: {attributes:?}", at.name());
        if let Some(text) = attributes.get("db.query.text") {
            assert_eq!(attributes["db.system.name"], system);
            // Longer than any id that could stand in it.
            assert!(!text.contains("x'") && !text.contains("\\x"), "{text}");
        }
        for child in &at.below {
            assert!(child.span.start_time_unix_nano >= at.span.start_time_unix_nano, "{}", child.name());
        }
    }
}

async fn a_send_is_one_tree(traced: &Traced, backend: Backend, system: &str) {
    let cluster = Cluster::start(Shape::pairs(backend)).await.unwrap();
    let (alice, bob) = (client(&cluster, "alice", 0, 0).await, client(&cluster, "bob", 0, 1).await);
    let conversation = alice.dm("bob").await.unwrap();
    alice.send(conversation, "hello").await.unwrap();
    all_accepted(&alice, conversation).await;
    receives(&bob, conversation, &["hello".to_owned()]).await;

    let trees = traced.traces("Enqueue", |tree| is_whole(tree) && system_of(tree) == Some(system.to_owned())).await;
    let tree = trees.iter().find(|tree| system_of(tree).as_deref() == Some(system)).unwrap();
    let way = ["client/Enqueue", "gateway/Enqueue", "qpc.rpc.delivery", "delivery/Enqueue", "delivery/batch", "COMMIT"];
    assert_eq!(tree.path("COMMIT").unwrap(), way);
    // Client, gateway and service each have one span; there is one question on the bus, and one transaction.
    let shape: Vec<usize> = tree.all().iter().take(5).map(|at| at.below.len()).collect();
    assert_eq!(shape[..4], [1; 4], "{tree:#?}");
    let statements = sql(tree.all()[4]);
    assert_eq!((statements.first().unwrap().as_str(), statements.last().unwrap().as_str()), ("BEGIN", "COMMIT"));
    for statement in ["INSERT payload", "INSERT mailbox_entry", "INSERT idempotency"] {
        assert!(statements.iter().any(|name| name == statement), "{statement} in {statements:?}");
    }
    for at in tree.all().iter().take(4).filter(|at| at.name() != "qpc.rpc.delivery") {
        assert_eq!(at.attributes()["code"], "CODE_OK", "{}", at.name());
    }
    check(tree, system);

    // What a scrape says is found in the traces.
    let figures = cluster.deps().metrics.render();
    let trace = hex::encode(&tree.span.trace_id);
    let exemplar = format!("trace_id=\"{trace}\"");
    let buckets: Vec<_> = figures.lines().filter(|line| line.contains("method=\"Enqueue\"")).collect();
    assert!(buckets.iter().any(|line| line.contains("# {trace_id=")), "{buckets:#?}");
    assert!(trees.len() > 1 || figures.contains(&exemplar), "{exemplar}");
    let log = String::from_utf8_lossy(&traced.log.0.lock().unwrap()).into_owned();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("Enqueue")).collect();
    assert!(lines.iter().any(|line| line.contains(&format!("trace={trace}"))), "{trace} in {lines:#?}");
    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await);
}

/// Which engine a trace has reached.
fn system_of(tree: &Tree) -> Option<String> {
    tree.all().iter().find_map(|at| at.attributes().remove("db.system.name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_is_one_tree_over_the_embedded_parts() {
    a_send_is_one_tree(traced("debug"), Backend::Embedded, "sqlite").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres, NATS and Redis: cargo xtask test"]
async fn a_send_is_one_tree_over_the_servers() {
    a_send_is_one_tree(traced("debug"), Backend::servers().unwrap(), "postgresql").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_takes_the_pipe_and_is_one_tree() {
    let traced = traced("debug");
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let alice = client(&cluster, "alice", 0, 0).await;
    let file = cluster.folder().join("file.bin");
    fs::write(&file, [7; 5_000]).unwrap();
    alice.upload(&file, |_| {}).await.unwrap();
    let trees = traced.traces("BlobPut", |tree| tree.path("blob/BlobPut").is_some()).await;
    let way = ["client/BlobPut", "gateway/BlobPut", "pipe", "blob/BlobPut"];
    assert!(trees.iter().any(|tree| tree.path("blob/BlobPut").is_some_and(|path| path == way)), "{trees:#?}");
    alice.close().await;
    assert!(cluster.stop().await);
}

/// On a connection without a name the client does not even say that it records: its span and the gateway's lie side by side in
/// the trace that both derive, and nothing leads to any other trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_carries_nothing_of_the_client() {
    let traced = traced("debug");
    let cluster = Cluster::start(Shape::pairs(Backend::Embedded)).await.unwrap();
    let mut calls = cluster.deps().bus.subscribe("qpc.rpc.delivery".to_owned(), None).await.unwrap();
    let sealed = |name: &str| ClientOptions { sealed: true, ..cluster.client_options(name, 0, 0) };
    let (alice, bob) = (open(sealed("alice")).await, open(sealed("bob")).await);
    let conversation = alice.dm("bob").await.unwrap();
    alice.send(conversation, "hello").await.unwrap();
    all_accepted(&alice, conversation).await;
    let trees = traced.traces("SealedEnqueue", is_whole).await;
    let clients = trees.iter().filter(|tree| tree.name() == "client/SealedEnqueue");
    let edges: Vec<_> = trees.iter().filter(|tree| tree.name() == "gateway/SealedEnqueue").collect();
    assert!(edges.iter().any(|tree| is_whole(tree)));
    for client in clients {
        assert!(client.below.is_empty(), "the gateway was told: {client:#?}");
        assert!(edges.iter().filter(|edge| edge.span.trace_id == client.span.trace_id).count() <= 1);
    }
    let linked =
        trees.iter().flat_map(Tree::all).filter(|at| at.name() != "delivery/batch").any(|at| !at.span.links.is_empty());
    assert!(!linked);
    let (mut told, mut untold) = (0, 0);
    while let Ok(Some(call)) = tokio::time::timeout(std::time::Duration::from_millis(100), calls.next()).await {
        let call = <qpc_wire::bus::Call as prost::Message>::decode(call.payload).unwrap();
        let correlation = CorrelationId::from_slice(&call.correlation_id).unwrap();
        // Those that services make by themselves come from no client.
        if !call.channel_binding.is_empty() {
            let counter = if correlation.is_told() { &mut told } else { &mut untold };
            *counter += 1;
            assert_eq!(correlation.is_told(), !call.device_id.is_empty(), "method {}", call.method);
        }
    }
    assert!(told > 0 && untold > 0, "{told} {untold}");
    alice.close().await;
    bob.close().await;
    assert!(cluster.stop().await);
}

#[test]
fn spans_go_over_tls_to_a_collector_of_the_authority_and_to_no_other() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [ours, other] = folders.each_ref().map(|folder| Authority::new(folder.path()).unwrap());
    let (cert, key) = ours.sign("collector", "localhost").unwrap();
    let identity = Identity::from_pem(fs::read(cert).unwrap(), fs::read(key).unwrap());
    let collector = Collector::start(Some(ServerTlsConfig::new().identity(identity)));
    let url = |host: &str| format!("https://{host}:{}", collector.address.port());
    let send = |host: &str, authority: &Authority, method: &'static str| {
        let exporter = collector.exporter(url(host), Some(authority.ca())).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(exporter.layer()), || {
            drop(qpc_trace::outgoing([1; 8], 7, true, method));
        });
        // Returns when the collector has answered, or was not spoken to.
        exporter.flush();
    };
    send("localhost", &other, "of another authority");
    send("127.0.0.1", &ours, "under another name");
    assert!(collector.collected.spans().is_empty());
    send("localhost", &ours, "Enqueue");
    let names: Vec<_> = collector.collected.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["Enqueue"]);

    let (alone, gone) = (collector.exporter(url("localhost"), None), folders[0].path().join("gone.pem"));
    assert!(matches!(alone, Err(ExportError::NoAuthority(_))));
    let unreadable = collector.exporter(url("localhost"), Some(gone));
    assert!(matches!(unreadable, Err(ExportError::Authority { .. })));
}
