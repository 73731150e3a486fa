//! Reading a file, and finding where it is damaged.

use std::io::{self, Read};

use qpc_wire::proofs;
use zeroize::Zeroizing;

use super::{
    ArchiveError, Damage, END, HASH, Head, Kind, SIGNATURE, Summary, TAG, chain,
    head::{Keys, RecordKey, START},
    is_sealed_len, merkle,
};
use crate::{identity, padding};

/// A file that is being read, without its passphrase.
pub struct Reader<R> {
    input: R,
    head: Head,
    chain: [u8; HASH],
    tree: merkle::Tree,
    records: u64,
    /// Where the next part begins.
    offset: u64,
    /// Commitment, ciphertext and tag of the record that was read last.
    record: Vec<u8>,
    /// Where the last one began.
    before: u64,
    end: Option<End>,
}

/// The end of a file.
#[derive(Clone)]
pub(super) struct End {
    pub(super) summary: Summary,
    /// Of the record that the tree has watched.
    pub(super) path: Vec<[u8; HASH]>,
    /// Signature of a transcript, tag of a backup.
    pub(super) proof: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Begins to read a file that is to be of a kind: a transcript or a backup.
    pub fn new(input: R, kind: Kind) -> Result<Self, ArchiveError> {
        Self::watching(input, kind, merkle::Tree::default())
    }

    pub(super) fn watching(mut input: R, kind: Kind, tree: merkle::Tree) -> Result<Self, ArchiveError> {
        let damaged = |what| ArchiveError::Damaged { records: 0, offset: 0, what };
        let mut start = [0; START];
        fill(&mut input, &mut start, damaged)?;
        let found = Head::check_start(&start)?;
        if found != kind {
            return Err(ArchiveError::Kind(Some(found)));
        }
        let mut bytes = vec![0; Head::len(kind)];
        bytes[..START].copy_from_slice(&start);
        fill(&mut input, &mut bytes[START..], damaged)?;
        let head = Head::parse(kind, &bytes).map_err(damaged)?;
        let (chain, offset) = (*head.hash(), bytes.len() as u64);
        Ok(Self { input, head, chain, tree, records: 0, offset, record: Vec::new(), before: 0, end: None })
    }

    /// What stands in clear.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Reads on with the passphrase. Takes the time of Argon2id.
    pub fn unlock(self, passphrase: &[u8]) -> Result<Opened<R>, ArchiveError> {
        let keys = self.head.unlock(passphrase)?;
        Ok(Opened { reader: self, keys, plain: Zeroizing::default() })
    }

    /// Reads to the end: chain, root, count, and in a transcript the signature are those of the file as it was written.
    pub fn verify(mut self) -> Result<Summary, ArchiveError> {
        loop {
            if let Some(end) = self.advance()? {
                return Ok(end.summary);
            }
        }
    }

    /// Takes the next record in and checks it against the chain. At the end, which is checked as well, gives that.
    pub(super) fn advance(&mut self) -> Result<Option<End>, ArchiveError> {
        if let Some(end) = &self.end {
            return Ok(Some(end.clone()));
        }
        let mut len = [0; 4];
        self.fill(&mut len)?;
        let len = u32::from_be_bytes(len);
        if len == END {
            let end = self.finish()?;
            return Ok(Some(self.end.insert(end).clone()));
        }
        if !is_sealed_len(len) {
            return Err(self.damaged(Damage::Length));
        }
        let mut record = std::mem::take(&mut self.record);
        record.resize(HASH + len as usize, 0);
        self.fill(&mut record)?;
        let mut stored = [0; HASH];
        self.fill(&mut stored)?;
        let leaf = merkle::leaf([&record, &[]]);
        let next = chain(&self.chain, &leaf);
        if next != stored {
            return Err(self.damaged(Damage::Chain));
        }
        self.tree.push(leaf);
        self.record = record;
        self.chain = next;
        self.records += 1;
        self.before = self.offset;
        self.offset += 4 + self.record.len() as u64 + HASH as u64;
        Ok(None)
    }

    /// Number and sealed form, with its commitment, of the record that was taken in last.
    pub(super) fn record(&self) -> (u64, &[u8]) {
        (self.records.saturating_sub(1), &self.record)
    }

