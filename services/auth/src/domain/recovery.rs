//! What a recovery set may be, and when a password may be set by the account key.

use bytes::Bytes;
use qpc_crypto::{
    KsfParams, opaque,
    recovery::{CODES, SET_LEN, WRAPPED_LEN},
};
use qpc_wire::{ids::InvalidId, limits::MAX_RECOVERY_BUNDLE, v1};

use super::{link::length, registration};
use crate::{error::Error, store::RecoverySet};

/// A set that may be kept.
pub(crate) fn set(request: &v1::SetRecoveryRequest) -> Result<RecoverySet, Error> {
    if request.codes.len() != CODES {
        return Err(Error::RecoveryCodes);
    }
    let code = |row: &v1::RecoveryCodeRow| {
        length("the hash of a code", 32, 32, row.lookup.len())?;
        length("what a code opens", WRAPPED_LEN, WRAPPED_LEN, row.wrapped.len())?;
        Ok((row.lookup.as_ref().try_into().map_err(|_| Error::RecoveryCodes)?, row.wrapped.to_vec()))
    };
    Ok(RecoverySet {
        id: set_id(&request.set_id)?,
        codes: request.codes.iter().map(code).collect::<Result<_, Error>>()?,
        bundle: bundle(&request.bundle)?.to_vec(),
    })
}

/// A bundle that may be kept.
pub(crate) fn bundle(bytes: &Bytes) -> Result<&Bytes, Error> {
    length("a recovery bundle", 1, MAX_RECOVERY_BUNDLE, bytes.len())?;
    Ok(bytes)
}

pub(crate) fn set_id(bytes: &Bytes) -> Result<[u8; SET_LEN], Error> {
    let id = bytes.as_ref().try_into();
    Ok(id.map_err(|_| InvalidId { what: "recovery set id", expected: SET_LEN, actual: bytes.len() })?)
}

/// A password that somebody wants to set, before the proof is looked at.
#[derive(Debug)]
pub(crate) struct Reset {
    pub(crate) username: String,
    /// OPAQUE record.
    pub(crate) record: Vec<u8>,
    pub(crate) ksf: KsfParams,
}

impl Reset {
    pub(crate) fn parse(request: &v1::ResetPasswordRequest) -> Result<Self, Error> {
        Ok(Self {
            username: registration::username(&request.username)?.to_owned(),
            record: opaque::register_finish(&request.registration_upload).map_err(Error::Opaque)?,
            ksf: registration::ksf(request.ksf.as_ref())?,
        })
    }
}
