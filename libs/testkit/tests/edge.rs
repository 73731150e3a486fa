//! Gateways behind a balancer of UDP that loses its table and changes addresses, while all gateways are replaced one after
//! the other: no message and no call is lost (G1, G12).
//!
//! `QPC_SEEDS=FROM..TO cargo test -p qpc-testkit --test edge -- --nocapture` tries other seeds. In network namespaces it
//! needs root and `ip`; without them that test says so and does nothing.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, clippy::print_stderr)]

mod common;

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    process::Command,
    sync::Arc,
    time::Duration,
};

use common::{agree, all_accepted, numbered, receives, show_log};
use futures_util::future::join_all;
use qpc_gateway::{Config, Gateway, ServerId};
use qpc_sdk::{Client, ClientOptions, ConversationId, Event, KsfParams, Settings, transport::Trust};
use qpc_testkit::{Backend, Cluster, Shape, UdpBalancer, eventually};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::Instant,
};

const GRACE: Duration = Duration::from_secs(20);
/// People besides the two who talk.
const IDLE: usize = 6;
const MESSAGES: usize = 60;

fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("QPC_SEEDS") else { return 1..3 };
    let (from, to) = range.split_once("..").unwrap_or_else(|| panic!("QPC_SEEDS=FROM..TO, not {range}"));
    from.parse().unwrap()..to.parse().unwrap()
}

/// Where gateways, balancer and clients stand.
struct Place {
    gateways: [Handle; 2],
    balancer: Handle,
    clients: Handle,
    /// Addresses of the two gateways, and of the balancer towards clients and towards gateways.
    at: [IpAddr; 2],
    outside: IpAddr,
    inside: IpAddr,
}

/// One that runs.
struct Running {
    gateway: Gateway,
    deps: qpc_chassis::run::Deps,
    handle: Handle,
}

struct World {
    cluster: Cluster,
    place: Place,
    started: u8,
}

impl World {
    async fn start_gateway(&mut self, place: usize) -> Running {
        self.started += 1;
        let (folder, at) = (self.cluster.folder(), self.place.at[place]);
        let mut config = Config {
            listen: SocketAddr::new(at, 0),
            relay_listen: Some(SocketAddr::new(at, 0)),
            server_id: Some(ServerId::from([self.started; 8])),
            edge_keys: Some(folder.join("edge-keys")),
            data: folder.join("server"),
            drain_grace_ms: 5_000,
            ..Config::default()
        };
        config.limits.max_connections_per_address = 10_000;
        let deps = qpc_chassis::run::Deps { health: Arc::default(), ..self.cluster.deps().child() };
        let (handle, theirs) = (self.place.gateways[place].clone(), deps.clone());
        let gateway = handle.spawn(async move { qpc_gateway::start(theirs, config).await }).await.unwrap().unwrap();
        Running { gateway, deps, handle }
    }

    async fn client(&self, name: &str, server: SocketAddr, gateway: &Gateway) -> Client {
        let folder = self.cluster.folder().join("clients").join(name);
        let options = ClientOptions {
            server_name: Some("localhost".into()),
            ksf: KsfParams::FLOOR,
            sync_every: Duration::from_millis(500),
            warm_every: Duration::from_millis(20),
            ..ClientOptions::new(
                folder,
                name,
                "correct horse battery staple",
                server.to_string(),
                Trust::Certificates(vec![gateway.certificate_der.clone()]),
            )
        };
        let opened = self.place.clients.spawn(async move {
            let client = Client::open(options).await.unwrap();
            client.connect().await.unwrap();
            client.set_settings(Settings { ask: false, ..client.settings().await.unwrap() }).await.unwrap();
            client
        });
        opened.await.unwrap()
    }
}

/// How long a client was without a connection, each time that it got a new one.
fn gaps(on: &Handle, client: &Client) -> tokio::task::JoinHandle<Vec<Duration>> {
    let mut events = client.events();
    on.spawn(async move {
        let (mut gaps, mut lost) = (Vec::new(), None);
        while let Some(event) = events.next().await {
            match event {
                Event::Disconnected => lost = Some(Instant::now()),
                Event::Connected => gaps.push(lost.take().map_or(Duration::ZERO, |at| at.elapsed())),
                _ => {}
            }
        }
        gaps
    })
}

