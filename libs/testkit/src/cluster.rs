//! An installation in one process: any number of gateways and of replicas of each service, over either set of parts.

mod copies;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use qpc_chassis::{
    Runtime,
    bulk::{Bulk, LocalBulk, TcpBulk},
    bus::{self, Bus, LocalBus, NatsBus},
    cache::{Cache, MemoryCache, RedisCache},
    db::{Databases, contract::fresh_database},
    metrics::Metrics,
    run::Deps,
    secrets::Secrets,
};
use qpc_gateway::Gateway;
use qpc_sdk::{Client, ClientOptions, KsfParams, transport::Trust};
use qpc_server::Options;
use rand::RngCore;
use tempfile::TempDir;

pub use copies::{Copied, Halted};

use crate::{Faults, FaultyBus, faults::ScopedBus};

/// Longest a part may take to drain.
const GRACE: Duration = Duration::from_secs(20);
/// Tries to listen where another gateway has listened.
const REBIND_TRIES: u32 = 100;
/// Time between them.
const REBIND_EVERY: Duration = Duration::from_millis(100);
/// Password of every client.
const PASSWORD: &str = "correct horse battery staple";

/// What everything runs on.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Channels, a map and SQLite.
    Embedded,
    /// NATS, Redis and Postgres; see [`Backend::servers`].
    Servers {
        /// `postgres://…`; a new database is made there.
        postgres: String,
        /// `nats://…`
        nats: String,
        /// `redis://…`
        redis: String,
    },
}

impl Backend {
    /// The servers that `cargo xtask test` has started.
    #[allow(clippy::disallowed_methods, reason = "how xtask tells the tests")]
    pub fn servers() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set; run the tests with cargo xtask test"))
        };
        Ok(Self::Servers {
            postgres: variable("QPC_TEST_POSTGRES")?,
            nats: variable("QPC_TEST_NATS")?,
            redis: variable("QPC_TEST_REDIS")?,
        })
    }
}

/// How many of what.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Gateways.
    pub gateways: usize,
    /// Replicas of each service.
    pub replicas: usize,
    /// Parts below.
    pub backend: Backend,
    /// What the bus does wrong.
    pub faults: Option<Faults>,
}

impl Shape {
    /// Two of everything.
    pub fn pairs(backend: Backend) -> Self {
        Self { gateways: 2, replicas: 2, backend, faults: None }
    }
}

/// See the module.
pub struct Cluster {
    deps: Deps,
    backend: Backend,
    folder: TempDir,
    tune: Tune,
    gateways: Vec<Running>,
    services: Vec<Deps>,
}

/// Changes settings before something is started.
type Tune = Arc<dyn Fn(&mut Options) + Send + Sync>;

struct Running {
    gateway: Gateway,
    deps: Deps,
}

impl Cluster {
    /// Starts everything.
    pub async fn start(shape: Shape) -> Result<Self> {
        Self::start_with(shape, |_| {}).await
    }

    /// The same with settings that `tune` changes.
    pub async fn start_with(shape: Shape, tune: impl Fn(&mut Options) + Send + Sync + 'static) -> Result<Self> {
        Self::start_on(Runtime::system(), shape, tune).await
    }

    /// The same with a clock of the test's own.
    pub async fn start_on(
        runtime: Runtime,
        shape: Shape,
        tune: impl Fn(&mut Options) + Send + Sync + 'static,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let deps = deps(runtime, &shape, &folder).await?;
        let backend = shape.backend.clone();
        let mut cluster =
            Self { deps, backend, folder, tune: Arc::new(tune), gateways: Vec::new(), services: Vec::new() };
        for _ in 0..shape.replicas {
            cluster.add_services().await?;
        }
        for _ in 0..shape.gateways {
            cluster.gateways.push(cluster.start_gateway("127.0.0.1:0".parse()?).await?);
        }
        Ok(cluster)
    }

    /// Starts one more replica of every service.
    pub async fn add_services(&mut self) -> Result<()> {
        let deps = self.part();
        qpc_server::start_services(&deps, &self.options("127.0.0.1:0".parse()?))
            .await
            .map_err(|error| anyhow!(error))?;
        self.services.push(deps);
        Ok(())
    }

    async fn start_gateway(&self, listen: SocketAddr) -> Result<Running> {
        let deps = self.part();
        let gateway =
            qpc_gateway::start(deps.clone(), self.options(listen).gateway()).await.map_err(|error| anyhow!(error))?;
        Ok(Running { gateway, deps })
    }

    /// What a process of its own would have.
    fn part(&self) -> Deps {
        Deps { health: Arc::default(), databases: Databases::default(), ..self.deps.child() }
    }

