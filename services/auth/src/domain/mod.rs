//! Rules without clock, randomness or I/O.

pub(crate) mod link;
pub(crate) mod login_state;
pub(crate) mod name_key;
pub(crate) mod recovery;
pub(crate) mod registration;
pub(crate) mod registration_state;

/// Bytes of the sealed name of a device.
const MAX_DEVICE_NAME: usize = 256;

/// Whether a device may have this name.
pub(crate) fn device_name(sealed: &[u8]) -> Result<(), crate::error::Error> {
    link::length("the name of a device", 0, MAX_DEVICE_NAME, sealed.len())
}

/// What binds a run of OPAQUE to the connection it runs on; the client uses the same.
pub(crate) fn opaque_context(binding: &qpc_wire::proofs::ChannelBinding) -> Vec<u8> {
    [b"qpc opaque v1", binding.as_slice()].concat()
}
