//! What gateways of an installation do for each other: shared keys ([`keys`]), connection ids that say whose they are
//! ([`cid`]), and packets that are passed on to whom they belong ([`relay`]). Without the settings for it a gateway knows of no
//! other.

mod cid;
mod flows;
mod keys;
mod long;
mod owners;
mod packet;
mod relay;
mod socket;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime};
use rustls::server::ProducesTickets;

pub use self::cid::{ServerId, ServerIdForm};
use self::{
    cid::{Fresh, Generator},
    keys::{EdgeKeys, ResetKey, Ticketer, TokenKey},
    relay::{Parts, Relay},
    socket::RelayedSocket,
};
use crate::{Config, GatewayError, core::Core};

/// Time between two stateless resets. Short, since nobody but gateways can make ids that are answered with one.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// See the module.
pub(crate) struct Edge {
    /// Those of the file, if there is one.
    keys: Option<Arc<EdgeKeys>>,
    server: Option<ServerId>,
}

impl Edge {
    /// As the settings say.
    pub(crate) fn load(config: &Config) -> Result<Self, GatewayError> {
        let keys = config.edge_keys.as_deref().map(EdgeKeys::load).transpose()?;
        let server = config.server();
        if config.relay_listen.is_some() && (keys.is_none() || server.is_none()) {
            return Err(GatewayError::RelayAlone);
        }
        Ok(Self { keys, server })
    }

    /// Seals tickets so that all gateways open them; `None` without shared keys.
    pub(crate) fn ticketer(&self, core: &Core) -> Option<Arc<dyn ProducesTickets>> {
        Some(Arc::new(Ticketer::new(self.keys.clone()?, &core.deps.runtime)))
    }

    /// Opens the port for clients, and that for other gateways. Returns when the gateway may take connections.
    pub(crate) async fn listen(&self, core: &Core, mut server: ServerConfig) -> Result<Endpoint, GatewayError> {
        let socket = bind(core.config.listen).map_err(GatewayError::Listen)?;
        let mut socket = TokioRuntime.wrap_udp_socket(socket).map_err(GatewayError::Listen)?;
        let mut config = EndpointConfig::default();
        if let Some(keys) = &self.keys {
            keys.watch(&core.deps);
            server.token_key(Arc::new(TokenKey(keys.clone())));
        }
        let mut relay = None;
        if let Some(own) = self.server {
            let keys = self.keys.clone().unwrap_or_else(|| EdgeKeys::random(&core.deps.runtime));
            if let Some(listen) = core.config.relay_listen {
                let (opened, relayed) = open_relay(core, listen, keys.clone(), own, socket)?;
                (relay, socket) = (Some(opened), relayed);
            }
            name_connections(&mut config, core, keys, own, relay.is_some());
        }
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))
            .map_err(GatewayError::Listen)?;
        if let Some(relay) = relay {
            relay.start(&core.empty).await;
        }
        Ok(endpoint)
    }
}

/// Makes connection ids of this server, and resets for those whose connections are gone.
fn name_connections(config: &mut EndpointConfig, core: &Core, keys: Arc<EdgeKeys>, own: ServerId, others: bool) {
    let fresh = Arc::new(Fresh::new(core.metrics.resets.clone()));
    let rng = core.deps.runtime.rng();
    let generator = Generator { keys: keys.clone(), own, others, fresh: fresh.clone(), rng };
    config
        .cid_generator(move || Box::new(generator.clone()))
        .reset_key(Arc::new(ResetKey { keys, fresh }))
        .min_reset_interval(RESET_INTERVAL);
    tracing::info!(server_id = %own, relay = others, "connection ids name this gateway");
}

fn open_relay(
    core: &Core,
    listen: SocketAddr,
    keys: Arc<EdgeKeys>,
    own: ServerId,
    socket: Arc<dyn AsyncUdpSocket>,
) -> Result<(Arc<Relay>, Arc<dyn AsyncUdpSocket>), GatewayError> {
    let port = bind(listen).and_then(|port| {
        port.set_nonblocking(true)?;
        tokio::net::UdpSocket::from_std(port)
    });
    let port = port.map_err(GatewayError::RelayListen)?;
    let bound = port.local_addr().map_err(GatewayError::RelayListen)?;
    let announce = core.config.relay_announced(bound).ok_or(GatewayError::RelayUnannounced)?;
    tracing::info!(address = %bound, %announce, "listening for other gateways");
    let parts = Parts { keys, own, socket: socket.clone(), port, announce };
    let (relay, arrived) = Relay::new(parts, &core.id, &core.deps, &core.metrics);
    let relayed = Arc::new(RelayedSocket::new(socket, relay.clone(), arrived));
    Ok((relay, relayed))
}

/// Address family not supported (Linux).
const EAFNOSUPPORT: i32 = 97;

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    match UdpSocket::bind(address) {
        // A machine without IPv6 still has all of its IPv4 addresses.
        Err(error) if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(EAFNOSUPPORT) => {
            UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], address.port())))
        }
        bound => bound,
    }
}
