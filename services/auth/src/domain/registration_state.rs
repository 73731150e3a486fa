//! What the server must remember between the two calls of a registration, and lets the client carry, sealed.

use qpc_crypto::aead;
use rand::{CryptoRng, RngCore};

use crate::error::Error;

const LEN: usize = 24;

/// See the module. Needs no expiry: it allows nothing but the registration of the name that it was made for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RegistrationState {
    pub(crate) setup_id: u64,
    /// Random, so that it is of no use for anybody else's record.
    pub(crate) credential_id: [u8; 16],
}

impl RegistrationState {
    pub(crate) fn new(setup_id: u64, rng: &mut impl RngCore) -> Self {
        let mut credential_id = [0; 16];
        rng.fill_bytes(&mut credential_id);
        Self { setup_id, credential_id }
    }

    pub(crate) fn seal(&self, key: &[u8; 32], username: &str, rng: &mut (impl RngCore + CryptoRng)) -> Vec<u8> {
        let mut plain = [0; LEN];
        plain[..8].copy_from_slice(&self.setup_id.to_be_bytes());
        plain[8..].copy_from_slice(&self.credential_id);
        aead::seal(rng, key, &associated(username), &plain)
    }

    pub(crate) fn open(key: &[u8; 32], username: &str, sealed: &[u8]) -> Result<Self, Error> {
        let plain = aead::open(key, &associated(username), sealed).map_err(|_| Error::RegistrationState)?;
        let (setup_id, credential_id) = plain.split_first_chunk::<8>().ok_or(Error::RegistrationState)?;
        Ok(Self {
            setup_id: u64::from_be_bytes(*setup_id),
            credential_id: credential_id.try_into().map_err(|_| Error::RegistrationState)?,
        })
    }
}

fn associated(username: &str) -> Vec<u8> {
    [b"registration ", username.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::RegistrationState;
    use qpc_chassis::Runtime;

    #[test]
    fn opens_for_its_name_and_key_only() {
        let mut rng = Runtime::system().rng();
        let state = RegistrationState::new(3, &mut rng);
        let sealed = state.seal(&[1; 32], "alice", &mut rng);
        assert_eq!(RegistrationState::open(&[1; 32], "alice", &sealed).unwrap(), state);
        assert!(RegistrationState::open(&[1; 32], "bob", &sealed).is_err());
        assert!(RegistrationState::open(&[2; 32], "alice", &sealed).is_err());
    }
}