/// Writes, with a call of which the answer is awaited after every third message.
async fn talk(client: &Client, conversation: ConversationId, texts: &[String]) {
    for (n, text) in texts.iter().enumerate() {
        client.send(conversation, text).await.unwrap();
        if n % 3 == 2 {
            client.update_keys(conversation).await.unwrap();
        }
    }
}

async fn all_gateways_are_replaced(place: Place, seed: u64) {
    show_log();
    eprintln!("replay with QPC_SEEDS={seed}..{}", seed + 1);
    let cluster = Cluster::start(Shape { gateways: 0, ..Shape::pairs(Backend::Embedded) }).await.unwrap();
    std::fs::write(cluster.folder().join("edge-keys"), "5a".repeat(32)).unwrap();
    let mut world = World { cluster, place, started: 0 };
    let mut gateways = vec![world.start_gateway(0).await, world.start_gateway(1).await];
    let (outside, inside) = (SocketAddr::new(world.place.outside, 0), world.place.inside);
    let begun = world.place.balancer.spawn(UdpBalancer::start(outside, inside, seed));
    let balancer = Arc::new(begun.await.unwrap().unwrap());
    balancer.set_gateways(gateways.iter().map(|one| one.gateway.local_addr).collect());

    let names = (0..IDLE).map(|n| format!("idle-{n}")).chain(["alice".to_owned(), "bob".to_owned()]);
    let mut clients = Vec::new();
    for name in names {
        clients.push(world.client(&name, balancer.address, &gateways[0].gateway).await);
    }
    let watched: Vec<_> = clients.iter().map(|client| gaps(&world.place.clients, client)).collect();
    let (alice, bob) = (&clients[IDLE], &clients[IDLE + 1]);
    let conversation = alice.dm("bob").await.unwrap();
    assert_eq!(bob.dm("alice").await.unwrap(), conversation);

    let (a, b) = (numbered("alice", MESSAGES), numbered("bob", MESSAGES));
    let mut rng = StdRng::seed_from_u64(seed);
    let roll = async {
        for place in [0, 1] {
            // The new one first, then the old one takes nobody new, ends, and is gone from the table.
            gateways.push(world.start_gateway(place).await);
            let old = gateways.remove(0);
            let left: Vec<_> = gateways.iter().map(|one| one.gateway.local_addr).collect();
            let disturb = async {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(rng.gen_range(1..400))).await;
                    if rng.gen_bool(0.5) { balancer.flush() } else { balancer.rebind().await.unwrap() }
                }
            };
            disturb.await;
            balancer.set_gateways(left);
            let (runtime, disturb) = (old.deps.runtime.clone(), async {
                tokio::time::sleep(Duration::from_millis(rng.gen_range(1..400))).await;
                if rng.gen_bool(0.5) { balancer.flush() } else { balancer.rebind().await.unwrap() }
            });
            let drained = old.handle.spawn(async move { runtime.drain(GRACE).await });
            let (drained, ()) = tokio::join!(drained, disturb);
            assert!(drained.unwrap(), "the gateway has ended its calls");
            balancer.remove(old.gateway.local_addr);
        }
    };
    tokio::join!(talk(alice, conversation, &a), talk(bob, conversation, &b), roll);
    tokio::join!(receives(bob, conversation, &a), receives(alice, conversation, &b));
    tokio::join!(all_accepted(alice, conversation), all_accepted(bob, conversation));
    agree(&[alice, bob], conversation).await;
    for client in &clients {
        eventually("everybody is connected", || async { client.whoami().await.unwrap().connected.then_some(()) }).await;
    }
    let relayed = world.cluster.deps().metrics.render();
    for client in clients {
        client.close().await;
    }
    let mut gaps: Vec<_> = join_all(watched).await.into_iter().flat_map(Result::unwrap).collect();
    gaps.sort();
    assert!(gaps.len() >= IDLE + 2, "everybody has moved: {gaps:?}");
    let at = |share: usize| gaps[(gaps.len() - 1) * share / 100];
    eprintln!("{} reconnects, without a connection for p50 {:?}, p99 {:?}", gaps.len(), at(50), at(99));
    let relayed = relayed.lines().filter(|line| line.starts_with("qpc_gateway_relayed_packets_total"));
    assert!(relayed.filter(|line| !line.ends_with(" 0")).count() > 0, "packets were passed on");
    for one in gateways {
        assert!(one.handle.spawn(async move { one.deps.runtime.drain(GRACE).await }).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_gateways_are_replaced_behind_a_balancer() {
    let here = Handle::current();
    for seed in seeds() {
        let loopback = "127.0.0.1".parse().unwrap();
        let place = Place {
            gateways: [here.clone(), here.clone()],
            balancer: here.clone(),
            clients: here.clone(),
            at: [loopback; 2],
            outside: loopback,
            inside: loopback,
        };
        all_gateways_are_replaced(place, seed).await;
    }
}

/// Networks of one run: clients, balancer, two gateways.
struct Namespaces(String);

impl Namespaces {
    /// `None` where it may not be.
    fn new() -> Option<Self> {
        let spaces = Self(format!("qpc-{}", std::process::id()));
        let name = |part: &str| format!("{}-{part}", spaces.0);
        for part in ["c", "b", "g1", "g2"] {
            if let Err(error) = ip(&["netns", "add", &name(part)]) {
                eprintln!("skipped: no network namespaces here: {error}");
                return None;
            }
            ip(&["-n", &name(part), "link", "set", "lo", "up"]).unwrap();
        }
        for (part, net) in [("c", "10.77.0"), ("g1", "10.77.1"), ("g2", "10.77.2")] {
            let (inner, balancer) = (name(part), name("b"));
            ip(&["-n", &balancer, "link", "add", part, "type", "veth", "peer", "name", "up0", "netns", &inner])
                .unwrap();
            ip(&["-n", &balancer, "addr", "add", &format!("{net}.1/24"), "dev", part]).unwrap();
            ip(&["-n", &inner, "addr", "add", &format!("{net}.2/24"), "dev", "up0"]).unwrap();
            ip(&["-n", &balancer, "link", "set", part, "up"]).unwrap();
            ip(&["-n", &inner, "link", "set", "up0", "up"]).unwrap();
            ip(&["-n", &inner, "route", "add", "default", "via", &format!("{net}.1")]).unwrap();
        }
        let forward = ["netns", "exec", &name("b"), "sysctl", "-qw", "net.ipv4.ip_forward=1"];
        ip(&forward).unwrap();
        Some(spaces)
    }

    /// A runtime whose threads all stand in one of them.
    fn runtime(&self, part: &str) -> Runtime {
        let space = Arc::new(File::open(format!("/run/netns/{}-{part}", self.0)).unwrap());
        let enter = move || {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        };
        Builder::new_multi_thread().worker_threads(2).enable_all().on_thread_start(enter).build().unwrap()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for part in ["c", "b", "g1", "g2"] {
            let _ = ip(&["netns", "del", &format!("{}-{part}", self.0)]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

#[test]
fn all_gateways_are_replaced_in_networks_of_their_own() {
    let Some(spaces) = Namespaces::new() else { return };
    let [clients, balancer, one, two] = ["c", "b", "g1", "g2"].map(|part| spaces.runtime(part));
    let own = Runtime::new().unwrap();
    for seed in seeds() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let place = Place {
            gateways: [one.handle().clone(), two.handle().clone()],
            balancer: balancer.handle().clone(),
            clients: clients.handle().clone(),
            at: [address("10.77.1.2"), address("10.77.2.2")],
            outside: address("10.77.0.1"),
            inside: address("0.0.0.0"),
        };
        own.block_on(all_gateways_are_replaced(place, seed));
    }
}
