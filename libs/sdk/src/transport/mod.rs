//! QUIC to a gateway: frames, calls and pushes, without any knowledge of what they mean.

mod body;
mod carrier;
mod connection;
mod connector;
mod push;

pub use body::Body;
pub use connection::{CallError, Connection};
pub use connector::{ConnectError, Connector, Trust};
pub use push::Push;
