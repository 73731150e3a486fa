//! Connection ids that say which gateway they belong to, in the plaintext layout of QUIC-LB
//! (draft-ietf-quic-load-balancers-21, section 4.1), which load balancers can read:
//!
//! ```text
//! | 000 length - 1 | server id: 8 | random: 4 | tag: 4 |
//! ```
//!
//! A balancer sees the last eight as the nonce. The tag shows to the other gateways that one of them has made the id, so
//! that nobody else can make them pass on packets or send resets.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prometheus_client::metrics::counter::Counter;
use qpc_chassis::runtime::EntropyRng;
use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use rand::RngCore as _;
use sha2::{Digest, Sha256};

use super::{keys::EdgeKeys, long};

/// Bytes of a connection id.
pub(crate) const LEN: usize = 1 + SERVER + RANDOM + TAG;
/// Bytes of a server id; the balancer of AWS takes just so many.
const SERVER: usize = 8;
const RANDOM: usize = 4;
/// Bytes of the tag.
pub(crate) const TAG: usize = 4;
/// Configuration 0, and the length without this octet.
const FIRST: u8 = (LEN - 1) as u8;
/// What server ids begin with that are made of an IPv4 address.
const OF_IPV4: [u8; 4] = *b"qpc4";

/// Which gateway a connection belongs to. Different for all gateways of an installation at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId([u8; SERVER]);

impl ServerId {
    /// That of a pod. The address can be read from it if it is one of IPv4.
    pub fn of(address: IpAddr) -> Self {
        let mut id = [0; SERVER];
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                id[..4].copy_from_slice(&OF_IPV4);
                id[4..].copy_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => id.copy_from_slice(&Sha256::digest(v6.octets())[..SERVER]),
        }
        Self(id)
    }

    /// The address that it was made of.
    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        let octets = <[u8; 4]>::try_from(self.0.strip_prefix(&OF_IPV4)?).ok()?;
        Some(octets.into())
    }
}

impl From<[u8; SERVER]> for ServerId {
    fn from(octets: [u8; SERVER]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerId({self})")
    }
}

/// Not a server id.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a server id is 16 hexadecimal digits, with or without 0x before them, or 8 bytes in base64")]
pub struct ServerIdForm;

impl FromStr for ServerId {
    type Err = ServerIdForm;

    /// As the API of AWS writes it, or as its controller for Kubernetes hands it to pods.
    fn from_str(text: &str) -> Result<Self, ServerIdForm> {
        let mut id = [0; SERVER];
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if hex::decode_to_slice(digits, &mut id).is_err() {
            let decoded = STANDARD.decode(text).map_err(|_| ServerIdForm)?;
            id = decoded.try_into().map_err(|_| ServerIdForm)?;
        }
        Ok(Self(id))
    }
}

/// A connection id without its tag, and the tag.
pub(super) fn split(id: &[u8]) -> Option<(&[u8], &[u8])> {
    (id.len() == LEN).then(|| id.split_at(LEN - TAG))
}

/// What a datagram says of whose it is.
pub(super) struct Claim<'a> {
    /// May still be there by chance, or made up.
    pub(super) server: ServerId,
    /// The connection id.
    pub(super) id: &'a [u8],
    /// What the server has to see of the datagram.
    pub(super) packet: &'a [u8],
}

/// `None` for what begins a connection, whose id is made by the client, and for what is no packet of ours.
pub(super) fn claim(datagram: &[u8]) -> Option<Claim<'_>> {
    let (packet, id) =
        if long::is_long(datagram) { long::handshake(datagram)? } else { (datagram, datagram.get(1..=LEN)?) };
    if id.len() != LEN || id[0] != FIRST {
        return None;
    }
    let server = <[u8; SERVER]>::try_from(&id[1..=SERVER]).ok()?;
    Some(Claim { server: ServerId(server), id, packet })
}

/// Tells tokens of resets from those that are given out with new ids, which are made by the same key: an id is signed right
/// after it was generated, or never.
#[derive(Default)]
pub(super) struct Fresh {
    last: Mutex<Option<[u8; LEN]>>,
    resets: Counter,
}

impl Fresh {
    /// `resets` counts tokens of resets.
    pub(super) fn new(resets: Counter) -> Self {
        Self { last: Mutex::default(), resets }
    }

    fn generated(&self, id: [u8; LEN]) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    pub(super) fn signed(&self, id: &[u8]) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| last == id) {
            *last = None;
        } else {
            self.resets.inc();
        }
    }
}

