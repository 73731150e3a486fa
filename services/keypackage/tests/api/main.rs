//! The service from outside: calls over the bus, SQLite in a folder, and an auth service that knows who is who.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod key_packages;
mod limits;
mod queue_keys;
mod world;
