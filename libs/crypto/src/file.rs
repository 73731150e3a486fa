//! Files, encrypted chunk by chunk under a key of their own: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015) over ChaCha20-Poly1305 (RFC 8439).
//!
//! The nonce of a chunk says its place and whether it is the last, so what is cut, put in another order or doubled does not
//! open, and any chunk can be opened without the others. The size is padded by Padmé (Nikitin et al., "Reducing Metadata
//! Leakage from Encrypted Files and Communication with PURBs", 2019): a few sizes for each power of two, at most 12 % more.
//! ChaCha20-Poly1305 was the fastest of what this crate can have on a processor with AES of its own, and is so by far on
//! one without.
//!
//! A key encrypts one file. Who encrypts again what was interrupted must make sure that it is the same file.

use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, Tag};

/// Bytes of a chunk as it is stored, but for the last one.
pub const SEALED_CHUNK: usize = 64 << 10;
/// Bytes of a tag.
const TAG: usize = 16;
/// Bytes of a file in one chunk.
pub const CHUNK: usize = SEALED_CHUNK - TAG;
/// The largest file, bytes. Its chunks are counted by 32 bits.
pub const MAX_SIZE: u64 = 1 << 40;
/// Smaller files are padded to this size.
const MIN_PADDED: u64 = 256;
/// Associated data of every chunk.
const LABEL: &[u8] = b"qpc file v1";

/// A file that is not what was encrypted under this key, or cannot be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Larger than any file.
    #[error("a file has at most {MAX_SIZE} bytes, not {0}")]
    TooLarge(u64),
    /// The bytes are not a chunk of the file.
    #[error("chunk {0} of the file does not exist, or has another length")]
    Length(u64),
    /// Not what was encrypted at this place under this key.
    #[error("chunk {0} of the file does not open")]
    Chunk(u64),
    /// Something follows the end of the file.
    #[error("the file is padded with something")]
    Padding,
}

/// Bytes of a file of `size` bytes once it is padded.
pub fn padded_size(size: u64) -> u64 {
    let size = size.max(MIN_PADDED);
    let exponent = size.ilog2();
    let kept = exponent.ilog2() + 1;
    size.next_multiple_of(1 << (exponent - kept))
}

/// Bytes of a file of `size` bytes, at most [`MAX_SIZE`], once it is encrypted.
pub fn sealed_size(size: u64) -> u64 {
    let padded = padded_size(size);
    padded + padded.div_ceil(CHUNK as u64) * TAG as u64
}

/// Seals and opens the chunks of one file, in any order.
pub struct FileCipher {
    cipher: ChaCha20Poly1305,
    size: u64,
    padded: u64,
}

impl FileCipher {
    /// For a file of `size` bytes. A `key` encrypts one file, ever.
    pub fn new(key: &[u8; 32], size: u64) -> Result<Self, FileError> {
        if size > MAX_SIZE {
            return Err(FileError::TooLarge(size));
        }
        Ok(Self { cipher: ChaCha20Poly1305::new(key.into()), size, padded: padded_size(size) })
    }

    /// Number of chunks, at least one.
    pub fn chunks(&self) -> u64 {
        self.padded.div_ceil(CHUNK as u64)
    }

    /// Bytes of chunk `index` as it is stored.
    pub fn sealed_len(&self, index: u64) -> Option<usize> {
        let before = index.checked_mul(CHUNK as u64)?;
        let left = self.padded.checked_sub(before).filter(|left| *left > 0)?;
        Some(left.min(CHUNK as u64) as usize + TAG)
    }

    /// Bytes of the file in chunk `index`, in front of the padding.
    pub fn content_len(&self, index: u64) -> usize {
        let left = self.size.saturating_sub(index.saturating_mul(CHUNK as u64));
        left.min(CHUNK as u64) as usize
    }

