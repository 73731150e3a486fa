//! A process from start to drained stop.

use std::{
    future::Future,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Runtime,
    bulk::{Bulk, LocalBulk, TcpBulk},
    bus::{self, Bus, LocalBus},
    cache::{self, Cache, MemoryCache},
    config::{Infra, Process},
    db::{self, Databases, Db, DbError, Migrate, Migrations, Schema},
    health::{self, Health},
    metrics::Metrics,
    probe,
    push::Push,
    rpc::Client,
    secrets::Secrets,
    telemetry,
};

/// Time between two sweeps of expired idempotency keys.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Batches of one sweep; a replica so keeps up with more than 16,000 calls a second.
const SWEEP_BATCHES: usize = 100;

/// An error that ends the start of a process.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// What a service is given. Cheap to clone.
#[derive(Clone)]
pub struct Deps {
    /// Clock, randomness, tasks.
    pub runtime: Runtime,
    /// Bus.
    pub bus: Arc<dyn Bus>,
    /// What the bus is too small for.
    pub bulk: Arc<dyn Bulk>,
    /// Cache.
    pub cache: Arc<dyn Cache>,
    /// Server keys.
    pub secrets: Secrets,
    /// Metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Readiness of the process.
    pub health: Arc<Health>,
    /// Database setting, see [`Db::open`].
    pub db: String,
    /// Connections to Postgres.
    pub db_pool: u32,
    /// Databases of the process that are open.
    pub databases: Databases,
    /// What is done about a schema that is older than this program.
    pub migrate: Migrate,
}

impl Deps {
    /// What one process has in itself: a bus, a cache and pipes for bodies between its own parts.
    pub fn local(runtime: Runtime, secrets: Secrets, db: String) -> Self {
        Self {
            bus: Arc::new(LocalBus::default()),
            bulk: Arc::new(LocalBulk::default()),
            cache: Arc::new(MemoryCache::new(runtime.clock.clone())),
            secrets,
            metrics: Arc::default(),
            health: Arc::default(),
            db,
            // Counts for Postgres only.
            db_pool: 1,
            databases: Databases::default(),
            migrate: Migrate::Apply,
            runtime,
        }
    }

    /// Opens the database of a service, makes readiness depend on it and keeps its idempotency keys swept.
    pub async fn open_db(&self, schema: &Schema) -> Result<Db, DbError> {
        let db = self.db_of(schema.service, schema.migrations).await?;
        let checked = db.clone();
        self.health.check("database", move || {
            let db = checked.clone();
            Box::pin(async move { db.ping().await.is_ok() })
        });
        self.metrics.pool(schema.service, db.clone());
        self.databases.add(db.clone());
        let swept = db.clone();
        self.every(SWEEP_EVERY, move |now_ms| {
            let db = swept.clone();
            async move {
                for _ in 0..SWEEP_BATCHES {
                    match db::sweep(&db, now_ms).await {
                        Ok(removed) if removed == db::SWEEP => {}
                        Ok(_) => break,
                        Err(error) => {
                            tracing::warn!(%error, "idempotency keys not swept");
                            break;
                        }
                    }
                }
            }
        });
        Ok(db)
    }

    async fn db_of(&self, service: &str, migrations: &Migrations) -> Result<Db, DbError> {
        #[cfg(feature = "sim")]
        if let Some(host) = self.runtime.host() {
            return Db::open_inline(&host.disk, &self.runtime, service, migrations).await;
        }
        Db::open_as(self.migrate, &self.db, service, self.db_pool, migrations).await
    }

    /// Doorbells to devices.
    pub fn push(&self) -> Push {
        Push::new(self.bus.clone(), self.cache.clone())
    }

    /// Calls to other services.
    pub fn client(&self) -> Client {
        Client::new(self.bus.clone(), self.runtime.clone())
    }

    /// Runs `job(now_ms)` every `period` until shutdown.
    pub fn every<F: Future<Output = ()> + Send>(
        &self,
        period: Duration,
        mut job: impl FnMut(u64) -> F + Send + 'static,
    ) {
        let runtime = self.runtime.clone();
        self.runtime.spawn(async move {
            loop {
                tokio::select! {
                    () = runtime.shutdown().cancelled() => return,
                    () = tokio::time::sleep(period) => {}
                }
                job(runtime.now_ms()).await;
            }
        });
    }

    /// The same over a runtime that can be drained by itself.
    pub fn child(&self) -> Self {
        Self { runtime: self.runtime.child(), ..self.clone() }
    }
}

#[derive(Parser)]
struct Cli<C: clap::Args> {
    #[command(flatten)]
    infra: Infra,
    #[command(flatten)]
    service: C,
    /// Asks the process with the same --observe whether it is ready, and ends: with 0 if it is
    #[arg(long)]
    probe: bool,
}

