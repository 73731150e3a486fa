//! Groups of Messaging Layer Security (RFC 9420) by openmls.
//!
//! Rules of ours on top of the RFC, the same for [`Conversation`] (a member) and [`GroupView`] (the server):
//! - a leaf's credential is a basic credential that holds a [`crate::DeviceCertificate`], and the leaf signs with the
//!   device key of that certificate; an update path cannot turn a leaf into another device;
//! - commits are PublicMessages of members, with Add and Remove proposals inside by value; external commits, proposals by
//!   reference, pre-shared keys, reinitialisation and group context extensions are refused;
//! - application messages are PrivateMessages, padded by [`crate::padding`].
//!
//! Every operation writes only through the storage of the [`Provider`] it is given, so that a caller can hand in a storage
//! on top of a database transaction. When that is rolled back, or an operation failed half-way, the value in memory is
//! ahead of the storage: drop it and load it again.

mod commit;
mod error;
mod group;
mod inspect;
pub mod key_package;
mod message;
mod parse;
mod provider;
mod public_group;
mod public_store;
mod suite;

pub use commit::PendingCommit;
pub use error::MlsError;
pub use group::Conversation;
pub use key_package::ValidKeyPackage;
pub use message::Incoming;
pub use parse::{peek_private_message, peek_welcome};
pub use provider::{Crypto, MlsStore, Provider};
pub use public_group::{Applied, GroupView};
pub use suite::Suite;
