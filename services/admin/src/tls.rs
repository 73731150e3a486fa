//! Certificates of the listener: from files, or an authority made on first start, with a server's and a client's certificate.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use qpc_admin_api::tonic::transport::{Certificate, Identity, ServerTlsConfig};
use qpc_chassis::{metrics::Metrics, secrets::write_private};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{Config, SERVICE, error::AdminError};

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

/// TLS that takes nobody without a certificate of the authority.
pub(crate) fn load(config: &Config, metrics: &Metrics) -> Result<ServerTlsConfig, AdminError> {
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
    let cert = read(&cert)?;
    metrics.certificate_pem(SERVICE, &cert);
    let identity = Identity::from_pem(cert, read(&key)?);
    Ok(ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(read(&ca)?)))
}

fn read(path: &Path) -> Result<Vec<u8>, AdminError> {
    fs::read(path).map_err(failed(path))
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
