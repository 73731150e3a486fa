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

/// Signs the fields of a receipt.
pub fn sign_receipt(key: &ReceiptKey, fields: &ReceiptFields<'_>) -> [u8; 64] {
    key.sign(&proofs::receipt(fields))
}

/// Checks the signature over the fields of a receipt.
pub fn verify_receipt(public: &[u8; 32], fields: &ReceiptFields<'_>, signature: &[u8]) -> Result<(), BadSignature> {
    identity::verify(public, &proofs::receipt(fields), signature)
}

/// A receipt for `payload`, accepted at `accepted_at_ms` (unix milliseconds) for `devices`, which were the members at
/// `epoch`.
pub fn build(
    key: &ReceiptKey,
    group: GroupId,
    epoch: u64,
    payload: &[u8],
    devices: &[DeviceId],
    accepted_at_ms: u64,
) -> v1::Receipt {
    let message_hash = sha256(&[payload]);
    let digest = recipients_digest(&mut devices.to_vec());
    // Groups end at MAX_GROUP_LEAVES, far below u32.
    let recipients = u32::try_from(devices.len()).unwrap_or(u32::MAX);
    let signature = sign_receipt(
        key,
        &ReceiptFields {
            group_id: group.as_ref(),
            epoch,
            message_hash: &message_hash,
            recipients_digest: &digest,
            recipients,
            accepted_at_ms,
        },
    );
    v1::Receipt {
        key_id: Bytes::copy_from_slice(&key_id(&key.public())),
        group_id: group.to_bytes(),
        epoch,
        message_hash: Bytes::copy_from_slice(&message_hash),
        recipients_digest: Bytes::copy_from_slice(&digest),
        recipients,
        accepted_at_ms,
        signature: Bytes::copy_from_slice(&signature),
    }
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
    let message_hash: &[u8; 32] = receipt.message_hash.as_ref().try_into().map_err(|_| ReceiptError::Malformed)?;
    let digest: &[u8; 32] = receipt.recipients_digest.as_ref().try_into().map_err(|_| ReceiptError::Malformed)?;
    if *message_hash != sha256(&[payload]) {
        return Err(ReceiptError::Message);
    }
    if let Some(devices) = expected_devices {
        let count_fits = usize::try_from(receipt.recipients).is_ok_and(|count| count == devices.len());
        if !count_fits || *digest != recipients_digest(&mut devices.to_vec()) {
            return Err(ReceiptError::Recipients);
        }
    }
    let fields = ReceiptFields {
        group_id: group.as_ref(),
        epoch: receipt.epoch,
        message_hash,
        recipients_digest: digest,
        recipients: receipt.recipients,
        accepted_at_ms: receipt.accepted_at_ms,
    };
    Ok(verify_receipt(public, &fields, &receipt.signature)?)
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const GROUP: GroupId = GroupId([1; 16]);
    const A: DeviceId = DeviceId([2; 16]);
    const B: DeviceId = DeviceId([3; 16]);

    #[test]
    fn receipt_proves_what_it_says_and_no_more() {
        let key = ReceiptKey::generate(&mut OsRng);
        let public = key.public();
        let receipt = build(&key, GROUP, 4, b"payload", &[B, A], 99);
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
        let good = build(&key, GROUP, 4, b"payload", &[A], 99);
        let changes: [fn(&mut v1::Receipt); 4] = [
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
    fn digest_ignores_order() {
        assert_eq!(recipients_digest(&mut [A, B]), recipients_digest(&mut [B, A]));
        assert_eq!(recipients_digest(&mut [B, A]), sha256(&[&A.0, &B.0]));
    }
}
