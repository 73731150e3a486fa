//! Files through gateway and blob service, and the ceiling: the same bytes over one stream of a bare quinn server, in a
//! process of its own as the gateway is. What encryption and hashing cost a client stands beside it, since it has a core for
//! them that the way through the server does not need.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use qpc_crypto::{
    Sha256Chain,
    file::{FileCipher, SEALED_CHUNK, sealed_size},
};
use qpc_sdk::transport::Connection;
use qpc_wire::{
    limits::ALPN,
    methods::{BlobBegin, BlobFinish, BlobGet, BlobPut},
    v1,
};
use quinn::{ClientConfig, Endpoint, Incoming, TransportConfig, crypto::rustls::QuicClientConfig};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{
    echo::{self, BareServer},
    report::Report,
    user::{User, World},
};

/// Bytes of a file.
const SIZE: u64 = 48 << 20;
/// Parts on their way at once, as of the SDK.
const PARALLEL: usize = 4;
/// Bytes of a range, as of the SDK.
const RANGE: u64 = 4 << 20;
/// Bytes written at a time.
const STEP: usize = 256 << 10;
/// Of its ceiling.
const TARGET: f64 = 0.7;

/// Bytes a second, up and down.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    up: f64,
    down: f64,
}

impl Rates {
    /// Two rows in MB/s.
    pub(crate) fn report(self, name: &str, ceiling: Rates, report: &mut Report) {
        for (way, rate, ceiling) in [("upload", self.up, ceiling.up), ("download", self.down, ceiling.down)] {
            report.throughput(&format!("{name} {way}"), rate / 1e6, ceiling / 1e6, TARGET);
        }
    }
}

/// What one core of a client encrypts and hashes, MB/s.
pub(crate) fn client_cost() -> Result<f64> {
    let cipher = FileCipher::new(&[7; 32], SIZE)?;
    let mut chunk = vec![1; SEALED_CHUNK];
    let (mut hash, started) = (Sha256::new(), Instant::now());
    for index in 0..cipher.chunks() - 1 {
        cipher.seal(index, &mut chunk)?;
        hash.update(&chunk);
    }
    ensure!(hash.finalize()[..] != [0; 32]);
    Ok(SIZE as f64 / started.elapsed().as_secs_f64() / 1e6)
}

/// Ciphertext of a file of [`SIZE`] is as good as noise; no two files are the same.
fn body(runtime: &qpc_sdk::Runtime) -> Result<Bytes> {
    let mut body = vec![0; sealed_size(SIZE) as usize];
    let (cipher, key) = (FileCipher::new(&runtime.random(), SIZE)?, SEALED_CHUNK);
    for (index, chunk) in body.chunks_mut(key).enumerate() {
        cipher.seal(index as u64, chunk)?;
    }
    Ok(body.into())
}

