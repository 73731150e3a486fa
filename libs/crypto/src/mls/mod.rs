//! Groups of Messaging Layer Security (RFC 9420) by openmls.
//!
//! Rules of ours on top of the RFC, the same for [`Conversation`] (a member) and [`GroupView`] (the server):
//! - a leaf's credential is a basic credential that holds a [`crate::DeviceCertificate`], and the leaf signs with the
//!   device key of that certificate; an update path cannot turn a leaf into another device;
//! - the group context holds a [`Policy`] in an extension of ours (type [`policy::POLICY_EXTENSION`]), and required
//!   capabilities that name it; every leaf announces it and SelfRemove proposals; nothing else stands there;
//! - commits are PublicMessages with Add, Remove and GroupContextExtensions proposals inside by value, and SelfRemoves by
//!   reference; external commits are of devices whose account is in the group, or that hold an invite of it; who may do
//!   what stands in the module `rules`, and what it refuses is a [`Denied`]; pre-shared keys, reinitialisation and all other
//!   proposals are refused;
//! - Welcome and GroupInfo come without the ratchet tree, which is kept once and handed out apart;
//! - application messages are PrivateMessages, padded by [`crate::padding`].
//!
//! Every operation writes only through the storage of the [`Provider`] it is given, so that a caller can hand in a storage
//! on top of a database transaction. When that is rolled back, or an operation failed half-way, the value in memory is
//! ahead of the storage: drop it and load it again.

mod commit;
mod delivery;
mod error;
mod external;
mod group;
mod inspect;
mod invite;
pub mod key_package;
mod message;
mod parse;
pub mod policy;
mod provider;
mod public_group;
mod public_store;
mod rules;
mod suite;
mod warm;
mod welcome;

pub use commit::{Changes, PendingCommit};
pub use delivery::delivery_key_hash;
pub use error::MlsError;
pub use group::Conversation;
pub use inspect::Added;
pub use invite::InviteSecret;
pub use key_package::ValidKeyPackage;
pub use message::Incoming;
pub use parse::{peek_private_message, peek_welcome};
pub use policy::{InviteTerms, Kind, Policy, PolicyError, Role};
pub use provider::{Crypto, MlsStore, Provider};
pub use public_group::{Applied, GroupView, Proposed};
pub use rules::Denied;
pub use suite::Suite;
pub use warm::warm_rank;
pub use welcome::{JoinerSecret, SplitWelcome, join_welcome, key_package_ref, split_welcome};
