//! The account's statement that a device is its own.

use qpc_wire::{AccountId, DeviceId};

use crate::identity::{self, AccountKey, BadSignature};

const VERSION: u8 = 1;
const LABEL: &[u8] = b"qpc device certificate v1";
const SIGNED_LEN: usize = 1 + 32 + 32 + 8;

/// Bytes that are no valid device certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the fixed length.
    #[error("device certificate must be 137 bytes, not {0}")]
    Length(usize),
    /// A version this code does not know.
    #[error("unknown version {0} of a device certificate")]
    Version(u8),
    /// The account key did not sign it.
    #[error("device certificate is not signed by its account")]
    Signature(#[from] BadSignature),
}

/// A device key signed by an account key. A value of this type has been verified.
///
/// 137 bytes: version 1 (1) | account key (32) | device key (32) | created_at, unix seconds, big-endian (8) | Ed25519
/// signature of the account key (64) over "qpc device certificate v1" and the 73 bytes before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceCertificate {
    account_key: [u8; 32],
    device_key: [u8; 32],
    created_at: u64,
    signature: [u8; 64],
}

impl DeviceCertificate {
    /// Length in bytes.
    pub const LEN: usize = SIGNED_LEN + 64;

    /// Certifies a device; `created_at` in unix seconds.
    pub fn issue(account: &AccountKey, device_public: &[u8; 32], created_at: u64) -> Self {
        let mut certificate =
            Self { account_key: account.public(), device_key: *device_public, created_at, signature: [0; 64] };
        certificate.signature = account.sign(&certificate.message());
        certificate
    }

    /// Reads and verifies a certificate.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let certificate = Self::parse_unverified(bytes)?;
        identity::verify(&certificate.account_key, &certificate.message(), &certificate.signature)?;
        Ok(certificate)
    }

    /// Verifies many that were read by [`Self::parse_unverified`], on all processors.
    #[cfg(feature = "mls")]
    pub(crate) fn verify_all(all: &[Self]) -> Result<(), CertificateError> {
        let signed: Vec<_> = all.iter().map(|it| (it.account_key, it.message(), it.signature)).collect();
        Ok(identity::verify_all(&signed)?)
    }

    /// Reads a certificate whose signature was checked when it came in, so that listing thousands of members costs no
    /// thousands of verifications, or is checked by [`Self::verify_all`].
    pub(crate) fn parse_unverified(bytes: &[u8]) -> Result<Self, CertificateError> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().map_err(|_| CertificateError::Length(bytes.len()))?;
        if bytes[0] != VERSION {
            return Err(CertificateError::Version(bytes[0]));
        }
        Ok(Self {
            account_key: part(bytes, 1),
            device_key: part(bytes, 33),
            created_at: u64::from_be_bytes(part(bytes, 65)),
            signature: part(bytes, SIGNED_LEN),
        })
    }

    /// The certificate as bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..SIGNED_LEN].copy_from_slice(&self.signed_part());
        bytes[SIGNED_LEN..].copy_from_slice(&self.signature);
        bytes
    }

    /// The account's public key.
    pub fn account_key(&self) -> &[u8; 32] {
        &self.account_key
    }

    /// The device's public key.
    pub fn device_key(&self) -> &[u8; 32] {
        &self.device_key
    }

    /// Unix seconds, by the clock of whoever issued it.
    pub fn created_at(&self) -> u64 {
        self.created_at
    }

    /// The id of the account.
    pub fn account_id(&self) -> AccountId {
        identity::account_id(&self.account_key)
    }

    /// The id of the device.
    pub fn device_id(&self) -> DeviceId {
        identity::device_id(&self.device_key)
    }

    fn signed_part(&self) -> [u8; SIGNED_LEN] {
        let mut bytes = [0; SIGNED_LEN];
        bytes[0] = VERSION;
        bytes[1..33].copy_from_slice(&self.account_key);
        bytes[33..65].copy_from_slice(&self.device_key);
        bytes[65..].copy_from_slice(&self.created_at.to_be_bytes());
        bytes
    }

    fn message(&self) -> Vec<u8> {
        [LABEL, &self.signed_part()].concat()
    }
}

/// The `N` bytes from `start`; the offsets are constants within the layout.
fn part<const N: usize>(bytes: &[u8; DeviceCertificate::LEN], start: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[start..start + N]);
    out
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;
    use crate::identity::DeviceKey;

    #[test]
    fn round_trip_and_ids() {
        let (account, device) = (AccountKey::generate(&mut OsRng), DeviceKey::generate(&mut OsRng));
        let certificate = DeviceCertificate::issue(&account, &device.public(), 1_700_000_000);
        let bytes = certificate.to_bytes();
        assert_eq!(bytes.len(), 137);
        assert_eq!(bytes[65..73], 1_700_000_000u64.to_be_bytes());
        let parsed = DeviceCertificate::parse(&bytes).unwrap();
        assert_eq!(parsed, certificate);
        assert_eq!(parsed.account_id(), identity::account_id(&account.public()));
        assert_eq!(parsed.device_id(), identity::device_id(&device.public()));
    }

    #[cfg(feature = "mls")]
    #[test]
    fn one_forgery_among_many_is_found() {
        let issue = |_| DeviceCertificate::issue(&AccountKey::generate(&mut OsRng), &[3; 32], 5).to_bytes();
        let mut all: Vec<_> = (0..20).map(issue).collect();
        let parse = |all: &[[u8; 137]]| {
            let all: Vec<_> =
                all.iter().map(|one| DeviceCertificate::parse_unverified(one)).collect::<Result<_, _>>()?;
            DeviceCertificate::verify_all(&all)
        };
        assert_eq!(parse(&all), Ok(()));
        assert_eq!(parse(&[]), Ok(()));
        for index in [1, 40, 70, 73, 136] {
            let good = all[13];
            all[13][index] ^= 1;
            assert_eq!(parse(&all), Err(BadSignature.into()), "byte {index}");
            all[13] = good;
        }
        // The neutral element as key and as nonce fits any message.
        let mut weak = [0; 137];
        weak[..2].copy_from_slice(&[VERSION, 1]);
        weak[SIGNED_LEN] = 1;
        assert_eq!(parse(&[weak]), Err(BadSignature.into()));
    }

    #[test]
    fn no_byte_can_change() {
        let account = AccountKey::generate(&mut OsRng);
        let bytes = DeviceCertificate::issue(&account, &[3; 32], 5).to_bytes();
        for index in 0..bytes.len() {
            let mut forged = bytes;
            forged[index] ^= 1;
            let error = DeviceCertificate::parse(&forged).unwrap_err();
            let expected = if index == 0 { CertificateError::Version(0) } else { BadSignature.into() };
            assert_eq!(error, expected, "byte {index}");
        }
        assert_eq!(DeviceCertificate::parse(&bytes[..136]), Err(CertificateError::Length(136)));
    }
}
