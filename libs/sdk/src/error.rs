//! Why something a client was asked for did not happen.

use std::{error::Error as StdError, io, path::PathBuf, sync::Arc, time::Duration};

use qpc_crypto::{
    BadRecoveryCode, BadSignature, CertificateError, KdfError, MlsError, RecoveryError, SafetyMismatch, Suite,
    aead::AeadError, archive::ArchiveError, file::FileError, mls::PolicyError, opaque::OpaqueError, queue::QueueError,
    receipt::ReceiptError, token::TokenError,
};
use qpc_wire::{Code, DeviceId, GroupId, ids::InvalidId};

use crate::{
    BadInvite, BadLinkCode, ChainError, ContentError, NotAdmitted,
    transport::{CallError, ConnectError},
};

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local network cannot be asked.
    #[error("mDNS: {0}")]
    Mdns(#[from] mdns_sd::Error),
    /// No connection to the server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What failed in the background, for whoever waited for it.
    #[error(transparent)]
    Failed(Arc<Error>),
    /// There is no connection at the moment.
    #[error("not connected")]
    Offline,
    /// The client was closed.
    #[error("interrupted")]
    Interrupted,

    /// The password does not open the local store.
    #[error("wrong password")]
    WrongPassword,
    /// The server does not accept the password, or this device.
    #[error("login refused: {0}")]
    LoginRefused(#[source] Box<Error>),
    /// The name is registered, and not by this device.
    #[error("the name {0:?} is taken")]
    NameTaken(String),
    /// The server makes no account of it.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// This device is registered.
    #[error("already registered")]
    AlreadyRegistered,
    /// Not a possible name.
    #[error("{0:?} is no username: 1 to 64 of a-z 0-9 . _ - and a letter or digit first")]
    InvalidUsername(String),

    /// Another process uses the store.
    #[error("{} is in use by another process", .0.display())]
    StoreInUse(PathBuf),
    /// The store belongs to somebody else.
    #[error("this folder belongs to {stored:?}, not {asked:?}")]
    OtherUser {
        /// Whose it is.
        stored: String,
        /// Who was to be.
        asked: String,
    },
    /// There is something where a backup was to be restored.
    #[error("{} is not empty", .0.display())]
    StoreNotEmpty(PathBuf),
    /// The backup is of somebody else's account.
    #[error("this is a backup of {stored:?}, not of {asked:?}")]
    BackupOfOther {
        /// Whose it is.
        stored: String,
        /// Whose was to be restored.
        asked: String,
    },
    /// There is a store where a new one is to be made.
    #[error("{} has a store already", .0.display())]
    StoreExists(PathBuf),
    /// The store was written by a later version.
    #[error("the store, or the backup, is of version {found}, this program knows up to {known}")]
    StoreVersion {
        /// Version of the store.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// The database library cannot encrypt.
    #[error("the database library was built without encryption")]
    NoCipher,
    /// Something in the store is not what was written there.
    #[error("{0} is damaged")]
    Corrupt(&'static str),
    /// A file cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is exported cannot be written.
    #[error("writing the export: {0}")]
    Export(#[source] io::Error),
    /// The database failed.
    #[error("store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables of MLS could not be brought up to date.
    #[error("store: {0}")]
    Migration(#[source] Box<dyn StdError + Send + Sync>),

    /// Nobody has that name.
    #[error("there is no user {0:?}")]
    UnknownUser(String),
    /// The account key under a known name is another one. Nothing is sent until a person has looked into it.
    #[error("the identity key of {0:?} has changed")]
    IdentityChanged(String),
    /// No other key is shown under that name.
    #[error("no other identity key of {0:?} waits for a decision")]
    NothingToAccept(String),
    /// What was read off is not the safety number.
    #[error(transparent)]
    Safety(#[from] SafetyMismatch),
    /// What the directory says about a user contradicts itself.
    #[error("the directory's answer about {0:?} does not hold")]
    BadDirectory(String),
    /// None of the user's devices can be added to a group now.
    #[error("no device of {username:?} can be reached with {suite}")]
    NoKeyPackage {
        /// Who.
        username: String,
        /// Suite of the group.
        suite: Suite,
    },
    /// A device got a KeyPackage of another device or suite.
    #[error("the key package of device {0} is not what was asked for")]
    WrongKeyPackage(DeviceId),
    /// A conversation with oneself.
    #[error("that is you")]
    OwnName,

    /// No such conversation here.
    #[error("no conversation {0}")]
    UnknownConversation(GroupId),
    /// The server says there is a conversation, and its Welcome did not come or could not be used.
    #[error("conversation {0} exists, but this device was not let in")]
    NotWelcomed(GroupId),
    /// No such message in the conversation, or nothing is left of it.
    #[error("no message {0} here")]
    UnknownMessage(crate::MessageId),
    /// The other of a conversation is blocked by this account.
    #[error("you have blocked them: unblock them first")]
    Blocked,
    /// A message whose writer has not committed to it, or to something else, or came sealed and is not signed: it could not be
    /// reported.
    #[error("the message is not the one that its writer has committed to, or it came sealed and is not signed")]
    NotFranked,
    /// Nothing that could be shown to the server: messages of this account, or of which nothing is left, or that came from
    /// another device of this account.
    #[error("nothing of it can be reported from this device")]
    NothingToReport,
    /// Not a sign that can stand under a message.
    #[error("a reaction is one emoji or short sign, without blanks")]
    NoSign,
    /// This device was removed from the conversation.
    #[error("this device is no longer in the conversation")]
    NotMember,
    /// This device is new, and another one of the account is yet to let it in.
    #[error("this device is not in the conversation yet: another device of the account lets it in when it is online")]
    NotLetIn,
    /// The group cannot be followed at the moment; this device is joining it again.
    #[error("conversation {0} is being repaired; what you write is kept")]
    Stuck(GroupId),
    /// Nobody of that name is in the conversation.
    #[error("{0:?} is not in the conversation")]
    NotAMember(String),
    /// Somebody's role does not allow it.
    #[error("not allowed to {0} here")]
    NotAllowed(&'static str),
    /// The only owner wants to leave the others alone.
    #[error("you are the only owner: make somebody else owner first")]
    LastOwner,
    /// A group says that it carries a conversation on, and has no right to.
    #[error("a group that claims to carry on conversation {0} was refused")]
    WrongSuccessor(GroupId),
    /// What was there for a while is there no more.
    #[error("{0} has expired")]
    Expired(&'static str),
    /// Larger than anything that is sent.
    #[error("{len} bytes are more than the {max} that are fetched at once")]
    TooLarge {
        /// Its length, bytes.
        len: u64,
        /// The limit, bytes.
        max: u64,
    },
    /// The offer under a link code is not what the code is about, or the answer is not of who was told it.
    #[error("the other device's offer does not fit the code")]
    WrongOffer,
    /// An invite.
    #[error(transparent)]
    Invite(#[from] BadInvite),
    /// A link code.
    #[error(transparent)]
    LinkCode(#[from] BadLinkCode),
    /// A policy of a group.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Receipts that contradict each other.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Something sealed.
    #[error(transparent)]
    Aead(#[from] AeadError),
    /// Others kept changing the group.
    #[error("the group kept changing")]
    TooManyRaces,
    /// It cannot be sent without saying who sends it, and is not sent otherwise.
    #[error("cannot be sent sealed: {0}")]
    NotSealed(#[source] Arc<Error>),
    /// Nothing is left to pay for a sealed message with.
    #[error("no tokens are left")]
    NoTokens,
    /// The server gives out another key of tokens than before, by which it could recognise this device.
    #[error("the server's key {0} of tokens has changed")]
    TokenKeyChanged(u64),
    /// Tokens that were not made as they must be.
    #[error(transparent)]
    Token(TokenError),
    /// Nothing to send.
    #[error("the message is empty")]
    EmptyText,
    /// Too much to send.
    #[error("a message has at most {max} bytes, not {len}")]
    TextTooLong {
        /// Its length, bytes.
        len: usize,
        /// The limit, bytes.
        max: usize,
    },
    /// Another text was written under the key of a message.
    #[error("the key was used for another message, {0}")]
    KeyUsed(crate::MessageId),
    /// A message that the server has, or may have.
    #[error("message {0} was sent, or may have been: it can be deleted for all")]
    AlreadySent(crate::MessageId),
    /// Too many messages wait to be sent.
    #[error("too many messages are waiting to be sent")]
    OutboxFull,

    /// Something else than a file.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// There is a file of that name.
    #[error("{} exists", .0.display())]
    FileExists(PathBuf),
    /// Another download is at the same file.
    #[error("{} is being written by another download", .0.display())]
    FileInUse(PathBuf),
    /// A file was written to while it was sent.
    #[error("{} has changed while it was being sent", .0.display())]
    FileChanged(PathBuf),
    /// What the server gives is not the file that was sent.
    #[error("the file is damaged: {0}")]
    DamagedFile(&'static str),
    /// A file that cannot be encrypted, or an attachment that describes none.
    #[error(transparent)]
    File(#[from] FileError),

    /// The content of a message.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A mailbox entry of a kind that this client does not know.
    #[error("unknown kind of entry {0}")]
    UnknownEntry(i32),
    /// Groups.
    #[error(transparent)]
    Mls(#[from] MlsError),
    /// Login.
    #[error(transparent)]
    Opaque(#[from] OpaqueError),
    /// Cost of the password.
    #[error(transparent)]
    Kdf(#[from] KdfError),
    /// The server did not say what a password costs.
    #[error("the server's answer lacks {0}")]
    Incomplete(&'static str),
    /// A device certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A sealed handshake.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A receipt.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A receipt is about an epoch in which this device has not been.
    #[error("receipt of epoch {0}, which is not known here")]
    ReceiptEpoch(u64),
    /// A transcript or a backup.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What a recovery code opens.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Not a recovery code.
    #[error(transparent)]
    RecoveryCode(#[from] BadRecoveryCode),
    /// A recovery code that the server does not know.
    #[error("no such recovery code: it was used, or replaced by others, or never was one")]
    NoSuchCode,
    /// There are codes; others must be asked for by name.
    #[error("this account has recovery codes: replace them, or use one of those")]
    RecoveryExists,
    /// What a recovery code opens is not what a device of the account has put there.
    #[error("the recovery bundle is damaged")]
    BadBundle,
    /// A signature.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// An id of the server.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A request that was kept cannot be read.
    #[error("a kept request is damaged: {0}")]
    Kept(#[from] prost::DecodeError),
}

impl Error {
    /// The error itself, without the wrapping of one that came from the background.
    pub fn root(&self) -> &Self {
        match self {
            Self::Failed(error) => error.root(),
            error => error,
        }
    }

    /// Code of the server's refusal, if that is what it is.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Call(error) => error.code(),
            Self::LoginRefused(error) => error.code(),
            Self::Failed(error) => error.code(),
            _ => None,
        }
    }

    /// How long the server asks to wait before the same is tried again, where a limit is reached or something is away.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(CallError::Status(status)) if status.retry_after_ms > 0 => {
                Some(Duration::from_millis(status.retry_after_ms))
            }
            Self::LoginRefused(error) => error.retry_after(),
            Self::Failed(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether it may go away by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Call(error) => error.is_transient(),
            Self::Failed(error) => error.is_transient(),
            Self::Offline | Self::NoTokens => true,
            Self::NotSealed(error) => error.is_transient(),
            // The name and the certificates to trust do not mend themselves; everything else of a connection may.
            Self::Connect(error) => !matches!(
                error,
                ConnectError::Address(_) | ConnectError::Pem { .. } | ConnectError::NoTrust | ConnectError::Tls(_)
            ),
            _ => false,
        }
    }
}
