//! Welcomes: who gets which secret of one.

use std::collections::BTreeMap;

use qpc_crypto::mls::{Added, JoinerSecret};
use qpc_wire::DeviceId;

use crate::error::Error;

/// The secret of each added device, matched by its KeyPackage; every device has exactly one, and there is no other.
pub fn secrets(secrets: Vec<JoinerSecret>, added: &[Added]) -> Result<Vec<(DeviceId, Vec<u8>)>, Error> {
    let mismatch = Error::WelcomeMismatch { added: added.len(), welcomed: secrets.len() };
    if secrets.len() != added.len() {
        return Err(mismatch);
    }
    let mut by_package: BTreeMap<Vec<u8>, Vec<u8>> =
        secrets.into_iter().map(|joiner| (joiner.key_package_ref, joiner.secret)).collect();
    let found: Option<Vec<_>> = added
        .iter()
        .map(|added| Some((added.certificate.device_id(), by_package.remove(&added.key_package_ref)?)))
        .collect();
    found.ok_or(mismatch)
}
