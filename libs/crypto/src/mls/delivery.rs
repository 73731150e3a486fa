//! The delivery key of an epoch: a secret that all its members have and nobody else. Who shows it to the server is a member,
//! and does not say which.

use openmls::prelude::StagedCommit;
use qpc_wire::proofs;
use zeroize::Zeroizing;

use super::{Conversation, MlsError, MlsStore, Provider};
use crate::sha256;

/// Label of the MLS exporter (RFC 9420 section 8.5); empty context.
const LABEL: &str = "qpc delivery key v1";
const LEN: usize = 32;

/// What the server keeps instead of the key: enough to know it when it is shown.
pub fn delivery_key_hash(key: &[u8]) -> [u8; 32] {
    sha256(&[&proofs::delivery_key(key)])
}

impl Conversation {
    /// The delivery key of the current epoch.
    pub fn delivery_key<S: MlsStore>(&self, provider: &Provider<S>) -> Result<Zeroizing<[u8; 32]>, MlsError> {
        fixed(self.export(provider, LABEL, &[], LEN)?)
    }
}

/// That of the epoch which a commit of this device leads to.
pub(super) fn of_pending<S: MlsStore>(
    provider: &Provider<S>,
    staged: &StagedCommit,
) -> Result<Zeroizing<[u8; 32]>, MlsError> {
    fixed(Zeroizing::new(staged.export_secret(provider.crypto(), LABEL, &[], LEN)?))
}

fn fixed(secret: Zeroizing<Vec<u8>>) -> Result<Zeroizing<[u8; 32]>, MlsError> {
    let key = secret.as_slice().try_into().map_err(|_| MlsError::Malformed("exported secret"))?;
    Ok(Zeroizing::new(key))
}
