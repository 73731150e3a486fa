//! Rules without clock, randomness or I/O.

pub(crate) mod login_state;
pub(crate) mod registration;
pub(crate) mod registration_state;

/// What binds a run of OPAQUE to the connection it runs on; the client uses the same.
pub(crate) fn opaque_context(binding: &qpc_wire::proofs::ChannelBinding) -> Vec<u8> {
    [b"qpc opaque v1", binding.as_slice()].concat()
}
