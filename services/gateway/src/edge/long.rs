//! Packets with a long header, those of handshakes (RFC 9000 section 17.2), as far as it matters whose they are.
//!
//! A client begins with an id of its own making, and turns to the gateway's with the first answer. Initial packets may begin
//! something, with any id: that of a Retry, or one that somebody repeats. Packets of type Handshake never do, so they alone are
//! passed on; what they do not say is made good by those that are sent again.

use bytes::Buf;

/// Bit of the first octet of such a packet.
const LONG: u8 = 0x80;
/// In another version the types have other numbers, and nobody here speaks one.
const VERSION_1: u32 = 1;
/// Bits of the first octet that say of which type it is.
const TYPE: u8 = 0x30;
const INITIAL: u8 = 0x00;
const HANDSHAKE: u8 = 0x20;
/// An id is no longer.
const MAX_ID: usize = 20;

pub(super) fn is_long(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & LONG != 0)
}

/// What a datagram holds from its first packet of type Handshake on, which may stand behind an Initial one, and the
/// connection id of that.
pub(super) fn handshake(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let (packet, (of_type, id, _)) = match read(datagram)? {
        (INITIAL, _, behind) => (behind, read(behind)?),
        first => (datagram, first),
    };
    (of_type == HANDSHAKE).then_some((packet, id))
}

/// Type and connection id of the first packet, and what is behind it. `None` also for Retry and 0-RTT, which no client of ours
/// sends. The bit that is always set may be anything (RFC 9287).
fn read(mut bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let first = bytes.try_get_u8().ok()?;
    if first & LONG == 0 || bytes.try_get_u32().ok()? != VERSION_1 {
        return None;
    }
    let (destination, _source) = (id(&mut bytes)?, id(&mut bytes)?);
    match first & TYPE {
        INITIAL => {
            let token = number(&mut bytes)?;
            bytes = bytes.get(token..)?;
        }
        HANDSHAKE => {}
        _ => return None,
    }
    let len = number(&mut bytes)?;
    Some((first & TYPE, destination, bytes.get(len..)?))
}

fn id<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(bytes.try_get_u8().ok()?);
    let (id, rest) = bytes.split_at_checked(len).filter(|_| len <= MAX_ID)?;
    *bytes = rest;
    Some(id)
}

/// An integer of variable length (RFC 9000 section 16).
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let (octets, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    let value = octets.iter().fold(0_u64, |value, octet| value << 8 | u64::from(*octet));
    // Without the two bits that say how long it is.
    usize::try_from(value & (u64::MAX >> (66 - 8 * len))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 17] = [9; 17];

    fn packet(first: u8, version: u32, token: Option<&[u8]>, payload: usize) -> Vec<u8> {
        let mut packet = [&[first], version.to_be_bytes().as_slice(), &[17], &ID, &[8], &[3; 8]].concat();
        if let Some(token) = token {
            packet.extend([&(0x4000 | token.len() as u16).to_be_bytes(), token].concat());
        }
        packet.extend((0x8000_0000 | payload as u32).to_be_bytes());
        packet.resize(packet.len() + payload, 7);
        packet
    }

    #[test]
    fn a_handshake_that_goes_on_is_found_and_one_that_may_begin_is_not() {
        let one = packet(0xe3, 1, None, 300);
        assert_eq!(handshake(&one), Some((one.as_slice(), ID.as_slice())));
        let more = [one.as_slice(), &[0x40; 90]].concat();
        assert_eq!(handshake(&more), Some((more.as_slice(), ID.as_slice())));
        for token in [b"".as_slice(), &[5; 90]] {
            let initial = packet(0xc1, 1, Some(token), 40);
            assert_eq!(handshake(&initial), None);
            assert_eq!(handshake(&[initial.as_slice(), &initial].concat()), None);
            assert_eq!(handshake(&[initial.as_slice(), &more].concat()), Some((more.as_slice(), ID.as_slice())));
        }
        assert!(handshake(&packet(0xa0, 1, None, 40)).is_some(), "the fixed bit is not looked at");
        assert_eq!(handshake(&packet(0xd0, 1, None, 40)), None, "0-RTT");
        assert_eq!(handshake(&packet(0xf0, 1, None, 40)), None, "Retry");
        assert_eq!(handshake(&packet(0xe0, 0x6b33_43cf, None, 40)), None, "version 2");
        assert_eq!(handshake(&packet(0xe0, 0, None, 40)), None, "version negotiation");
        assert_eq!(handshake(&packet(0x60, 1, None, 40)), None, "a short header");
    }

    #[test]
    fn what_is_cut_off_or_lies_about_its_length_is_nothing() {
        let whole = [packet(0xc1, 1, Some(&[5; 9]), 30), packet(0xe3, 1, None, 30)].concat();
        assert!(handshake(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(handshake(&whole[..len]), None, "{len} octets");
        }
        let mut long = packet(0xe3, 1, None, 30);
        long[5] = 21;
        assert_eq!(handshake(&long), None);
        let huge = [&[0xc1, 0, 0, 0, 1, 0, 0], [0xff; 8].as_slice(), &[0; 40]].concat();
        assert_eq!(handshake(&huge), None, "a token of 2^62 octets");
    }

    #[test]
    fn an_integer_is_as_long_as_it_says() {
        // RFC 9000 appendix A.1.
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x40, 0x25], 37),
            (&[0x25], 37),
        ] {
            assert_eq!(number(&mut &*bytes), Some(value));
        }
    }
}
