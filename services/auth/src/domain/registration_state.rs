//! What the server must remember between the two calls of a registration, and lets the client carry, sealed.

use qpc_crypto::aead;
use rand::{CryptoRng, RngCore};

use crate::error::Error;

/// Length of the state with work; without, that is left out.
const LEN: usize = 36;

/// See the module. Needs no expiry, but for the work: it allows nothing but the registration of the name that it was made for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RegistrationState {
    pub(crate) setup_id: u64,
    /// Random, so that it is of no use for anybody else's record.
    pub(crate) credential_id: [u8; 16],
    /// What is to be proved, if anything.
    pub(crate) work: Option<Work>,
}

/// Work over the sealed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) bits: u32,
    /// Unix milliseconds.
    pub(crate) expires_ms: u64,
}

impl RegistrationState {
    pub(crate) fn new(setup_id: u64, work: Option<Work>, rng: &mut impl RngCore) -> Self {
        let mut credential_id = [0; 16];
        rng.fill_bytes(&mut credential_id);
        Self { setup_id, credential_id, work }
    }

    pub(crate) fn seal(&self, key: &[u8; 32], username: &str, rng: &mut (impl RngCore + CryptoRng)) -> Vec<u8> {
        let mut plain = Vec::with_capacity(LEN);
        plain.extend(self.setup_id.to_be_bytes());
        plain.extend(self.credential_id);
        if let Some(work) = &self.work {
            plain.extend(work.bits.to_be_bytes());
            plain.extend(work.expires_ms.to_be_bytes());
        }
        aead::seal(rng, key, &associated(username), &plain)
    }

    pub(crate) fn open(key: &[u8; 32], username: &str, sealed: &[u8]) -> Result<Self, Error> {
        let plain = aead::open(key, &associated(username), sealed).map_err(|_| Error::RegistrationState)?;
        Self::parse(&plain).ok_or(Error::RegistrationState)
    }

    fn parse(plain: &[u8]) -> Option<Self> {
        let (setup_id, rest) = plain.split_first_chunk::<8>()?;
        let (credential_id, rest) = rest.split_first_chunk::<16>()?;
        let work = if rest.is_empty() {
            None
        } else {
            let (bits, expires_ms) = rest.split_first_chunk::<4>()?;
            let expires_ms = u64::from_be_bytes(expires_ms.try_into().ok()?);
            Some(Work { bits: u32::from_be_bytes(*bits), expires_ms })
        };
        Some(Self { setup_id: u64::from_be_bytes(*setup_id), credential_id: *credential_id, work })
    }
}

fn associated(username: &str) -> Vec<u8> {
    [b"registration ", username.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{RegistrationState, Work};
    use qpc_chassis::Runtime;

    #[test]
    fn opens_for_its_name_and_key_only() {
        let mut rng = Runtime::system().rng();
        for work in [None, Some(Work { bits: 13, expires_ms: 1 << 40 })] {
            let state = RegistrationState::new(3, work, &mut rng);
            let sealed = state.seal(&[1; 32], "alice", &mut rng);
            assert_eq!(RegistrationState::open(&[1; 32], "alice", &sealed).unwrap(), state);
            assert!(RegistrationState::open(&[1; 32], "bob", &sealed).is_err());
            assert!(RegistrationState::open(&[2; 32], "alice", &sealed).is_err());
        }
    }
}
