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
pub(crate) const MIGRATIONS: &Migrations =
    &[Migration::portable(1, "blobs", include_str!("../../migrations/0001_blobs.sql"))];

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
