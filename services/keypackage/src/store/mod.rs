//! KeyPackages and queue keys, in one SQL body for both engines.

#[cfg(test)]
mod contract;
mod restored;
mod sql;

use qpc_chassis::db::{Migration, Migrations};
use qpc_wire::{DeviceId, v1::HybridKey};

pub(crate) use restored::restored;
pub(crate) use sql::Store;

/// The schema.
pub(crate) const MIGRATIONS: &Migrations = &[
    Migration {
        version: 1,
        name: "key_packages",
        postgres: include_str!("../../migrations/postgres/0001_key_packages.sql"),
        sqlite: include_str!("../../migrations/sqlite/0001_key_packages.sql"),
    },
    Migration::portable(2, "forgotten", include_str!("../../migrations/0002_forgotten.sql")),
    Migration::portable(3, "age", include_str!("../../migrations/0003_age.sql")),
];

/// A package that leaves the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) package: Vec<u8>,
    /// Then it stays in the store, too.
    pub(crate) last_resort: bool,
    /// Single-use packages left.
    pub(crate) available: u32,
}

/// The key that a device's mailbox is sealed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueKey {
    pub(crate) device: DeviceId,
    pub(crate) public_key: Vec<u8>,
    /// Of the device.
    pub(crate) signature: Vec<u8>,
}

impl From<QueueKey> for HybridKey {
    fn from(key: QueueKey) -> Self {
        Self { device_id: key.device.to_bytes(), public_key: key.public_key.into(), signature: key.signature.into() }
    }
}
