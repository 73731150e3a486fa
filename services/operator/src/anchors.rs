//! Trust anchors of peers: certificates of authorities, as PEM.

use pem::{EncodeConfig, LineEnding};
use sha2::{Digest as _, Sha256};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer as _, X509Certificate},
};

/// Certificates of one peer.
const MAX: usize = 8;
/// What stands in the lines around one.
const CERTIFICATE: &str = "CERTIFICATE";
/// Bytes of the hash by which people tell them apart.
const ID: usize = 8;

/// Authorities of a peer, all of which may speak for it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchors {
    /// PEM of the certificates and nothing else.
    pub(crate) pem: String,
    /// The beginning of the SHA-256 of each.
    pub(crate) ids: Vec<String>,
    /// When the first of them expires, Unix milliseconds.
    pub(crate) until_ms: u64,
}

/// Why they are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAnchors {
    #[error("no certificate")]
    None,
    #[error("more than {MAX} certificates")]
    TooMany,
    #[error("certificate {0} cannot be read")]
    Unreadable(usize),
    #[error("certificate {0} is none of an authority: its basic constraints do not say CA")]
    NoAuthority(usize),
    #[error("certificate {0} is not valid yet")]
    NotYet(usize),
    #[error("certificate {0} has expired")]
    Expired(usize),
}

impl Anchors {
    /// Reads `pem`. Certificates are counted from 1 in errors.
    pub(crate) fn parse(pem: &str, now_ms: u64) -> Result<Self, InvalidAnchors> {
        let mut anchors = Self { pem: String::new(), ids: Vec::new(), until_ms: u64::MAX };
        for (index, block) in Pem::iter_from_buffer(pem.as_bytes()).enumerate() {
            let number = index + 1;
            if number > MAX {
                return Err(InvalidAnchors::TooMany);
            }
            let block = block.map_err(|_| InvalidAnchors::Unreadable(number))?;
            anchors.take(&block, number, now_ms)?;
        }
        if anchors.ids.is_empty() { Err(InvalidAnchors::None) } else { Ok(anchors) }
    }

    fn take(&mut self, block: &Pem, number: usize, now_ms: u64) -> Result<(), InvalidAnchors> {
        let unreadable = || InvalidAnchors::Unreadable(number);
        if block.label != CERTIFICATE {
            return Err(unreadable());
        }
        let (rest, certificate) = X509Certificate::from_der(&block.contents).map_err(|_| unreadable())?;
        // Bytes behind it would be published with it.
        if !rest.is_empty() {
            return Err(unreadable());
        }
        if !certificate.is_ca() {
            return Err(InvalidAnchors::NoAuthority(number));
        }
        let milliseconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        let validity = certificate.validity();
        let until_ms = milliseconds(validity.not_after.timestamp());
        if now_ms < milliseconds(validity.not_before.timestamp()) {
            return Err(InvalidAnchors::NotYet(number));
        }
        if now_ms > until_ms {
            return Err(InvalidAnchors::Expired(number));
        }
        self.until_ms = self.until_ms.min(until_ms);
        self.ids.push(hex::encode(&Sha256::digest(&block.contents)[..ID]));
        self.pem.push_str(&encode(&block.contents));
        Ok(())
    }
}

/// PEM of a certificate, written anew, so that nothing else that stood between is passed on.
fn encode(certificate: &[u8]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&pem::Pem::new(CERTIFICATE, certificate), lines)
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::{Anchors, InvalidAnchors};

    /// 2026-11-27.
    pub(crate) const NOW: u64 = 1_795_737_600_000;

    /// An authority that is valid from 2026 to `until` (a year).
    pub(crate) fn authority(until: i32) -> String {
        certificate(until, IsCa::Ca(BasicConstraints::Unconstrained))
    }

    fn certificate(until: i32, is_ca: IsCa) -> String {
        let mut params = CertificateParams::new(vec!["peer.example".to_owned()]).unwrap();
        params.is_ca = is_ca;
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn authorities_are_read_and_passed_on_without_what_stands_between() {
        let (first, second) = (authority(2030), authority(2028));
        let anchors = Anchors::parse(&format!("# ours\n{first}\nnoise\n{second}"), NOW).unwrap();
        assert_eq!(anchors.ids.len(), 2);
        assert_eq!(anchors.until_ms, 1_830_297_600_000, "2028-01-01, the first to expire");
        assert!(!anchors.pem.contains("noise") && !anchors.pem.contains("ours"));
        assert_eq!(Anchors::parse(&anchors.pem, NOW), Ok(anchors.clone()), "what is published can be read");
    }

    #[test]
    fn what_cannot_be_trusted_is_refused_by_its_number() {
        let good = authority(2030);
        let refused = |pem: &str| Anchors::parse(pem, NOW).unwrap_err();
        assert_eq!(refused("nothing"), InvalidAnchors::None);
        assert_eq!(refused(&(good.clone() + &authority(2026))), InvalidAnchors::Expired(2));
        assert_eq!(refused(&certificate(2030, IsCa::NoCa)), InvalidAnchors::NoAuthority(1));
        assert_eq!(Anchors::parse(&good, 1_700_000_000_000), Err(InvalidAnchors::NotYet(1)));
        assert_eq!(refused(&good.repeat(9)), InvalidAnchors::TooMany);
        let key = KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(refused(&key), InvalidAnchors::Unreadable(1));
        let cut = good.replace("\n-----END", "AAAA\n-----END");
        assert_eq!(refused(&cut), InvalidAnchors::Unreadable(1));
    }
}
