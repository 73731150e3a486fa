//! Ed25519 keys of accounts and devices, and the ids that derive from them.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use qpc_wire::{AccountId, DeviceId};
use rand::{CryptoRng, RngCore};
#[cfg(feature = "mls")]
use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A signature that does not hold, a public key that is no point or of small order, or a signature not of 64 bytes. Which
/// of them is of no use to an honest caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not hold")]
pub struct BadSignature;

macro_rules! signing_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Ed25519 (RFC 8032). Zeroed when dropped; has no `Debug` and no `Clone` on purpose.
        pub struct $name(SigningKey);

        impl $name {
            /// A new key.
            pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(seed.as_mut());
                Self::from_bytes(&seed)
            }

            /// The key with this 32-byte seed.
            pub fn from_bytes(seed: &[u8; 32]) -> Self {
                Self(SigningKey::from_bytes(seed))
            }

            /// The 32-byte seed.
            pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
                Zeroizing::new(self.0.to_bytes())
            }

            /// The public key, 32 bytes.
            pub fn public(&self) -> [u8; 32] {
                self.0.verifying_key().to_bytes()
            }

            /// Signs `message`, which must begin with a label of its purpose (see `qpc_wire::proofs`).
            pub fn sign(&self, message: &[u8]) -> [u8; 64] {
                self.0.sign(message).to_bytes()
            }
        }

        // SigningKey zeroes itself.
        impl zeroize::ZeroizeOnDrop for $name {}
    };
}
pub(crate) use signing_key;

signing_key!(
    /// The key that is a person's identity. It signs registrations and device certificates, nothing else.
    AccountKey
);
signing_key!(
    /// The key of one device: it signs logins, attachments, its queue key, transcripts and what it says sealed, and is the MLS
    /// signature key of the device's leaves.
    DeviceKey
);

/// The id of an account: first 16 bytes of SHA-256("qpc account id v1" || key).
pub fn account_id(account_key: &[u8; 32]) -> AccountId {
    AccountId(first_half(sha256(&[b"qpc account id v1", account_key])))
}

/// The id of a device: first 16 bytes of SHA-256("qpc device id v1" || key).
pub fn device_id(device_key: &[u8; 32]) -> DeviceId {
    DeviceId(first_half(sha256(&[b"qpc device id v1", device_key])))
}

/// Checks an Ed25519 signature by the strict rules (no small-order keys, canonical encodings), so that a signature means
/// the same thing to every verifier.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?;
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    key.verify_strict(message, &signature).map_err(|_| BadSignature)
}

/// Signatures that are verified where they are needed: waking another processor takes a good part of the time of one.
#[cfg(feature = "mls")]
pub(crate) const FEW: usize = 4;

/// [`verify`] for each key, message and signature, on all processors when they are more than [`FEW`]. Not the batch verification of the library, which takes
/// signatures that the strict rules refuse: members must agree on what is signed.
#[cfg(feature = "mls")]
pub(crate) fn verify_all(signed: &[([u8; 32], Vec<u8>, [u8; 64])]) -> Result<(), BadSignature> {
    let each = |(public, message, signature): &([u8; 32], Vec<u8>, [u8; 64])| verify(public, message, signature);
    if signed.len() <= FEW {
        signed.iter().try_for_each(each)
    } else {
        signed.par_iter().with_min_len(FEW).try_for_each(each)
    }
}

/// SHA-256 of the parts one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    #[test]
    fn key_is_the_one_of_rfc_8032() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = DeviceKey::from_bytes(&seed.try_into().unwrap());
        assert_eq!(hex::encode(key.public()), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(hex::encode(&key.sign(b"")[..8]), "e5564300c360ac72");
    }

    #[test]
    fn signature_holds_only_for_its_message_and_key() {
        let (key, other) = (AccountKey::generate(&mut OsRng), AccountKey::generate(&mut OsRng));
        let signature = key.sign(b"hello");
        assert_eq!(verify(&key.public(), b"hello", &signature), Ok(()));
        assert_eq!(verify(&key.public(), b"hellO", &signature), Err(BadSignature));
        assert_eq!(verify(&other.public(), b"hello", &signature), Err(BadSignature));
        assert_eq!(verify(&key.public(), b"hello", &signature[..63]), Err(BadSignature));
        let restored = AccountKey::from_bytes(&key.to_bytes());
        assert_eq!(restored.public(), key.public());
    }

    #[test]
    fn small_order_key_signs_nothing() {
        // With the neutral point as key, R = neutral and s = 0 satisfy the lax equation for every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(verify(&neutral, b"anything", &signature), Err(BadSignature));
    }

    #[test]
    fn ids_are_hash_prefixes_and_separate() {
        let key = [7; 32];
        let expected = sha256(&[b"qpc account id v1\x07\x07", &[7; 30]]);
        assert_eq!(account_id(&key).0, expected[..16]);
        assert_ne!(account_id(&key).0, device_id(&key).0);
        assert_eq!(
            hex::encode(sha256(&[b"a", b"bc"])),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
