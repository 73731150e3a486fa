//! KeyPackages: what a device leaves with the server so that others can add it while it is offline.

use std::ops::Range;

use openmls::prelude::tls_codec::Serialize as _;
use openmls::prelude::{
    BasicCredential, Capabilities, CredentialType, CredentialWithKey, ExtensionType, KeyPackage, KeyPackageBundle,
    KeyPackageNewError, MlsMessageBodyIn, MlsMessageOut, ProposalType, ProtocolVersion, SignatureScheme,
};
use openmls_traits::signatures::{Signer, SignerError};
use serde::Deserialize;

use super::provider::Crypto;
use super::{MlsError, MlsStore, Provider, Suite, inspect, parse};
use crate::{DeviceCertificate, DeviceKey};

/// A KeyPackage that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidKeyPackage {
    /// Whose device it is.
    pub certificate: DeviceCertificate,
    /// The suite of groups it can be added to.
    pub suite: Suite,
    /// Whether it may be used more than once, when no other is left.
    pub last_resort: bool,
}

/// A KeyPackage with its private keys, as openmls has it in the storage.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct StoredKeyPackage(KeyPackageBundle);

impl StoredKeyPackage {
    /// Code point of the suite.
    pub fn suite_id(&self) -> u16 {
        self.0.key_package().ciphersuite().into()
    }

    /// Whether it may be used more than once, and so is not deleted when it is.
    pub fn is_last_resort(&self) -> bool {
        self.0.key_package().last_resort()
    }

    /// From when to when it can be used, Unix seconds; it is made an hour after it begins.
    pub fn lifetime_s(&self) -> Range<u64> {
        let lifetime = self.0.key_package().life_time();
        lifetime.not_before()..lifetime.not_after()
    }
}

/// Makes a KeyPackage for groups of `suite` and stores its secrets. The result is an MLSMessage. Its lifetime is 84 days,
/// by the clock of this machine.
pub fn generate<S: MlsStore>(
    provider: &Provider<S>,
    key: &DeviceKey,
    certificate: &DeviceCertificate,
    suite: Suite,
    last_resort: bool,
) -> Result<Vec<u8>, MlsError> {
    let mut builder = KeyPackage::builder().leaf_node_capabilities(capabilities());
    if last_resort {
        builder = builder.mark_as_last_resort();
    }
    let bundle = builder.build(suite.ciphersuite(), provider, key, leaf_identity(key, certificate)?).map_err(
        |error| match error {
            KeyPackageNewError::StorageError => MlsError::storage(error),
            error => MlsError::invalid(error),
        },
    )?;
    MlsMessageOut::from(bundle.key_package().clone()).tls_serialize_detached().map_err(MlsError::invalid)
}

/// Checks a KeyPackage: both signatures, lifetime, certificate, that it is the device's own, and that it announces what
/// our groups need.
pub fn validate(bytes: &[u8]) -> Result<ValidKeyPackage, MlsError> {
    Ok(verify(&Crypto::default(), bytes)?.1)
}

/// [`validate`], with the KeyPackage for an Add proposal.
pub(super) fn verify(crypto: &Crypto, bytes: &[u8]) -> Result<(KeyPackage, ValidKeyPackage), MlsError> {
    const KIND: &str = "key package";
    let MlsMessageBodyIn::KeyPackage(key_package) = parse::body(bytes, KIND)? else {
        return Err(MlsError::Malformed(KIND));
    };
    let key_package = key_package.validate(crypto, ProtocolVersion::Mls10).map_err(MlsError::invalid)?;
    let id = u16::from(key_package.ciphersuite());
    let suite = Suite::from_id(id).ok_or(MlsError::Suite(id))?;
    let announced = key_package.leaf_node().capabilities();
    if !announced.ciphersuites().contains(&suite.ciphersuite().into()) {
        return Err(MlsError::Suite(id));
    }
    if !announced.extensions().contains(&inspect::EXTENSION)
        || !announced.proposals().contains(&ProposalType::SelfRemove)
    {
        return Err(MlsError::Forbidden("a key package that does not announce what our groups require"));
    }
    // RFC 9420 section 7.2: a package must not be usable for ever; openmls leaves the bound to the application.
    if !key_package.life_time().has_acceptable_range() {
        return Err(MlsError::Forbidden("a key package that lives longer than 84 days and an hour"));
    }
    let valid = ValidKeyPackage {
        certificate: inspect::leaf(key_package.leaf_node())?,
        suite,
        last_resort: key_package.last_resort(),
    };
    Ok((key_package, valid))
}

/// Capabilities of our leaves. Explicit, because what providers of openmls announce by themselves differs, and a group is
/// joined only by leaves that announce its suite.
pub(super) fn capabilities() -> Capabilities {
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&Suite::ALL.map(Suite::ciphersuite)),
        Some(&[ExtensionType::LastResort, inspect::EXTENSION]),
        Some(&[ProposalType::SelfRemove]),
        Some(&[CredentialType::Basic]),
    )
}

pub(super) fn leaf_identity(key: &DeviceKey, certificate: &DeviceCertificate) -> Result<CredentialWithKey, MlsError> {
    let public = key.public();
    if *certificate.device_key() != public {
        return Err(MlsError::KeyMismatch);
    }
    Ok(CredentialWithKey {
        credential: BasicCredential::new(certificate.to_bytes().to_vec()).into(),
        signature_key: public.as_slice().into(),
    })
}

impl Signer for DeviceKey {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(DeviceKey::sign(self, payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
