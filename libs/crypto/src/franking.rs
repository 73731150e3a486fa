//! Message franking: a report proves to the server what was said, though the server has never seen it.
//!
//! The sender commits to the content with the message. The server puts a tag on the commitment, with who sent it, where and
//! when, and gives both to the recipients, who check the commitment against what they decrypt. Whoever reports shows the
//! content; the server recomputes the commitment and recognises its own tag. Nobody else can check the tag, so a report
//! convinces the server and no one else, and nothing but this one message. (Grubbs, Lu, Ristenpart: Message Franking via
//! Committing Authenticated Encryption, 2017.)

use qpc_wire::{AccountId, DeviceId, GroupId, proofs};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{kdf, sha256};

/// Hides the content it is of as long as that contains 16 random bytes or more, and binds to it.
pub type Commitment = [u8; 32];

/// What a tag of the server says: that this device sent something with this commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Franked {
    /// To which group.
    pub group: GroupId,
    /// Whose device.
    pub account: AccountId,
    /// Which device.
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

#[cfg(test)]
mod tests {
    use super::*;

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
