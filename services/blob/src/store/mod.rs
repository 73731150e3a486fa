//! What there is of uploads and blobs, in one SQL body for both engines. Bodies are not here.

#[cfg(test)]
mod contract;
mod report;
mod sql;

use qpc_chassis::db::{Migration, Migrations};
use qpc_wire::{AccountId, DeviceId};

pub(crate) use sql::Store;

use crate::domain::Cut;

/// The schema.
pub(crate) const MIGRATIONS: &Migrations = &[
    Migration::portable(1, "blobs", include_str!("../../migrations/0001_blobs.sql")),
    Migration::portable(2, "hashes", include_str!("../../migrations/0002_hashes.sql")),
];

/// A part whose body is there, and what SHA-256 makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) number: u64,
    /// Chaining value with which it was said to begin.
    pub(crate) before: [u8; 32],
    /// The one with which it then ends; of the last part, the hash.
    pub(crate) after: [u8; 32],
}

/// An upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) id: [u8; 16],
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) cut: Cut,
    pub(crate) expires_ms: u64,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Names its bodies.
    pub(crate) upload: [u8; 16],
    pub(crate) cut: Cut,
    pub(crate) expires_ms: u64,
}
