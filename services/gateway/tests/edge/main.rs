//! The gateway from outside: a raw QUIC client in front, services made of a few lines behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod bodies;
mod certificate;
mod drain;
mod frames;
mod handover;
mod limits;
mod pushes;
mod revocations;
mod sessions;
mod support;
mod switch;
