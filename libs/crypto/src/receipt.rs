//! Delivery receipts: the server's signature that a message is durable for its recipients. The signed bytes are laid out
//! in [`qpc_wire::proofs`].

use bytes::Bytes;
use qpc_wire::proofs::{self, ReceiptFields};
use qpc_wire::{DeviceId, GroupId, v1};

use crate::identity::{self, BadSignature, sha256, signing_key};

use ed25519_dalek::{Signer as _, SigningKey};
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

signing_key!(
    /// The key with which a server signs receipts.
    ReceiptKey
);

/// Why a receipt is not the one hoped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Made with another key than the one it was checked against.
    #[error("receipt is of another key")]
    Key,
    /// About another group.
    #[error("receipt is about another group")]
    Group,
    /// About another payload.
    #[error("receipt is about another message")]
    Message,
    /// About other recipients.
    #[error("receipt is about other recipients")]
    Recipients,
    /// A field does not have its length.
    #[error("receipt is malformed")]
    Malformed,
    /// The key did not sign it.
    #[error("receipt is not signed by its key")]
    Signature(#[from] BadSignature),
}

/// The short name of a receipt key: first 8 bytes of SHA-256 of the public key.
pub fn key_id(public: &[u8; 32]) -> [u8; 8] {
    let mut id = [0; 8];
    id.copy_from_slice(&sha256(&[public])[..8]);
    id
}

/// SHA-256 over the device ids in ascending order; sorts them.
pub fn recipients_digest(devices: &mut [DeviceId]) -> [u8; 32] {
    devices.sort_unstable();
    let parts: Vec<&[u8]> = devices.iter().map(AsRef::as_ref).collect();
    sha256(&parts)
}

/// A place in a group's chain of receipts: each names the hash of the one before, so that none can be left out, doubled or
/// exchanged without a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// From 1.
    pub seq: u64,
    /// SHA-256 of the signed bytes of the receipt before.
    pub prev: [u8; 32],
    /// When that one was accepted, Unix milliseconds: the next was not before it, whatever the clocks of replicas say.
    pub not_before_ms: u64,
}

impl Link {
    /// The place of a group's first receipt.
    pub const FIRST: Self = Self { seq: 1, prev: [0; 32], not_before_ms: 0 };

    /// The place after `receipt`, whose signature need not be right.
    pub fn after(receipt: &v1::Receipt) -> Result<Self, ReceiptError> {
        let prev = sha256(&[&proofs::receipt(&fields(receipt)?)]);
        Ok(Self { seq: receipt.seq.saturating_add(1), prev, not_before_ms: receipt.accepted_at_ms })
    }
}

/// What a receipt is about.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// The group.
    pub group: GroupId,
    /// Its epoch when the recipients were read.
    pub epoch: u64,
    /// The message as it was sent.
    pub payload: &'a [u8],
    /// Its recipients, in any order.
    pub devices: &'a [DeviceId],
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// A receipt at a place of the chain.
pub fn build(key: &ReceiptKey, accepted: &Accepted<'_>, link: &Link) -> v1::Receipt {
    let mut receipt = v1::Receipt {
        key_id: Bytes::copy_from_slice(&key_id(&key.public())),
        group_id: accepted.group.to_bytes(),
        epoch: accepted.epoch,
        message_hash: Bytes::copy_from_slice(&sha256(&[accepted.payload])),
        recipients_digest: Bytes::copy_from_slice(&recipients_digest(&mut accepted.devices.to_vec())),
        // Groups end at MAX_GROUP_LEAVES, far below u32.
        recipients: u32::try_from(accepted.devices.len()).unwrap_or(u32::MAX),
        accepted_at_ms: accepted.at_ms.max(link.not_before_ms),
        signature: Bytes::new(),
        seq: link.seq,
        prev: Bytes::copy_from_slice(&link.prev),
    };
    // All lengths are right, as it was made here.
    if let Ok(fields) = fields(&receipt) {
        receipt.signature = Bytes::copy_from_slice(&key.sign(&proofs::receipt(&fields)));
    }
    receipt
}

/// Whether `receipt` is signed by `public`.
pub fn verify(public: &[u8; 32], receipt: &v1::Receipt) -> Result<(), ReceiptError> {
    if receipt.key_id.as_ref() != key_id(public) {
        return Err(ReceiptError::Key);
    }
    Ok(identity::verify(public, &proofs::receipt(&fields(receipt)?), &receipt.signature)?)
}

