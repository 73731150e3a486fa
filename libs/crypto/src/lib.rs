//! What quicprochat does with keys. No I/O, no clock (openmls reads one for the lifetime of KeyPackages), no tasks;
//! randomness of ours is an argument.
//!
//! A person is an account key; each of their machines is a device key, and the [`certificate`] is the account's signature
//! over a device. Names of both derive from the keys ([`identity`]), so no server can move them.
//!
//! [`opaque`] logs a person in without the server seeing the password; [`kdf`] turns a password or secret into keys and
//! holds the cost parameters both share.
//!
//! [`mls`] is the group layer (RFC 9420, hybrid suite by default): [`mls::Conversation`] is a member's side,
//! [`mls::GroupView`] the server's, which sees membership but no content, and [`mls::key_package`] what a device leaves
//! behind to be added while offline. The leaf credential is the device certificate. Plaintexts are [`padding`] padded.
//!
//! [`queue`] wraps a payload for a device's mailbox (X-Wing), [`aead`] seals what stays at home, [`file`] what is too large
//! for a message and [`sha256_chain`] hashes it in parts, [`receipt`] is the server's signed word that a message was stored, and [`franking`] its word to itself about
//! who sent what. [`token`] is what a message costs whose sender the server does not know, [`vapid`] who a push service hears that
//! the server is. [`archive`] is what leaves the
//! device as a file of its own: transcripts and backups. [`safety`] is what two people compare, [`recovery`] how somebody
//! comes back who has lost every device, [`admission`] what a server may want of whoever registers; [`base32`] writes codes that
//! people type.

pub mod admission;
pub mod aead;
pub mod archive;
pub mod base32;
pub mod certificate;
pub mod file;
pub mod franking;
pub mod identity;
pub mod kdf;
#[cfg(feature = "mls")]
pub mod mls;
pub mod opaque;
pub mod padding;
pub mod queue;
pub mod receipt;
pub mod recovery;
pub mod safety;
pub mod sha256_chain;
pub mod token;
pub mod vapid;

pub use admission::AccountInvite;
pub use certificate::{CertificateError, DeviceCertificate};
pub use franking::FrankingKey;
pub use identity::{AccountKey, BadSignature, DeviceKey, account_id, device_id, sha256, verify};
pub use kdf::{KdfError, KsfParams};
#[cfg(feature = "mls")]
pub use mls::{
    Applied, Changes, Conversation, Denied, GroupView, Incoming, InviteSecret, MlsError, MlsStore, PendingCommit,
    Policy, Provider, Role, Suite,
};
pub use queue::{PayloadKey, QueueKey, SealedPayload};
pub use receipt::ReceiptKey;
pub use recovery::{BadRecoveryCode, RecoveryCode, RecoveryError};
pub use safety::{SafetyMismatch, SafetyNumber};
pub use sha256_chain::Sha256Chain;
pub use vapid::VapidKey;
