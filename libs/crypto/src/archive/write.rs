//! Writing a file.

use std::io::Write;

use qpc_wire::proofs;
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use super::{About, ArchiveError, END, HASH, Head, Lock, MAX_RECORD, Summary, chain, head::Keys, merkle};
use crate::{identity::DeviceKey, padding};

/// A file that is being written. Without [`Writer::finish`] it has no end, and is read as cut off.
pub struct Writer<W> {
    out: W,
    head: Head,
    keys: Keys,
    chain: [u8; HASH],
    tree: merkle::Tree,
    records: u64,
    bytes: u64,
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(
        mut out: W,
        rng: &mut (impl RngCore + CryptoRng),
        lock: &Lock,
        about: &About<'_>,
        made_at_ms: u64,
    ) -> Result<Self, ArchiveError> {
        let head = Head::new(rng, lock, about, made_at_ms);
        let bytes = head.to_bytes();
        out.write_all(&bytes)?;
        Ok(Self {
            out,
            keys: lock.keys(&head),
            chain: *head.hash(),
            head,
            tree: merkle::Tree::default(),
            records: 0,
            bytes: bytes.len() as u64,
            buffer: Zeroizing::default(),
        })
    }

    /// What stands in clear.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Adds a record. Big-endian: length of ciphertext and tag (4) | commitment to the key (32) | ciphertext | tag (16) |
    /// chain value (32).
    pub fn push(&mut self, record: &[u8]) -> Result<(), ArchiveError> {
        if record.len() > MAX_RECORD {
            return Err(ArchiveError::TooLong(record.len()));
        }
        let key = self.keys.record(self.records);
        self.buffer.clear();
        padding::pad_into(record, &mut self.buffer);
        let tag = key.seal_in_place(&[], &mut self.buffer);
        self.buffer.extend_from_slice(&tag);
        let commitment = key.commitment();
        let leaf = merkle::leaf([&commitment, &self.buffer]);
        self.chain = chain(&self.chain, &leaf);
        self.tree.push(leaf);
        // A record of MAX_RECORD bytes is far below u32.
        let len = u32::try_from(self.buffer.len()).map_err(|_| ArchiveError::TooLong(record.len()))?;
        self.out.write_all(&len.to_be_bytes())?;
        self.out.write_all(&commitment)?;
        self.out.write_all(&self.buffer)?;
        self.out.write_all(&self.chain)?;
        self.records += 1;
        self.bytes += (4 + 2 * HASH + self.buffer.len()) as u64;
        Ok(())
    }

    /// Ends the file. Big-endian: 0xffffffff (4) | records (8) | root (32) | in a transcript the signature of `device` (64),
    /// in a backup a tag (16). The device must be the one that the file was begun for.
    pub fn finish(mut self, device: &DeviceKey) -> Result<Summary, ArchiveError> {
        let root = self.tree.root();
        let proof = match self.head.signed_by {
            Some(_) => device.sign(&proofs::transcript(self.head.hash(), self.records, &root)).to_vec(),
            None => self.keys.end_tag(self.records, &root).to_vec(),
        };
        let end = [END.to_be_bytes().as_slice(), &self.records.to_be_bytes(), &root, &proof].concat();
        self.out.write_all(&end)?;
        self.out.flush()?;
        Ok(Summary { records: self.records, root, bytes: self.bytes + end.len() as u64 })
    }
}
