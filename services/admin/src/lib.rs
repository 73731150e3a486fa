//! The admin API: gRPC with mutual TLS on a listener of its own, for operators and nobody else.
//!
//! It owns nothing. A call is passed on to auth ([`front`]), which keeps accounts, bans, reports and the audit log and asks
//! others for what they count. [`tls`] says who may call. Health and reflection are served beside it.

mod config;
mod error;
mod front;
pub mod tls;

use std::{net::SocketAddr, time::Duration};

use qpc_admin_api::{DESCRIPTORS, MAX_MESSAGE, admin_server::AdminServer, tonic::transport::Server};
use qpc_chassis::run::{Deps, StartError};
use tokio::net::TcpListener;

pub use config::{Config, Listener};
pub use error::AdminError;

use crate::front::Front;

/// Name in logs and metrics.
pub const SERVICE: &str = "admin";

/// Longest call. What it waits for has less.
const DEADLINE: Duration = Duration::from_secs(15);
/// Calls at once on one connection.
const STREAMS: u32 = 16;
/// Time between two looks at the health of the process.
const HEALTH_EVERY: Duration = Duration::from_secs(5);

/// An API that is served.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Bound address; tells the port when port 0 was asked for.
    pub local_addr: SocketAddr,
}

/// Serves the API until the runtime of `deps` is drained, if an address is given. Returns once it listens.
pub async fn start(deps: Deps, config: Config) -> Result<Option<Admin>, StartError> {
    let Some(address) = config.listener.admin_listen else { return Ok(None) };
    let tls = tls::load(&config, &deps)?;
    let failed = |source| AdminError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<AdminServer<Front>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let service = AdminServer::new(Front::new(deps.client()))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let server = Server::builder()
        .timeout(DEADLINE)
        .max_concurrent_streams(STREAMS)
        .add_service(health)
        .add_service(reflection)
        .add_service(service);
    let checks = deps.health.clone();
    deps.every(HEALTH_EVERY, move |_| {
        let (checks, reporter) = (checks.clone(), reporter.clone());
        async move {
            let well = checks.run().await.iter().all(|(_, ok)| *ok);
            if well {
                reporter.set_serving::<AdminServer<Front>>().await;
            } else {
                reporter.set_not_serving::<AdminServer<Front>>().await;
            }
        }
    });
    let (incoming, shutdown) = (tls::incoming(&deps, listener, tls), deps.runtime.shutdown().clone());
    deps.runtime.spawn(async move {
        let ended = server.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the admin API has ended");
        }
    });
    tracing::info!(address = %local_addr, "admin API");
    Ok(Some(Admin { local_addr }))
}

/// The same as a process of its own, which would have nothing to do without an address.
pub async fn start_process(deps: Deps, config: Config) -> Result<(), StartError> {
    start(deps, config).await?.ok_or(AdminError::NoAddress)?;
    Ok(())
}
