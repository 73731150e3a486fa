//! What a server may want to see before it makes an account: work, or an invite.
//!
//! The work is a search for a nonce under Argon2id with little memory: 1 MiB and one pass, 0.3 ms for whoever checks it, and more
//! memory for each search at a time than a graphics card or a chip has near its arithmetic.
//! `docs/decisions/0033-who-may-register.md` has the figures.

use std::{fmt, str::FromStr};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::{KdfError, base32, kdf, sha256};

/// Memory of one try, KiB.
const MEMORY_KIB: u32 = 1 << 10;
/// Most bits that a client agrees to: about five minutes of one core. A server that wants more wants to exhaust it.
pub const MAX_BITS: u32 = 20;
/// Bytes of an invite: 120 bits.
const INVITE: usize = 15;
/// Characters of an invite that are shown together.
const GROUP: usize = 4;

/// A server wants more work than [`MAX_BITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server wants {0} bits of work; at most {MAX_BITS} are done")]
pub struct TooMuchWork(pub u32);

/// A search for a nonce.
#[derive(Debug, Clone)]
pub struct Puzzle {
    salt: [u8; 16],
    bits: u32,
}

impl Puzzle {
    /// The search over `challenge`, which the server has made for one registration.
    pub fn new(challenge: &[u8], bits: u32) -> Result<Self, TooMuchWork> {
        if bits > MAX_BITS {
            return Err(TooMuchWork(bits));
        }
        let mut salt = [0; 16];
        salt.copy_from_slice(&sha256(&[b"qpc register work v1", challenge])[..16]);
        Ok(Self { salt, bits })
    }

    /// Tries that it takes on average.
    pub fn expected(&self) -> u64 {
        1 << self.bits
    }

    /// Whether `nonce` is what was searched for: one try.
    pub fn check(&self, nonce: u64) -> Result<bool, KdfError> {
        Trial::new()?.holds(self, nonce)
    }

    /// Searches from `first` on, which is random so that two searches differ. `go_on` is asked before each try, with the number of
    /// those before; `None` when it has said no.
    pub fn solve(&self, first: u64, mut go_on: impl FnMut(u64) -> bool) -> Result<Option<u64>, KdfError> {
        let mut trial = Trial::new()?;
        for tries in 0..u64::MAX {
            if !go_on(tries) {
                break;
            }
            let nonce = first.wrapping_add(tries);
            if trial.holds(self, nonce)? {
                return Ok(Some(nonce));
            }
        }
        Ok(None)
    }
}

/// Tries, one after the other in the same memory.
struct Trial {
    argon2: Argon2<'static>,
    memory: Vec<Block>,
}

impl Trial {
    fn new() -> Result<Self, KdfError> {
        let params = Params::new(MEMORY_KIB, 1, 1, None).map_err(KdfError::Argon2)?;
        let memory = vec![Block::default(); params.block_count()];
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), memory })
    }

    fn holds(&mut self, puzzle: &Puzzle, nonce: u64) -> Result<bool, KdfError> {
        let mut out = [0; 32];
        let hashed =
            self.argon2.hash_password_into_with_memory(&nonce.to_be_bytes(), &puzzle.salt, &mut out, &mut self.memory);
        hashed.map_err(KdfError::Argon2)?;
        let [first, ..] = out.as_chunks::<8>().0 else { return Ok(false) };
        Ok(u64::from_be_bytes(*first).leading_zeros() >= puzzle.bits)
    }
}

/// A code by which somebody may register. Not `Debug` on purpose; written by [`fmt::Display`].
#[derive(Clone, PartialEq, Eq)]
pub struct AccountInvite([u8; INVITE]);

/// Not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no invite to a server: it has 6 groups of 4 letters and digits")]
pub struct BadAccountInvite;

impl AccountInvite {
    /// A new one, of random bytes.
    pub fn from_random(bytes: [u8; INVITE]) -> Self {
        Self(bytes)
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> [u8; INVITE] {
        self.0
    }

    /// Reverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadAccountInvite> {
        bytes.try_into().map(Self).map_err(|_| BadAccountInvite)
    }

    /// Under which a server finds it. Its database does not hold `key`, and so holds no invite.
    pub fn lookup(&self, key: &[u8; 32]) -> [u8; 32] {
        kdf::expand(key, &[b"qpc account invite v1".as_slice(), &self.0].concat())
    }
}

impl fmt::Display for AccountInvite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0, GROUP))
    }
}

impl fmt::Debug for AccountInvite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountInvite(..)")
    }
}

impl FromStr for AccountInvite {
    type Err = BadAccountInvite;

    fn from_str(code: &str) -> Result<Self, BadAccountInvite> {
        base32::decode(code).map(Self).ok_or(BadAccountInvite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_holds_for_its_challenge_and_bits_alone() {
        let puzzle = Puzzle::new(b"challenge", 6).unwrap();
        let nonce = puzzle.solve(0, |_| true).unwrap().unwrap();
        assert!(puzzle.check(nonce).unwrap());
        assert!((0..nonce).all(|before| !puzzle.check(before).unwrap()), "the first that holds");
        // Of 64 others one holds on average; that all do has a chance of 2^-384.
        let others = (0..64_u8).map(|other| Puzzle::new(&[other], 6).unwrap());
        assert!(others.filter(|other| other.check(nonce).unwrap()).count() < 16);
        let harder = Puzzle::new(b"challenge", MAX_BITS).unwrap();
        assert!(!harder.check(nonce).unwrap());
    }

    #[test]
    fn the_search_is_frozen() {
        let puzzle = Puzzle::new(&[7; 32], 8).unwrap();
        assert_eq!(puzzle.solve(0, |_| true).unwrap(), Some(FROZEN));
    }

    /// Test value of the page about the wire.
    const FROZEN: u64 = 236;

    #[test]
    fn a_search_ends_when_it_is_told_to() {
        let puzzle = Puzzle::new(b"challenge", MAX_BITS).unwrap();
        assert_eq!(puzzle.solve(0, |tries| tries < 3).unwrap(), None);
        assert_eq!(Puzzle::new(b"challenge", MAX_BITS + 1).unwrap_err(), TooMuchWork(21));
    }

    #[test]
    fn invites_survive_being_read_aloud_and_are_found_by_a_keyed_hash() {
        let invite = AccountInvite::from_random([9; INVITE]);
        let code = invite.to_string();
        assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [4; 6]);
        assert_eq!(code.to_lowercase().replace('-', " ").parse(), Ok(invite.clone()));
        assert_eq!(AccountInvite::from_bytes(&invite.to_bytes()), Ok(invite.clone()));
        for bad in ["", &code[1..], &format!("{code}00000000")] {
            assert_eq!(bad.parse::<AccountInvite>(), Err(BadAccountInvite), "{bad}");
        }
        assert_ne!(invite.lookup(&[1; 32]), invite.lookup(&[2; 32]));
        assert!(!format!("{invite:?}").contains(&code[..4]));
    }
}
