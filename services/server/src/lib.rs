//! Every service of quicprochat in one process, on SQLite: for trying out, for development and for small installations.
//! Wiring only; the services are the same crates that run as a cluster, over a bus of channels instead of NATS and a
//! bounded map instead of Redis.
//!
//! [`start`] is the whole server in a data folder. [`start_with`] puts the same services on a bus, database and cache of
//! the caller's choice, and [`start_services`] leaves the gateway out.

mod options;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use qpc_chassis::{
    Runtime,
    config::Process,
    db::Schema,
    run::{self, Deps, StartError},
    secrets::Secrets,
};
use tokio::time::Instant;

pub use options::Options;
pub use qpc_auth::Registration;
pub use qpc_gateway::{Gateway, Limits};

/// Name of the process.
pub const SERVICE: &str = "qpc-server";

/// The tables of all services.
pub const SCHEMAS: &[Schema] = &[qpc_auth::SCHEMA, qpc_keypackage::SCHEMA, qpc_delivery::SCHEMA, qpc_blob::SCHEMA];

/// The services have this long to end at the least, however long the gateway took.
const SERVICES_GRACE: Duration = Duration::from_secs(1);

/// Why the server does not start, as far as it is not one of its services.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data folder cannot be made.
    #[error("data folder {}: {source}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The name of the data folder is not UTF-8.
    #[error("the name of the data folder {} must be UTF-8", .0.display())]
    FolderName(PathBuf),
}

/// A running server.
pub struct Embedded {
    /// The gateway: bound address, certificate.
    pub gateway: Gateway,
    /// The admin API, if it is served.
    pub admin: Option<qpc_admin::Admin>,
    /// File that clients are given as `--ca-cert`: the self-signed certificate, or the one of the settings.
    pub certificate: PathBuf,
    /// Bus, cache and the rest, over the runtime of the whole server.
    pub deps: Deps,
    edge: Runtime,
    services: Runtime,
}

impl Embedded {
    /// Address for clients.
    pub fn local_addr(&self) -> SocketAddr {
        self.gateway.local_addr
    }

    /// Stops: the gateway first, so that calls in flight still find their services (G12), then the services, within
    /// `grace`. Tells whether all came to an end by themselves.
    pub async fn shutdown(self, grace: Duration) -> bool {
        let until = Instant::now() + grace;
        let left = || (until - Instant::now()).max(SERVICES_GRACE);
        let edge = self.edge.drain(grace).await;
        let services = self.services.drain(left()).await;
        let rest = self.deps.runtime.drain(left()).await;
        let databases = self.deps.databases.close().await;
        if !(edge && services && rest && databases) {
            tracing::warn!(edge, services, rest, databases, "not everything ended in time");
        }
        edge && services && rest && databases
    }
}

/// Starts everything in the data folder of `options`, and the observability pages when `process` asks for them.
pub async fn start(options: Options, process: &Process) -> Result<Embedded, StartError> {
    let runtime = Runtime::system();
    // First of all, so that a refusal leaves no half-made folder behind.
    qpc_gateway::tls::load(&options.gateway(), &mut runtime.rng())?;
    options.admin().check()?;
    make_private(&options.data)?;
    let secrets = Secrets::load_or_create(&options.data.join("secret"), &mut runtime.rng())?;
    let deps = Deps { migrate: options.migrate, ..Deps::local(runtime, secrets, options.database()?) };
    let embedded = start_with(deps, options).await?;
    run::observe(&embedded.deps, process).await?;
    Ok(embedded)
}

/// Starts all services and a gateway on what `deps` names.
pub async fn start_with(deps: Deps, options: Options) -> Result<Embedded, StartError> {
    let (edge, services) = (deps.child(), deps.child());
    let (edge_runtime, services_runtime) = (edge.runtime.clone(), services.runtime.clone());
    start_services(&services, &options).await?;
    let admin = qpc_admin::start(services, options.admin()).await?;
    let gateway = qpc_gateway::start(edge, options.gateway()).await?;
    Ok(Embedded {
        gateway,
        admin,
        certificate: options.certificate(),
        deps,
        edge: edge_runtime,
        services: services_runtime,
    })
}

/// Starts all services but no gateway. They run until the runtime of `deps` is drained.
pub async fn start_services(deps: &Deps, options: &Options) -> Result<(), StartError> {
    qpc_auth::start(deps.clone(), options.auth.clone()).await?;
    qpc_keypackage::start(deps.clone(), options.keypackage.clone()).await?;
    qpc_delivery::start(deps.clone(), options.delivery.clone()).await?;
    qpc_blob::start(deps.clone(), options.blob()).await
}

/// The folder holds the secret and the databases: its owner's business only. One that was there keeps its mode.
fn make_private(folder: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| ServerError::Folder { path: folder.to_owned(), source })
}
