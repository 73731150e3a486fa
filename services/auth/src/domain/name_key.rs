//! Names of deleted accounts, which stay taken though the database does not show them.

use qpc_crypto::sha256;

/// Hashes names; not in the database.
#[derive(Clone, Copy)]
pub(crate) struct NameKey([u8; 32]);

impl NameKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Under which the name of a deleted account is kept.
    pub(crate) fn tag(self, username: &str) -> [u8; 32] {
        sha256(&[&self.0, username.as_bytes()])
    }
}
