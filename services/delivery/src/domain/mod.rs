//! Types and rules. No I/O, no clock, no randomness.

pub mod direct;
pub mod inbound;
pub mod mailbox;
pub mod permit;
pub mod removal;
pub mod staged;
pub mod wake;
pub mod welcome;
