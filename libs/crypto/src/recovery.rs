//! Coming back to an account of which every device is lost: by one of a few codes on paper, with a server that learns
//! neither the codes nor what they open.
//!
//! The bundle (account key, contacts, conversations) is sealed to an X-Wing key, so that a device can renew it without
//! knowing the codes. The secret half of that key, the *root*, is wrapped once for each code. A code stretched by Argon2id
//! gives two keys: a token by which the server finds the wrapped root, of which it stores the hash alone, and the key that
//! unwraps it. Beside the root the account's public key is wrapped, so that no bundle opens that names another account.

use std::{fmt, str::FromStr};

use rand::{CryptoRng, RngCore};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    KdfError, KsfParams, QueueKey, aead, base32, kdf,
    padding::{self, PaddingError},
    queue::{self, QueueError, SEALED_KEY_LEN},
    sha256,
};

/// Codes of a set.
pub const CODES: usize = 8;
/// Length of [`CodeKeys::wrap`]'s answer, bytes.
pub const WRAPPED_LEN: usize = 64 + aead::OVERHEAD;
/// Bytes of the id of a set.
pub const SET_LEN: usize = 16;

/// What a code costs to try. Fixed: there is nobody to ask before the code is used.
const COST: KsfParams = KsfParams::RECOMMENDED;
const SECRET: usize = 16;
const CHECK: usize = 4;
/// Characters of a code that are shown together.
const GROUP: usize = 4;

/// One of the codes: 128 random bits and a checksum. No `Debug` on purpose; shown once, by [`fmt::Display`].
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct RecoveryCode([u8; SECRET]);

/// Not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecoveryCode {
    /// Something else.
    #[error("this is no recovery code: it has 8 groups of 4 letters and digits")]
    Malformed,
    /// A character is wrong.
    #[error("the recovery code is mistyped")]
    Checksum,
}

/// Why a bundle does not open.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The code could not be stretched.
    #[error(transparent)]
    Kdf(#[from] KdfError),
    /// What the server gave is not wrapped for this code.
    #[error("the recovery code does not open what the server gave")]
    Wrapped,
    /// The bundle is not sealed to the root.
    #[error("the recovery bundle does not open: {0}")]
    Bundle(#[from] QueueError),
    /// The bundle is not padded as it should be.
    #[error("the recovery bundle is damaged: {0}")]
    Padding(#[from] PaddingError),
    /// The bundle is too short.
    #[error("the recovery bundle is too short")]
    Short,
}

/// What a code gives.
#[derive(ZeroizeOnDrop)]
pub struct CodeKeys {
    token: [u8; 32],
    wrap: [u8; 32],
}

/// What opens the bundle, and whose it must be.
pub struct RecoveryRoot {
    key: QueueKey,
    /// Public key of the account.
    pub account_key: [u8; 32],
}

impl RecoveryCode {
    /// A new one.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut secret = [0; SECRET];
        rng.fill_bytes(&mut secret);
        Self(secret)
    }

    /// Stretches the code: about 0.15 s and 64 MiB.
    pub fn keys(&self) -> Result<CodeKeys, KdfError> {
        let mut salt = [0; 16];
        salt.copy_from_slice(&sha256(&[b"qpc recovery salt v1"])[..16]);
        let stretched = kdf::local_store_key(&self.0, &salt, COST)?;
        Ok(CodeKeys {
            token: kdf::expand(stretched.as_ref(), b"qpc recovery token v1"),
            wrap: kdf::expand(stretched.as_ref(), b"qpc recovery wrap v1"),
        })
    }

    fn check(&self) -> [u8; CHECK] {
        let mut check = [0; CHECK];
        check.copy_from_slice(&sha256(&[b"qpc recovery code v1", &self.0])[..CHECK]);
        check
    }
}

impl fmt::Display for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = Zeroizing::new([self.0.as_slice(), &self.check()].concat());
        f.write_str(&Zeroizing::new(base32::encode(&bytes, GROUP)))
    }
}

impl FromStr for RecoveryCode {
    type Err = BadRecoveryCode;

    fn from_str(code: &str) -> Result<Self, BadRecoveryCode> {
        let bytes = base32::decode::<{ SECRET + CHECK }>(code).map(Zeroizing::new).ok_or(BadRecoveryCode::Malformed)?;
        let (secret, check) = bytes.split_at(SECRET);
        let code = Self(secret.try_into().map_err(|_| BadRecoveryCode::Malformed)?);
        if code.check() == check { Ok(code) } else { Err(BadRecoveryCode::Checksum) }
    }
}

impl CodeKeys {
    /// What the server is shown to find the row of the code.
    pub fn token(&self) -> &[u8; 32] {
        &self.token
    }

    /// Under which the server keeps it.
    pub fn lookup(&self) -> [u8; 32] {
        lookup(&self.token)
    }

    /// Wraps the root for this code, [`WRAPPED_LEN`] bytes.
    pub fn wrap(&self, rng: &mut (impl RngCore + CryptoRng), set: &[u8; SET_LEN], root: &RecoveryRoot) -> Vec<u8> {
        let plain = Zeroizing::new([root.key.to_bytes().as_slice(), &root.account_key].concat());
        aead::seal(rng, &self.wrap, &self.associated(set), &plain)
    }

    /// Unwraps the root.
    pub fn unwrap(&self, set: &[u8; SET_LEN], wrapped: &[u8]) -> Result<RecoveryRoot, RecoveryError> {
        let plain = aead::open(&self.wrap, &self.associated(set), wrapped).map_err(|_| RecoveryError::Wrapped)?;
        let plain = Zeroizing::new(plain);
        let (seed, account_key) = plain.split_first_chunk::<32>().ok_or(RecoveryError::Wrapped)?;
        let account_key = account_key.try_into().map_err(|_| RecoveryError::Wrapped)?;
        Ok(RecoveryRoot { key: QueueKey::from_bytes(seed), account_key })
    }

