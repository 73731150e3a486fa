//! Says on the local network that there is a server (mDNS, RFC 6762; DNS-SD, RFC 6763), so that clients need not be told where.
//! Whoever finds it that way still has to be told whom to trust: anybody can announce anything.

use std::{net::SocketAddr, sync::Arc};

use mdns_sd::{ServiceDaemon, ServiceInfo};
use qpc_wire::limits::{MDNS_DOMAIN, MDNS_FINGERPRINT, MDNS_SERVICE, MDNS_VERSION};
use sha2::{Digest, Sha256};

use crate::{GatewayError, core::Core};

/// Announces the gateway until it is to leave. The library has a thread of its own, which ends with that.
pub(crate) fn start(core: &Arc<Core>, address: SocketAddr, certificate: &[u8]) -> Result<(), GatewayError> {
    let daemon = ServiceDaemon::new()?;
    let fingerprint = hex::encode(Sha256::digest(certificate));
    let properties = [
        (MDNS_VERSION, env!("CARGO_PKG_VERSION")),
        (MDNS_DOMAIN, core.config.domain.as_str()),
        (MDNS_FINGERPRINT, fingerprint.as_str()),
    ];
    let (name, host) = (format!("quicprochat {}", core.id), format!("quicprochat-{}.local.", core.id));
    let port = address.port();
    let info = match address.ip() {
        // Of all interfaces, as they come and go.
        ip if ip.is_unspecified() => {
            ServiceInfo::new(MDNS_SERVICE, &name, &host, "", port, &properties[..])?.enable_addr_auto()
        }
        ip => ServiceInfo::new(MDNS_SERVICE, &name, &host, ip, port, &properties[..])?,
    };
    let full_name = info.get_fullname().to_owned();
    daemon.register(info)?;
    tracing::info!(name, "announced on the local network");
    let leaving = core.leaving.clone();
    core.deps.runtime.spawn(async move {
        leaving.cancelled().await;
        if let Ok(unregistered) = daemon.unregister(&full_name) {
            // Clients forget it at once rather than by its time to live.
            unregistered.recv_async().await.ok();
        }
        if let Err(error) = daemon.shutdown() {
            tracing::debug!(%error, "the announcement has not ended in order");
        }
    });
    Ok(())
}
