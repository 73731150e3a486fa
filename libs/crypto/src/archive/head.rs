//! The head of a file, and the keys behind it.

use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use hkdf::Hkdf;
use qpc_wire::GroupId;
use rand::{CryptoRng, RngCore};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::{ArchiveError, Damage, HASH, Kind, MAGIC, TAG, VERSION};
use crate::{
    aead,
    certificate::DeviceCertificate,
    identity::sha256,
    kdf::{KdfError, KsfParams, local_store_key},
};

/// Magic (8), kind (1), version (1): what every file begins with.
pub(super) const START: usize = 10;
/// Time (8), salt (16), memory, passes and lanes (4 each).
const COMMON: usize = 8 + 16 + 12;
const SEALED_KEY: usize = 32 + aead::OVERHEAD;

/// What a new file is about.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    /// A conversation, told by a device.
    Transcript {
        /// Which one.
        conversation: GroupId,
        /// Whose word it is.
        certificate: &'a DeviceCertificate,
    },
    /// An account. Nothing of it is told in clear.
    Backup,
}

/// What stands in clear at the beginning of a file. Big-endian: magic (8) | kind (1) | version (1) | Unix milliseconds
/// (8) | salt (16) | memory, KiB (4) | passes (4) | lanes (4) | in a transcript: conversation (32), certificate (137) |
/// sealed file key (72) | SHA-256 of all before under a label (32).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What the file is.
    pub kind: Kind,
    /// When it was begun, Unix milliseconds, by the clock of whoever wrote it.
    pub made_at_ms: u64,
    /// Cost of the passphrase.
    pub ksf: KsfParams,
    /// Of a transcript: the hash of its conversation, see [`conversation_hash`], and the device that signs it.
    pub signed_by: Option<([u8; HASH], DeviceCertificate)>,
    salt: [u8; 16],
    sealed_key: [u8; SEALED_KEY],
    hash: [u8; HASH],
}

impl Head {
    pub(super) fn new(rng: &mut (impl RngCore + CryptoRng), lock: &Lock, about: &About<'_>, made_at_ms: u64) -> Self {
        let (kind, signed_by) = match *about {
            About::Transcript { conversation, certificate } => {
                (Kind::Transcript, Some((conversation_hash(conversation), certificate.clone())))
            }
            About::Backup => (Kind::Backup, None),
        };
        let (salt, ksf) = (lock.salt, lock.ksf);
        let mut head = Self { kind, made_at_ms, ksf, signed_by, salt, sealed_key: [0; SEALED_KEY], hash: [0; HASH] };
        let clear = head.clear_part();
        let sealed = aead::seal(rng, &lock.passphrase_key, &clear, lock.file_key.as_ref());
        head.sealed_key.copy_from_slice(&sealed);
        head.hash = hash(&[clear, sealed].concat());
        head
    }

    /// The length of a head of a kind, with its beginning.
    pub(super) fn len(kind: Kind) -> usize {
        let signed = if kind == Kind::Transcript { HASH + DeviceCertificate::LEN } else { 0 };
        START + COMMON + signed + SEALED_KEY + HASH
    }

    /// The kind of the file that begins so, if this version reads it.
    pub(super) fn check_start(start: &[u8; START]) -> Result<Kind, ArchiveError> {
        if start[..MAGIC.len()] != MAGIC {
            return Err(ArchiveError::Unknown);
        }
        let kind = Kind::from_byte(start[8]).ok_or(ArchiveError::Kind(None))?;
        if start[9] != VERSION {
            return Err(ArchiveError::Version { found: start[9], known: VERSION });
        }
        Ok(kind)
    }

    /// Reads a head whose length fits its kind.
    pub(super) fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, Damage> {
        let (hashed, stored) = bytes.split_last_chunk::<HASH>().ok_or(Damage::Cut)?;
        if hash(hashed) != *stored {
            return Err(Damage::Head);
        }
        let mut parts = Parts(hashed);
        parts.take::<START>()?;
        let made_at_ms = u64::from_be_bytes(parts.take()?);
        let salt = parts.take()?;
        let [memory_kib, iterations, parallelism] =
            [parts.take()?, parts.take()?, parts.take()?].map(u32::from_be_bytes);
        let ksf = KsfParams { memory_kib, iterations, parallelism };
        let signed_by = match kind {
            Kind::Backup | Kind::Proof => None,
            Kind::Transcript => {
                let conversation = parts.take()?;
                let certificate = parts.take::<{ DeviceCertificate::LEN }>()?;
                Some((conversation, DeviceCertificate::parse(&certificate).map_err(Damage::Certificate)?))
            }
        };
        Ok(Self { kind, made_at_ms, ksf, signed_by, salt, sealed_key: parts.take()?, hash: *stored })
    }

