//! Types and rules. No I/O, no clock, no randomness.

pub mod direct;
pub mod mailbox;
