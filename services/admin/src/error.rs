//! Why the admin API is not served.

use std::{io, net::SocketAddr, path::PathBuf};

use qpc_chassis::tls::TlsError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The process has nothing to do.
    #[error("no address to serve the admin API on: --admin-listen")]
    NoAddress,
    /// Certificates made here are for trying out.
    #[error("in production the admin API needs --admin-cert, --admin-key and --admin-client-ca")]
    MintedInProduction,
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("certificate: {0}")]
    Mint(#[from] rcgen::Error),
    /// The address cannot be had.
    #[error("admin API on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Certificates or keys cannot be read, or do not fit.
    #[error("admin API: {0}")]
    Tls(#[from] TlsError),
    /// The descriptors do not describe themselves.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}
