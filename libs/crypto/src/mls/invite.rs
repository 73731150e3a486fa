//! Joining by a link: whoever has the secret of an invite can prove it to all members and the server.

use ed25519_dalek::{Signer as _, SigningKey};
use qpc_wire::{DeviceId, GroupId, proofs};
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use crate::identity;

const VERSION: u8 = 1;
const PROOF_LEN: usize = 1 + 32 + 64;

/// The secret of an invite: an Ed25519 key (RFC 8032) whose public half stands in the policy. It travels in the link and
/// is zeroed when dropped; it has no `Debug` and no `Clone` on purpose.
pub struct InviteSecret(SigningKey);

impl InviteSecret {
    /// A new secret.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_bytes(&seed)
    }

    /// The secret with this 32-byte seed.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key, which names the invite.
    pub fn key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// What an external commit carries as authenticated data: version 1 (1) | key (32) | signature (64) over
    /// [`proofs::invite`].
    pub fn proof(&self, group: GroupId, epoch: u64, device: DeviceId) -> Vec<u8> {
        let signature = self.0.sign(&proofs::invite(group.as_ref(), epoch, device.as_ref()));
        [&[VERSION], self.key().as_slice(), &signature.to_bytes()].concat()
    }

    /// Shows the server that this device has the invite, to be told about the group: the 64-byte signature over
    /// [`proofs::invite_info`].
    pub fn info_proof(&self, group: GroupId, device: DeviceId) -> [u8; 64] {
        self.0.sign(&proofs::invite_info(group.as_ref(), device.as_ref())).to_bytes()
    }
}

// SigningKey zeroes itself.
impl zeroize::ZeroizeOnDrop for InviteSecret {}

/// The key of the invite that `proof` proves for this group, epoch and device.
pub(super) fn proven(proof: &[u8], group: GroupId, epoch: u64, device: DeviceId) -> Option<[u8; 32]> {
    let proof: &[u8; PROOF_LEN] = proof.try_into().ok()?;
    let (version, rest) = proof.split_first()?;
    let (key, signature) = rest.split_first_chunk::<32>()?;
    if *version != VERSION {
        return None;
    }
    identity::verify(key, &proofs::invite(group.as_ref(), epoch, device.as_ref()), signature).ok()?;
    Some(*key)
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    #[test]
    fn proof_holds_for_its_group_epoch_and_device_alone() {
        let (group, device) = (GroupId([1; 16]), DeviceId([2; 16]));
        let secret = InviteSecret::generate(&mut OsRng);
        let proof = secret.proof(group, 7, device);
        assert_eq!((proof.len(), proven(&proof, group, 7, device)), (97, Some(secret.key())));
        assert_eq!(proven(&proof, GroupId([3; 16]), 7, device), None);
        assert_eq!(proven(&proof, group, 8, device), None);
        assert_eq!(proven(&proof, group, 7, DeviceId([3; 16])), None);
        for index in 0..proof.len() {
            let mut forged = proof.clone();
            forged[index] ^= 1;
            assert_eq!(proven(&forged, group, 7, device), None, "byte {index}");
        }
        assert_eq!(proven(&proof[..96], group, 7, device), None);
        assert_eq!(InviteSecret::from_bytes(&secret.to_bytes()).proof(group, 7, device), proof);
    }

    #[test]
    fn info_proof_is_another_statement() {
        let (group, device) = (GroupId([1; 16]), DeviceId([2; 16]));
        let secret = InviteSecret::generate(&mut OsRng);
        let signature = secret.info_proof(group, device);
        let message = proofs::invite_info(group.as_ref(), device.as_ref());
        assert_eq!(identity::verify(&secret.key(), &message, &signature), Ok(()));
        assert_ne!(secret.proof(group, 0, device)[33..], signature);
    }
}
