//! One file per call.

pub mod ack;
pub mod batch_enqueue;
pub mod commit_group;
pub mod create_group;
pub mod enqueue;
pub mod fetch;
pub mod peek;