    fn options(&self, listen: SocketAddr) -> Options {
        let mut options = Options { listen, data: self.folder.path().join("server"), ..Options::default() };
        options.limits.max_connections_per_address = 10_000;
        // One address for everybody, and people who write and found faster than any.
        options.without_rates();
        options.drain_grace_ms = 2_000;
        (self.tune)(&mut options);
        options
    }

    /// Address of a gateway.
    pub fn address(&self, gateway: usize) -> SocketAddr {
        self.gateways[gateway].gateway.local_addr
    }

    /// Drains the longest running replica of every service; tells whether all its work ended in time.
    pub async fn drain_services(&mut self) -> bool {
        let deps = self.services.remove(0);
        deps.runtime.drain(GRACE).await
    }

    /// Drains a gateway and starts another one on its address; tells whether all its work ended in time.
    pub async fn replace_gateway(&mut self, gateway: usize) -> Result<bool> {
        let old = self.gateways.remove(gateway);
        let (address, drained) = (old.gateway.local_addr, old.deps.runtime.drain(GRACE).await);
        drop(old);
        // The socket is free when the last connection has been forgotten, a moment after it was closed.
        let mut tries = 0;
        let new = loop {
            match self.start_gateway(address).await {
                Ok(new) => break new,
                Err(error) if tries == REBIND_TRIES => return Err(error),
                Err(_) => tokio::time::sleep(REBIND_EVERY).await,
            }
            tries += 1;
        };
        self.gateways.insert(gateway, new);
        Ok(drained)
    }

    /// A bus like that of the services, and the rest.
    pub fn deps(&self) -> &Deps {
        &self.deps
    }

    /// Folder of the bodies of files.
    pub fn bodies(&self) -> PathBuf {
        self.folder.path().join("server").join("blobs")
    }

    /// Folder of the databases (embedded), the certificate and the stores of the clients.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// What a client of the user `name` is opened with; its store is `name`, or `name-DEVICE`.
    pub fn client_options(&self, name: &str, device: usize, gateway: usize) -> ClientOptions {
        let store = if device == 0 { name.to_owned() } else { format!("{name}-{device}") };
        let certificate = self.gateways[gateway].gateway.certificate_der.clone();
        ClientOptions {
            server_name: Some("localhost".into()),
            // Cheap: these passwords guard nothing.
            ksf: KsfParams::FLOOR,
            sync_every: Duration::from_millis(500),
            warm_every: Duration::from_millis(20),
            ..ClientOptions::new(
                self.folder.path().join("clients").join(store),
                name,
                PASSWORD,
                self.address(gateway).to_string(),
                Trust::Certificates(vec![certificate]),
            )
        }
    }

    /// A connected client of the user `name` at a gateway.
    pub async fn client(&self, name: &str, gateway: usize) -> Result<Client> {
        let client = Client::open(self.client_options(name, 0, gateway)).await?;
        client.connect().await?;
        Ok(client)
    }

    /// Drains everything, gateways first; tells whether all work ended in time.
    pub async fn stop(self) -> bool {
        let mut drained = true;
        for running in &self.gateways {
            drained &= running.deps.runtime.drain(GRACE).await;
        }
        for deps in &self.services {
            drained &= deps.runtime.drain(GRACE).await;
        }
        drained & self.deps.runtime.drain(GRACE).await
    }
}

async fn nats_bus(url: &str) -> Result<NatsBus> {
    Ok(NatsBus::connect(&bus::Setting::open_to_all(url), "testkit", &Metrics::default()).await?)
}

async fn deps(runtime: Runtime, shape: &Shape, folder: &TempDir) -> Result<Deps> {
    let scope = format!("testkit_{:016x}", runtime.rng().next_u64());
    let mut root = [0; 32];
    runtime.rng().fill_bytes(&mut root);
    let (bus, cache, db): (Arc<dyn Bus>, Arc<dyn Cache>, String) = match &shape.backend {
        Backend::Embedded => (
            Arc::new(LocalBus::default()),
            Arc::new(MemoryCache::new(runtime.clock.clone())),
            format!("sqlite:{}", folder.path().display()),
        ),
        Backend::Servers { postgres, nats, redis } => (
            Arc::new(ScopedBus::new(Arc::new(nats_bus(nats).await?), scope.clone())),
            Arc::new(RedisCache::connect(redis, None).await?),
            fresh_database(postgres, &scope).await,
        ),
    };
    let bus = match shape.faults {
        Some(faults) => Arc::new(FaultyBus::new(bus, faults, runtime.clone())) as Arc<dyn Bus>,
        None => bus,
    };
    let bulk: Arc<dyn Bulk> = match &shape.backend {
        Backend::Embedded => Arc::new(LocalBulk::default()),
        Backend::Servers { .. } => Arc::new(TcpBulk::new(bus.clone())),
    };
    Ok(Deps { bus, bulk, cache, db_pool: 8, ..Deps::local(runtime, Secrets::new(root), db) })
}