/// `main` of a cluster process: settings from the command line, then `start`, then service until SIGTERM or SIGINT.
/// With `--migrate only` or `restored` nothing but the schema, if the process has one.
pub fn main<C, Fut>(name: &'static str, schema: Option<Schema>, start: impl FnOnce(Deps, C) -> Fut) -> ExitCode
where
    C: clap::Args,
    Fut: Future<Output = Result<(), StartError>>,
{
    let cli = Cli::<C>::parse();
    let process = cli.infra.process.clone();
    if cli.probe {
        return probe::run(process.observe);
    }
    if cli.infra.migrate.ends() {
        return migrate(name, &process, cli.infra.migrate, schema.as_slice(), || Ok(cli.infra.database()?));
    }
    block_on(name, &process.clone(), async move {
        let deps = connect(name, cli.infra).await?;
        start(deps.clone(), cli.service).await?;
        observe(&deps, &process).await?;
        Ok((deps, ()))
    })
}

/// Does for each of the `schemas` in a database what `--migrate` says by `how`, one after the other; see [`Migrate::ends`].
pub fn migrate(
    name: &'static str,
    process: &Process,
    how: Migrate,
    schemas: &[Schema],
    database: impl FnOnce() -> Result<String, StartError>,
) -> ExitCode {
    on_threads(name, process, async {
        if schemas.is_empty() {
            tracing::info!("{name} has no tables");
            return ExitCode::SUCCESS;
        }
        let runtime = Runtime::system();
        let prepared = async {
            let database = database()?;
            for schema in schemas {
                let done = schema.prepare(how, &database, runtime.now_ms()).await;
                tracing::info!("{}: {}", schema.service, done.map_err(|error| format!("{}: {error}", schema.service))?);
            }
            Ok::<_, StartError>(())
        };
        match prepared.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "{name} could not do what --migrate says");
                ExitCode::FAILURE
            }
        }
    })
}

/// Runs `start` on a new runtime of threads, waits for a signal, drains what it returned.
pub fn block_on<G>(
    name: &'static str,
    process: &Process,
    start: impl Future<Output = Result<(Deps, G), StartError>>,
) -> ExitCode {
    let grace = Duration::from_secs(process.drain_seconds);
    on_threads(name, process, async {
        let (deps, guard) = match start.await {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(error = %error, "{name} cannot start");
                return ExitCode::FAILURE;
            }
        };
        tracing::info!("{name} is running");
        wait_for_signal().await;
        tracing::info!("{name} is draining");
        let drained = deps.runtime.drain(grace).await && deps.databases.close().await;
        if let Err(error) = deps.bus.flush().await {
            tracing::warn!(%error, "bus not flushed");
        }
        drop(guard);
        tracing::info!(drained, "{name} has stopped");
        if drained { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// Runs `work` on a new runtime of threads, with logs and traces.
pub fn on_threads(name: &'static str, process: &Process, work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unstarted(name, &error),
    };
    runtime.block_on(async {
        let telemetry = match telemetry::init(name, process) {
            Ok(telemetry) => telemetry,
            Err(error) => return unstarted(name, &error),
        };
        let code = work.await;
        telemetry.stop().await;
        code
    })
}

/// What goes wrong before there are logs.
#[allow(clippy::print_stderr, reason = "there are no logs yet")]
fn unstarted(name: &str, error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{name} cannot start: {error}");
    ExitCode::FAILURE
}

async fn connect(name: &'static str, infra: Infra) -> Result<Deps, StartError> {
    let runtime = Runtime::system();
    let metrics: Arc<Metrics> = Arc::default();
    let bus = bus::open(&infra.bus, name, &metrics).await?;
    Ok(Deps {
        bulk: Arc::new(TcpBulk::new(bus.clone())),
        bus,
        cache: cache::open(&infra.cache, runtime.clock.clone()).await?,
        secrets: Secrets::load(&infra.secret_file)?,
        metrics,
        health: Arc::default(),
        db: infra.database()?,
        db_pool: infra.db_pool,
        databases: Databases::default(),
        migrate: infra.migrate,
        runtime,
    })
}

/// Starts the observability pages when they are asked for.
pub async fn observe(deps: &Deps, process: &Process) -> Result<(), StartError> {
    let (lapses, doubt) = (
        deps.metrics.counter("bus_lapses", "Times that doorbells may have been lost: reconnections, overflows"),
        deps.bus.doubt(),
    );
    deps.metrics.before_render(move || lapses.inner().store(*doubt.borrow(), Ordering::Relaxed));
    if let Some(address) = process.observe {
        let bound = health::serve(address, &deps.runtime, deps.metrics.clone(), deps.health.clone()).await?;
        tracing::info!(address = %bound, "metrics and health");
    }
    Ok(())
}

/// Returns on SIGTERM or SIGINT.
pub async fn wait_for_signal() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no signals, stopping"),
    }
}
