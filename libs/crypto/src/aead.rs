//! Sealing of data at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), whose 24-byte nonce can be drawn at random for
//! any number of messages under one key.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use rand::{CryptoRng, RngCore};

const NONCE_LEN: usize = 24;

/// Bytes added to a plaintext: nonce (24) and tag (16).
pub const OVERHEAD: usize = NONCE_LEN + 16;

/// A ciphertext that is too short, or not made with this key and these associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ciphertext does not open")]
pub struct AeadError;

/// Encrypts `plaintext`: nonce (24) || ciphertext || tag (16). `aad` is authenticated, not contained.
#[allow(clippy::expect_used, reason = "fails only for 256 GiB and more, which no Vec of ours holds")]
pub fn seal(rng: &mut (impl RngCore + CryptoRng), key: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let ciphertext = XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(&nonce), Payload { msg: plaintext, aad })
        .expect("plaintext fits the cipher");
    [&nonce[..], &ciphertext].concat()
}

/// Decrypts what [`seal`] made.
pub fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AeadError> {
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(AeadError)?;
    XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), Payload { msg: ciphertext, aad })
        .map_err(|_| AeadError)
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    #[test]
    fn opens_only_whole_and_with_its_key_and_data() {
        let key = [9; 32];
        let sealed = seal(&mut OsRng, &key, b"row 1", b"secret");
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert_eq!(open(&key, b"row 1", &sealed).unwrap(), b"secret");
        assert_eq!(open(&key, b"row 2", &sealed), Err(AeadError));
        assert_eq!(open(&[8; 32], b"row 1", &sealed), Err(AeadError));
        for index in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[index] ^= 0x80;
            assert_eq!(open(&key, b"row 1", &bad), Err(AeadError), "byte {index}");
            assert_eq!(open(&key, b"row 1", &sealed[..index]), Err(AeadError), "cut at {index}");
        }
    }

    #[test]
    fn same_plaintext_never_looks_the_same() {
        let one = seal(&mut OsRng, &[1; 32], b"", b"x");
        assert_ne!(one, seal(&mut OsRng, &[1; 32], b"", b"x"));
    }
}
