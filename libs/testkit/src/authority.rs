//! Certificates for tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// An authority of a test's own. What it signs lies in a folder, as PEM.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Writes its certificate, [`Self::ca`], to `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = Self { folder: folder.to_owned(), issuer: Issuer::new(params.clone(), key) };
        fs::write(authority.ca(), params.self_signed(authority.issuer.key())?.pem())?;
        Ok(authority)
    }

    /// Its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Writes a certificate for `host` and its key to `name.pem` and `name-key.pem`, over those that are there, and returns
    /// both paths.
    pub fn sign(&self, name: &str, host: &str) -> Result<(PathBuf, PathBuf)> {
        let (cert, key) = (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}-key.pem")));
        let pair = KeyPair::generate()?;
        let params = CertificateParams::new(vec![host.to_owned()])?;
        fs::write(&cert, params.signed_by(&pair, &self.issuer)?.pem())?;
        fs::write(&key, pair.serialize_pem())?;
        Ok((cert, key))
    }
}
