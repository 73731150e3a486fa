//! The gateway's own answer, and its ceiling: a bare quinn server that echoes the same frames, in a process of its own as
//! the gateway is.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::future::try_join_all;
use qpc_sdk::{
    Runtime,
    transport::{Connection, Connector, Trust},
};
use qpc_wire::{
    frame::{REQUEST_HEADER, RequestHeader, response_header},
    limits::{ALPN, MAX_FRAME_PAYLOAD},
    methods::Ping,
    v1::PingRequest,
};
use quinn::{Endpoint, Incoming, ServerConfig, TransportConfig, VarInt, crypto::rustls::QuicServerConfig};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::Instant,
};

use crate::{SENDERS, Scale, user};

/// Calls a second of the bare server.
pub(crate) async fn ceiling(scale: Scale) -> Result<f64> {
    let server = BareServer::start("echo-server").await?;
    let trust = Trust::PemFile(server.cert());
    let connector = Connector::new(&server.address, Some("localhost"), &trust, Runtime::system())?;
    ping_rate(&connector, scale).await
}

/// A bare quinn server, by a hidden command of this program. Killed when dropped.
pub(crate) struct BareServer {
    pub(crate) address: String,
    folder: TempDir,
    _process: Child,
}

impl BareServer {
    pub(crate) async fn start(command: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg(command)
            .arg("--cert")
            .arg(folder.path().join("cert.pem"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().with_context(|| format!("{command} has no output"))?;
        let address = BufReader::new(output).lines().next_line().await?;
        Ok(Self { address: address.with_context(|| format!("{command} did not start"))?, folder, _process: process })
    }

    /// Its certificate, PEM.
    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }
}

/// Calls a second over 64 connections with one call each at a time.
pub(crate) async fn ping_rate(connector: &Connector, scale: Scale) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..SENDERS {
        connections.push(connector.connect().await?);
    }
    let started = Instant::now();
    let until = started + scale.phase;
    let counts =
        try_join_all(connections.iter().map(|(connection, _)| user::task(ping(connection.clone(), until)))).await?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut total = 0;
    for count in counts {
        total += count?;
    }
    for (connection, _) in connections {
        connection.close();
    }
    Ok(f64::from(total) / elapsed)
}

async fn ping(connection: Connection, until: Instant) -> Result<u32> {
    let request = PingRequest { payload: Bytes::from(vec![7; 1024]) };
    let mut count = 0;
    while Instant::now() < until {
        connection.call::<Ping>(&request).await?;
        count += 1;
    }
    Ok(count)
}

/// The bare server: the payload of a request comes back as that of the response.
pub(crate) async fn serve(cert: &Path) -> Result<()> {
    listen(cert, echo).await
}

/// A bare quinn server that gives each connection to `handle`.
#[allow(clippy::print_stdout, reason = "how the parent learns the address")]
pub(crate) async fn listen<F: Future<Output = Result<()>> + Send + 'static>(
    cert: &Path,
    handle: impl Fn(Incoming) -> F,
) -> Result<()> {
    let generated = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(generated.signing_key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![generated.cert.der().clone()], key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(Duration::from_secs(30).try_into()?));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(64));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    std::fs::write(cert, generated.cert.pem())?;
    println!("{}", endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        // Ends with its connection; a failed one is the client's to report.
        let handled = handle(incoming);
        #[allow(clippy::disallowed_methods, reason = "nothing waits for this process to drain")]
        tokio::spawn(async move { handled.await.ok() });
    }
    Ok(())
}

async fn echo(incoming: Incoming) -> Result<()> {
    let connection = incoming.await?;
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        #[allow(clippy::disallowed_methods, reason = "as above")]
        tokio::spawn(async move {
            let mut header = [0; REQUEST_HEADER];
            receive.read_exact(&mut header).await?;
            let header = RequestHeader::decode(&header)?;
            let payload = Bytes::from(receive.read_to_end(MAX_FRAME_PAYLOAD).await?);
            send.write_all_chunks(&mut [response_header(0, header.request_id, &payload)?, payload]).await?;
            send.finish()?;
            anyhow::Ok(())
        });
    }
    Ok(())
}