    /// The head as it stands in the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.clear_part().as_slice(), &self.sealed_key, &self.hash].concat()
    }

    /// What the chain begins with, and what the end is signed over.
    pub(super) fn hash(&self) -> &[u8; HASH] {
        &self.hash
    }

    /// The keys of the file. Takes the time of Argon2id.
    pub(super) fn unlock(&self, passphrase: &[u8]) -> Result<Keys, ArchiveError> {
        let key = local_store_key(passphrase, &self.salt, self.ksf)?;
        let opened = aead::open(&key, &self.clear_part(), &self.sealed_key).map(Zeroizing::new);
        let opened = opened.map_err(|_| ArchiveError::WrongPassphrase)?;
        let file_key = opened.as_slice().try_into().map_err(|_| ArchiveError::WrongPassphrase)?;
        Ok(Keys::new(&Zeroizing::new(file_key), &self.hash))
    }

    fn clear_part(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[self.kind as u8, VERSION]);
        bytes.extend_from_slice(&self.made_at_ms.to_be_bytes());
        bytes.extend_from_slice(&self.salt);
        for number in [self.ksf.memory_kib, self.ksf.iterations, self.ksf.parallelism] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        if let Some((conversation, certificate)) = &self.signed_by {
            bytes.extend_from_slice(conversation);
            bytes.extend_from_slice(&certificate.to_bytes());
        }
        bytes
    }
}

/// Names a conversation to whoever knows its id, and to nobody else.
pub fn conversation_hash(conversation: GroupId) -> [u8; HASH] {
    sha256(&[b"qpc archive conversation v1", conversation.as_ref()])
}

fn hash(head: &[u8]) -> [u8; HASH] {
    sha256(&[b"qpc archive head v1", head])
}

/// Takes fields from the front.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (part, rest) = self.0.split_first_chunk().ok_or(Damage::Cut)?;
        self.0 = rest;
        Ok(*part)
    }
}

/// The keys of a file that is to be written. No `Debug` on purpose.
pub struct Lock {
    salt: [u8; 16],
    ksf: KsfParams,
    passphrase_key: Zeroizing<[u8; 32]>,
    file_key: Zeroizing<[u8; 32]>,
}

impl Lock {
    /// Keys from a passphrase; for one file. Takes the time of Argon2id.
    pub fn new(rng: &mut (impl RngCore + CryptoRng), passphrase: &[u8], ksf: KsfParams) -> Result<Self, KdfError> {
        let (mut salt, mut file_key) = ([0; 16], Zeroizing::new([0; 32]));
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(file_key.as_mut());
        Ok(Self { salt, ksf, passphrase_key: local_store_key(passphrase, &salt, ksf)?, file_key })
    }

    pub(super) fn keys(&self, head: &Head) -> Keys {
        Keys::new(&self.file_key, &head.hash)
    }
}

/// Makes the keys of records. They depend on the head, so that no record opens in another file.
pub(super) struct Keys(Hkdf<Sha256>);

impl Keys {
    fn new(file_key: &Zeroizing<[u8; 32]>, head: &[u8; HASH]) -> Self {
        Self(Hkdf::new(Some(head), file_key.as_ref()))
    }

    /// What opens a record, and nothing else.
    pub(super) fn record(&self, index: u64) -> RecordKey {
        RecordKey(self.expand(&[b"qpc archive record v1", &index.to_be_bytes()]))
    }

    /// Proves that whoever has written the end knows the file key.
    pub(super) fn end_tag(&self, records: u64, root: &[u8; HASH]) -> [u8; TAG] {
        let said = [records.to_be_bytes().as_slice(), root].concat();
        RecordKey(self.expand(&[b"qpc archive end v1"])).seal_in_place(&said, &mut [])
    }

    /// Whether [`Self::end_tag`] is this.
    pub(super) fn is_end_tag(&self, records: u64, root: &[u8; HASH], tag: &[u8; TAG]) -> bool {
        let said = [records.to_be_bytes().as_slice(), root].concat();
        RecordKey(self.expand(&[b"qpc archive end v1"])).open_in_place(&said, &mut [], tag).is_some()
    }

    #[allow(clippy::expect_used, reason = "32 bytes are below the 8160 that HKDF-SHA256 gives")]
    fn expand(&self, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        self.0.expand_multi_info(info, key.as_mut()).expect("32 bytes are within the limit of HKDF");
        key
    }
}

/// Opens one record. Used for one plaintext, so the nonce is zero.
pub(super) struct RecordKey(pub(super) Zeroizing<[u8; 32]>);

impl RecordKey {
    /// Stands before what it seals. A ciphertext of Poly1305 alone can be made to open under two keys to two texts; with
    /// this there is one key that can ever be shown for it.
    pub(super) fn commitment(&self) -> [u8; HASH] {
        sha256(&[b"qpc archive key v1", self.0.as_ref()])
    }

    #[allow(clippy::expect_used, reason = "fails only for 256 GiB and more, which no buffer of ours holds")]
    pub(super) fn seal_in_place(&self, aad: &[u8], plaintext: &mut [u8]) -> [u8; TAG] {
        let cipher = ChaCha20Poly1305::new(self.0.as_ref().into());
        cipher.encrypt_in_place_detached(&Nonce::default(), aad, plaintext).expect("plaintext fits the cipher").into()
    }

    /// None if it was not sealed so; what is in the buffer is of no use then.
    pub(super) fn open_in_place(&self, aad: &[u8], ciphertext: &mut [u8], tag: &[u8; TAG]) -> Option<()> {
        let cipher = ChaCha20Poly1305::new(self.0.as_ref().into());
        let opened = cipher.decrypt_in_place_detached(&Nonce::default(), aad, ciphertext, Tag::from_slice(tag));
        if opened.is_err() {
            ciphertext.zeroize();
        }
        opened.ok()
    }
}
