//! The service from outside: calls over the bus, SQLite in a folder, a clock that only the test moves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod admission;
mod deletion;
mod devices;
mod limits;
mod links;
mod login;
mod recovery;
mod register;
mod reports;
mod session;
mod tokens;
mod world;
