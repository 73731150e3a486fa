//! Groups from both sides: members with their own storages, and the server's view that follows them.

#![cfg(feature = "mls")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "allow-unwrap-in-tests does not reach helpers of tests")]

mod denied;
mod external;
mod forged;
mod life;
mod messages;
mod server;
mod world;
