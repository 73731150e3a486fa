//! A NATS server that knows each process by its key and lets it do what stands in the table, and no more: the whole
//! installation works over it, with bodies on pipes with certificates, and a process that goes beyond its row is refused.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{all_accepted, receives};
use nkeys::KeyPair;
use qpc_chassis::{
    Runtime,
    bulk::{BulkTls, TcpBulk},
    bus::{Bus as _, NatsBus, Setting, rights},
    cache::MemoryCache,
    metrics::Metrics,
    run::Deps,
    secrets::Secrets,
};
use qpc_sdk::{Client, ClientOptions, ExportOptions, KsfParams, transport::Trust};
use qpc_server::Options;
use qpc_testkit::{Authority, eventually};
use qpc_wire::{
    methods::Administer,
    v1::{self, administer_request},
};
use serde_json::Value;
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery staple";

/// A running server; killed when dropped.
struct Nats {
    child: Child,
    folder: TempDir,
    url: String,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nats {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Authority::new(folder.path()).unwrap().sign("server", "127.0.0.1").unwrap();
        let permissions: BTreeMap<String, Value> = serde_json::from_str(&rights::json()).unwrap();
        let users: Vec<String> = permissions
            .iter()
            .map(|(process, permissions)| {
                let key = KeyPair::new_user();
                fs::write(folder.path().join(process), key.seed().unwrap()).unwrap();
                format!("{{ nkey: {}, permissions: {permissions} }}", key.public_key())
            })
            .collect();
        let config = format!(
            "listen: \"127.0.0.1:-1\"\nports_file_dir: \".\"\nmax_payload: 2097152\n\
             tls {{ cert_file: server.pem, key_file: server-key.pem }}\n\
             authorization {{ users: [\n{}\n] }}\n",
            users.join("\n")
        );
        fs::write(folder.path().join("nats.conf"), config).unwrap();
        let program = if Path::new("/usr/sbin/nats-server").exists() { "/usr/sbin/nats-server" } else { "nats-server" };
        let mut command = Command::new(program);
        command.args(["-c", "nats.conf"]).current_dir(folder.path()).stderr(Stdio::null());
        let mut nats = Self { child: command.spawn().unwrap(), folder, url: String::new() };
        let ports = nats.folder.path().join(format!("nats-server_{}.ports", nats.child.id()));
        let written = eventually("the server listens", async || {
            serde_json::from_str::<Value>(&fs::read_to_string(&ports).ok()?).ok()
        });
        nats.url = written.await["nats"][0].as_str().unwrap().to_owned();
        nats
    }

    fn setting(&self, process: &str) -> Setting {
        Setting {
            bus: self.url.clone(),
            bus_ca: Some(self.folder.path().join("ca.pem")),
            bus_nkey_file: Some(self.folder.path().join(process)),
        }
    }

    async fn connect(&self, process: &str, metrics: &Metrics) -> Arc<NatsBus> {
        Arc::new(NatsBus::connect(&self.setting(process), process, metrics).await.unwrap())
    }
}

/// What the server has refused to a process.
fn denied(metrics: &Metrics) -> u64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix("qpc_bus_denied_total ")).unwrap();
    line.parse().unwrap()
}

