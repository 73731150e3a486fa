//! One record of a transcript, shown without the rest: with the key that opens it and no other, and its way to the root
//! that the device has signed.

use std::io::Read;

use qpc_wire::proofs;
use zeroize::Zeroizing;

use super::{
    ArchiveError, Damage, HASH, Head, Kind, MAGIC, Reader, SIGNATURE, VERSION,
    head::{RecordKey, START},
    is_sealed_len, merkle,
    read::open_record,
};
use crate::identity;

/// Longest path: of a tree of as many leaves as there are numbers.
const MAX_PATH: usize = 64;

/// What a proof proves.
pub struct Proven {
    /// Head of the transcript.
    pub head: Head,
    /// Place of the record, from 0.
    pub index: u64,
    /// Number of records of the transcript.
    pub records: u64,
    /// Root of their Merkle tree.
    pub root: [u8; HASH],
    /// The record.
    pub record: Zeroizing<Vec<u8>>,
}

/// Reads a transcript and takes out what proves record `index` of it. Big-endian: magic (8) | 3 (1) | version (1) | head of
/// the transcript (319) | records (8) | signature (64) | index (8) | key (32) | length of the path (1) | path (32 each) |
/// ciphertext and tag.
pub fn prove(input: impl Read, passphrase: &[u8], index: u64) -> Result<Zeroizing<Vec<u8>>, ArchiveError> {
    let mut reader = Reader::watching(input, Kind::Transcript, merkle::Tree::watching(index))?;
    let key = reader.head().unlock(passphrase)?.record(index);
    let mut sealed = Vec::new();
    let end = loop {
        match reader.advance()? {
            None if reader.record().0 == index => sealed.extend_from_slice(reader.record().1),
            None => {}
            Some(end) => break end,
        }
    };
    if sealed.is_empty() {
        return Err(ArchiveError::NoRecord(index));
    }
    let path_len = u8::try_from(end.path.len()).map_err(|_| ArchiveError::NoRecord(index))?;
    let mut proof = Zeroizing::new(MAGIC.to_vec());
    proof.extend_from_slice(&[Kind::Proof as u8, VERSION]);
    proof.extend_from_slice(&reader.head().to_bytes());
    proof.extend_from_slice(&end.summary.records.to_be_bytes());
    proof.extend_from_slice(&end.proof);
    proof.extend_from_slice(&index.to_be_bytes());
    proof.extend_from_slice(key.0.as_ref());
    proof.push(path_len);
    end.path.iter().for_each(|hash| proof.extend_from_slice(hash));
    proof.extend_from_slice(sealed.get(HASH..).unwrap_or_default());
    Ok(proof)
}

/// Checks a proof, from nothing but itself. Whose word it is stands in the head: compare the account key.
pub fn verify_proof(proof: &[u8]) -> Result<Proven, ArchiveError> {
    let damaged = |what| ArchiveError::Damaged { records: 0, offset: 0, what };
    let cut = || damaged(Damage::Cut);
    let (start, rest) = proof.split_first_chunk::<START>().ok_or_else(cut)?;
    match Head::check_start(start)? {
        Kind::Proof => {}
        other => return Err(ArchiveError::Kind(Some(other))),
    }
    let (head, rest) = rest.split_at_checked(Head::len(Kind::Transcript)).ok_or_else(cut)?;
    let (head_start, _) = head.split_first_chunk::<START>().ok_or_else(cut)?;
    if Head::check_start(head_start)? != Kind::Transcript {
        return Err(damaged(Damage::Head));
    }
    let head = Head::parse(Kind::Transcript, head).map_err(damaged)?;
    let (records, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let (signature, rest) = rest.split_first_chunk::<SIGNATURE>().ok_or_else(cut)?;
    let (index, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let (key, rest) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
    let (path_len, rest) = rest.split_first().ok_or_else(cut)?;
    let path_len = usize::from(*path_len);
    if path_len > MAX_PATH {
        return Err(damaged(Damage::Length));
    }
    let (path, sealed) = rest.split_at_checked(path_len * HASH).ok_or_else(cut)?;
    if !u32::try_from(sealed.len()).is_ok_and(is_sealed_len) {
        return Err(damaged(Damage::Length));
    }
    let (records, index) = (u64::from_be_bytes(*records), u64::from_be_bytes(*index));
    let key = RecordKey(Zeroizing::new(*key));
    let committed = [key.commitment().as_slice(), sealed].concat();
    let leaf = merkle::leaf([&committed, &[]]);
    let root = merkle::root_of(leaf, index, records, path.as_chunks().0).ok_or(damaged(Damage::Root))?;
    let (_, certificate) = head.signed_by.as_ref().ok_or(damaged(Damage::Head))?;
    identity::verify(certificate.device_key(), &proofs::transcript(head.hash(), records, &root), signature)
        .map_err(|_| damaged(Damage::Proof))?;
    let mut record = Zeroizing::default();
    let len = open_record(&key, &committed, &mut record).ok_or(damaged(Damage::Sealed))?.len();
    record.truncate(len);
    Ok(Proven { head, index, records, root, record })
}
