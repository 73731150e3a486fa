//! When a registration may take effect.

use qpc_crypto::{DeviceCertificate, KsfParams, opaque, verify};
use qpc_wire::{
    limits,
    proofs::{self, ChannelBinding},
    v1,
};

use crate::error::Error;

/// A registration that passed every check but that of its name being free.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) username: String,
    pub(crate) certificate: DeviceCertificate,
    /// OPAQUE record.
    pub(crate) record: Vec<u8>,
    pub(crate) ksf: KsfParams,
}

impl Registration {
    /// Checks the last message of a registration that came over the connection with this binding.
    pub(crate) fn parse(request: &v1::OpaqueRegisterFinishRequest, binding: &ChannelBinding) -> Result<Self, Error> {
        let username = username(&request.username)?;
        let certificate = DeviceCertificate::parse(&request.device_certificate)?;
        let proof = proofs::register(binding, username);
        verify(certificate.account_key(), &proof, &request.account_proof).map_err(|_| Error::AccountProof)?;
        Ok(Self {
            username: username.to_owned(),
            certificate,
            record: opaque::register_finish(&request.registration_upload).map_err(Error::Opaque)?,
            ksf: ksf(request.ksf.as_ref())?,
        })
    }
}

/// `name`, if it may be a username.
pub(crate) fn username(name: &str) -> Result<&str, Error> {
    if limits::is_username(name) { Ok(name) } else { Err(Error::Username) }
}

/// Neither so cheap that the password could be guessed nor so dear that no device could log in.
pub(crate) fn ksf(params: Option<&v1::KsfParams>) -> Result<KsfParams, Error> {
    let params = params.ok_or(Error::NoKsf)?;
    let params =
        KsfParams { memory_kib: params.memory_kib, iterations: params.iterations, parallelism: params.parallelism };
    params.check_floor()?;
    Ok(params)
}

/// The wire form.
pub(crate) fn ksf_message(params: KsfParams) -> v1::KsfParams {
    v1::KsfParams { memory_kib: params.memory_kib, iterations: params.iterations, parallelism: params.parallelism }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_neither_below_the_floor_nor_above_the_ceiling() {
        let check =
            |memory_kib, iterations, parallelism| ksf(Some(&v1::KsfParams { memory_kib, iterations, parallelism }));
        let floor = KsfParams::FLOOR;
        assert!(check(floor.memory_kib, floor.iterations, floor.parallelism).is_ok());
        assert!(matches!(check(floor.memory_kib - 1, floor.iterations, 1), Err(Error::Ksf(_))));
        assert!(matches!(check(floor.memory_kib, floor.iterations - 1, 1), Err(Error::Ksf(_))));
        assert!(check(1 << 20, 16, 16).is_ok());
        for (memory_kib, iterations, parallelism) in [((1 << 20) + 1, 16, 16), (1 << 20, 17, 16), (1 << 20, 16, 17)] {
            assert!(matches!(check(memory_kib, iterations, parallelism), Err(Error::Ksf(_))));
        }
        assert!(matches!(ksf(None), Err(Error::NoKsf)));
    }
}
