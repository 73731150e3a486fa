//! The admin API as gRPC: client and server stubs of `proto/qpc/admin/v1`, whose messages are those of `libs/wire`. A crate of
//! its own, since the terminal client and the service share it, and nobody else is to build gRPC.

mod connect;

pub use connect::{Access, channel, connect};
pub use qpc_wire::admin::v1;
pub use tonic;

/// Client and server of the service.
#[allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]
mod stubs {
    include!(concat!(env!("OUT_DIR"), "/qpc.admin.v1.rs"));
}

pub use stubs::{admin_client, admin_server};

/// The encoded file descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin.bin"));

/// Bytes of a message, either way.
pub const MAX_MESSAGE: usize = 4 << 20;
