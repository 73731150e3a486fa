//! TLS between the parts of an installation: each side shows a certificate that their authority has signed, and takes nobody
//! without one. TLS 1.3 alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of them cannot be read or parsed.
    #[error("{}: {source}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A PEM file without a certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// Certificate and key do not fit, or are of a kind that TLS 1.3 does not know.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authority is none.
    #[error("TLS: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// Where a process has its certificate from.
#[derive(Debug, Clone)]
pub struct Files {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Authorities that sign those of the other side, PEM.
    pub ca: PathBuf,
}

/// What the files hold.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl Files {
    /// Reads them.
    pub fn read(&self) -> Result<Identity, TlsError> {
        let chain = certificates(&self.cert)?;
        let leaf = chain.first().cloned().ok_or_else(|| TlsError::NoCertificate(self.cert.clone()))?;
        let key = private_key(&self.key)?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority)?;
        }
        Ok(Identity { chain, leaf, key, roots: Arc::new(roots) })
    }

    /// All of them.
    pub fn all(&self) -> Vec<PathBuf> {
        vec![self.cert.clone(), self.key.clone(), self.ca.clone()]
    }
}

/// The certificates of a PEM file, one at least.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(failed(path))?;
    if read.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(read) }
}

/// The private key of a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::Pem { path: path.to_owned(), source }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Identity {
    /// The certificate that is shown.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// For the side that is connected to.
    pub fn server(self) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots, provider()).build()?;
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        Ok(config.with_client_cert_verifier(verifier).with_single_cert(self.chain, self.key)?)
    }

    /// For the side that connects.
    pub fn client(self) -> Result<ClientConfig, TlsError> {
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        Ok(config.with_root_certificates(self.roots).with_client_auth_cert(self.chain, self.key)?)
    }
}
