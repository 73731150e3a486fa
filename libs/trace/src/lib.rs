//! Traces: a span for each stop of a call, from the client to the statements of the database.
//!
//! - [`Place`]: where a call stands in its trace. Both ends of a connection derive trace and first span from the correlation
//!   id, so that no client sends any, and none can choose one. Behind the gateway it travels in the envelope of the bus.
//! - [`outgoing`], [`incoming`], [`serving`], [`onward`], [`joined`], [`statement`]: the spans, each at its stop;
//! - `export`: the way to a collector, and who decides what is sampled.
//!
//! Spans hold names of methods, services and statements and codes, and nothing else: no ids of accounts, devices or groups,
//! no values, no events. A call that is not sampled has no spans, and costs one comparison at each stop.

#[cfg(feature = "export")]
pub mod export;
mod place;
mod sampling;
mod spans;

pub use place::Place;
pub use spans::{Stop, incoming, joined, onward, outgoing, serving, statement};

/// Of all spans here, by which logs leave them out and the export finds them.
pub const TARGET: &str = "qpc::trace";
