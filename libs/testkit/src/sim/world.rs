//! The parts of a simulated installation, and how they start and stop.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, anyhow};
use qpc_chassis::{
    Runtime,
    bus::LocalBus,
    cache::{Cache, MemoryCache},
    metrics::Metrics,
    run::Deps,
    runtime::sim::{Disk, Host, SeededEntropy, VirtualClock, net::Net, net::Port},
    secrets::Secrets,
};
use qpc_sdk::{Client, ClientOptions, KsfParams, Suite, transport::Trust};
use qpc_server::Options;

use super::plan::{PAIR, SERVICES};
use crate::{Faults, FaultyBus};

/// Where gateways listen.
const PORT: u16 = 7000;
/// Longest time for a part to end in good order.
const GRACE: Duration = Duration::from_secs(20);
/// What keys of the servers come from.
const ROOT: [u8; 32] = [7; 32];
/// Password of every account.
const PASSWORD: &str = "correct horse battery staple";

/// A machine.
pub(super) struct Node {
    port: Port,
    disk: Disk,
    clock: Arc<VirtualClock>,
    seed: u64,
    /// Grows with every start, so that no randomness comes again.
    starts: u64,
    running: Option<Runtime>,
}

impl Node {
    fn new(net: &Net, disk: Disk, start_ms: u64, seed: u64) -> Self {
        let clock = Arc::new(VirtualClock::new(start_ms));
        Self { port: net.port(), disk, clock, seed, starts: 0, running: None }
    }

    /// A runtime for a new life.
    fn boot(&mut self) -> Runtime {
        self.starts += 1;
        let entropy = SeededEntropy::new(mix(self.seed, self.starts));
        let host = Host::new(self.port.clone(), self.disk.clone());
        let runtime = Runtime::simulated(self.clock.clone(), Arc::new(entropy), host);
        self.running = Some(runtime.clone());
        runtime
    }

    pub(super) fn port(&self) -> &Port {
        &self.port
    }

    pub(super) fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    pub(super) fn runtime(&self) -> Option<&Runtime> {
        self.running.as_ref()
    }

    pub(super) fn crash(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.crash();
        }
    }

    /// Ends in good order, beside what else happens.
    pub(super) fn stop(&mut self, beside: &Runtime) {
        if let Some(runtime) = self.running.take() {
            beside.spawn(async move {
                runtime.drain(GRACE).await;
            });
        }
    }
}

/// Numbers that differ when one of two others does (splitmix64).
pub(super) fn mix(one: u64, other: u64) -> u64 {
    let mut z = one ^ other.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the servers of an installation share, and their machines.
pub(super) struct Servers {
    pub(super) net: Net,
    pub(super) bus: Arc<FaultyBus>,
    pub(super) database: Disk,
    /// For what belongs to no machine.
    pub(super) beside: Runtime,
    pub(super) gateways: Vec<Node>,
    pub(super) services: Vec<Vec<Node>>,
    cache: Arc<dyn Cache>,
    metrics: Arc<Metrics>,
    start_ms: u64,
    seed: u64,
    nodes: u64,
}

impl Servers {
    /// Two of each, not started.
    pub(super) fn new(seed: u64, start_ms: u64, database: Disk) -> Self {
        let net = Net::new(mix(seed, 1));
        let clock = Arc::new(VirtualClock::new(start_ms));
        let beside = Runtime::new(clock.clone(), Arc::new(SeededEntropy::new(mix(seed, 2))));
        let bus = FaultyBus::new(Arc::new(LocalBus::default()), Faults::NONE, beside.clone());
        let mut servers = Self {
            net,
            bus: Arc::new(bus),
            database,
            beside,
            gateways: Vec::new(),
            services: Vec::new(),
            cache: Arc::new(MemoryCache::new(clock)),
            metrics: Arc::default(),
            start_ms,
            seed,
            nodes: 0,
        };
        servers.gateways = (0..PAIR).map(|_| servers.node(Disk::default())).collect();
        let database = servers.database.clone();
        servers.services = (0..SERVICES).map(|_| (0..PAIR).map(|_| servers.node(database.clone())).collect()).collect();
        servers
    }

    /// A machine with this disk.
    pub(super) fn node(&mut self, disk: Disk) -> Node {
        self.nodes += 1;
        Node::new(&self.net, disk, self.start_ms, mix(self.seed, 1000 + self.nodes))
    }

    pub(super) async fn start_all(&mut self) -> Result<()> {
        for service in 0..SERVICES {
            for replica in 0..PAIR {
                self.start_service(service, replica).await?;
            }
        }
        for gateway in 0..PAIR {
            self.start_gateway(gateway).await?;
        }
        Ok(())
    }

    fn deps(&self, runtime: Runtime) -> Deps {
        Deps {
            bus: self.bus.clone(),
            cache: self.cache.clone(),
            metrics: self.metrics.clone(),
            ..Deps::local(runtime, Secrets::new(ROOT), String::new())
        }
    }

    /// Does nothing if it runs.
    pub(super) async fn start_service(&mut self, service: usize, replica: usize) -> Result<()> {
        let node = &mut self.services[service][replica];
        if node.running.is_some() {
            return Ok(());
        }
        let runtime = node.boot();
        let deps = self.deps(runtime);
        let mut options = Options::default();
        // A person of a simulation does in minutes what others do in days.
        options.without_rates();
        // There is nothing outside.
        options.delivery.wake_ups = false;
        let started = match service {
            0 => qpc_auth::start(deps, options.auth).await,
            1 => qpc_keypackage::start(deps, options.keypackage).await,
            _ => qpc_delivery::start(deps, options.delivery).await,
        };
        started.map_err(|error| anyhow!(error))
    }

    /// Does nothing if it runs.
    pub(super) async fn start_gateway(&mut self, gateway: usize) -> Result<()> {
        let node = &mut self.gateways[gateway];
        if node.running.is_some() {
            return Ok(());
        }
        let runtime = node.boot();
        let mut config = qpc_gateway::Config { listen: address(gateway), drain_grace_ms: 2_000, ..Default::default() };
        config.limits.max_connections_per_address = 1000;
        qpc_gateway::start(self.deps(runtime), config).await.map_err(|error| anyhow!(error))?;
        Ok(())
    }
}

fn address(gateway: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, gateway as u8 + 1)), PORT)
}

/// What a client is opened with.
pub(super) struct Opening<'a> {
    pub(super) name: &'a str,
    pub(super) gateway: usize,
    pub(super) suite: Suite,
    pub(super) sync_every: Duration,
    pub(super) account_key: Option<[u8; 32]>,
    pub(super) sealed: bool,
    pub(super) trust: Trust,
}

/// A new life of a client's machine; it does not connect yet.
pub(super) async fn open(node: &mut Node, opening: Opening<'_>) -> Result<Client> {
    let runtime = node.boot();
    let options = ClientOptions {
        suite: opening.suite,
        sync_every: opening.sync_every,
        // Cheap: these passwords guard nothing.
        ksf: KsfParams::FLOOR,
        account_key: opening.account_key.map(Into::into),
        sealed: opening.sealed,
        runtime,
        ..ClientOptions::new("store", opening.name, PASSWORD, address(opening.gateway).to_string(), opening.trust)
    };
    Ok(Client::open(options).await?)
}
