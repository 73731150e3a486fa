//! What openmls needs from outside: cryptography, randomness, storage.

use hpke::kem::XWing;
use hpke::{Kem as _, Serializable as _};
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::storage::{CURRENT_VERSION, StorageProvider};
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKemType, HpkeKeyPair,
    KemOutput, SignatureScheme,
};
use zeroize::Zeroizing;

/// A storage of groups: any openmls storage whose error can cross threads. `openmls_sqlite_storage` and
/// `openmls_memory_storage` are; never implement it by hand.
pub trait MlsStore: StorageProvider<CURRENT_VERSION, Error = <Self as MlsStore>::StoreError> {
    /// The error of the storage.
    type StoreError: std::error::Error + Send + Sync + 'static;
}

impl<S, E> MlsStore for S
where
    S: StorageProvider<CURRENT_VERSION, Error = E>,
    E: std::error::Error + Send + Sync + 'static,
{
    type StoreError = E;
}

/// Cryptography and a storage. Cheap to make: one for each transaction is meant. `Send` and `Sync` as far as the storage
/// is.
#[derive(Default)]
pub struct Provider<S> {
    crypto: Crypto,
    storage: S,
}

impl<S> Provider<S> {
    /// A provider on `storage`, with randomness seeded by the operating system.
    pub fn new(storage: S) -> Self {
        Self { crypto: Crypto::default(), storage }
    }

    /// The storage.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    pub(super) fn crypto(&self) -> &Crypto {
        &self.crypto
    }
}

impl<S: MlsStore> OpenMlsProvider for Provider<S> {
    type CryptoProvider = Crypto;
    type RandProvider = Crypto;
    type StorageProvider = S;

    fn storage(&self) -> &S {
        &self.storage
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &Crypto {
        &self.crypto
    }
}

/// The RustCrypto provider of openmls, except that it derives X-Wing keys as draft-ietf-hpke-pq says (SHAKE256
/// LabeledDerive). openmls 0.9.2 derives them with an unlabelled SHAKE256, which its next version will not: groups made
/// with that derivation would break on the upgrade.
#[derive(Default)]
pub struct Crypto(RustCrypto);

impl OpenMlsCrypto for Crypto {
    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        if config.0 != HpkeKemType::XWingKemDraft6 {
            return self.0.derive_hpke_keypair(config, ikm);
        }
        let (private, public) = XWing::derive_keypair(ikm);
        let mut seed = Zeroizing::new([0; 32]);
        private.write_exact(seed.as_mut());
        Ok(HpkeKeyPair { private: seed.as_slice().into(), public: public.to_bytes().to_vec() })
    }

    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        self.0.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.0.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.0.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.0.hmac(hash, key, message)
    }

    fn hkdf_expand(&self, hash: HashType, prk: &[u8], info: &[u8], len: usize) -> Result<SecretVLBytes, CryptoError> {
        self.0.hkdf_expand(hash, prk, info, len)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0.hash(hash, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ciphertext: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.aead_decrypt(alg, key, ciphertext, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        self.0.signature_key_gen(alg)
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.0.verify_signature(alg, data, pk, signature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0.sign(alg, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        self.0.hpke_seal(config, pk_r, info, aad, plaintext)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.0.hpke_open(config, input, sk_r, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        self.0.hpke_setup_sender_and_export(config, pk_r, info, context, len)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        self.0.hpke_setup_receiver_and_export(config, enc, sk_r, info, context, len)
    }
}

impl OpenMlsRand for Crypto {
    type Error = <RustCrypto as OpenMlsRand>::Error;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Self::Error> {
        self.0.random_array()
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, Self::Error> {
        self.0.random_vec(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mls::Suite;

    fn hybrid() -> HpkeConfig {
        Suite::Hybrid.ciphersuite().hpke_config()
    }

    #[test]
    fn xwing_keys_derive_as_the_draft_says_and_not_as_stock_openmls() {
        let ikm = [0x42; 32];
        let ours = Crypto::default().derive_hpke_keypair(hybrid(), &ikm).unwrap();
        let stock = RustCrypto::default().derive_hpke_keypair(hybrid(), &ikm).unwrap();
        assert_ne!(ours.public, stock.public);
        // SHAKE256(ikm || "HPKE-v1" || "KEM" || 0x647a || 13 || "DeriveKeyPair" || 32, 32), reckoned with another library.
        let seed = "8cf96b4478c56b4120f48ca587848d4d569e18078c97ee78323af459139e805b";
        assert_eq!(hex::encode(&*ours.private), seed);
        let (private, public) = XWing::derive_keypair(&ikm);
        assert_eq!(&*ours.private, private.to_bytes().as_slice());
        assert_eq!(ours.public, public.to_bytes().as_slice());
    }

    #[test]
    fn derived_keys_seal_and_open_with_stock_openmls() {
        let crypto = Crypto::default();
        let pair = crypto.derive_hpke_keypair(hybrid(), &[7; 32]).unwrap();
        let sealed = crypto.hpke_seal(hybrid(), &pair.public, b"info", b"aad", b"text").unwrap();
        let opened = RustCrypto::default().hpke_open(hybrid(), &sealed, &pair.private, b"info", b"aad");
        assert_eq!(opened.unwrap(), b"text");
        assert!(crypto.hpke_open(hybrid(), &sealed, &[1; 32], b"info", b"aad").is_err());
    }

    #[test]
    fn other_kems_are_left_alone() {
        let config = || Suite::Classic.ciphersuite().hpke_config();
        let ours = Crypto::default().derive_hpke_keypair(config(), &[1; 32]).unwrap();
        let stock = RustCrypto::default().derive_hpke_keypair(config(), &[1; 32]).unwrap();
        assert_eq!(ours.public, stock.public);
    }
}