    /// Seals chunk `index` where it stands. `chunk` has the length of [`Self::sealed_len`]; it begins with
    /// [`Self::content_len`] bytes of the file, and what follows them is overwritten.
    pub fn seal(&self, index: u64, chunk: &mut [u8]) -> Result<(), FileError> {
        let (text, tag) = self.split(index, chunk)?;
        text[self.content_len(index)..].fill(0);
        let made = self.cipher.encrypt_in_place_detached(&self.nonce(index), LABEL, text);
        tag.copy_from_slice(&made.map_err(|_| FileError::Length(index))?);
        Ok(())
    }

    /// Opens chunk `index` where it stands; returns the bytes of the file in it.
    pub fn open<'a>(&self, index: u64, chunk: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let (text, tag) = self.split(index, chunk)?;
        let opened = self.cipher.decrypt_in_place_detached(&self.nonce(index), LABEL, text, Tag::from_slice(tag));
        opened.map_err(|_| FileError::Chunk(index))?;
        let (content, padding) = text.split_at(self.content_len(index));
        if padding.iter().any(|byte| *byte != 0) {
            return Err(FileError::Padding);
        }
        Ok(content)
    }

    fn split<'a>(&self, index: u64, chunk: &'a mut [u8]) -> Result<(&'a mut [u8], &'a mut [u8]), FileError> {
        if self.sealed_len(index) != Some(chunk.len()) {
            return Err(FileError::Length(index));
        }
        Ok(chunk.split_at_mut(chunk.len() - TAG))
    }

    /// 7 zero bytes ‖ index (4) ‖ 1 for the last chunk, else 0. Called for chunks that exist, of which there are less than
    /// 2^32.
    fn nonce(&self, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[7..11].copy_from_slice(&(index as u32).to_be_bytes());
        nonce[11] = u8::from(index + 1 == self.chunks());
        nonce.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_leaves_few_sizes_and_costs_little() {
        for (size, padded) in [
            (0, 256),
            (255, 256),
            (256, 256),
            (257, 272),
            (1_000, 1_024),
            (65_536, 65_536),
            (65_537, 67_584),
            (50_000_000, 50_331_648),
            (50 << 20, 50 << 20),
            (MAX_SIZE, MAX_SIZE),
        ] {
            assert_eq!(padded_size(size), padded, "{size}");
        }
        let sizes: std::collections::BTreeSet<u64> = (512..1 << 20).map(padded_size).collect();
        assert!(sizes.len() < 250, "{} sizes from 512 B to 1 MiB", sizes.len());
        for size in (1_000..1 << 20).step_by(997) {
            assert!(padded_size(size) * 100 < size * 112, "{size}");
        }
    }

    #[test]
    fn stored_chunks_are_64_kib_and_add_up() {
        for size in [0, 1, 65_519, 65_520, 65_521, 1 << 20, 50 << 20] {
            let file = FileCipher::new(&[0; 32], size).unwrap();
            let lengths: Vec<_> = (0..file.chunks()).map(|index| file.sealed_len(index).unwrap()).collect();
            let (last, others) = lengths.split_last().unwrap();
            assert!(*last > TAG && *last <= SEALED_CHUNK && others.iter().all(|len| *len == SEALED_CHUNK));
            assert_eq!(lengths.iter().sum::<usize>() as u64, sealed_size(size), "{size}");
            assert_eq!((0..file.chunks()).map(|index| file.content_len(index) as u64).sum::<u64>(), size);
            assert_eq!(file.sealed_len(file.chunks()), None);
        }
        assert_eq!(FileCipher::new(&[0; 32], MAX_SIZE + 1).err(), Some(FileError::TooLarge(MAX_SIZE + 1)));
    }

    /// Test vector of the protocol reference.
    #[test]
    fn a_small_file_has_these_bytes() {
        let file = FileCipher::new(&[1; 32], 5).unwrap();
        let mut chunk = vec![0xff; 272];
        chunk[..5].copy_from_slice(b"hello");
        file.seal(0, &mut chunk).unwrap();
        assert_eq!(
            hex::encode(crate::sha256(&[&chunk])),
            "b9287efa17fb75cc35e8e5b4fb68ae752e65521082195ada67d91f27c1ef2a71"
        );
        assert_eq!(file.open(0, &mut chunk).unwrap(), b"hello");
    }
}
