//! Accounts, devices, sessions and revocations, and what admins do, in one SQL body for both engines.

pub(crate) mod accounts;
pub(crate) mod audit;
#[cfg(test)]
pub(crate) mod contract;
mod deletion;
pub(crate) mod gateways;
pub(crate) mod invites;
mod recovery;
pub(crate) mod reports;
mod restored;
mod revocations;
mod sql;
mod tokens;

use qpc_chassis::db::{Migration, Migrations};
use qpc_crypto::{DeviceCertificate, KsfParams};
use qpc_wire::{AccountId, DeviceId};

pub(crate) use self::{restored::restored, revocations::PAGE, sql::Store};

/// The schema.
pub(crate) const MIGRATIONS: &Migrations = &[
    Migration::portable(1, "accounts", include_str!("../../migrations/0001_accounts.sql")),
    Migration::portable(2, "revocations", include_str!("../../migrations/0002_revocations.sql")),
    Migration::portable(3, "recovery", include_str!("../../migrations/0003_recovery.sql")),
    Migration::portable(4, "deletion", include_str!("../../migrations/0004_deletion.sql")),
    Migration::portable(5, "tokens", include_str!("../../migrations/0005_tokens.sql")),
    Migration::portable(7, "admin", include_str!("../../migrations/0007_admin.sql")),
    Migration::portable(8, "invites", include_str!("../../migrations/0008_invites.sql")),
];

/// An account with its first device.
#[derive(Debug)]
pub(crate) struct NewAccount {
    pub(crate) username: String,
    /// Keyed hash under which the name of a deleted account is kept.
    pub(crate) name_tag: [u8; 32],
    pub(crate) certificate: DeviceCertificate,
    pub(crate) setup_id: u64,
    /// Of OPAQUE.
    pub(crate) credential_id: [u8; 16],
    pub(crate) record: Vec<u8>,
    pub(crate) ksf: KsfParams,
    pub(crate) now_ms: u64,
}

/// What a login by password needs of an account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Password {
    pub(crate) account_key: [u8; 32],
    pub(crate) setup_id: u64,
    /// Of OPAQUE.
    pub(crate) credential_id: [u8; 16],
    pub(crate) record: Vec<u8>,
    pub(crate) ksf: KsfParams,
}

/// Another password of an account.
#[derive(Debug)]
pub(crate) struct NewPassword {
    pub(crate) setup_id: u64,
    /// Of OPAQUE.
    pub(crate) credential_id: [u8; 16],
    pub(crate) record: Vec<u8>,
    pub(crate) ksf: KsfParams,
}

/// Codes by which an account can come back.
#[derive(Debug)]
pub(crate) struct RecoverySet {
    pub(crate) id: [u8; 16],
    /// Hash of the token of each, and the wrapped root.
    pub(crate) codes: Vec<([u8; 32], Vec<u8>)>,
    pub(crate) bundle: Vec<u8>,
}

/// What is left of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecoveryStatus {
    pub(crate) set: [u8; 16],
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    pub(crate) codes_left: u64,
}

/// What a code stood for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UsedCode {
    pub(crate) set: [u8; 16],
    pub(crate) wrapped: Vec<u8>,
    pub(crate) bundle: Vec<u8>,
    pub(crate) codes_left: u64,
}

/// A session of a device that logs in.
#[derive(Debug)]
pub(crate) struct NewSession {
    pub(crate) certificate: DeviceCertificate,
    /// SHA-256 of the token.
    pub(crate) token_hash: [u8; 32],
    pub(crate) now_ms: u64,
    pub(crate) expires_ms: u64,
}

/// A session that is good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) device_key: [u8; 32],
    pub(crate) expires_ms: u64,
}

/// A device that is not revoked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) device: DeviceId,
    pub(crate) certificate: Vec<u8>,
    pub(crate) added_ms: u64,
    /// Sealed by a client; empty when it has none.
    pub(crate) name: Vec<u8>,
}

/// A device that was revoked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// Ascends in the order in which revocations become visible.
    pub(crate) seq: u64,
    pub(crate) device: DeviceId,
    /// Services that have forgotten the device, as bits; see `forget`.
    pub(crate) told: u64,
}

/// An account that was deleted, and that others are still to forget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) account: AccountId,
    /// All that it ever had.
    pub(crate) devices: Vec<DeviceId>,
}

/// What an account is by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccountRow {
    pub(crate) username: String,
    pub(crate) account_key: [u8; 32],
    pub(crate) created_ms: u64,
}

/// What everybody may know of an account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) account: AccountId,
    pub(crate) account_key: [u8; 32],
    /// Of every device that is not revoked, oldest first.
    pub(crate) certificates: Vec<Vec<u8>>,
}
