//! The contract between clients, the gateway and the services: generated messages, the method table, the frame codec,
//! ids and limits. No I/O, no clock, no tasks; builds for wasm32.
//!
//! Start at [`methods`], the one table of calls. [`frame`] is how a call looks on a stream, [`pieces`] what
//! may follow it, [`status`] how it fails.

pub mod correlation;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod methods;
pub mod pieces;
pub mod proofs;
pub mod status;

pub use correlation::CorrelationId;
pub use ids::{AccountId, DeviceId, GroupId, IdempotencyKey};
pub use methods::{Access, Effect, Flow, Method, MethodInfo, Owner};
pub use status::{Code, Status};

/// Messages of the client protocol (`proto/qpc/v1`).
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/qpc.v1.rs"));
}

/// Messages of the internal bus (`proto/qpc/bus/v1`).
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod bus {
    include!(concat!(env!("OUT_DIR"), "/qpc.bus.v1.rs"));
}

/// What clients say to each other, end to end encrypted (`proto/qpc/content/v1`).
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod content {
    include!(concat!(env!("OUT_DIR"), "/qpc.content.v1.rs"));
}

/// Messages of the admin API (`proto/qpc/admin/v1`), which is gRPC towards operators and a call of the bus within.
pub mod admin {
    /// See the module.
    #[allow(missing_docs, clippy::all, unreachable_pub)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/qpc.admin.v1.rs"));
    }
}
