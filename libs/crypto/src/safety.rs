//! Safety numbers: what two people compare to know that each has the other's account key, and nobody stands between them.
//!
//! A fingerprint of each side, as Signal reckons them (its `fingerprint.rs`, version 1, 5,200 rounds of SHA-512), over the
//! account key. As digits both halves are sorted, so that both sides read the same number; as bytes, for a QR code, each
//! side shows its own fingerprint first.

use std::{cmp::Ordering, fmt};

use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use crate::account_id;

/// Digits of a safety number.
pub const DIGITS: usize = 60;
/// Bytes of what a QR code carries: version, fingerprint of who shows it, fingerprint of the other.
pub const SCAN_LEN: usize = 1 + 2 * FINGERPRINT;

/// Version of [`SafetyNumber::scan`].
const VERSION: u8 = 1;
/// Bytes of a fingerprint in a QR code; the digits need 30 of them.
const FINGERPRINT: usize = 32;
/// Rounds of the hash: a key whose fingerprint resembles another one is that much dearer to find.
const ROUNDS: usize = 5_200;
/// Digits that are shown together.
const GROUP: usize = 5;

/// The safety number of this account and another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafetyNumber {
    own: [u8; FINGERPRINT],
    other: [u8; FINGERPRINT],
}

/// Why what was read off, or scanned, is not the safety number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SafetyMismatch {
    /// Not 60 digits, or not the bytes of a code.
    #[error("this is no safety number")]
    Malformed,
    /// Of a version that is not known here.
    #[error("safety code of version {0} is unknown")]
    Version(u8),
    /// The code that this side shows, not that of the other.
    #[error("this is your own code: scan the one that the other shows")]
    Own,
    /// A side has another key than the other side believes.
    #[error("the safety number is another one: somebody may stand between you")]
    Different,
}

impl SafetyNumber {
    /// The number of the accounts with these keys.
    pub fn new(own_key: &[u8; 32], other_key: &[u8; 32]) -> Self {
        let of = |key: &[u8; 32]| {
            let mut half = [0; FINGERPRINT];
            half.copy_from_slice(&fingerprint(key, account_id(key).as_ref())[..FINGERPRINT]);
            half
        };
        Self { own: of(own_key), other: of(other_key) }
    }

    /// The 60 digits, the same on both sides.
    pub fn digits(&self) -> String {
        let (own, other) = (digits(&self.own), digits(&self.other));
        match own.cmp(&other) {
            Ordering::Greater => other + &own,
            Ordering::Less | Ordering::Equal => own + &other,
        }
    }

    /// What this side shows as a QR code, [`SCAN_LEN`] bytes.
    pub fn scan(&self) -> Vec<u8> {
        [&[VERSION][..], &self.own, &self.other].concat()
    }

    /// Whether the other side has read off the same number, however it was grouped.
    pub fn check_digits(&self, read: &str) -> Result<(), SafetyMismatch> {
        let read: String = read.chars().filter(|character| !character.is_whitespace() && *character != '-').collect();
        if read.len() != DIGITS || !read.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SafetyMismatch::Malformed);
        }
        if same(self.digits().as_bytes(), read.as_bytes()) { Ok(()) } else { Err(SafetyMismatch::Different) }
    }

    /// Whether the code that the other side shows is about the same two keys.
    pub fn check_scan(&self, scanned: &[u8]) -> Result<(), SafetyMismatch> {
        match scanned.split_first() {
            Some((&VERSION, both)) if scanned.len() == SCAN_LEN => {
                // Theirs comes first in what they show.
                let (shown, expected) = both.split_at(FINGERPRINT);
                match (same(shown, &self.other) & same(expected, &self.own), both) {
                    (true, _) => Ok(()),
                    (false, both) if same(both, &[self.own, self.other].concat()) => Err(SafetyMismatch::Own),
                    (false, _) => Err(SafetyMismatch::Different),
                }
            }
            Some((&VERSION, _)) | None => Err(SafetyMismatch::Malformed),
            Some((version, _)) => Err(SafetyMismatch::Version(*version)),
        }
    }
}

/// Twelve groups of five digits.
impl fmt::Display for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, digit) in self.digits().chars().enumerate() {
            if place > 0 && place % GROUP == 0 {
                f.write_str(" ")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

fn fingerprint(key: &[u8], id: &[u8]) -> [u8; 64] {
    let mut hash: [u8; 64] =
        Sha512::new().chain_update([0, 0]).chain_update(key).chain_update(id).chain_update(key).finalize().into();
    for _ in 1..ROUNDS {
        hash = Sha512::new().chain_update(hash).chain_update(key).finalize().into();
    }
    hash
}

/// Five bytes for five digits each: 30 of them.
fn digits(fingerprint: &[u8]) -> String {
    let chunks = fingerprint.chunks_exact(5).take(DIGITS / 2 / GROUP);
    chunks.map(|five| five.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)) % 100_000).fold(
        String::with_capacity(DIGITS),
        |mut all, number| {
            use fmt::Write as _;
            // Writing to a string does not fail.
            let _ = write!(all, "{number:05}");
            all
        },
    )
}

fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountKey;

    fn pair() -> (SafetyNumber, SafetyNumber) {
        let (alice, bob) = (AccountKey::from_bytes(&[1; 32]).public(), AccountKey::from_bytes(&[2; 32]).public());
        (SafetyNumber::new(&alice, &bob), SafetyNumber::new(&bob, &alice))
    }

    #[test]
    fn fingerprints_are_those_of_signal() {
        // From the tests of libsignal: keys with their type in front, telephone numbers as ids.
        let alice = hex::decode("0506863bc66d02b40d27b8d49ca7c09e9239236f9d7d25d6fcca5ce13c7064d868").unwrap();
        let bob = hex::decode("05f781b6fb32fed9ba1cf2de978d4d5da28dc34046ae814402b5c0dbd96fda907b").unwrap();
        let alice = fingerprint(&alice, b"+14152222222");
        let bob = fingerprint(&bob, b"+14153333333");
        assert_eq!(digits(&alice) + &digits(&bob), "300354477692869396892869876765458257569162576843440918079131");
        assert_eq!(
            hex::encode(&alice[..FINGERPRINT]),
            "1e301a0353dce3dbe7684cb8336e85136cdc0ee96219494ada305d62a7bd61df"
        );
        assert_eq!(
            hex::encode(&bob[..FINGERPRINT]),
            "d62cbf73a11592015b6b9f1682ac306fea3aaf3885b84d12bca631e9d4fb3a4d"
        );
    }

    #[test]
    fn ours_are_frozen() {
        let (alice, bob) = pair();
        assert_eq!(alice.to_string(), bob.to_string());
        assert_eq!(alice.to_string(), "00673 62476 36672 86762 33468 63941 33359 27638 39168 91459 17403 05633");
        assert_eq!(
            hex::encode(alice.scan()),
            "010c23fba0415ce7051a0cbdfb23a700c8bb79e3caea909fb71cc71a2106c52b37\
             6f5dc491ef5cb577f056a7d77702002a22eb9743abccd1ed1bbaa1bb06217bbe"
        );
    }

    #[test]
    fn digits_are_compared_however_they_are_written() {
        let (alice, bob) = pair();
        let read = bob.to_string();
        assert_eq!(read.split(' ').map(str::len).collect::<Vec<_>>(), [5; 12]);
        assert_eq!(alice.check_digits(&read), Ok(()));
        assert_eq!(alice.check_digits(&read.replace(' ', "-\n")), Ok(()));
        let last = if read.ends_with('0') { '1' } else { '0' };
        let wrong = format!("{}{last}", &read[..read.len() - 1]);
        assert_eq!(alice.check_digits(&wrong), Err(SafetyMismatch::Different));
        for malformed in ["", &read[1..], &format!("{read}0"), &read.replacen(&read[..1], "x", 1)] {
            assert_eq!(alice.check_digits(malformed), Err(SafetyMismatch::Malformed), "{malformed}");
        }
    }

    #[test]
    fn each_scans_the_code_of_the_other_and_not_the_own() {
        let (alice, bob) = pair();
        assert_eq!((alice.scan().len(), alice.check_scan(&bob.scan())), (SCAN_LEN, Ok(())));
        assert_eq!(bob.check_scan(&alice.scan()), Ok(()));
        assert_eq!(alice.check_scan(&alice.scan()), Err(SafetyMismatch::Own));

        // Bob's phone believes in another key of Alice, or shows that of somebody else.
        let (key, bob_key) = ([3; 32], AccountKey::from_bytes(&[2; 32]).public());
        let mallory = AccountKey::from_bytes(&key).public();
        assert_eq!(alice.check_scan(&SafetyNumber::new(&bob_key, &mallory).scan()), Err(SafetyMismatch::Different));
        assert_eq!(alice.check_scan(&SafetyNumber::new(&mallory, &bob_key).scan()), Err(SafetyMismatch::Different));

        let scan = bob.scan();
        for index in 1..SCAN_LEN {
            let mut bad = scan.clone();
            bad[index] ^= 1;
            assert_eq!(alice.check_scan(&bad), Err(SafetyMismatch::Different), "byte {index}");
            assert_eq!(alice.check_scan(&scan[..index]), Err(SafetyMismatch::Malformed), "cut at {index}");
        }
        assert_eq!(alice.check_scan(&[]), Err(SafetyMismatch::Malformed));
        assert_eq!(alice.check_scan(&[&[2], &scan[1..]].concat()), Err(SafetyMismatch::Version(2)));
    }
}
