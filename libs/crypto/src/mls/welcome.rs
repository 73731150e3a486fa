//! Taking a Welcome apart (RFC 9420 section 12.4.3.1), so that the server keeps what all joiners share once and gives each
//! only its own secret.

use openmls::prelude::WireFormat;
use openmls::prelude::tls_codec::{Serialize as _, VLBytes};

use super::provider::Crypto;
use super::{MlsError, key_package, parse};

const KIND: &str = "welcome";

/// A Welcome in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitWelcome {
    /// Code point of the cipher suite.
    pub suite: u16,
    /// The GroupInfo, encrypted; the same for all joiners.
    pub encrypted_group_info: Vec<u8>,
    /// One for each joiner.
    pub secrets: Vec<JoinerSecret>,
}

/// What a Welcome holds for one joiner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinerSecret {
    /// Hash of the KeyPackage it is for: [`key_package_ref`], [`super::Added::key_package_ref`].
    pub key_package_ref: Vec<u8>,
    /// EncryptedGroupSecrets in TLS encoding, for [`join_welcome`].
    pub secret: Vec<u8>,
}

/// Takes an MLSMessage with a Welcome apart. Nothing in it can be checked but the form.
pub fn split_welcome(bytes: &[u8]) -> Result<SplitWelcome, MlsError> {
    let body = parse::body_of(bytes, WireFormat::Welcome, KIND)?;
    // struct { CipherSuite cipher_suite; EncryptedGroupSecrets secrets<V>; opaque encrypted_group_info<V>; } Welcome;
    let (suite, rest) = body.split_first_chunk::<2>().ok_or(MlsError::Malformed(KIND))?;
    let (secrets, rest) = parse::vector(rest, KIND)?;
    let (encrypted_group_info, rest) = parse::vector(rest, KIND)?;
    if !rest.is_empty() {
        return Err(MlsError::Malformed(KIND));
    }
    let mut split = SplitWelcome { suite: u16::from_be_bytes(*suite), encrypted_group_info, secrets: Vec::new() };
    let mut left = secrets.as_slice();
    // Each takes at least three bytes of what is left.
    while !left.is_empty() {
        // struct { KeyPackageRef new_member; HPKECiphertext encrypted_group_secrets; } EncryptedGroupSecrets;
        // struct { opaque kem_output<V>; opaque ciphertext<V>; } HPKECiphertext;
        let (key_package_ref, rest) = parse::vector(left, KIND)?;
        let (_, rest) = parse::vector(rest, KIND)?;
        let (_, rest) = parse::vector(rest, KIND)?;
        let secret = left[..left.len() - rest.len()].to_vec();
        split.secrets.push(JoinerSecret { key_package_ref, secret });
        left = rest;
    }
    Ok(split)
}

/// The Welcome for one joiner: an MLSMessage of the shared parts and its [`JoinerSecret::secret`].
pub fn join_welcome(suite: u16, encrypted_group_info: &[u8], secret: &[u8]) -> Result<Vec<u8>, MlsError> {
    let mut bytes = parse::header(WireFormat::Welcome).to_vec();
    bytes.extend_from_slice(&suite.to_be_bytes());
    for part in [secret, encrypted_group_info] {
        bytes.extend(VLBytes::from(part).tls_serialize_detached().map_err(MlsError::invalid)?);
    }
    Ok(bytes)
}

/// The hash of a KeyPackage (RFC 9420 section 5.2), 32 bytes. Fails when the KeyPackage is not valid.
pub fn key_package_ref(key_package: &[u8]) -> Result<Vec<u8>, MlsError> {
    let crypto = Crypto::default();
    let (key_package, _) = key_package::verify(&crypto, key_package)?;
    Ok(key_package.hash_ref(&crypto)?.as_slice().to_vec())
}