fn client(folder: &Path, gateway: &qpc_gateway::Gateway, name: &str) -> ClientOptions {
    let trust = Trust::Certificates(vec![gateway.certificate_der.clone()]);
    let server = gateway.local_addr.to_string();
    ClientOptions {
        server_name: Some("localhost".into()),
        ksf: KsfParams::FLOOR,
        ..ClientOptions::new(folder.join("clients").join(name), name, PASSWORD, server, trust)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: cargo xtask test"]
async fn the_whole_installation_works_with_what_the_table_allows() {
    let (nats, folder, runtime) = (Nats::start().await, tempfile::tempdir().unwrap(), Runtime::system());
    let cache = Arc::new(MemoryCache::new(runtime.clock.clone()));
    let mut processes: BTreeMap<&str, Deps> = BTreeMap::new();
    for process in rights::PROCESSES {
        let metrics: Arc<Metrics> = Arc::default();
        let bus = nats.connect(process.name, &metrics).await;
        let db = format!("sqlite:{}", folder.path().display());
        let deps = Deps {
            bulk: Arc::new(TcpBulk::new(bus.clone())),
            bus,
            cache: cache.clone(),
            metrics,
            ..Deps::local(runtime.child(), Secrets::new([7; 32]), db)
        };
        processes.insert(process.name, deps);
    }
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut options = Options { listen, data: folder.path().join("server"), ..Options::default() };
    options.without_rates();
    let of = |process: &str| processes[process].clone();
    let authority = Authority::new(folder.path()).unwrap();
    let bulk_tls = |name: &str| {
        let (cert, key) = authority.sign(name, name).unwrap();
        BulkTls { bulk_cert: Some(cert), bulk_key: Some(key), bulk_ca: Some(authority.ca()) }
    };
    let blob = qpc_blob::Config { bulk_tls: bulk_tls("qpc-blob"), ..options.blob() };
    let edge = qpc_gateway::Config { bulk_tls: bulk_tls("qpc-gateway"), ..options.gateway() };
    qpc_auth::start(of("qpc-auth"), options.auth.clone()).await.unwrap();
    qpc_keypackage::start(of("qpc-keypackage"), options.keypackage.clone()).await.unwrap();
    qpc_delivery::start(of("qpc-delivery"), options.delivery.clone()).await.unwrap();
    qpc_blob::start(of("qpc-blob"), blob).await.unwrap();
    let gateway = qpc_gateway::start(of("qpc-gateway"), edge).await.unwrap();

    let open = async |name: &str| {
        let client = Client::open(client(folder.path(), &gateway, name)).await.unwrap();
        client.register().await.unwrap();
        client.connect().await.unwrap();
        client
    };
    let (alice, bob) = (open("alice").await, open("bob").await);
    let conversation = alice.dm("bob").await.unwrap();
    alice.send(conversation, "over a bus that is locked").await.unwrap();
    receives(&bob, conversation, &["over a bus that is locked".to_owned()]).await;
    all_accepted(&alice, conversation).await;
    let (file, taken) = (folder.path().join("file"), folder.path().join("taken"));
    fs::write(&file, vec![7; 9_000_000]).unwrap();
    let sent = alice.upload(&file, |_| {}).await.unwrap();
    bob.download(&sent, &taken, |_| {}).await.unwrap();
    let mut export = Vec::new();
    bob.export_account(ExportOptions::default(), &mut export).await.unwrap();
    let stats = administer_request::Call::Stats(Default::default());
    let asked = v1::AdministerRequest { actor: "00".to_owned(), call: Some(stats) };
    of("qpc-admin").client().call_unasked::<Administer>(&asked).await.unwrap();
    alice.delete_account(PASSWORD).await.unwrap();
    alice.close().await;
    bob.close().await;

    for (name, deps) in &processes {
        let failed: Vec<_> = deps.health.run().await.into_iter().filter(|(_, well)| !well).collect();
        assert!(failed.is_empty(), "{name}: {failed:?}");
        assert_eq!(denied(&deps.metrics), 0, "{name} does more than its row in the table says");
    }
    for name in ["qpc-gateway", "qpc-auth", "qpc-keypackage", "qpc-delivery", "qpc-blob"] {
        assert!(processes[name].runtime.drain(Duration::from_secs(20)).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_process_is_refused_the_subjects_of_others() {
    let nats = Nats::start().await;
    let all: Vec<String> = rights::PROCESSES.iter().flat_map(|one| [one.publish(), one.subscribe()].concat()).collect();
    let covers = |pattern: &String, subject: &str| match pattern.strip_suffix(['*', '>']) {
        Some(prefix) => subject.starts_with(prefix),
        None => pattern == subject,
    };
    for process in rights::PROCESSES {
        let metrics = Metrics::default();
        let bus = nats.connect(process.name, &metrics).await;
        let mut expected = 0;
        for subject in all.iter().map(|subject| subject.replace(['*', '>'], "x")) {
            if !process.publish().iter().any(|pattern| covers(pattern, &subject)) {
                bus.publish(subject.clone(), "x".into()).await.unwrap();
                expected += 1;
            }
            if !process.subscribe().iter().any(|pattern| covers(pattern, &subject)) {
                bus.subscribe(subject, None).await.unwrap();
                expected += 1;
            }
        }
        bus.publish("something.else".to_owned(), "x".into()).await.unwrap();
        bus.subscribe(">".to_owned(), None).await.unwrap();
        eventually("all are refused", async || (denied(&metrics) == expected + 2).then_some(())).await;
    }
    let stranger = Setting { bus_nkey_file: None, ..nats.setting("qpc-auth") };
    assert!(
        NatsBus::connect(&stranger, "qpc-auth", &Metrics::default()).await.is_err(),
        "nobody comes in without a key"
    );
    let credulous = Setting { bus_ca: None, ..nats.setting("qpc-auth") };
    assert!(NatsBus::connect(&credulous, "qpc-auth", &Metrics::default()).await.is_err(), "an unknown authority");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nats-server: cargo xtask test"]
async fn a_process_ends_though_the_bus_has_ended_before() {
    let nats = Nats::start().await;
    let bus = nats.connect("qpc-auth", &Metrics::default()).await;
    bus.flush().await.unwrap();
    drop(nats);
    eventually("the connection is lost", async || bus.flush().await.err()).await;
}
