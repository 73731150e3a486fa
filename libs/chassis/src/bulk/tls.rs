//! Pipes on which each side shows whose it is. The key of the installation still is asked for inside: it says that a call
//! comes from here, TLS that nobody in between reads or changes what follows it.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{BulkError, Pipe};
use crate::{
    run::Deps,
    tls::{Files, Identity, TlsError},
    watched::Watched,
};

/// The name in the certificate of gateways. That of a service is `qpc-` and its own.
const GATEWAY: &str = "qpc-gateway";
/// Name in logs and metrics.
const CERTIFICATE: &str = "bulk";

/// The certificate of a process for pipes.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct BulkTls {
    /// Certificate chain that this process shows where bodies pass between gateways and services, PEM
    #[arg(long, env = "QPC_BULK_CERT", value_name = "FILE")]
    pub bulk_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(long, env = "QPC_BULK_KEY", value_name = "FILE")]
    pub bulk_key: Option<PathBuf>,
    /// Authorities that sign the certificate of the other side, PEM
    #[arg(long, env = "QPC_BULK_CA", value_name = "FILE")]
    pub bulk_ca: Option<PathBuf>,
}

/// What a gateway opens pipes with.
pub(super) type Connector = Arc<Watched<Shown<TlsConnector>>>;
/// What a service takes pipes with.
pub(super) type Acceptor = Arc<Watched<Shown<TlsAcceptor>>>;

pub(super) struct Shown<T> {
    leaf: CertificateDer<'static>,
    pub(super) tls: T,
}

impl BulkTls {
    pub(super) fn connector(&self, deps: &Deps) -> Result<Option<Connector>, BulkError> {
        self.watched(deps, |identity| Ok(Arc::new(identity.client()?).into()))
    }

    pub(super) fn acceptor(&self, deps: &Deps) -> Result<Option<Acceptor>, BulkError> {
        self.watched(deps, |identity| Ok(Arc::new(identity.server()?).into()))
    }

    fn watched<T: Send + Sync + 'static>(
        &self,
        deps: &Deps,
        make: impl Fn(Identity) -> Result<T, TlsError> + Send + 'static,
    ) -> Result<Option<Arc<Watched<Shown<T>>>>, BulkError> {
        let files = match (&self.bulk_cert, &self.bulk_key, &self.bulk_ca) {
            (Some(cert), Some(key), Some(ca)) => Files { cert: cert.clone(), key: key.clone(), ca: ca.clone() },
            (None, None, None) => return Ok(None),
            _ => return Err(BulkError::HalfGiven),
        };
        let (all, metrics) = (files.all(), deps.metrics.clone());
        let read = move || {
            let identity = files.read()?;
            Ok::<_, TlsError>(Shown { leaf: identity.leaf().clone(), tls: make(identity)? })
        };
        let watched = Watched::new(all, read)?;
        watched.watch(deps, "the certificate of pipes", move |shown| metrics.certificate(CERTIFICATE, &shown.leaf));
        Ok(Some(watched))
    }
}

/// The pipe, once `service` has shown at its other end that it is that service.
pub(super) async fn open(tls: &TlsConnector, service: &str, pipe: Pipe) -> Result<Pipe, BulkError> {
    let name = ServerName::try_from(format!("qpc-{service}")).map_err(|_| BulkError::Stranger)?;
    Ok(Box::new(tls.connect(name, pipe).await.map_err(BulkError::Tls)?))
}

/// The pipe, once a gateway has shown at its other end that it is one.
pub(super) async fn take(tls: &TlsAcceptor, pipe: Pipe) -> Result<Pipe, BulkError> {
    let stream = tls.accept(pipe).await.map_err(BulkError::Tls)?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or(BulkError::Stranger)?;
    let name = ServerName::try_from(GATEWAY).map_err(|_| BulkError::Stranger)?;
    let certificate = ParsedCertificate::try_from(shown).map_err(|_| BulkError::Stranger)?;
    verify_server_name(&certificate, &name).map_err(|_| BulkError::Stranger)?;
    Ok(Box::new(stream))
}