/// Through an installation and, for each file, right after over the bare stream, so that both find the machine as busy: the
/// medians of some files.
pub(crate) async fn rates(world: &mut World, files: usize) -> Result<(Rates, Rates)> {
    let (user, _, _, _) = world.pair().await?;
    let bare = Bare::start().await?;
    let (mut ours, mut bares) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..files {
        let body = body(&user.runtime)?;
        let id = Bytes::copy_from_slice(&Sha256::digest(&body));
        let values = values(&body)?;
        let rate = |started: Instant| body.len() as f64 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        upload(&user, &body, &values, &id).await?;
        ours.0.push(rate(started));
        let started = Instant::now();
        bare.upload(&body).await?;
        bares.0.push(rate(started));
        let started = Instant::now();
        let ranges = download(&user.connection, body.len() as u64, &id).await?;
        ours.1.push(rate(started));
        ensure!(ranges.concat() == body, "other bytes came back");
        let started = Instant::now();
        bare.download(body.len()).await?;
        bares.1.push(rate(started));
    }
    let medians = |(up, down)| Rates { up: median(up), down: median(down) };
    Ok((medians(ours), medians(bares)))
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What the hash is before each part, which a client knows as it encrypts.
fn values(body: &Bytes) -> Result<Vec<Bytes>> {
    let mut hash = Sha256Chain::default();
    let mut values = Vec::new();
    for part in body.chunks(RANGE as usize) {
        values.push(Bytes::copy_from_slice(&hash.value().context("parts are whole blocks")?));
        hash.update(part);
    }
    Ok(values)
}

async fn upload(user: &User, body: &Bytes, values: &[Bytes], id: &Bytes) -> Result<()> {
    let connection = &user.connection;
    let request = v1::BlobBeginRequest { idempotency_key: user.random_key(), size: body.len() as u64 };
    let begun = connection.call::<BlobBegin>(&request).await?;
    let part_size = begun.part_size as usize;
    ensure!(part_size == RANGE as usize, "parts have {part_size} bytes");
    let parts = stream::iter((0..body.len()).step_by(part_size)).map(|from| {
        let part = body.slice(from..(from + part_size).min(body.len()));
        let number = from / part_size;
        let hash_before = values[number].clone();
        let request = v1::BlobPutRequest { upload_id: begun.upload_id.clone(), part: number as u32, hash_before };
        async move { connection.call_up::<BlobPut>(&request, &part, |_| {}).await }
    });
    parts.buffer_unordered(PARALLEL).try_for_each(|_| async { Ok(()) }).await?;
    let request = v1::BlobFinishRequest { upload_id: begun.upload_id.clone(), blob_id: id.clone() };
    connection.call::<BlobFinish>(&request).await?;
    Ok(())
}

async fn download(connection: &Connection, size: u64, id: &Bytes) -> Result<Vec<Vec<u8>>> {
    let ranges = stream::iter((0..size).step_by(RANGE as usize)).map(|offset| async move {
        let request = v1::BlobGetRequest { blob_id: id.clone(), offset, length: RANGE };
        let (answer, mut taken) = connection.call_down::<BlobGet>(&request).await?;
        let mut bytes = Vec::with_capacity(answer.length as usize);
        while taken.next(&mut bytes, answer.length as usize).await? > 0 {}
        Ok(bytes)
    });
    ranges.buffered(PARALLEL).try_collect().await
}

/// The ceiling: a bare server, and a connection to it.
struct Bare {
    connection: quinn::Connection,
    _server: BareServer,
}

impl Bare {
    async fn start() -> Result<Self> {
        let server = BareServer::start("copy-server").await?;
        Ok(Self { connection: connect(&server.address, &server.cert()).await?, _server: server })
    }

    async fn upload(&self, body: &Bytes) -> Result<()> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&0u64.to_be_bytes()).await?;
        send.write_chunk(body.clone()).await?;
        send.finish()?;
        receive.read_to_end(1).await?;
        Ok(())
    }

    async fn download(&self, len: usize) -> Result<()> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(&(len as u64).to_be_bytes()).await?;
        send.finish()?;
        let mut taken = vec![0; len];
        receive.read_exact(&mut taken).await?;
        Ok(())
    }
}

async fn connect(address: &str, cert: &Path) -> Result<quinn::Connection> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(Duration::from_secs(30).try_into()?));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
    Ok(endpoint.connect_with(config, address.parse()?, "localhost")?.await?)
}

/// The bare server: takes what comes, or gives as many bytes as the first eight say.
pub(crate) async fn serve(cert: &Path) -> Result<()> {
    echo::listen(cert, copy).await
}

async fn copy(incoming: Incoming) -> Result<()> {
    let connection = incoming.await?;
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let mut wanted = [0; 8];
        receive.read_exact(&mut wanted).await?;
        let mut left = u64::from_be_bytes(wanted) as usize;
        while receive.read_chunk(usize::MAX, true).await?.is_some() {}
        let step = Bytes::from(vec![7; STEP]);
        while left > 0 {
            let len = left.min(STEP);
            send.write_chunk(step.slice(..len)).await?;
            left -= len;
        }
        send.finish()?;
    }
    Ok(())
}
