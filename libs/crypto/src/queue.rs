//! A device's queue key. The payload of a message is encrypted once under a key of its own; that key is sealed to every
//! recipient with HPKE (RFC 9180, base mode; KEM X-Wing of draft-ietf-hpke-pq, HKDF-SHA256, ChaCha20-Poly1305).
//!
//! [`seal_for`] and [`QueueKey::open_for`] fix what is bound to what: `info` is "qpc queue v1" || device id, so a sealed
//! key opens only for the device it was made for, and the associated data of the payload is the group id.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use qpc_wire::{DeviceId, GroupId};
use rand::{CryptoRng, RngCore};
use zeroize::{ZeroizeOnDrop, Zeroizing};

type Private = <XWing as hpke::Kem>::PrivateKey;
type Public = <XWing as hpke::Kem>::PublicKey;
type Encapsulation = <XWing as hpke::Kem>::EncappedKey;

/// Length of a public queue key, bytes.
pub const PUBLIC_LEN: usize = 1216;
/// Length of a sealed payload key, bytes: encapsulation (1120), key (32), tag (16).
pub const SEALED_KEY_LEN: usize = ENCAPSULATION_LEN + 32 + 16;

const ENCAPSULATION_LEN: usize = 1120;
const INFO_LABEL: &[u8] = b"qpc queue v1";

/// Why sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Not a public queue key.
    #[error("not a queue key")]
    PublicKey,
    /// The sealed key has the wrong length.
    #[error("sealed key must be {SEALED_KEY_LEN} bytes, not {0}")]
    SealedKeyLength(usize),
    /// The sealed key was made for another key or another device, or was changed.
    #[error("sealed key does not open")]
    SealedKey,
    /// The payload was made with another key or for another group, or was changed.
    #[error("payload does not open")]
    Payload,
    /// HPKE could not encapsulate.
    #[error("sealing failed")]
    Seal,
}

/// The secret half of a queue key. Zeroed when dropped; no `Debug` on purpose.
pub struct QueueKey(Private);

/// The key of one payload. It encrypts that payload only, which is why its nonce can be zero.
#[derive(ZeroizeOnDrop)]
pub struct PayloadKey([u8; 32]);

/// One message for the queues of several devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPayload {
    /// The ciphertext all of them get.
    pub payload: Vec<u8>,
    /// For each device the sealed key, [`SEALED_KEY_LEN`] bytes, in the order asked for.
    pub keys: Vec<(DeviceId, Vec<u8>)>,
}

impl QueueKey {
    /// A new key.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_bytes(&seed)
    }

    /// The key with this 32-byte seed (the X-Wing decapsulation key).
    #[allow(clippy::expect_used, reason = "any 32 bytes are a decapsulation key")]
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(Private::from_bytes(seed).expect("any 32 bytes are a decapsulation key"))
    }

    /// The 32-byte seed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        self.0.write_exact(seed.as_mut());
        seed
    }

    /// The public key, [`PUBLIC_LEN`] bytes.
    pub fn public_bytes(&self) -> Vec<u8> {
        XWing::sk_to_pk(&self.0).to_bytes().to_vec()
    }

    /// Opens a payload. `info` and `aad` must be those of [`seal_key`] and [`seal_payload`].
    pub fn open(&self, sealed_key: &[u8], ciphertext: &[u8], info: &[u8], aad: &[u8]) -> Result<Vec<u8>, QueueError> {
        if sealed_key.len() != SEALED_KEY_LEN {
            return Err(QueueError::SealedKeyLength(sealed_key.len()));
        }
        let (encapsulation, wrapped) = sealed_key.split_at(ENCAPSULATION_LEN);
        let encapsulation = Encapsulation::from_bytes(encapsulation).map_err(|_| QueueError::SealedKey)?;
        let key = hpke::single_shot_open::<hpke::aead::ChaCha20Poly1305, hpke::kdf::HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.0,
            &encapsulation,
            info,
            wrapped,
            b"",
        )
        .map(Zeroizing::new)
        .map_err(|_| QueueError::SealedKey)?;
        let cipher = ChaCha20Poly1305::new_from_slice(&key).map_err(|_| QueueError::SealedKey)?;
        cipher.decrypt(&Nonce::default(), Payload { msg: ciphertext, aad }).map_err(|_| QueueError::Payload)
    }

    /// Opens a payload that [`seal_for`] made for `device`, the owner of this key, in `group`.
    pub fn open_for(
        &self,
        device: DeviceId,
        group: GroupId,
        sealed_key: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, QueueError> {
        self.open(sealed_key, ciphertext, &queue_info(device), group.as_ref())
    }
}

// The X-Wing decapsulation key zeroes itself (feature `zeroize` of x-wing, which hpke turns on).
impl ZeroizeOnDrop for QueueKey {}

/// The `info` of a key sealed for `device`: "qpc queue v1" || device id.
pub fn queue_info(device: DeviceId) -> Vec<u8> {
    [INFO_LABEL, device.as_ref()].concat()
}

