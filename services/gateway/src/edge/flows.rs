//! Clients of this gateway whose packets come by way of another one.
//!
//! QUIC knows such a client by an address that stands for the whole way: the other gateway, and the client as it sees it. To
//! QUIC a packet that comes another way than before is one of a client that has moved, whom it answers there once a packet
//! was authentic, and little until the client has shown that it hears (RFC 9000 section 9.3). So nobody can turn aside what
//! goes to a client by sending packets in its name.

use std::{
    collections::HashMap,
    net::{Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use hkdf::Hkdf;
use sha2::Sha256;

use super::packet::Ends;

/// Ways of one generation. When there are as many, it becomes the old one, and the old one is forgotten. A way that is
/// forgotten though it is in use is known again with the next packet.
const GENERATION: usize = 32_768;
/// Addresses that stand for ways: the discard prefix (RFC 6666), which no packet can come from.
const PREFIX: [u8; 8] = [0x01, 0, 0, 0, 0, 0, 0, 0];

/// See the module.
pub(super) struct Flows {
    /// Makes the addresses, so that a way that was forgotten gets the same again.
    key: [u8; 32],
    ways: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Ipv6Addr, Way>,
    old: HashMap<Ipv6Addr, Way>,
}

/// The gateway between, and the ends there.
type Way = (SocketAddr, Ends);

impl Flows {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, ways: Mutex::default() }
    }

    /// The address that stands for a way, remembered.
    pub(super) fn enter(&self, via: SocketAddr, ends: Ends) -> SocketAddr {
        let name = self.name(via, &ends);
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if ways.young.len() >= GENERATION && !ways.young.contains_key(&name) {
            ways.old = std::mem::take(&mut ways.young);
        }
        ways.young.insert(name, (via, ends));
        SocketAddr::new(name.into(), ends.client.port())
    }

    /// The way that an address stands for.
    pub(super) fn way(&self, address: SocketAddr) -> Option<Way> {
        let SocketAddr::V6(address) = address else { return None };
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.young.get(address.ip()).or_else(|| ways.old.get(address.ip())).copied()
    }

    fn name(&self, via: SocketAddr, ends: &Ends) -> Ipv6Addr {
        let way = format!("{via} {} {:?}", ends.client, ends.local);
        // HKDF-Extract is HMAC with the salt as its key (RFC 5869 section 2.2).
        let (mac, _) = Hkdf::<Sha256>::extract(Some(&self.key), way.as_bytes());
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&PREFIX);
        octets[8..].copy_from_slice(&mac[..8]);
        octets.into()
    }
}

/// Whether an address stands for a way.
pub(super) fn is_way(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(address) if address.ip().octets().starts_with(&PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str) -> Ends {
        Ends { client: client.parse().unwrap(), local: None }
    }

    #[test]
    fn an_address_stands_for_one_way() {
        let flows = Flows::new([1; 32]);
        let (via, other) = ("10.0.0.1:7002".parse().unwrap(), "10.0.0.2:7002".parse().unwrap());
        let one = flows.enter(via, ends("192.0.2.1:5000"));
        assert!(
            is_way(one) && !is_way("192.0.2.1:5000".parse().unwrap()) && !is_way("[2001:db8::1]:1".parse().unwrap())
        );
        assert_eq!(one, flows.enter(via, ends("192.0.2.1:5000")));
        let two = flows.enter(other, ends("192.0.2.1:5000"));
        let three = flows.enter(via, ends("192.0.2.1:5001"));
        assert!(one != two && one != three && two != three);
        assert_eq!(flows.way(two), Some((other, ends("192.0.2.1:5000"))));
        assert_eq!(flows.way(three), Some((via, ends("192.0.2.1:5001"))));
        assert_eq!(Flows::new([2; 32]).way(one), None);
    }

    #[test]
    fn ways_in_use_outlive_a_flood_of_others() {
        let flows = Flows::new([1; 32]);
        let via = "10.0.0.1:7002".parse().unwrap();
        let client = |n: u32| Ends { client: SocketAddr::from((n.to_be_bytes(), 5000)), local: None };
        let (used, silent) = (flows.enter(via, client(u32::MAX)), flows.enter(via, client(u32::MAX - 1)));
        for n in 0..3 * GENERATION as u32 {
            flows.enter(via, client(n));
            if n % 10_000 == 0 {
                assert_eq!(flows.enter(via, client(u32::MAX)), used);
            }
            assert!(flows.way(used).is_some());
        }
        assert!(flows.way(silent).is_none());
        let ways = flows.ways.lock().unwrap();
        assert!(ways.young.len() + ways.old.len() <= 2 * GENERATION);
    }
}
