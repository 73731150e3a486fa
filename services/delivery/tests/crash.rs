//! Real processes of this service on real servers, killed without warning: what was accepted stays, and nothing happens
//! twice (G1, G2, G10).
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::panic)]

mod common;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{World, envelope};
use futures_util::future::join_all;
use qpc_chassis::{
    Runtime,
    bus::{NatsBus, Setting},
    db::{Db, contract::fresh_database},
    metrics::Metrics,
};
use qpc_wire::{
    methods::{Ack, Enqueue},
    v1::{AckRequest, EnqueueRequest, EnqueueResponse, GroupKind},
};
use rand::RngCore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run cargo xtask test"))
}

/// A running `qpc-delivery`; killed when dropped.
struct Process(Child);

impl Process {
    fn start(bus: &str, db: &str, secret: &std::path::Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_qpc-delivery"))
            .args(["--bus", bus, "--db", db, "--cache", "memory", "--log", "warn"])
            .args(["--sends", "off", "--inbound-bytes", "off", "--secret-file"])
            .arg(secret)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Servers {
    bus: String,
    db: String,
    secret: tempfile::NamedTempFile,
}

/// A bus account of its own for each test would be nicer; one after the other does as well, since subjects are fixed.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn servers() -> (Servers, World) {
    let name = format!("crash_{:016x}", Runtime::system().rng().next_u64());
    let db = fresh_database(&server("QPC_TEST_POSTGRES"), &name).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "07".repeat(32)).unwrap();
    let bus = server("QPC_TEST_NATS");
    let connected = NatsBus::connect(&Setting::open_to_all(&bus), "test", &Metrics::default()).await;
    let mut world = World::around(Arc::new(connected.unwrap())).await;
    world.patience = Duration::from_secs(1);
    (Servers { bus, db, secret }, world)
}

/// Waits until `found` gives something, at most 20 seconds.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < patience, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends as a client does: again with the same key until there is an answer.
async fn insist(world: &World, sender: &common::Device, request: &EnqueueRequest) -> EnqueueResponse {
    eventually("an answer", || async {
        match world.call::<Enqueue>(sender, request).await {
            Ok(response) => Some(response),
            Err(status) if status.is_transient() => None,
            Err(status) => panic!("{status}"),
        }
    })
    .await
}

/// Between the service and NATS: can hold back what the service says.
struct Proxy {
    address: SocketAddr,
    mute: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(nats: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, mute) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let (target, muted) = (nats.trim_start_matches("nats://").to_owned(), mute.clone());
        tokio::spawn(async move {
            while let Ok((service, _)) = listener.accept().await {
                let nats = TcpStream::connect(&target).await.unwrap();
                let ((mut from_service, mut to_service), (mut from_nats, mut to_nats)) =
                    (service.into_split(), nats.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from_nats, &mut to_service).await });
                let muted = muted.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = from_service.read(&mut buffer).await {
                        if muted.load(Ordering::SeqCst) {
                            continue;
                        }
                        if to_nats.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, mute }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres and NATS: cargo xtask test"]
async fn killed_between_commit_and_reply_nothing_is_lost_or_doubled() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let (servers, world) = servers().await;
    let proxy = Proxy::start(&servers.bus).await;
    let mut first = Process::start(&format!("nats://{}", proxy.address), &servers.db, servers.secret.path());
    let (alice, bob) = (world.device(), world.device());
    eventually("the service answers", || async {
        world.call::<qpc_wire::methods::Peek>(&alice, &qpc_wire::v1::PeekRequest {}).await.ok()
    })
    .await;
    let mut group = world.group(GroupKind::Direct, &alice, &[&bob]).await;
    let request = world.message(&alice, &mut group[0], "kept");

    proxy.mute.store(true, Ordering::SeqCst);
    assert!(world.call::<Enqueue>(&alice, &request).await.is_err(), "the reply is held back");
    let tables = Db::open(&servers.db, "observer", 1, &[]).await.unwrap();
    eventually("the commit", || async {
        let count = "SELECT COUNT(*) FROM qpc_delivery.payload WHERE kind = 1";
        (tables.row(count, &[]).await.unwrap().unwrap().int(0).unwrap() == 1).then_some(())
    })
    .await;
    first.kill();

    let _second = Process::start(&servers.bus, &servers.db, servers.secret.path());
    let response = insist(&world, &alice, &request).await;
    assert_eq!(response, insist(&world, &alice, &request).await, "the same receipt every time");
    let entries = world.fetch(&bob, 1).await.entries;
    assert_eq!(entries.len(), 1, "once");
    assert_eq!(envelope(&entries[0]).payload, request.payload);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Postgres and NATS: cargo xtask test"]
async fn two_replicas_killed_in_turn_under_load_keep_every_accepted_message_once() {
    const SENDERS: usize = 8;
    const MESSAGES: usize = 60;
    let _turn = ONE_AT_A_TIME.lock().await;
    let (servers, world) = servers().await;
    let start = || Process::start(&servers.bus, &servers.db, servers.secret.path());
    let mut replicas = [start(), start()];
    let bob = world.device();
    let senders: Vec<_> = (0..SENDERS).map(|_| world.device()).collect();
    eventually("the service answers", || async {
        world.call::<qpc_wire::methods::Peek>(&bob, &qpc_wire::v1::PeekRequest {}).await.ok()
    })
    .await;
    let mut groups = Vec::new();
    for sender in &senders {
        groups.push(world.group(GroupKind::Group, sender, &[&bob]).await.remove(0));
    }
    let welcomes = world.fetch(&bob, 0).await.head;
    world.call::<Ack>(&bob, &AckRequest { seq: welcomes, ..AckRequest::default() }).await.unwrap();

    let done = AtomicUsize::new(0);
    let sending = join_all(senders.iter().zip(&mut groups).map(|(sender, group)| {
        let (world, done) = (&world, &done);
        async move {
            let mut accepted = Vec::new();
            for n in 0..MESSAGES {
                let request = world.message(sender, group, &n.to_string());
                insist(world, sender, &request).await;
                accepted.push(request.payload);
                done.fetch_add(1, Ordering::SeqCst);
            }
            accepted
        }
    }));
    let killing = async {
        for round in 1..=6 {
            // Progress, not time, decides when the next one dies.
            eventually("progress", || async {
                (done.load(Ordering::SeqCst) >= round * SENDERS * MESSAGES / 8).then_some(())
            })
            .await;
            replicas[round % 2].kill();
            replicas[round % 2] = start();
        }
    };
    let (accepted, ()) = tokio::join!(sending, killing);

    let mut delivered: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut order: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut next = welcomes + 1;
    loop {
        let entries = world.fetch(&bob, next - 1).await.entries;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            assert_eq!(entry.seq, next, "no hole");
            next += 1;
            let envelope = envelope(&entry);
            *delivered.entry(envelope.payload.to_vec()).or_default() += 1;
            order.entry(envelope.group_id.to_vec()).or_default().push(envelope.payload.to_vec());
        }
    }
    for (group, payloads) in groups.iter().zip(&accepted) {
        assert!(payloads.iter().all(|payload| delivered.get(payload.as_ref()) == Some(&1)), "lost or doubled");
        assert!(order[group.group_id().as_ref()].iter().eq(payloads), "the order of a sender is kept");
    }
    assert_eq!(next - 1 - welcomes, (SENDERS * MESSAGES) as u64);
}
