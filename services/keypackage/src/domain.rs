//! Which packages and keys are acceptable, and whom a fetch may name. No clock of ours, no I/O.

use std::collections::HashSet;

use bytes::Bytes;
use qpc_chassis::rpc::Identity;
use qpc_crypto::{Suite, mls::key_package, queue, verify};
use qpc_wire::{
    DeviceId,
    limits::MAX_KEY_PACKAGES,
    proofs,
    v1::{UploadHybridKeyRequest, UploadKeyPackageRequest},
};
use rand::{CryptoRng, RngCore};

use crate::error::Error;

/// Bytes of a package. Those of the hybrid suite have about 3 KiB; 50 of the largest fit one answer.
pub(crate) const MAX_PACKAGE: usize = 8 << 10;

/// The suite with this number.
pub(crate) fn suite(id: u32) -> Result<Suite, Error> {
    u16::try_from(id).ok().and_then(Suite::from_id).ok_or(Error::Suite(id))
}

/// Packages that passed every check.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) suite: Suite,
    pub(crate) key_packages: Vec<Bytes>,
    pub(crate) last_resort: Option<Bytes>,
}

impl Upload {
    /// Checks packages that `owner` uploads. Three signatures a package: not for a thread that others wait for.
    pub(crate) fn parse(request: UploadKeyPackageRequest, owner: Identity) -> Result<Self, Error> {
        let suite = suite(request.suite)?;
        at_most(MAX_KEY_PACKAGES, "key packages", request.key_packages.len())?;
        for package in &request.key_packages {
            if check(package, suite, owner)?.last_resort {
                return Err(Error::MarkedLastResort);
            }
        }
        let last_resort = Some(request.last_resort).filter(|package| !package.is_empty());
        if let Some(package) = &last_resort
            && !check(package, suite, owner)?.last_resort
        {
            return Err(Error::UnmarkedLastResort);
        }
        Ok(Self { suite, key_packages: request.key_packages, last_resort })
    }
}

fn check(package: &Bytes, suite: Suite, owner: Identity) -> Result<key_package::ValidKeyPackage, Error> {
    if package.len() > MAX_PACKAGE {
        return Err(Error::TooLarge(package.len()));
    }
    let valid = key_package::validate(package)?;
    if valid.suite != suite {
        return Err(Error::OtherSuite);
    }
    if valid.certificate.device_id() != owner.device || valid.certificate.account_id() != owner.account {
        return Err(Error::OtherDevice);
    }
    Ok(valid)
}

/// Checks a queue key that the device with `device_key` uploads.
pub(crate) fn check_queue_key(
    rng: &mut (impl RngCore + CryptoRng),
    request: &UploadHybridKeyRequest,
    device_key: &[u8; 32],
) -> Result<(), Error> {
    verify(device_key, &proofs::queue_key(&request.public_key), &request.signature)?;
    // A key that nothing can be sealed to would make every commit of its device's groups fail: try it.
    let (_, payload_key) = queue::seal_payload(rng, b"", b"");
    queue::seal_key(rng, &payload_key, &request.public_key, b"")?;
    Ok(())
}

/// The devices of a fetch: at most `limit`, each once.
pub(crate) fn devices(ids: &[Bytes], limit: usize) -> Result<Vec<DeviceId>, Error> {
    at_most(limit, "devices", ids.len())?;
    let devices = ids.iter().map(DeviceId::try_from).collect::<Result<Vec<_>, _>>()?;
    let distinct: HashSet<_> = devices.iter().collect();
    if distinct.len() == devices.len() { Ok(devices) } else { Err(Error::NamedTwice) }
}

fn at_most(limit: usize, what: &'static str, actual: usize) -> Result<(), Error> {
    if actual > limit { Err(Error::TooMany { what, limit, actual }) } else { Ok(()) }
}
