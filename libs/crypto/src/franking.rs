//! Message franking: a report proves to the server what was said, though the server has never seen it.
//!
//! The sender commits to the content with the message. The server puts a tag on the commitment, with who sent it, where and
//! when, and gives both to the recipients, who check the commitment against what they decrypt. Whoever reports shows the
//! content; the server recomputes the commitment and recognises its own tag. Nobody else can check the tag, so a report
//! convinces the server and no one else, and nothing but this one message. (Grubbs, Lu, Ristenpart: Message Franking via
//! Committing Authenticated Encryption, 2017.)
//!
//! Of a sealed message the server does not know the sender, so its tag names nobody. The sender signs the content of such a
//! message itself ([`sign`]), and recipients drop what is not signed.

use qpc_wire::{AccountId, DeviceId, GroupId, proofs};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{DeviceCertificate, DeviceKey, identity, kdf, sha256};

/// Hides the content it is of as long as that contains 16 random bytes or more, and binds to it.
pub type Commitment = [u8; 32];

/// What a tag of the server says: that this device sent something with this commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Franked {
    /// To which group.
    pub group: GroupId,
    /// Whose device; zeros where the server does not know.
    pub account: AccountId,
    /// Which device; zeros where the server does not know.
    pub device: DeviceId,
    /// When it was accepted, Unix milliseconds.
    pub at_ms: u64,
    /// To what the sender has committed.
    pub commitment: Commitment,
}

/// The commitment to a content, whole and without padding.
pub fn commitment(content: &[u8]) -> Commitment {
    sha256(&[proofs::COMMITMENT_LABEL, content])
}

/// Length of a signature by [`sign`], bytes.
pub const SIGNATURE_LEN: usize = 64;

/// How a signature begins that stands behind a content: field 7 of `qpc.content.v1.Content`, of its length.
const SIGNATURE_FIELD: [u8; 2] = [7 << 3 | 2, SIGNATURE_LEN as u8];

/// The signature under a content that goes to `group` without saying by whom: by the device that says it, and good in no
/// other group.
pub fn sign(device: &DeviceKey, group: GroupId, content: &[u8]) -> [u8; SIGNATURE_LEN] {
    device.sign(&proofs::sealed_content(&group.0, &commitment(content)))
}

/// A content with the signature behind it: what is encrypted, committed to, and shown in a report.
pub fn with_signature(content: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Vec<u8> {
    [content, &SIGNATURE_FIELD, signature].concat()
}

/// Whether a content ends in a signature of this device for this group over all that stands before.
pub fn is_signed(by: &DeviceCertificate, group: GroupId, content: &[u8]) -> bool {
    let Some((content, signature)) = content.split_last_chunk::<SIGNATURE_LEN>() else { return false };
    let Some(content) = content.strip_suffix(&SIGNATURE_FIELD) else { return false };
    let signed = proofs::sealed_content(&group.0, &commitment(content));
    identity::verify(by.device_key(), &signed, signature).is_ok()
}

/// The secret of the server under which its tags are made.
pub struct FrankingKey(Zeroizing<[u8; 32]>);

impl FrankingKey {
    /// Of 32 bytes that only the server has.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The server's tag.
    pub fn tag(&self, franked: &Franked) -> [u8; 32] {
        let Franked { group, account, device, at_ms, commitment } = franked;
        kdf::expand(self.0.as_ref(), &proofs::franking(&group.0, &account.0, &device.0, *at_ms, commitment))
    }

    /// Whether a tag is of this server and says that.
    pub fn verify(&self, franked: &Franked, tag: &[u8]) -> bool {
        self.tag(franked).ct_eq(tag).into()
    }
}

impl Franked {
    /// What came without saying by whom.
    pub fn by_nobody(group: GroupId, at_ms: u64, commitment: Commitment) -> Self {
        let (account, device) = (AccountId([0; AccountId::LEN]), DeviceId([0; DeviceId::LEN]));
        Self { group, account, device, at_ms, commitment }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::AccountKey;

    #[test]
    fn a_signature_is_of_one_device_for_one_content_and_group() {
        let mut rng = StdRng::seed_from_u64(1);
        let account = AccountKey::generate(&mut rng);
        let (device, other) = (DeviceKey::generate(&mut rng), DeviceKey::generate(&mut rng));
        let [by, by_other] = [&device, &other].map(|device| DeviceCertificate::issue(&account, &device.public(), 1));
        let (group, said) = (GroupId([1; 16]), b"something said".as_slice());
        let signed = with_signature(said, &sign(&device, group, said));
        assert_eq!(signed.len(), said.len() + 66);
        assert!(is_signed(&by, group, &signed));
        assert!(!is_signed(&by_other, group, &signed), "another device of the account");
        assert!(!is_signed(&by, GroupId([2; 16]), &signed), "another group");
        assert!(!is_signed(&by, group, said) && !is_signed(&by, group, &[]), "no signature");
        let moved = with_signature(b"something else", &sign(&device, group, said));
        assert!(!is_signed(&by, group, &moved), "the signature of another content");
        let twice = with_signature(&signed, &sign(&device, group, said));
        assert!(!is_signed(&by, group, &twice), "a signature is of all that stands before");
        for byte in 0..signed.len() {
            let mut changed = signed.clone();
            changed[byte] ^= 1;
            assert!(!is_signed(&by, group, &changed), "{byte}");
        }
    }

    /// The bytes that another implementation must make, as the wire reference has them.
    #[test]
    fn a_signature_is_as_the_wire_reference_has_it() {
        let said = [7; 20];
        let signature = sign(&DeviceKey::from_bytes(&[8; 32]), GroupId([9; 16]), &said);
        let expected = "3a40\
             6523c3d72b1cd64cb9acbc035696365b408a1486bbcc8693ded4269b8343b2d9\
             9c17ac8d891464875bc72eb03ac0745bff65fcdb5bf6870bab437a41f993d10b";
        assert_eq!(hex::encode(&with_signature(&said, &signature)[20..]), expected);
    }

    #[test]
    fn a_tag_says_one_thing_only() {
        let key = FrankingKey::from_bytes(&[7; 32]);
        let franked = Franked {
            group: GroupId([1; 16]),
            account: AccountId([2; 16]),
            device: DeviceId([3; 16]),
            at_ms: 4,
            commitment: commitment(b"something said"),
        };
        let tag = key.tag(&franked);
        assert!(key.verify(&franked, &tag));
        for other in [
            Franked { group: GroupId([9; 16]), ..franked },
            Franked { account: AccountId([9; 16]), ..franked },
            Franked { device: DeviceId([9; 16]), ..franked },
            Franked { at_ms: 5, ..franked },
            Franked { commitment: commitment(b"something else"), ..franked },
        ] {
            assert!(!key.verify(&other, &tag));
        }
        assert!(!FrankingKey::from_bytes(&[8; 32]).verify(&franked, &tag));
        assert!(!key.verify(&franked, &tag[..31]) && !key.verify(&franked, &[]));
    }
}
