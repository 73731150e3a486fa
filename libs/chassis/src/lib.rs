//! What every server process needs, so that a service is only its own business:
//!
//! - [`bus`]: request/reply and doorbells, over NATS or in process;
//! - [`bulk`]: bodies between gateway and service, over TCP or in process;
//! - [`objects`]: bodies at rest, on the disk or in S3;
//! - [`db`]: one SQL facade over Postgres and SQLite, transactions, migrations, idempotency;
//! - [`cache`]: what may be lost (presence, token buckets), in Redis or in process;
//! - [`limits`]: rate limits that all replicas share, as settings;
//! - [`rpc`]: calls, the handler router, the layers every call passes, the client to other services;
//! - [`outbound`]: requests to addresses that clients name, which are not trusted;
//! - [`push`]: presence of devices and doorbells to the gateway that holds them;
//! - [`trace`]: spans of calls, for a collector (`libs/trace`, which clients stand on too);
//! - [`runtime`]: clock, randomness and tracked tasks as arguments (`libs/runtime`, which clients stand on too);
//! - [`tls`], [`watched`]: certificates between the parts, and files that change;
//! - [`config`], [`secrets`], [`telemetry`], [`metrics`], [`health`], [`probe`], [`run`]: a process from start to drained stop.
//!
//! The traits of the seams have a contract suite each (`contract` modules) that every implementation passes.

pub mod bulk;
pub mod bus;
pub mod cache;
pub mod config;
pub mod db;
pub mod health;
pub mod limits;
pub mod metrics;
pub mod objects;
pub mod outbound;
pub mod probe;
pub mod push;
pub mod rpc;
pub mod run;
pub mod secrets;
pub mod telemetry;
pub mod tls;
pub mod watched;

pub use qpc_runtime::{self as runtime, Runtime};
pub use qpc_trace as trace;

/// musl's own allocator takes one lock for all threads, which static binaries would feel in every call.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