    fn finish(&mut self) -> Result<End, ArchiveError> {
        let (mut count, mut stored) = ([0; 8], [0; HASH]);
        self.fill(&mut count)?;
        self.fill(&mut stored)?;
        let (root, path) = std::mem::take(&mut self.tree).finish();
        if u64::from_be_bytes(count) != self.records {
            return Err(self.damaged(Damage::Count));
        }
        if root != stored {
            return Err(self.damaged(Damage::Root));
        }
        let signer = self.head.signed_by.as_ref().map(|(_, certificate)| *certificate.device_key());
        let mut proof = vec![0; if signer.is_some() { SIGNATURE } else { TAG }];
        self.fill(&mut proof)?;
        if let Some(key) = signer {
            let said = proofs::transcript(self.head.hash(), self.records, &root);
            identity::verify(&key, &said, &proof).map_err(|_| self.damaged(Damage::Proof))?;
        }
        let bytes = self.offset + (4 + 8 + HASH + proof.len()) as u64;
        if self.input.by_ref().take(1).read_to_end(&mut Vec::new())? > 0 {
            return Err(ArchiveError::Damaged { records: self.records, offset: bytes, what: Damage::Tail });
        }
        Ok(End { summary: Summary { records: self.records, root, bytes }, path, proof })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let (records, offset) = (self.records, self.offset);
        fill(&mut self.input, buffer, |what| ArchiveError::Damaged { records, offset, what })
    }

    /// What comes next is not as it was written.
    fn damaged(&self, what: Damage) -> ArchiveError {
        ArchiveError::Damaged { records: self.records, offset: self.offset, what }
    }
}

/// A file that is being read with its passphrase.
pub struct Opened<R> {
    reader: Reader<R>,
    keys: Keys,
    plain: Zeroizing<Vec<u8>>,
}

impl<R: Read> Opened<R> {
    /// What stands in clear.
    pub fn head(&self) -> &Head {
        self.reader.head()
    }

    /// The next record; none at the end, which has been checked then. What was given out before is whole even if the file
    /// is found to be damaged later.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, ArchiveError> {
        match self.advance()? {
            None => self.open().map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Reads what is left, without opening it, and checks the end.
    pub fn finish(mut self) -> Result<Summary, ArchiveError> {
        loop {
            if let Some(end) = self.advance()? {
                return Ok(end.summary);
            }
        }
    }

    fn advance(&mut self) -> Result<Option<End>, ArchiveError> {
        let end = self.reader.advance()?;
        if let (Some(End { summary, proof, .. }), None) = (&end, &self.reader.head.signed_by) {
            let tag = proof.as_slice().try_into().map_err(|_| self.reader.damaged(Damage::Proof))?;
            if !self.keys.is_end_tag(summary.records, &summary.root, &tag) {
                return Err(self.reader.damaged(Damage::Proof));
            }
        }
        Ok(end)
    }

    fn open(&mut self) -> Result<&[u8], ArchiveError> {
        let Reader { records, before, record, .. } = &self.reader;
        let index = records - 1;
        let damaged = || ArchiveError::Damaged { records: index, offset: *before, what: Damage::Sealed };
        let key = self.keys.record(index);
        open_record(&key, record, &mut self.plain).ok_or_else(damaged)
    }
}

/// Opens commitment, ciphertext and tag into a buffer.
pub(super) fn open_record<'a>(key: &RecordKey, record: &[u8], plain: &'a mut Zeroizing<Vec<u8>>) -> Option<&'a [u8]> {
    let (commitment, sealed) = record.split_first_chunk::<HASH>()?;
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>()?;
    if key.commitment() != *commitment {
        return None;
    }
    plain.clear();
    plain.extend_from_slice(ciphertext);
    key.open_in_place(&[], plain, tag)?;
    padding::unpad(plain).ok()
}

/// Fills a buffer; `damaged` makes the error for a file that ends before.
fn fill(
    input: &mut impl Read,
    buffer: &mut [u8],
    damaged: impl Fn(Damage) -> ArchiveError,
) -> Result<(), ArchiveError> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(Damage::Cut),
        _ => error.into(),
    })
}
