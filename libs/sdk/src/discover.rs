//! Servers on the local network, as they announce themselves (mDNS, DNS-SD). Nothing of it is to be believed: a server that was
//! found so is trusted no more than any other, and its fingerprint is only good for comparing it with one that one has.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use qpc_wire::limits::{MDNS_DOMAIN, MDNS_FINGERPRINT, MDNS_SERVICE, MDNS_VERSION};
use tokio::time::{Instant, timeout_at};

use crate::Error;

/// Servers that are told; a network with more has something else to do.
const MOST: usize = 256;

/// A server that says it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Name of the announcement.
    pub name: String,
    /// Where it can be reached, IPv4 first.
    pub addresses: Vec<SocketAddr>,
    /// Version of the server.
    pub version: Option<String>,
    /// Domain that it says it serves.
    pub domain: Option<String>,
    /// SHA-256 of its certificate, hexadecimal, as it says.
    pub fingerprint: Option<String>,
}

/// Listens for `within` on all interfaces; servers by name.
pub async fn discover(within: Duration) -> Result<Vec<Found>, Error> {
    let daemon = ServiceDaemon::new()?;
    let heard = daemon.browse(MDNS_SERVICE)?;
    let until = Instant::now() + within;
    let mut found = BTreeMap::new();
    while let Ok(Ok(event)) = timeout_at(until, heard.recv_async()).await {
        match event {
            ServiceEvent::ServiceResolved(service) if found.len() < MOST || found.contains_key(&service.fullname) => {
                found.insert(service.fullname.clone(), parse(&service));
            }
            ServiceEvent::ServiceRemoved(_, name) => {
                found.remove(&name);
            }
            _ => {}
        }
    }
    daemon.shutdown()?;
    Ok(found.into_values().collect())
}

fn parse(service: &ResolvedService) -> Found {
    let text = |key| service.get_property_val_str(key).filter(|value| !value.is_empty()).map(str::to_owned);
    let mut addresses: Vec<_> =
        service.addresses.iter().map(|address| SocketAddr::new(address.to_ip_addr(), service.port)).collect();
    addresses.sort();
    let name = service.fullname.strip_suffix(MDNS_SERVICE).unwrap_or(&service.fullname).trim_end_matches('.');
    Found {
        name: name.to_owned(),
        addresses,
        version: text(MDNS_VERSION),
        domain: text(MDNS_DOMAIN),
        fingerprint: text(MDNS_FINGERPRINT),
    }
}
