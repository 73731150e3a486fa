//! What gateways send each other over the relay port, and how it is written:
//!
//! ```text
//! | kind: 1 | flags: 1 | client: 16 + 2 | local: 16 | packet | MAC: 16 |
//! ```
//!
//! Integers are big-endian. The packet is authenticated and encrypted by QUIC; the MAC keeps everybody but gateways from
//! choosing its addresses. One that is repeated does what a repeated UDP datagram does.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

use super::keys::{EdgeKeys, MAC};

/// Bytes before the packet.
const HEAD: usize = 1 + 1 + ADDRESS + 2 + ADDRESS;
const ADDRESS: usize = 16;

const FORWARD: u8 = 1;
const ANSWER: u8 = 2;

/// Flags: the codepoint of explicit congestion notification, and of what kind the addresses are.
const ECN: u8 = 0b11;
const CLIENT_IS_V4: u8 = 1 << 2;
const LOCAL_IS_V4: u8 = 1 << 3;
const LOCAL_IS_KNOWN: u8 = 1 << 4;

/// The addresses of a client's packet as the gateway sees them that stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    /// Address of the client.
    pub(super) client: SocketAddr,
    /// That of the gateway.
    pub(super) local: Option<IpAddr>,
}

/// See the module.
#[derive(Debug, PartialEq)]
pub(super) struct Relayed<'a> {
    pub(super) direction: Direction,
    pub(super) ends: Ends,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) packet: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From a client to the gateway that its connection belongs to.
    Forward,
    /// The way back.
    Answer,
}

impl<'a> Relayed<'a> {
    pub(super) fn encode(&self, keys: &EdgeKeys) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.packet.len() + MAC);
        out.push(if self.direction == Direction::Forward { FORWARD } else { ANSWER });
        out.push(self.ecn.map_or(0, |ecn| ecn as u8) | self.ends.flags());
        out.extend_from_slice(&mapped(self.ends.client.ip()));
        out.extend_from_slice(&self.ends.client.port().to_be_bytes());
        out.extend_from_slice(&self.ends.local.map_or([0; ADDRESS], mapped));
        out.extend_from_slice(self.packet);
        let mac = keys.relay_mac(&out);
        out.extend_from_slice(&mac);
        out
    }

    /// `None` for what no gateway has written.
    pub(super) fn decode(bytes: &'a [u8], keys: &EdgeKeys) -> Option<Self> {
        let (message, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        let (head, packet) = message.split_at_checked(HEAD)?;
        if !keys.knows_relayed(message, mac) {
            return None;
        }
        let direction = match head[0] {
            FORWARD => Direction::Forward,
            ANSWER => Direction::Answer,
            _ => return None,
        };
        Some(Self { direction, ends: Ends::decode(head)?, ecn: EcnCodepoint::from_bits(head[1] & ECN), packet })
    }
}

impl Ends {
    fn flags(&self) -> u8 {
        let local = self.local.map_or(0, |local| LOCAL_IS_KNOWN | if local.is_ipv4() { LOCAL_IS_V4 } else { 0 });
        local | if self.client.is_ipv4() { CLIENT_IS_V4 } else { 0 }
    }

    fn decode(head: &[u8]) -> Option<Self> {
        let flags = head[1];
        let address = |at: usize, v4: u8| {
            let octets = <[u8; ADDRESS]>::try_from(&head[at..at + ADDRESS]).ok()?;
            let address = Ipv6Addr::from(octets);
            Some(match address.to_ipv4_mapped() {
                Some(plain) if flags & v4 != 0 => IpAddr::V4(plain),
                _ => IpAddr::V6(address),
            })
        };
        let port = u16::from_be_bytes([head[2 + ADDRESS], head[3 + ADDRESS]]);
        let local = if flags & LOCAL_IS_KNOWN != 0 { Some(address(4 + ADDRESS, LOCAL_IS_V4)?) } else { None };
        Some(Self { client: SocketAddr::new(address(2, CLIENT_IS_V4)?, port), local })
    }
}

fn mapped(address: IpAddr) -> [u8; ADDRESS] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A client's packet that came another way than over the socket, as the socket would hand it out.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use qpc_chassis::Runtime;

    use super::*;

    #[test]
    fn addresses_and_content_come_out_as_they_went_in() {
        let keys = EdgeKeys::random(&Runtime::system());
        for (client, local) in [
            ("192.0.2.1:5000", Some("10.0.0.1")),
            ("192.0.2.1:5000", None),
            ("[2001:db8::1]:5000", Some("2001:db8::2")),
            // What a socket of both families shows of an IPv4 client.
            ("[::ffff:192.0.2.1]:5000", Some("10.0.0.1")),
            ("[::ffff:192.0.2.1]:5000", Some("::ffff:10.0.0.1")),
        ] {
            let ends =
                Ends { client: client.parse().unwrap(), local: local.map(|local| local.parse::<IpAddr>().unwrap()) };
            for direction in [Direction::Forward, Direction::Answer] {
                for ecn in [None, Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ce)] {
                    let bytes = Relayed { direction, ends, ecn, packet: &[7; 1452] }.encode(&keys);
                    let expected = Relayed { direction, ends, ecn, packet: &[7; 1452] };
                    assert_eq!(Relayed::decode(&bytes, &keys), Some(expected));
                }
            }
        }
    }

    #[test]
    fn what_no_gateway_has_written_is_ignored() {
        let keys = EdgeKeys::random(&Runtime::system());
        let ends = Ends { client: "192.0.2.1:5000".parse().unwrap(), local: None };
        let bytes = Relayed { direction: Direction::Forward, ends, ecn: None, packet: b"packet" }.encode(&keys);
        assert!(Relayed::decode(&bytes, &EdgeKeys::random(&Runtime::system())).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Relayed::decode(&changed, &keys).is_none(), "octet {at}");
            assert!(Relayed::decode(&bytes[..at], &keys).is_none(), "{at} octets");
        }
    }
}