/// Encrypts `plaintext` for the members of `group` whose devices have these public queue keys.
pub fn seal_for(
    rng: &mut (impl RngCore + CryptoRng),
    plaintext: &[u8],
    group: GroupId,
    recipients: &[(DeviceId, &[u8])],
) -> Result<SealedPayload, QueueError> {
    let (payload, key) = seal_payload(rng, plaintext, group.as_ref());
    let keys = recipients
        .iter()
        .map(|(device, public)| Ok((*device, seal_key(rng, &key, public, &queue_info(*device))?)))
        .collect::<Result<_, _>>()?;
    Ok(SealedPayload { payload, keys })
}

/// Encrypts `plaintext` under a new key: ciphertext || tag (16). ChaCha20-Poly1305 (RFC 8439) with the zero nonce, as the
/// key is used once.
#[allow(clippy::expect_used, reason = "fails only for 256 GiB and more, which no Vec of ours holds")]
pub fn seal_payload(rng: &mut (impl RngCore + CryptoRng), plaintext: &[u8], aad: &[u8]) -> (Vec<u8>, PayloadKey) {
    let mut key = PayloadKey([0; 32]);
    rng.fill_bytes(&mut key.0);
    let ciphertext = ChaCha20Poly1305::new((&key.0).into())
        .encrypt(&Nonce::default(), Payload { msg: plaintext, aad })
        .expect("plaintext fits the cipher");
    (ciphertext, key)
}

/// Seals the key of a payload to a public queue key: encapsulation (1120) || key (32) || tag (16).
pub fn seal_key(
    rng: &mut (impl RngCore + CryptoRng),
    key: &PayloadKey,
    recipient_public: &[u8],
    info: &[u8],
) -> Result<Vec<u8>, QueueError> {
    let public = Public::from_bytes(recipient_public).map_err(|_| QueueError::PublicKey)?;
    let (encapsulation, wrapped) = hpke::single_shot_seal_with_rng::<
        hpke::aead::ChaCha20Poly1305,
        hpke::kdf::HkdfSha256,
        XWing,
    >(&OpModeS::Base, &public, info, &key.0, b"", &mut NewRng(rng))
    .map_err(|_| QueueError::Seal)?;
    Ok([encapsulation.to_bytes().as_slice(), &wrapped].concat())
}

/// Our source of randomness (rand 0.8) for hpke, which is a generation ahead.
struct NewRng<'a, R>(&'a mut R);

impl<R: RngCore> TryRng for NewRng<'_, R> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl<R: RngCore + CryptoRng> TryCryptoRng for NewRng<'_, R> {}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const GROUP: GroupId = GroupId([1; 16]);
    const PHONE: DeviceId = DeviceId([2; 16]);
    const LAPTOP: DeviceId = DeviceId([3; 16]);

    #[test]
    fn every_recipient_opens_its_own() {
        let (phone, laptop) = (QueueKey::generate(&mut OsRng), QueueKey::generate(&mut OsRng));
        let (phone_public, laptop_public) = (phone.public_bytes(), laptop.public_bytes());
        assert_eq!(phone_public.len(), PUBLIC_LEN);
        let sealed = seal_for(&mut OsRng, b"hi", GROUP, &[(PHONE, &phone_public), (LAPTOP, &laptop_public)]).unwrap();
        let key_of = |index: usize| sealed.keys[index].1.as_slice();
        assert_eq!(key_of(0).len(), SEALED_KEY_LEN);
        assert_eq!(phone.open_for(PHONE, GROUP, key_of(0), &sealed.payload).unwrap(), b"hi");
        assert_eq!(laptop.open_for(LAPTOP, GROUP, key_of(1), &sealed.payload).unwrap(), b"hi");

        let other = GroupId([9; 16]);
        assert_eq!(phone.open_for(PHONE, other, key_of(0), &sealed.payload), Err(QueueError::Payload));
        assert_eq!(phone.open_for(LAPTOP, GROUP, key_of(0), &sealed.payload), Err(QueueError::SealedKey));
        assert_eq!(phone.open_for(PHONE, GROUP, key_of(1), &sealed.payload), Err(QueueError::SealedKey));
        assert_eq!(
            phone.open_for(PHONE, GROUP, &key_of(0)[1..], &sealed.payload),
            Err(QueueError::SealedKeyLength(1167))
        );
    }

    #[test]
    fn changed_bytes_do_not_open() {
        let key = QueueKey::generate(&mut OsRng);
        let (payload, payload_key) = seal_payload(&mut OsRng, b"hi", b"aad");
        let sealed = seal_key(&mut OsRng, &payload_key, &key.public_bytes(), b"info").unwrap();
        assert_eq!(key.open(&sealed, &payload, b"info", b"aad").unwrap(), b"hi");
        for index in (0..sealed.len()).step_by(97) {
            let mut bad = sealed.clone();
            bad[index] ^= 1;
            assert_eq!(key.open(&bad, &payload, b"info", b"aad"), Err(QueueError::SealedKey), "byte {index}");
        }
        let mut bad = payload.clone();
        bad[0] ^= 1;
        assert_eq!(key.open(&sealed, &bad, b"info", b"aad"), Err(QueueError::Payload));
    }

    #[test]
    fn key_survives_storage() {
        let key = QueueKey::generate(&mut OsRng);
        let restored = QueueKey::from_bytes(&key.to_bytes());
        assert_eq!(restored.public_bytes(), key.public_bytes());
        assert_eq!(seal_key(&mut OsRng, &PayloadKey([0; 32]), &[1; 1215], b""), Err(QueueError::PublicKey));
    }
}