/// Whether `receipt` is signed by `public` and says that `payload` was accepted in `group`, for exactly
/// `expected_devices` when given (in any order).
pub fn check(
    public: &[u8; 32],
    receipt: &v1::Receipt,
    payload: &[u8],
    group: GroupId,
    expected_devices: Option<&[DeviceId]>,
) -> Result<(), ReceiptError> {
    if receipt.key_id.as_ref() != key_id(public) {
        return Err(ReceiptError::Key);
    }
    if receipt.group_id.as_ref() != group.as_ref() {
        return Err(ReceiptError::Group);
    }
    if receipt.message_hash.len() == 32 && receipt.message_hash.as_ref() != sha256(&[payload]) {
        return Err(ReceiptError::Message);
    }
    if let Some(devices) = expected_devices {
        let count_fits = usize::try_from(receipt.recipients).is_ok_and(|count| count == devices.len());
        if !count_fits || receipt.recipients_digest.as_ref() != recipients_digest(&mut devices.to_vec()) {
            return Err(ReceiptError::Recipients);
        }
    }
    verify(public, receipt)
}

fn fields(receipt: &v1::Receipt) -> Result<ReceiptFields<'_>, ReceiptError> {
    if receipt.group_id.len() != GroupId::LEN {
        return Err(ReceiptError::Malformed);
    }
    let malformed = |_| ReceiptError::Malformed;
    Ok(ReceiptFields {
        group_id: &receipt.group_id,
        epoch: receipt.epoch,
        message_hash: receipt.message_hash.as_ref().try_into().map_err(malformed)?,
        recipients_digest: receipt.recipients_digest.as_ref().try_into().map_err(malformed)?,
        recipients: receipt.recipients,
        accepted_at_ms: receipt.accepted_at_ms,
        seq: receipt.seq,
        prev: receipt.prev.as_ref().try_into().map_err(malformed)?,
    })
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const GROUP: GroupId = GroupId([1; 16]);
    const A: DeviceId = DeviceId([2; 16]);
    const B: DeviceId = DeviceId([3; 16]);

    fn made(key: &ReceiptKey, link: &Link) -> v1::Receipt {
        build(key, &Accepted { group: GROUP, epoch: 4, payload: b"payload", devices: &[B, A], at_ms: 99 }, link)
    }

    #[test]
    fn receipt_proves_what_it_says_and_no_more() {
        let key = ReceiptKey::generate(&mut OsRng);
        let public = key.public();
        let receipt = made(&key, &Link::FIRST);
        assert_eq!(check(&public, &receipt, b"payload", GROUP, Some(&[A, B])), Ok(()));
        assert_eq!(check(&public, &receipt, b"payload", GROUP, None), Ok(()));
        assert_eq!(check(&public, &receipt, b"other", GROUP, None), Err(ReceiptError::Message));
        assert_eq!(check(&public, &receipt, b"payload", GroupId([9; 16]), None), Err(ReceiptError::Group));
        assert_eq!(check(&public, &receipt, b"payload", GROUP, Some(&[A])), Err(ReceiptError::Recipients));
        let other = ReceiptKey::generate(&mut OsRng).public();
        assert_eq!(check(&other, &receipt, b"payload", GROUP, None), Err(ReceiptError::Key));
    }

    #[test]
    fn every_signed_field_is_bound() {
        let key = ReceiptKey::generate(&mut OsRng);
        let good = made(&key, &Link { seq: 7, prev: [7; 32], not_before_ms: 0 });
        let changes: [fn(&mut v1::Receipt); 6] = [
            |receipt| receipt.seq += 1,
            |receipt| receipt.prev = Bytes::from_static(&[0; 32]),
            |receipt| receipt.epoch += 1,
            |receipt| receipt.recipients += 1,
            |receipt| receipt.accepted_at_ms += 1,
            |receipt| receipt.recipients_digest = Bytes::from_static(&[0; 32]),
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            let result = check(&key.public(), &bad, b"payload", GROUP, None);
            assert_eq!(result, Err(ReceiptError::Signature(BadSignature)));
        }
        let short = v1::Receipt { message_hash: Bytes::new(), ..good };
        assert_eq!(check(&key.public(), &short, b"payload", GROUP, None), Err(ReceiptError::Malformed));
    }

    #[test]
    fn a_chain_says_what_was_before() {
        let key = ReceiptKey::generate(&mut OsRng);
        let first = made(&key, &Link::FIRST);
        let place = Link::after(&first).unwrap();
        assert_eq!(place.seq, 2);
        let other = Link::after(&made(&key, &Link { prev: [1; 32], ..Link::FIRST })).unwrap();
        assert_ne!(place.prev, other.prev);
        // A replica whose clock is behind does not turn time back.
        assert_eq!(made(&key, &Link { not_before_ms: 1_000, ..place }).accepted_at_ms, 1_000);
        assert_eq!(made(&key, &place).accepted_at_ms, 99);
    }

    #[test]
    fn digest_ignores_order() {
        assert_eq!(recipients_digest(&mut [A, B]), recipients_digest(&mut [B, A]));
        assert_eq!(recipients_digest(&mut [B, A]), sha256(&[&A.0, &B.0]));
    }
}
