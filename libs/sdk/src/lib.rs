//! A quicprochat client: everything between a user interface and a gateway.
//!
//! [`Client`] is the surface. Behind it, `link` keeps a connection alive and runs three loops on it: `sync` takes the
//! mailbox in, `outbox` sends what was written, and acknowledgements follow. `receive` is what one mailbox entry does,
//! in one transaction of the `store` together with the step of MLS. `conversation` founds direct conversations, `commit`
//! changes groups, `account` registers and logs in, `admission` does what
//! a server wants for that, `directory` says who people are, `trust` whether that is to be believed,
//! `publish` keeps KeyPackages in stock, `recovery` brings an account back whose devices are lost; [`discover`] finds
//! servers on the local network. `files` brings and takes what is too large for a message, `desk` is for user interfaces.
//! [`transport`] knows frames and streams and nothing else; [`runtime`] is the machine (`libs/runtime`).
//!
//! What the server must never be able to do is refused here: another account key under a known name, a certificate the
//! account did not sign, a receipt that does not hold, password costs below the floor.

mod account;
mod admission;
mod backup;
#[cfg(feature = "bench")]
pub mod bench;
mod chores;
mod client;
mod commit;
mod content;
mod conversation;
mod decoys;
mod deletion;
mod desk;
mod devices;
mod directory;
mod discover;
mod drafts;
mod error;
mod events;
mod export;
mod files;
mod groups;
mod heal;
mod history;
mod link;
mod linking;
mod opening;
mod outbox;
mod own;
mod packages;
mod publish;
mod receipts;
mod receive;
mod recovery;
mod report;
mod retry;
mod say;
mod sealed;
mod shared;
mod store;
mod strangers;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod transcript;
pub mod transport;
mod trust;
mod wake;
mod whisper;

pub use admission::NotAdmitted;
pub use backup::{BackupReport, restore_backup};
pub use client::{Client, ClientOptions, Identification, Stats};
pub use content::{ContentError, Draft, Mention, MessageRef};
pub use decoys::{DecoyCost, decoy_cost};
pub use devices::Device;
pub use discover::{Found, discover};
pub use error::Error;
pub use events::{Event, EventStream, GapReason, MessageId};
pub use export::ExportOptions;
pub use files::{Attachment, Picture, Progress};
pub use groups::{Invite, InviteLink, Member, invite::BadInvite};
pub use linking::{BadLinkCode, LinkCode, Linked, Linking};
pub use own::Settings;
pub use qpc_crypto::{
    AccountInvite, BadRecoveryCode, KsfParams, RecoveryCode, Role, SafetyMismatch, SafetyNumber, Suite,
    archive::{ArchiveError, Damage, Kind as ArchiveKind},
};
pub use qpc_runtime::{self as runtime, Runtime};
pub use qpc_wire::{AccountId, DeviceId, GroupId as ConversationId};
pub use receipts::{ChainReport, Excused, Finding, ReceiptFile, ReceiptFileError, ReceiptReport, verify_receipts};
pub use recovery::{Recovery, RecoveryStatus, Restored};
pub use store::{
    ChainError, ConversationInfo, ConversationKind, Message, MessageKind, MessageState, Reaction, Standing,
};
pub use transcript::{
    ArchiveProgress, TranscriptEntry, TranscriptFile, TranscriptMessage, TranscriptReport, prove_transcript,
    read_transcript, verify_transcript, verify_transcript_proof,
};
pub use trust::{PeerIdentity, PeerTrust, SafetyProof};
pub use wake::{PushEndpoint, PushState};
pub use whisper::TYPING_FOR;
