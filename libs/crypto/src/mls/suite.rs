//! The cipher suites we speak.

use openmls::prelude::Ciphersuite;

/// A cipher suite, a property of each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suite {
    /// X25519 and ML-KEM-768 together (X-Wing). The code point is provisional (draft-ietf-mls-pq-ciphersuites).
    #[default]
    Hybrid,
    /// X25519 alone, for groups and links where 1.2 kB per path node is too much.
    Classic,
}

impl Suite {
    /// Both, in order of preference.
    pub const ALL: [Self; 2] = [Self::Hybrid, Self::Classic];

    /// The code point.
    pub fn id(self) -> u16 {
        match self {
            Self::Hybrid => 0x004F,
            Self::Classic => 0x0001,
        }
    }

    /// The name in the RFC or draft.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519",
            Self::Classic => "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
        }
    }

    /// The suite with this code point, if we speak it.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.id() == id)
    }

    pub(super) fn ciphersuite(self) -> Ciphersuite {
        match self {
            Self::Hybrid => Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519,
            Self::Classic => Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
        }
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_openmls() {
        for suite in Suite::ALL {
            assert_eq!(u16::from(suite.ciphersuite()), suite.id());
            assert_eq!(format!("{:?}", suite.ciphersuite()), suite.name());
            assert_eq!(Suite::from_id(suite.id()), Some(suite));
        }
        assert_eq!(Suite::from_id(0x0002), None);
        assert_eq!(Suite::default(), Suite::Hybrid);
    }
}