/// Makes the connection ids of one gateway.
#[derive(Clone)]
pub(super) struct Generator {
    pub(super) keys: Arc<EdgeKeys>,
    pub(super) own: ServerId,
    /// Whether those of others are answered with a reset: only where none gets here of which the owner may live.
    pub(super) others: bool,
    pub(super) fresh: Arc<Fresh>,
    pub(super) rng: EntropyRng,
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; LEN];
        id[0] = FIRST;
        id[1..=SERVER].copy_from_slice(&self.own.0);
        self.rng.fill_bytes(&mut id[1 + SERVER..LEN - TAG]);
        let tag = self.keys.cid_tag(&id[..LEN - TAG]);
        id[LEN - TAG..].copy_from_slice(&tag);
        self.fresh.generated(id);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let (shown, tag) = split(id).ok_or(InvalidCid)?;
        let mine = self.others || shown[1..=SERVER] == self.own.0;
        (mine && self.keys.knows_cid(shown, tag)).then_some(()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use qpc_chassis::Runtime;

    use super::*;

    fn generator(own: &str, keys: &Arc<EdgeKeys>) -> Generator {
        let rng = Runtime::system().rng();
        Generator { keys: keys.clone(), own: own.parse().unwrap(), others: true, fresh: Arc::default(), rng }
    }

    #[test]
    fn the_layout_is_the_plaintext_one_of_quic_lb() {
        let keys = EdgeKeys::random(&Runtime::system());
        let id = generator("0x0102030405060708", &keys).generate_cid();
        // Configuration 0 in the high three bits, 16 octets follow, then the server id.
        assert_eq!(id[..9], [0x10, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(id.len(), 17);
        let packet = [&[0x40], &*id, &[0; 20]].concat();
        let handshake = [&[0xe0, 0, 0, 0, 1, 17], &*id, &[0, 20], &[0; 20]].concat();
        for packet in [&packet, &handshake] {
            let claim = claim(packet).unwrap();
            assert_eq!((claim.server, claim.id), ("0102030405060708".parse().unwrap(), &*id));
        }
        assert!(claim(&packet[..17]).is_none(), "too short");
        assert!(claim(&[&[0x40, 0x11], &id[1..]].concat()).is_none(), "another length");
        let short = [&[0xe0, 0, 0, 0, 1, 16], &id[..16], &[0, 20], &[0; 20]].concat();
        assert!(claim(&short).is_none(), "another length");
    }

    #[test]
    fn gateways_with_the_same_keys_know_each_others_ids() {
        let keys = EdgeKeys::random(&Runtime::system());
        let (mut here, there) = (generator("01".repeat(8).as_str(), &keys), generator("02".repeat(8).as_str(), &keys));
        let id = here.generate_cid();
        assert!(here.validate(&id).is_ok());
        assert!(there.validate(&id).is_ok());
        assert!(Generator { others: false, ..there.clone() }.validate(&id).is_err());
        assert!(Generator { others: false, ..here.clone() }.validate(&id).is_ok());
        let stranger = generator("01".repeat(8).as_str(), &EdgeKeys::random(&Runtime::system()));
        assert!(stranger.validate(&id).is_err());
        let mut forged = id;
        forged[3] ^= 1;
        assert!(here.validate(&forged).is_err());
    }

    #[test]
    fn server_ids_come_as_digits_as_base64_or_from_an_address() {
        let id: ServerId = "2d6575a16fa08ea4".parse().unwrap();
        assert_eq!("0x2d6575a16fa08ea4".parse::<ServerId>().unwrap(), id);
        assert_eq!("LWV1oW+gjqQ=".parse::<ServerId>().unwrap(), id);
        assert_eq!(id.to_string(), "2d6575a16fa08ea4");
        for bad in ["", "0x", "2d6575a16fa08e", "2d6575a16fa08ea4ff", "words words"] {
            assert!(bad.parse::<ServerId>().is_err(), "{bad}");
        }
        let pod = ServerId::of("10.1.2.3".parse().unwrap());
        assert_eq!(pod.address(), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(ServerId::of("::ffff:10.1.2.3".parse().unwrap()), pod);
        let six = ServerId::of("fd00::1".parse().unwrap());
        assert_eq!(six.address(), None);
        assert_ne!(six, ServerId::of("fd00::2".parse().unwrap()));
    }

    #[test]
    fn a_token_for_an_id_that_was_not_just_made_is_a_reset() {
        let mut generator = generator("01".repeat(8).as_str(), &EdgeKeys::random(&Runtime::system()));
        let fresh = generator.fresh.clone();
        let id = generator.generate_cid();
        fresh.signed(&id);
        assert_eq!(fresh.resets.get(), 0);
        fresh.signed(&id);
        assert_eq!(fresh.resets.get(), 1);
    }
}
