//! From a server's name to a connection.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use qpc_wire::limits::{ALPN, DEFAULT_PORT};
use quinn::{Endpoint, IdleTimeout, NoneTokenStore, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use rustls::{
    client::Resumption,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use tokio::sync::mpsc;

use super::{Connection, Push, carrier, push};
use crate::Runtime;

/// Longest time for one address to complete its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that is silent for so long is gone.
const IDLE_TIMEOUT_MS: u32 = 12_000;
/// Time between signs of life on an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Pushes on their way at the same time.
const MAX_PUSH_STREAMS: u32 = 64;
/// Pushes read and not yet handled. Beyond it nothing is read, and the gateway notices.
const PUSH_QUEUE: usize = 256;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Whom to believe that it is the server. The system's own list of authorities is deliberately not among them.
#[derive(Debug, Clone)]
pub enum Trust {
    /// A file with certificates in PEM: authorities, or the server's own self-signed one.
    PemFile(PathBuf),
    /// The same as DER.
    Certificates(Vec<CertificateDer<'static>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `HOST`, `HOST:PORT`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
    #[error("{0:?} is no server address")]
    Address(String),
    /// The name has no address.
    #[error("cannot find {host}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said; none when it knows the name but no address.
        source: Option<io::Error>,
    },
    /// The file of certificates cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is nobody to trust.
    #[error("no certificate to trust")]
    NoTrust,
    /// A certificate is unusable, or TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The cipher suite that QUIC begins with is missing.
    #[error("TLS: {0}")]
    InitialCipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// No UDP socket.
    #[error("no socket: {0}")]
    Socket(#[source] io::Error),
    /// The connection could not be begun.
    #[error("cannot connect: {0}")]
    Begin(#[from] quinn::ConnectError),
    /// Whoever answers cannot prove to be the server, or does not speak its protocol.
    #[error("the server cannot be trusted: {0}")]
    Untrusted(#[source] quinn::ConnectionError),
    /// The handshake failed otherwise.
    #[error("cannot connect: {0}")]
    Handshake(#[source] quinn::ConnectionError),
    /// Nobody answered in time.
    #[error("no answer from {0}")]
    Timeout(SocketAddr),
    /// TLS gave no keying material for the channel binding.
    #[error("no channel binding")]
    Exporter,
}

/// Makes connections to one server.
pub struct Connector {
    host: String,
    port: u16,
    server_name: String,
    config: quinn::ClientConfig,
    /// The same without any memory of former connections.
    apart: quinn::ClientConfig,
    endpoints: Mutex<[Option<Endpoint>; 2]>,
    /// Whether connections tell the server which calls are recorded.
    tells: bool,
    runtime: Runtime,
}

impl Connector {
    /// `server` is `HOST[:PORT]`; `server_name` is the name in its certificate where that is not `HOST`.
    pub fn new(server: &str, server_name: Option<&str>, trust: &Trust, runtime: Runtime) -> Result<Self, ConnectError> {
        let (host, port) = split_address(server).ok_or_else(|| ConnectError::Address(server.to_owned()))?;
        Ok(Self {
            server_name: server_name.unwrap_or(&host).to_owned(),
            host,
            port,
            config: client_config(trust, Resumption::default())?,
            apart: {
                let mut config = client_config(trust, Resumption::disabled())?;
                config.token_store(Arc::new(NoneTokenStore));
                config
            },
            endpoints: Mutex::default(),
            tells: true,
            runtime,
        })
    }

    /// One that has nothing in common with this one but the server: its connections come from sockets of their own, and
    /// resume nothing.
    pub(crate) fn apart(&self) -> Self {
        Self {
            host: self.host.clone(),
            port: self.port,
            server_name: self.server_name.clone(),
            config: self.apart.clone(),
            apart: self.apart.clone(),
            endpoints: Mutex::default(),
            tells: false,
            runtime: self.runtime.clone(),
        }
    }

    /// Has the next connection come from a socket of its own. Balancers that go by addresses would else send it to the
    /// gateway that the one before was at, though that one is about to go, or gone. What is known of former connections, so
    /// that the next one can resume, stays.
    pub(crate) fn renew(&self) {
        *self.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = [None, None];
    }

    /// A new connection and what the server pushes on it. Tries the addresses of the name one after the other.
    pub async fn connect(&self) -> Result<(Connection, mpsc::Receiver<Push>), ConnectError> {
        #[cfg(feature = "sim")]
        if let Some(host) = self.runtime.host() {
            return self.connect_simulated(&host.port).await;
        }
        let resolved = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let not_found = |source| ConnectError::Resolve { host: self.host.clone(), source };
        let mut last = not_found(None);
        for address in resolved.map_err(|error| not_found(Some(error)))?.take(MAX_ADDRESSES) {
            match self.connect_to(address).await {
                Ok(connection) => return Ok(self.listen(connection)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Begins to read what the server pushes.
    fn listen(&self, connection: Connection) -> (Connection, mpsc::Receiver<Push>) {
        let (sender, receiver) = mpsc::channel(PUSH_QUEUE);
        self.runtime.spawn(push::read_all(connection.carrier().clone(), sender));
        (connection, receiver)
    }

    /// The same over a network in memory, where names are addresses.
    #[cfg(feature = "sim")]
    async fn connect_simulated(
        &self,
        port: &crate::runtime::sim::net::Port,
    ) -> Result<(Connection, mpsc::Receiver<Push>), ConnectError> {
        let ip = self.host.parse().map_err(|_| ConnectError::Address(self.host.clone()))?;
        let address = SocketAddr::new(ip, self.port);
        let simulated = tokio::time::timeout(HANDSHAKE_TIMEOUT, port.connect(address))
            .await
            .map_err(|_| ConnectError::Timeout(address))?
            .map_err(|_| handshake_failed(quinn::ConnectionError::Reset))?;
        let connection =
            Connection::new(carrier::Connection::Sim(simulated), self.tells).ok_or(ConnectError::Exporter)?;
        Ok(self.listen(connection))
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Connection, ConnectError> {
        let endpoint = self.endpoint(address)?;
        let connecting = endpoint.connect_with(self.config.clone(), address, &self.server_name)?;
        let quic = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_| ConnectError::Timeout(address))?
            .map_err(handshake_failed)?;
        Connection::new(carrier::Connection::Quic(quic), self.tells).ok_or(ConnectError::Exporter)
    }

    /// One socket for each address family, made when first needed.
    fn endpoint(&self, to: SocketAddr) -> Result<Endpoint, ConnectError> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut endpoints[usize::from(to.is_ipv6())];
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let any: SocketAddr =
            if to.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
        let endpoint = Endpoint::client(any).map_err(ConnectError::Socket)?;
        Ok(slot.insert(endpoint).clone())
    }
}

fn handshake_failed(error: quinn::ConnectionError) -> ConnectError {
    // RFC 9001 section 4.8: 0x100 and above is a TLS alert.
    match &error {
        quinn::ConnectionError::TransportError(cause) if u64::from(cause.code) >= 0x100 => {
            ConnectError::Untrusted(error)
        }
        _ => ConnectError::Handshake(error),
    }
}

fn client_config(trust: &Trust, resumption: Resumption) -> Result<quinn::ClientConfig, ConnectError> {
    let mut roots = rustls::RootCertStore::empty();
    match trust {
        Trust::PemFile(path) => {
            let failed = |source| ConnectError::Pem { path: path.clone(), source };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                roots.add(certificate.map_err(failed)?)?;
            }
        }
        Trust::Certificates(certificates) => {
            certificates.iter().try_for_each(|certificate| roots.add(certificate.clone()))?;
        }
    }
    if roots.is_empty() {
        return Err(ConnectError::NoTrust);
    }
    // The provider prefers X25519MLKEM768 (feature prefer-post-quantum).
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = resumption;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_PUSH_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Host and port; IPv6 addresses with a port stand in brackets.
fn split_address(server: &str) -> Option<(String, u16)> {
    if let Ok(address) = server.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port()));
    }
    let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bare) => (bare, DEFAULT_PORT),
        None => match server.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port.parse().ok()?),
            _ => (server, DEFAULT_PORT),
        },
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for (text, host, port) in [
            ("127.0.0.1:7001", "127.0.0.1", 7001),
            ("[::1]:7001", "::1", 7001),
            ("[::1]", "::1", DEFAULT_PORT),
            ("::1", "::1", DEFAULT_PORT),
            ("chat.example", "chat.example", DEFAULT_PORT),
            ("chat.example:9", "chat.example", 9),
        ] {
            assert_eq!(split_address(text), Some((host.to_owned(), port)), "{text}");
        }
        for bad in ["", ":7000", "host:port", "host:70000"] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn somebody_must_be_trusted() {
        let trust = Trust::Certificates(Vec::new());
        let refused = Connector::new("localhost", None, &trust, Runtime::system());
        assert!(matches!(refused.err(), Some(ConnectError::NoTrust)));
    }
}