    fn associated(&self, set: &[u8; SET_LEN]) -> Vec<u8> {
        [b"qpc recovery root v1", set.as_slice(), &self.lookup()].concat()
    }
}

impl RecoveryRoot {
    /// A new one for the account with this public key.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng), account_key: [u8; 32]) -> Self {
        Self { key: QueueKey::generate(rng), account_key }
    }

    /// What [`seal`] needs. Kept by the devices of the account; the server never sees it.
    pub fn public_bytes(&self) -> Vec<u8> {
        self.key.public_bytes()
    }

    /// Opens a bundle.
    pub fn open(&self, set: &[u8; SET_LEN], bundle: &[u8]) -> Result<Zeroizing<Vec<u8>>, RecoveryError> {
        let (sealed_key, payload) = bundle.split_at_checked(SEALED_KEY_LEN).ok_or(RecoveryError::Short)?;
        let padded = Zeroizing::new(self.key.open(sealed_key, payload, &info(set), set)?);
        Ok(Zeroizing::new(padding::unpad(&padded)?.to_vec()))
    }
}

/// Where the server keeps the row of a code: the hash of its token, so that the database alone finds nothing.
pub fn lookup(token: &[u8]) -> [u8; 32] {
    sha256(&[b"qpc recovery lookup v1", token])
}

/// Seals a bundle to a root: sealed key ‖ ciphertext, padded before.
pub fn seal(
    rng: &mut (impl RngCore + CryptoRng),
    root_public: &[u8],
    set: &[u8; SET_LEN],
    plain: &[u8],
) -> Result<Vec<u8>, QueueError> {
    let padded = Zeroizing::new(padding::pad(plain));
    let (payload, key) = queue::seal_payload(rng, &padded, set);
    Ok([queue::seal_key(rng, &key, root_public, &info(set))?, payload].concat())
}

fn info(set: &[u8; SET_LEN]) -> Vec<u8> {
    [b"qpc recovery bundle v1", set.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const SET: [u8; SET_LEN] = [6; SET_LEN];

    #[test]
    fn codes_are_frozen() {
        let code = RecoveryCode([5; SECRET]);
        assert_eq!(code.to_string(), "0M2G-A185-0M2G-A185-0M2G-A185-0NHB-T54C");
        let keys = code.keys().unwrap();
        assert_eq!(hex::encode(keys.token()), "16bb59966b27094c8ba77b5b1510652d0162b7e9616811c50e26741b33ad4472");
        assert_eq!(hex::encode(keys.lookup()), "c3c54361daac2c9a84d2a785388f17a913c8a593aa59afe6ea79b54c049bb665");
        assert_eq!(hex::encode(keys.wrap), "5ae1aa859d01ffbbce57d9e85ae9ac2f6cc4c2d0510593cf56360535a9939bbb");
    }

    #[test]
    fn a_mistyped_code_is_noticed_at_home() {
        let code = RecoveryCode::generate(&mut OsRng);
        let written = code.to_string();
        assert_eq!(written.split('-').map(str::len).collect::<Vec<_>>(), [4; 8]);
        let sloppy = written.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "I");
        assert!(sloppy.parse() == Ok(code.clone()));
        for (index, character) in written.char_indices().filter(|(_, character)| *character != '-') {
            let other = if character == '7' { "8" } else { "7" };
            let mut wrong = written.clone();
            wrong.replace_range(index..=index, other);
            assert!(wrong.parse::<RecoveryCode>() == Err(BadRecoveryCode::Checksum), "place {index}");
        }
        for malformed in ["", &written[1..], &format!("{written}0"), &written.replacen(&written[..1], "U", 1)] {
            assert!(malformed.parse::<RecoveryCode>() == Err(BadRecoveryCode::Malformed), "{malformed}");
        }
    }

    #[test]
    fn every_code_opens_the_bundle_and_nothing_else_does() {
        let codes = [RecoveryCode::generate(&mut OsRng), RecoveryCode::generate(&mut OsRng)];
        let root = RecoveryRoot::generate(&mut OsRng, [7; 32]);
        let bundle = seal(&mut OsRng, &root.public_bytes(), &SET, b"everything").unwrap();
        let keys = codes.map(|code| code.keys().unwrap());
        for keys in &keys {
            let wrapped = keys.wrap(&mut OsRng, &SET, &root);
            assert_eq!(wrapped.len(), WRAPPED_LEN);
            let found = keys.unwrap(&SET, &wrapped).unwrap();
            assert_eq!(found.account_key, [7; 32]);
            assert_eq!(found.open(&SET, &bundle).unwrap().as_slice(), b"everything");
            assert!(matches!(keys.unwrap(&[0; SET_LEN], &wrapped), Err(RecoveryError::Wrapped)), "another set");
            let mut changed = wrapped.clone();
            changed[30] ^= 1;
            assert!(matches!(keys.unwrap(&SET, &changed), Err(RecoveryError::Wrapped)));
        }
        let wrapped = keys[0].wrap(&mut OsRng, &SET, &root);
        assert!(matches!(keys[1].unwrap(&SET, &wrapped), Err(RecoveryError::Wrapped)), "that of another code");
        let other = RecoveryRoot::generate(&mut OsRng, [7; 32]);
        assert!(matches!(other.open(&SET, &bundle), Err(RecoveryError::Bundle(_))));
        assert!(matches!(root.open(&[0; SET_LEN], &bundle), Err(RecoveryError::Bundle(_))));
        assert!(matches!(root.open(&SET, &bundle[..SEALED_KEY_LEN - 1]), Err(RecoveryError::Short)));
    }
}
