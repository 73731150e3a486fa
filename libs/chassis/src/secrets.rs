//! The one secret that all replicas of an installation share; every other server key is derived from it by name.

use std::{fs, io, path::Path};

use hkdf::Hkdf;
use rand::RngCore;
use sha2::Sha256;

/// The secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or written.
    #[error("secret file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Not 64 hexadecimal digits.
    #[error("secret file {0} must hold 64 hexadecimal digits (make one with: openssl rand -hex 32)")]
    Form(String),
}

/// See the module.
#[derive(Clone)]
pub struct Secrets {
    root: [u8; 32],
}

impl Secrets {
    /// From a root of 32 random bytes.
    pub fn new(root: [u8; 32]) -> Self {
        Self { root }
    }

    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, SecretsError> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| SecretsError::File { path: name(), source })?;
        let mut root = [0; 32];
        hex::decode_to_slice(text.trim(), &mut root).map_err(|_| SecretsError::Form(name()))?;
        Ok(Self { root })
    }

    /// Reads the file, or makes it, readable by its owner only.
    pub fn load_or_create(path: &Path, rng: &mut impl RngCore) -> Result<Self, SecretsError> {
        if path.exists() {
            return Self::load(path);
        }
        let mut root = [0; 32];
        rng.fill_bytes(&mut root);
        write_private(path, hex::encode(root).as_bytes())
            .map_err(|source| SecretsError::File { path: path.display().to_string(), source })?;
        Ok(Self { root })
    }

    /// The key for one purpose (HKDF-SHA256, RFC 5869). `label` names it and never changes.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut out = [0; 32];
        // HKDF refuses only outputs above 255 hash lengths.
        let expanded = Hkdf::<Sha256>::new(None, &self.root).expand(label.as_bytes(), &mut out);
        debug_assert!(expanded.is_ok());
        out
    }
}

/// Writes a new file with mode 0600.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::Secrets;
    use crate::runtime::Runtime;

    #[test]
    fn a_created_secret_is_private_and_reads_back() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let made = Secrets::load_or_create(&path, &mut Runtime::system().rng()).unwrap();
        let read = Secrets::load(&path).unwrap();
        assert_eq!(made.derive("a"), read.derive("a"));
        assert_ne!(made.derive("a"), made.derive("b"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(Secrets::load(&path).is_err());
    }
}
