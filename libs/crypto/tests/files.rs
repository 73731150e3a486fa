//! Encrypted files: nothing but the whole file in its order opens, and the construction is STREAM.
#![allow(clippy::unwrap_used)]

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _,
    aead::{Payload, stream::EncryptorBE32},
};
use proptest::prelude::*;
use qpc_crypto::file::{CHUNK, FileCipher, FileError, padded_size};

const KEY: [u8; 32] = [7; 32];

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n * 31 % 251) as u8).collect()
}

fn seal(size: usize) -> (FileCipher, Vec<Vec<u8>>) {
    let (file, content) = (FileCipher::new(&KEY, size as u64).unwrap(), content(size));
    let chunks = (0..file.chunks()).map(|index| {
        let mut chunk = vec![0xee; file.sealed_len(index).unwrap()];
        let from = (index as usize * CHUNK).min(size);
        let part = &content[from..from + file.content_len(index)];
        chunk[..part.len()].copy_from_slice(part);
        file.seal(index, &mut chunk).unwrap();
        chunk
    });
    let chunks = chunks.collect();
    (file, chunks)
}

fn open(file: &FileCipher, chunks: &[Vec<u8>]) -> Result<Vec<u8>, FileError> {
    let mut content = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        content.extend_from_slice(file.open(index as u64, &mut chunk.clone())?);
    }
    if chunks.len() as u64 == file.chunks() { Ok(content) } else { Err(FileError::Length(chunks.len() as u64)) }
}

/// 0 to 4 chunks, and the sizes around their edges.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..4 * CHUNK,
        (0usize..4, 0usize..3).prop_map(|(chunks, more)| (chunks * CHUNK + more).saturating_sub(1))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_sealed_opens(size in sizes()) {
        let (file, chunks) = seal(size);
        prop_assert_eq!(open(&file, &chunks).unwrap(), content(size));
    }

    #[test]
    fn what_was_changed_does_not(size in sizes(), place in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (file, mut chunks) = seal(size);
        let at = place.index(chunks.iter().map(Vec::len).sum());
        chunks[at / 65_536][at % 65_536] ^= 1u8 << bit;
        prop_assert_eq!(open(&file, &chunks), Err(FileError::Chunk(at as u64 / 65_536)));
    }

    #[test]
    fn what_was_cut_doubled_or_put_in_another_order_does_not(
        size in CHUNK + 1..4 * CHUNK, one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
    ) {
        let (file, chunks) = seal(size);
        let (one, other) = (one.index(chunks.len()), other.index(chunks.len()));
        let mut missing = chunks.clone();
        missing.remove(one);
        prop_assert!(open(&file, &missing).is_err());
        let mut doubled = chunks.clone();
        doubled.insert(one, chunks[one].clone());
        prop_assert!(open(&file, &doubled).is_err());
        if one != other {
            let mut swapped = chunks.clone();
            swapped.swap(one, other);
            prop_assert!(open(&file, &swapped).is_err());
        }
        let mut short = chunks[one].clone();
        short.pop();
        prop_assert_eq!(file.open(one as u64, &mut short), Err(FileError::Length(one as u64)));
    }

    /// A server that cuts a file at a chunk cannot pass the rest off as a smaller file, whatever size is claimed.
    #[test]
    fn a_cut_file_is_no_smaller_file(size in 2 * CHUNK + 1..4 * CHUNK, claimed in sizes()) {
        prop_assume!(padded_size(size as u64) != padded_size(claimed as u64));
        let (_, chunks) = seal(size);
        let other = FileCipher::new(&KEY, claimed as u64).unwrap();
        let kept = &chunks[..chunks.len().min(other.chunks() as usize)];
        prop_assert!(open(&other, kept).is_err());
    }

    #[test]
    fn another_key_opens_nothing(size in sizes(), key in any::<[u8; 32]>()) {
        prop_assume!(key != KEY);
        let (_, chunks) = seal(size);
        let other = FileCipher::new(&key, size as u64).unwrap();
        prop_assert_eq!(open(&other, &chunks), Err(FileError::Chunk(0)));
    }

    #[test]
    fn the_construction_is_stream(size in sizes()) {
        let (_, chunks) = seal(size);
        let mut padded = content(size);
        padded.resize(padded_size(size as u64) as usize, 0);
        let mut encryptor = EncryptorBE32::from_aead(ChaCha20Poly1305::new(&KEY.into()), &[0; 7].into());
        let (last, others) = chunks.split_last().unwrap();
        let mut rest = padded.as_slice();
        for chunk in others {
            let (msg, after) = rest.split_at(CHUNK);
            prop_assert_eq!(&encryptor.encrypt_next(Payload { msg, aad: b"qpc file v1" }).unwrap(), chunk);
            rest = after;
        }
        prop_assert_eq!(&encryptor.encrypt_last(Payload { msg: rest, aad: b"qpc file v1" }).unwrap(), last);
    }
}

#[test]
fn padding_that_is_something_is_refused() {
    // A file of 255 bytes, claimed to have 5: both are padded to 256.
    let (_, chunks) = seal(255);
    let claimed = FileCipher::new(&KEY, 5).unwrap();
    assert_eq!(open(&claimed, &chunks), Err(FileError::Padding));
}
