//! Which addresses are somebody's on the internet, and which are of this machine, its network, or nobody's.

use std::{
    fmt::{self, Display, Formatter},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// What the IANA registry of special-purpose addresses (RFC 6890) does not call globally reachable, and multicast.
const NOT_PUBLIC_4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// All that is given out to anybody.
const PUBLIC_6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Of it, protocols (Teredo among them), examples, 6to4.
const NOT_PUBLIC_6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// How a machine without IPv4 reaches one that has nothing else (RFC 6052): judged by what is inside.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether `address` is somebody's on the internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !NOT_PUBLIC_4.iter().any(|(net, bits)| holds_4(*net, *bits, v4)),
        IpAddr::V6(v6) if holds_6(NAT64.0, NAT64.1, v6) => is_public(embedded(v6).into()),
        IpAddr::V6(v6) => {
            holds_6(PUBLIC_6.0, PUBLIC_6.1, v6) && !NOT_PUBLIC_6.iter().any(|(net, bits)| holds_6(*net, *bits, v6))
        }
    }
}

fn embedded(address: Ipv6Addr) -> Ipv4Addr {
    // The last 32 bits are wanted.
    Ipv4Addr::from(u128::from(address) as u32)
}

fn holds_4(net: Ipv4Addr, bits: u32, address: Ipv4Addr) -> bool {
    (u32::from(net) ^ u32::from(address)).checked_shr(32 - bits.min(32)).unwrap_or(0) == 0
}

fn holds_6(net: Ipv6Addr, bits: u32, address: Ipv6Addr) -> bool {
    (u128::from(net) ^ u128::from(address)).checked_shr(128 - bits.min(128)).unwrap_or(0) == 0
}

/// Something that may be called though it is not public, as a setting: a host, an address or a net.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exempt {
    /// A host, at all its addresses and ports.
    Host(String),
    /// All addresses that begin with these bits.
    Net(IpAddr, u32),
}

/// A text is no [`Exempt`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host nor an address nor a net: push.example.org, 10.0.0.7, fd00::/8")]
pub struct InvalidExempt(String);

impl Exempt {
    pub(super) fn host(&self, host: &str) -> bool {
        matches!(self, Self::Host(name) if name.eq_ignore_ascii_case(host))
    }

    pub(super) fn address(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Net(IpAddr::V4(net), bits), IpAddr::V4(address)) => holds_4(*net, *bits, address),
            (Self::Net(IpAddr::V6(net), bits), IpAddr::V6(address)) => holds_6(*net, *bits, address),
            _ => false,
        }
    }
}

impl Display for Exempt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Net(net, bits) => write!(f, "{net}/{bits}"),
        }
    }
}

impl FromStr for Exempt {
    type Err = InvalidExempt;

    fn from_str(text: &str) -> Result<Self, InvalidExempt> {
        let refused = || InvalidExempt(text.to_owned());
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        if let Some((net, bits)) = text.split_once('/') {
            let net: IpAddr = net.parse().map_err(|_| refused())?;
            let most = if net.is_ipv4() { 32 } else { 128 };
            let bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(refused)?;
            return Ok(Self::Net(net, bits));
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (!text.is_empty() && text.bytes().all(fits)).then(|| Self::Host(text.to_owned())).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nobody_and_of_neighbours_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_of_others_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn exempt_are_hosts_addresses_and_nets() {
        for text in ["push.example.org", "10.0.0.7/32", "10.0.0.0/8", "fd00::/8", "::1/128", "0.0.0.0/0"] {
            assert_eq!(text.parse::<Exempt>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.7".parse::<Exempt>().unwrap().to_string(), "10.0.0.7/32");
        for text in ["", "10.0.0.0/33", "fd00::/129", "a/8", "https://x", "a b", "x:1"] {
            assert!(text.parse::<Exempt>().is_err(), "{text}");
        }
        let net: Exempt = "10.0.0.0/8".parse().unwrap();
        assert!(net.address("10.255.0.1".parse().unwrap()) && !net.address("11.0.0.1".parse().unwrap()));
        assert!(!net.address("::ffff:10.0.0.1".parse().unwrap()) && !net.host("10.0.0.1"));
        let all: Exempt = "0.0.0.0/0".parse().unwrap();
        assert!(all.address("255.0.0.1".parse().unwrap()));
    }
}
