//! Files that leave the device: the transcript of a conversation, and a backup. Written and read as a stream, in flat
//! memory; `docs/reference/files.md` has the bytes.
//!
//! A file is a head, records, and an end. Each record is sealed under a key of its own, padded, and followed by a chain
//! value over everything before it, so that whoever reads the file finds the first place that is not as it was written,
//! without any key. Over the sealed records stands a Merkle tree ([`merkle`]), whose root the end proves: in a transcript by
//! a signature of the device that wrote it, in a backup, which says nothing in clear about whose it is, by the passphrase.
//!
//! What the chain cannot do: somebody who changes a record and makes the chain anew is found by the end, and which record
//! it was only the passphrase tells.

mod head;
pub mod merkle;
mod proof;
mod read;
mod write;

pub use head::{About, Head, Lock, conversation_hash};
pub use proof::{Proven, prove, verify_proof};
pub use read::{Opened, Reader};
pub use write::Writer;

use std::io;

use crate::{certificate::CertificateError, identity::sha256, kdf::KdfError, padding};

const MAGIC: [u8; 8] = *b"qpc file";
const VERSION: u8 = 1;
/// Longest record, bytes.
pub const MAX_RECORD: usize = (1 << 20) - 1;
/// Bytes of the tag of a sealed record.
const TAG: usize = 16;
/// Bytes of a hash.
const HASH: usize = 32;
/// Bytes of a signature.
const SIGNATURE: usize = 64;
/// Longest sealed record without what stands around it: padded, with its tag.
const MAX_SEALED: u32 = (MAX_RECORD + 1 + TAG) as u32;
/// Stands where the length of a record would. No change of a single byte makes it of a length, or one of it.
const END: u32 = u32::MAX;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A conversation, signed.
    Transcript = 1,
    /// An account.
    Backup = 2,
    /// One record of a transcript, with the proof that it is one.
    Proof = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Transcript, Self::Backup, Self::Proof].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// What is wrong where a file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends before it is at its end.
    #[error("the file ends there")]
    Cut,
    /// The head is not what its hash says.
    #[error("the head was changed")]
    Head,
    /// The certificate in the head is not signed by its account.
    #[error("the certificate does not hold: {0}")]
    Certificate(CertificateError),
    /// No record has that length.
    #[error("no record has that length")]
    Length,
    /// It is not what was written after what stands before it.
    #[error("it is not what was written there")]
    Chain,
    /// The end speaks of another number of records.
    #[error("records are missing or were added before the end")]
    Count,
    /// The end names another root.
    #[error("the root is not that of the records")]
    Root,
    /// The end is not signed by the device of the head, or not made with the passphrase.
    #[error("the end is not proved")]
    Proof,
    /// The passphrase does not open it, although it opens the file.
    #[error("it was not sealed with the passphrase of the file")]
    Sealed,
    /// Something follows the end.
    #[error("something was added behind the end")]
    Tail,
}

/// Why a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as a file of ours does.
    #[error("this is no file of quicprochat")]
    Unknown,
    /// It is another file than the one asked for; none for a kind that this version does not know.
    #[error("this is another kind of file")]
    Kind(Option<Kind>),
    /// Of a version that this one does not read.
    #[error("the file is of version {found}, this program reads version {known}")]
    Version {
        /// Version of the file.
        found: u8,
        /// The version that is read.
        known: u8,
    },
    /// The cost of the passphrase, or its derivation.
    #[error(transparent)]
    Kdf(#[from] KdfError),
    /// The passphrase does not open it.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// There is no such record.
    #[error("there is no record {0}")]
    NoRecord(u64),
    /// More than a record holds.
    #[error("a record has at most {MAX_RECORD} bytes, not {0}")]
    TooLong(usize),
    /// It is not as it was written.
    #[error("damaged after {records} whole records, at byte {offset}: {what}")]
    Damaged {
        /// Records that are whole; the damage is in what follows them, which is the record of this number unless `what` says
        /// that it is the head or the end.
        records: u64,
        /// Where that begins, bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        what: Damage,
    },
}

/// What a file proves that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Number of records.
    pub records: u64,
    /// Root of their Merkle tree.
    pub root: [u8; HASH],
    /// Length of the file, bytes.
    pub bytes: u64,
}

/// The chain goes on: what it is before a record, and the record's leaf.
fn chain(before: &[u8; HASH], leaf: &[u8; HASH]) -> [u8; HASH] {
    sha256(&[b"qpc archive chain v1", before, leaf])
}

/// Whether a record can have this length, padded and with its tag.
fn is_sealed_len(len: u32) -> bool {
    let padded = (len as usize).checked_sub(TAG);
    len <= MAX_SEALED && padded.is_some_and(padding::is_padded)
}
