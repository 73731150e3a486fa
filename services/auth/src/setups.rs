//! The secrets of OPAQUE. They live in the database, because all replicas must have the same, sealed under a key that the
//! database does not hold. A setup never changes, so it is read once.

use std::collections::BTreeMap;

use qpc_crypto::{aead, opaque::ServerSetup};
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use crate::{error::Error, store::Store};

/// The setup that the first replica of an installation makes.
const FIRST: u64 = 1;

/// All setups, by their id.
pub(crate) struct Setups {
    current: u64,
    by_id: BTreeMap<u64, ServerSetup>,
}

impl Setups {
    /// Reads the setups, after making the first one if there is none. Of replicas that start together, one wins.
    pub(crate) async fn load(
        store: &Store,
        key: &[u8; 32],
        rng: &mut (impl RngCore + CryptoRng),
        now_ms: u64,
    ) -> Result<Self, Error> {
        let mut stored = store.setups().await?;
        if stored.is_empty() {
            let setup = ServerSetup::generate(rng).to_bytes();
            let sealed = aead::seal(rng, key, &aad(FIRST), &setup);
            store.add_setup(FIRST, &sealed, now_ms).await?;
            stored = store.setups().await?;
        }
        let mut by_id = BTreeMap::new();
        for (id, sealed) in stored {
            let bytes = aead::open(key, &aad(id), &sealed).map_err(|source| Error::SetupSealed { id, source })?;
            let bytes = Zeroizing::new(bytes);
            let setup = ServerSetup::from_bytes(&bytes).map_err(|source| Error::SetupDamaged { id, source })?;
            by_id.insert(id, setup);
        }
        let current = by_id.last_key_value().map(|(id, _)| *id).ok_or(Error::SetupMissing(FIRST))?;
        Ok(Self { current, by_id })
    }

    /// The setup of new registrations.
    pub(crate) fn current(&self) -> Result<(u64, &ServerSetup), Error> {
        Ok((self.current, self.of(self.current)?))
    }

    /// The setup that a record was made with.
    pub(crate) fn of(&self, id: u64) -> Result<&ServerSetup, Error> {
        self.by_id.get(&id).ok_or(Error::SetupMissing(id))
    }
}

fn aad(id: u64) -> Vec<u8> {
    [b"qpc opaque setup v1".as_slice(), &id.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use qpc_chassis::Runtime;

    use super::Setups;
    use crate::{error::Error, store::contract};

    #[tokio::test]
    async fn replicas_share_one_setup_and_another_secret_does_not_open_it() {
        let (store, _folder) = contract::sqlite().await;
        let mut rng = Runtime::system().rng();
        let first = Setups::load(&store, &[1; 32], &mut rng, 0).await.unwrap();
        let second = Setups::load(&store, &[1; 32], &mut rng, 0).await.unwrap();
        let bytes = |setups: &Setups| setups.current().unwrap().1.to_bytes();
        assert_eq!(bytes(&first), bytes(&second));
        let other = Setups::load(&store, &[2; 32], &mut rng, 0).await;
        assert!(matches!(other.err(), Some(Error::SetupSealed { id: 1, .. })));
    }
}
