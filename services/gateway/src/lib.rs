//! The edge: client connections come in over QUIC, calls go out over the bus, doorbells come back and become pushes.
//!
//! - [`start`] puts it together: certificate ([`tls`]), endpoint and accept loop (`quic`), doorbells (`push`), presence
//!   (`presence`), revoked devices (`revocations`), what admins see and want (`report`).
//! - A new connection passes `admission` (how many, from where), then `quic::run` is its one task.
//! - Each client-opened stream is one call: `stream` reads the frame and writes the answer, `calls` decides who answers.
//! - What a connection is allowed to do next is the state machine in `session`, which does no I/O and reads no clock.
//! - `link` holds what the tasks of one connection share.
//! - `edge` is what the gateways of an installation do for each other.
//!
//! The gateway has no store. All it knows is its connections; lose it, and clients connect to another.

mod address;
mod admission;
mod calls;
mod carrier;
mod config;
mod core;
mod edge;
mod error;
mod link;
mod mdns;
mod metrics;
mod presence;
mod push;
mod quic;
mod report;
mod revocations;
mod session;
#[cfg(feature = "sim")]
mod simulated;
mod stream;
pub mod tls;

use std::{net::SocketAddr, sync::Arc};

use qpc_chassis::run::{Deps, StartError};
use rustls::pki_types::CertificateDer;

pub use config::{Config, Limits};
pub use edge::{ServerId, ServerIdForm};
pub use error::GatewayError;

/// Name in logs and metrics.
pub const SERVICE: &str = "gateway";

/// A gateway that runs until the runtime of its [`Deps`] is drained.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Bound address; tells the port when port 0 was asked for.
    pub local_addr: SocketAddr,
    /// First certificate of the chain shown to clients.
    pub certificate_der: CertificateDer<'static>,
    /// Random name of this process; its doorbells arrive on [`qpc_chassis::push::subject`] of it.
    pub id: String,
}

/// Starts to listen. `deps.runtime.drain` takes no new connections, pushes `Drain`, lets calls end and closes what is
/// left after [`Config::drain_grace_ms`]; give it at least [`Config::drain_budget`].
pub async fn start(deps: Deps, config: Config) -> Result<Gateway, StartError> {
    #[cfg(feature = "sim")]
    if let Some(host) = deps.runtime.host().cloned() {
        return start_simulated(deps, config, &host.port).await;
    }
    let identity = tls::load(&config, &mut deps.runtime.rng())?;
    let edge = edge::Edge::load(&config)?;
    let core = core::Core::new(deps, config)?;
    let endpoint = quic::listen(&core, &edge, &identity).await?;
    let local_addr = endpoint.local_addr().map_err(GatewayError::Listen)?;

    identity.watch(&core.deps);
    attend(&core).await?;
    quic::start(&core, endpoint.clone());
    if core.config.mdns
        && let Err(error) = mdns::start(&core, local_addr, identity.leaf())
    {
        // A server without multicast is a server all the same.
        tracing::warn!(%error, "not announced on the local network");
    }

    let (bus, id) = (core.deps.bus.clone(), core.id.clone());
    core.deps.health.check("bus", move || {
        let (bus, id) = (bus.clone(), id.clone());
        Box::pin(async move { push::probe(&*bus, &id).await })
    });
    core.deps.health.check("listening", move || {
        let listening = endpoint.local_addr().is_ok();
        Box::pin(async move { listening })
    });
    tracing::info!(address = %local_addr, gateway = core.id, "listening");
    Ok(Gateway { local_addr, certificate_der: identity.leaf().clone(), id: core.id.clone() })
}

/// Starts what serves the connections from within.
async fn attend(core: &Arc<core::Core>) -> Result<(), StartError> {
    push::start(core).await?;
    revocations::start(core).await;
    presence::start(core);
    report::start(core);
    Ok(())
}

/// The same on a network in memory, without a certificate.
#[cfg(feature = "sim")]
async fn start_simulated(
    deps: Deps,
    config: Config,
    port: &qpc_chassis::runtime::sim::net::Port,
) -> Result<Gateway, StartError> {
    let local_addr = config.listen;
    let core = core::Core::new(deps, config)?;
    attend(&core).await?;
    simulated::start(&core, port.listen(local_addr));
    Ok(Gateway { local_addr, certificate_der: Vec::new().into(), id: core.id.clone() })
}
