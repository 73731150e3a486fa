//! Why a gateway does not start.

use std::{io, path::PathBuf};

use qpc_chassis::{bus::BusError, tls::TlsError};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The announcement on the local network failed.
    #[error("mDNS: {0}")]
    Mdns(#[from] mdns_sd::Error),
    /// The address is taken, forbidden or not of this machine.
    #[error("cannot listen for clients: {0}")]
    Listen(#[source] io::Error),
    /// The files of certificate and key cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// Only one of certificate and key was given.
    #[error("--tls-cert and --tls-key belong together; one of them is missing")]
    HalfGiven,
    /// `--production` without a certificate.
    #[error(
        "--production does not make a self-signed certificate: give --tls-cert and --tls-key with a certificate that \
         your clients trust, or leave --production out to try the server"
    )]
    SelfSignedInProduction,
    /// The folder has a self-signed certificate without its key.
    #[error("{} has lost its key; remove it to have both made again", .0.display())]
    KeyLost(PathBuf),
    /// The self-signed certificate cannot be made.
    #[error("self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// The self-signed certificate cannot be kept.
    #[error("{}: {source}", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Certificate and key do not fit, or are of a kind that TLS 1.3 does not know.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No cipher suite for QUIC's first packets.
    #[error("TLS: {0}")]
    InitialSuite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// A setting is beyond what QUIC can say.
    #[error("idle timeout: {0}")]
    IdleTimeout(#[from] quinn::VarIntBoundsExceeded),
    /// The file of shared keys cannot be read.
    #[error("edge keys {}: {source}", path.display())]
    EdgeKeys {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not one to four lines of 64 hexadecimal digits.
    #[error("edge keys {}: one to four lines of 64 hexadecimal digits (make one with: openssl rand -hex 32)", .0.display())]
    EdgeKeysForm(PathBuf),
    /// A relay without what it needs.
    #[error("--relay-listen needs --edge-keys, and --server-id or --pod-ip")]
    RelayAlone,
    /// A relay on all addresses, without the one that others are to use.
    #[error("--relay-listen on all addresses needs --relay-announce or --pod-ip, so that other gateways find it")]
    RelayUnannounced,
    /// The address of the relay is taken, forbidden or not of this machine.
    #[error("cannot listen for other gateways: {0}")]
    RelayListen(#[source] io::Error),
    /// Doorbells cannot be subscribed to.
    #[error("doorbells: {0}")]
    Bus(#[from] BusError),
}
