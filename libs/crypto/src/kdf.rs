//! Keys from passwords (Argon2id, RFC 9106) and from other keys (HKDF-SHA256, RFC 5869).

use argon2::{Algorithm, Argon2, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Cost of turning a password into a key with Argon2id. Public, kept by the server for each account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KsfParams {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

/// Why a password was not turned into a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KdfError {
    /// Cheaper than [`KsfParams::FLOOR`]: whoever proposed it may want to guess the password.
    #[error("password cost {0:?} is below the floor")]
    BelowFloor(KsfParams),
    /// Dearer than [`KsfParams::CEILING`]: whoever proposed it may want to exhaust this device.
    #[error("password cost {0:?} is above the ceiling")]
    AboveCeiling(KsfParams),
    /// Argon2 refused the combination, or had no memory.
    #[error("argon2: {0}")]
    Argon2(argon2::Error),
}

impl KsfParams {
    /// 64 MiB, 3 passes, 4 lanes: the second choice of RFC 9106 section 4, about 0.15 s.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 << 10, iterations: 3, parallelism: 4 };
    /// 19 MiB, 2 passes, 1 lane: the least a client agrees to (OWASP password storage).
    pub const FLOOR: Self = Self { memory_kib: 19 << 10, iterations: 2, parallelism: 1 };
    /// 1 GiB, 16 passes, 16 lanes: the most a client agrees to.
    pub const CEILING: Self = Self { memory_kib: 1 << 20, iterations: 16, parallelism: 16 };

    /// Whether these may be used: a client asks before it stretches a password with numbers from a server.
    pub fn check_floor(&self) -> Result<(), KdfError> {
        if !self.at_least(&Self::FLOOR) {
            return Err(KdfError::BelowFloor(*self));
        }
        if !Self::CEILING.at_least(self) {
            return Err(KdfError::AboveCeiling(*self));
        }
        Ok(())
    }

    fn at_least(&self, other: &Self) -> bool {
        self.memory_kib >= other.memory_kib
            && self.iterations >= other.iterations
            && self.parallelism >= other.parallelism
    }

    /// Argon2id with this cost, after [`Self::check_floor`].
    pub(crate) fn argon2(&self) -> Result<Argon2<'static>, KdfError> {
        self.check_floor()?;
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, None).map_err(KdfError::Argon2)?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

impl Default for KsfParams {
    fn default() -> Self {
        Self::RECOMMENDED
    }
}

/// The key of the local database from a password. `salt` is random, 16 bytes, stored beside the database.
pub fn local_store_key(password: &[u8], salt: &[u8; 16], params: KsfParams) -> Result<Zeroizing<[u8; 32]>, KdfError> {
    let mut key = Zeroizing::new([0; 32]);
    params.argon2()?.hash_password_into(password, salt, key.as_mut()).map_err(KdfError::Argon2)?;
    Ok(key)
}

/// A 32-byte key for the purpose `label`, from a key that is uniformly random (HKDF-SHA256, no salt).
#[allow(clippy::expect_used, reason = "32 bytes are below the 8160 that HKDF-SHA256 gives")]
pub fn expand(key: &[u8], label: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(None, key).expand(label, &mut out).expect("32 bytes are within the limit of HKDF");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expand_is_hkdf_without_salt() {
        // RFC 5869 test case 3: no salt, no info.
        assert_eq!(
            hex::encode(expand(&[0x0b; 22], b"")),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        );
        assert_ne!(expand(&[1; 32], b"a"), expand(&[1; 32], b"b"));
    }

    #[test]
    fn server_cannot_choose_a_cheap_or_ruinous_cost() {
        assert_eq!(KsfParams::FLOOR.check_floor(), Ok(()));
        assert_eq!(KsfParams::RECOMMENDED.check_floor(), Ok(()));
        assert_eq!(KsfParams::CEILING.check_floor(), Ok(()));
        for cheap in [
            KsfParams { memory_kib: (19 << 10) - 1, ..KsfParams::RECOMMENDED },
            KsfParams { iterations: 1, ..KsfParams::RECOMMENDED },
            KsfParams { parallelism: 0, ..KsfParams::RECOMMENDED },
        ] {
            assert_eq!(cheap.check_floor(), Err(KdfError::BelowFloor(cheap)));
            assert_eq!(local_store_key(b"pw", &[0; 16], cheap).unwrap_err(), KdfError::BelowFloor(cheap));
        }
        let ruinous = KsfParams { memory_kib: u32::MAX, ..KsfParams::RECOMMENDED };
        assert_eq!(ruinous.check_floor(), Err(KdfError::AboveCeiling(ruinous)));
    }

    #[test]
    fn store_key_depends_on_all_inputs() {
        let floor = KsfParams::FLOOR;
        let key = local_store_key(b"password", &[1; 16], floor).unwrap();
        assert_eq!(key, local_store_key(b"password", &[1; 16], floor).unwrap());
        assert_ne!(key, local_store_key(b"Password", &[1; 16], floor).unwrap());
        assert_ne!(key, local_store_key(b"password", &[2; 16], floor).unwrap());
        assert_ne!(key, local_store_key(b"password", &[1; 16], KsfParams { iterations: 3, ..floor }).unwrap());
    }
}
