//! SHA-256 (FIPS 180-4) of something that is cut into parts, hashed by several at once: each begins with the chaining value
//! that the part before ends with, which whoever has read the whole can tell them. What they were told holds if each part
//! begins with what the one before has really ended with.

use sha2::{
    compress256,
    digest::{consts::U64, generic_array::GenericArray},
};

/// Bytes that are compressed at a time; parts but the last have a multiple of it.
const BLOCK: usize = 64;
/// Blocks that are handed over together.
const BLOCKS: usize = 32;
/// H(0) of section 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// H(i) of section 6.2.2, its words in big-endian order.
pub type ChainingValue = [u8; 32];

/// SHA-256 under way.
#[derive(Clone)]
pub struct Sha256Chain {
    state: [u32; 8],
    hashed: u64,
    rest: [u8; BLOCK],
}

impl Default for Sha256Chain {
    fn default() -> Self {
        Self { state: INITIAL, hashed: 0, rest: [0; BLOCK] }
    }
}

impl Sha256Chain {
    /// The value before the first part.
    pub fn initial() -> ChainingValue {
        bytes(&INITIAL)
    }

    /// Goes on after `hashed` bytes, which end with `value`; `None` if so many bytes end with no value.
    pub fn resume(value: &ChainingValue, hashed: u64) -> Option<Self> {
        let mut state = [0; 8];
        for (word, bytes) in state.iter_mut().zip(value.as_chunks::<4>().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        hashed.is_multiple_of(BLOCK as u64).then_some(Self { state, hashed, rest: [0; BLOCK] })
    }

    /// Hashes what comes next.
    pub fn update(&mut self, mut input: &[u8]) {
        let held = self.held();
        self.hashed += input.len() as u64;
        if held > 0 {
            let (head, tail) = input.split_at(input.len().min(BLOCK - held));
            self.rest[held..held + head.len()].copy_from_slice(head);
            if held + head.len() < BLOCK {
                return;
            }
            compress256(&mut self.state, &[self.rest.into()]);
            input = tail;
        }
        let (whole, rest) = input.as_chunks::<BLOCK>();
        let mut blocks = [GenericArray::<u8, U64>::default(); BLOCKS];
        for some in whole.chunks(BLOCKS) {
            for (block, bytes) in blocks.iter_mut().zip(some) {
                block.copy_from_slice(bytes);
            }
            compress256(&mut self.state, &blocks[..some.len()]);
        }
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    /// What the next part begins with; `None` within a block.
    pub fn value(&self) -> Option<ChainingValue> {
        (self.held() == 0).then(|| bytes(&self.state))
    }

    /// The hash of all.
    pub fn finish(mut self) -> [u8; 32] {
        let (held, bits) = (self.held(), self.hashed.wrapping_mul(8));
        let mut padding = [0; 2 * BLOCK];
        padding[0] = 0x80;
        // To the end of this block, or of the next one where the length has no room.
        let len = if held < BLOCK - 8 { BLOCK - held } else { 2 * BLOCK - held };
        padding[len - 8..len].copy_from_slice(&bits.to_be_bytes());
        self.update(&padding[..len]);
        bytes(&self.state)
    }

    fn held(&self) -> usize {
        (self.hashed % BLOCK as u64) as usize
    }
}

fn bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut value = [0; 32];
    for (bytes, word) in value.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn nothing_and_every_length_around_a_block_hash_as_they_should() {
        let input: Vec<u8> = (0..5_000u32).map(|n| n as u8).collect();
        for len in (0..200).chain([BLOCK * BLOCKS - 1, BLOCK * BLOCKS, BLOCK * BLOCKS + 1, 5_000]) {
            let mut chain = Sha256Chain::default();
            chain.update(&input[..len]);
            assert_eq!(chain.finish()[..], Sha256::digest(&input[..len])[..], "{len}");
        }
        assert_eq!(Sha256Chain::default().value(), Some(Sha256Chain::initial()));
        assert!(Sha256Chain::resume(&Sha256Chain::initial(), 63).is_none());
    }

    proptest! {
        #[test]
        fn parts_that_are_hashed_apart_make_the_hash_of_all(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
            blocks in 0..8usize,
        ) {
            let input = pieces.concat();
            let mut chain = Sha256Chain::default();
            for piece in &pieces {
                chain.update(piece);
                prop_assert_eq!(chain.value().is_some(), chain.hashed.is_multiple_of(BLOCK as u64));
            }
            let expected: [u8; 32] = Sha256::digest(&input).into();
            prop_assert_eq!(chain.finish(), expected);

            let (head, tail) = input.split_at((blocks * BLOCK).min(input.len() / BLOCK * BLOCK));
            let mut first = Sha256Chain::default();
            first.update(head);
            let mut second = Sha256Chain::resume(&first.value().unwrap(), head.len() as u64).unwrap();
            second.update(tail);
            prop_assert_eq!(second.finish(), expected);
        }
    }
}
