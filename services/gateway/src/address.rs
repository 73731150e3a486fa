//! Client addresses. They are never stored or logged; limits see a keyed hash whose key changes every day.

use std::net::IpAddr;

use bytes::Bytes;
use hkdf::Hkdf;
use sha2::Sha256;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of the hash on the bus.
const HASH_LEN: usize = 16;

/// What counts as one client: an IPv4 address or an IPv6 /64, in IPv6 form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network([u8; 16]);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => {
                let mut octets = v6.octets();
                octets[8..].fill(0);
                Self(octets)
            }
        }
    }
}

impl Network {
    /// HMAC-SHA256 of day and network, shortened. Equal at all gateways, useless for linking days.
    pub(crate) fn hash(self, key: &[u8; 32], now_ms: u64) -> Bytes {
        let mut input = [0; 24];
        input[..8].copy_from_slice(&(now_ms / DAY_MS).to_be_bytes());
        input[8..].copy_from_slice(&self.0);
        // HKDF-Extract is HMAC with the salt as its key (RFC 5869 section 2.2).
        let (mac, _) = Hkdf::<Sha256>::extract(Some(key), &input);
        Bytes::copy_from_slice(&mac[..HASH_LEN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn one_client_is_an_ipv4_address_or_an_ipv6_64() {
        assert!(network("2001:db8::1") == network("2001:db8::ffff:1"));
        assert!(network("2001:db8::1") != network("2001:db8:0:1::1"));
        assert!(network("::ffff:192.0.2.1") == network("192.0.2.1"));
        assert!(network("192.0.2.1") != network("192.0.2.2"));
    }

    #[test]
    fn the_hash_changes_with_day_key_and_network_only() {
        let hash = network("192.0.2.1").hash(&[1; 32], 5);
        assert_eq!(hash, network("192.0.2.1").hash(&[1; 32], DAY_MS - 1));
        assert_ne!(hash, network("192.0.2.1").hash(&[1; 32], DAY_MS));
        assert_ne!(hash, network("192.0.2.1").hash(&[2; 32], 5));
        assert_ne!(hash, network("192.0.2.2").hash(&[1; 32], 5));
    }
}
