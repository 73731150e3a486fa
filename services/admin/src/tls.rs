//! Certificates of the listener: from files, or an authority made on first start, with a server's and a client's certificate.
//! Read again when the files change.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::stream::{self, Stream};
use qpc_chassis::{
    run::Deps,
    secrets::write_private,
    tls::{Files, TlsError},
    watched::Watched,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{Config, SERVICE, error::AdminError};

/// Handshakes at the same time, and the longest of them.
const HANDSHAKES: usize = 64;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Pause after the system had no connection to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What an admin needs to call a server that made its own certificates.
#[derive(Debug, Clone)]
pub struct Minted {
    /// Authority that the server's certificate comes from.
    pub ca: PathBuf,
    /// Certificate of the admin.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Minted {
    /// The files in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        let file = |name| folder.join(name);
        Self { ca: file("ca.pem"), cert: file("admin.pem"), key: file("admin-key.pem") }
    }
}

/// Takes nobody without a certificate of the authority.
pub(crate) struct Acceptor {
    leaf: Vec<u8>,
    tls: TlsAcceptor,
}

/// TLS for connections, with the newest certificates.
pub(crate) fn load(config: &Config, deps: &Deps) -> Result<Arc<Watched<Acceptor>>, AdminError> {
    let files = files(config)?;
    let (all, metrics) = (files.all(), deps.metrics.clone());
    let watched = Watched::new(all, move || {
        let identity = files.read()?;
        let leaf = identity.leaf().to_vec();
        let mut tls = identity.server()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok::<_, TlsError>(Acceptor { leaf, tls: Arc::new(tls).into() })
    })?;
    watched.watch(deps, "the certificate of the admin API", move |acceptor| {
        metrics.certificate(SERVICE, &acceptor.leaf);
    });
    Ok(watched)
}

/// Those that the settings name; makes them on first start.
fn files(config: &Config) -> Result<Files, AdminError> {
    config.check()?;
    let listener = &config.listener;
    let (cert, key, ca) = match (&listener.admin_cert, &listener.admin_key, &listener.admin_client_ca) {
        (Some(cert), Some(key), Some(ca)) => (cert.clone(), key.clone(), ca.clone()),
        _ => {
            let folder = &config.admin_data;
            let minted = Minted::in_folder(folder);
            let (cert, key) = (folder.join("server.pem"), folder.join("server-key.pem"));
            // Written last: with it, everything is there.
            if !minted.ca.exists() {
                mint(folder, &minted, &cert, &key)?;
            }
            (cert, key, minted.ca)
        }
    };
    Ok(Files { cert, key, ca })
}

/// Connections that arrive, once the other side has shown its certificate. None waits for another's handshake.
pub(crate) fn incoming(
    deps: &Deps,
    listener: TcpListener,
    acceptor: Arc<Watched<Acceptor>>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + use<> {
    let (sender, receiver) = mpsc::channel(1);
    let (runtime, handshakes) = (deps.runtime.clone(), Arc::new(Semaphore::new(HANDSHAKES)));
    deps.runtime.spawn(async move {
        loop {
            // Never closed.
            let Ok(slot) = handshakes.clone().acquire_owned().await else { return };
            let stream = tokio::select! {
                () = runtime.shutdown().cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "connection of an admin not taken");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let (tls, sender) = (acceptor.current().tls.clone(), sender.clone());
            runtime.spawn(async move {
                match timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                    // Nobody takes it any more when the server has ended.
                    Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
                    Ok(Err(error)) => tracing::info!(%error, "no admin"),
                    Err(_) => tracing::info!("a connection to the admin API says nothing"),
                }
                drop(slot);
            });
        }
    });
    stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|stream| (stream, receiver)))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> AdminError {
    let path = path.to_owned();
    move |source| AdminError::File { path: path.clone(), source }
}

/// The key of the authority is not kept: it signs these two certificates and no more.
fn mint(folder: &Path, minted: &Minted, cert: &Path, key: &Path) -> Result<(), AdminError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    let authority_key = KeyPair::generate()?;
    let mut authority = named("quicprochat admin authority", &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let signed = [
        (named("quicprochat admin API", &["localhost", "127.0.0.1", "::1"])?, cert, key),
        (named("admin", &[])?, &*minted.cert, &*minted.key),
    ];
    for (params, cert, key) in signed {
        let pair = KeyPair::generate()?;
        // Of a start that died half-way.
        match fs::remove_file(key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(key)(error)),
            _ => write_private(key, pair.serialize_pem().as_bytes()).map_err(failed(key))?,
        }
        fs::write(cert, params.signed_by(&pair, &issuer)?.pem()).map_err(failed(cert))?;
    }
    fs::write(&minted.ca, authority_pem).map_err(failed(&minted.ca))
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, AdminError> {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
