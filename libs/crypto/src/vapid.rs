//! Who a server says it is to a push service: VAPID (RFC 8292), a JWT under ECDSA over P-256 (RFC 7518 section 3.4).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::json;

use crate::kdf;

/// Bytes of the public key, an uncompressed point (SEC 1 section 2.3.3): what clients subscribe with.
pub const PUBLIC_LEN: usize = 65;

/// The key of a server for push services.
pub struct VapidKey(SigningKey);

impl VapidKey {
    /// The key of a seed, the same for all who have it.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        // One of 2^32 strings is no scalar of the curve; then it is the next one.
        let scalars = (0..=u8::MAX).map(|number| kdf::expand(seed, &[b"vapid".as_slice(), &[number]].concat()));
        let key = scalars.filter_map(|scalar| SigningKey::from_slice(&scalar).ok()).next();
        #[allow(clippy::expect_used, reason = "256 times in a row that is one of 2^8192")]
        Self(key.expect("a scalar"))
    }

    /// The public key.
    pub fn public(&self) -> Vec<u8> {
        self.0.verifying_key().to_encoded_point(false).as_bytes().to_vec()
    }

    /// The Authorization header of a request to the push service at `origin`, good until `expires_s` (Unix seconds, at most
    /// 24 hours ahead), from an operator that can be reached under `contact`.
    pub fn authorization(&self, origin: &str, expires_s: u64, contact: Option<&str>) -> String {
        let mut claims = json!({ "aud": origin, "exp": expires_s });
        if let Some(contact) = contact {
            claims["sub"] = contact.into();
        }
        let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let head = json!({ "typ": "JWT", "alg": "ES256" });
        let signed = format!("{}.{}", encoded(head.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
        let signature: Signature = self.0.sign(signed.as_bytes());
        format!("vapid t={signed}.{}, k={}", encoded(&signature.to_bytes()), encoded(&self.public()))
    }
}

/// Why an Authorization header is not one of VAPID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VapidError {
    /// Not laid out as RFC 8292 section 3 says.
    #[error("not a header of VAPID")]
    Malformed,
    /// The key that it names did not sign it.
    #[error("the token is not signed by its key")]
    Signature,
}

/// What a push service reads in an Authorization header: the public key that signed, and the claims.
pub fn read(header: &str) -> Result<(Vec<u8>, serde_json::Value), VapidError> {
    use p256::ecdsa::{VerifyingKey, signature::Verifier as _};
    let decoded = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| VapidError::Malformed);
    let (token, key) =
        header.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).ok_or(VapidError::Malformed)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(VapidError::Malformed)?;
    let (_, claims) = signed.split_once('.').ok_or(VapidError::Malformed)?;
    let key = decoded(key)?;
    let signature = Signature::from_slice(&decoded(signature)?).map_err(|_| VapidError::Malformed)?;
    let verifying = VerifyingKey::from_sec1_bytes(&key).map_err(|_| VapidError::Malformed)?;
    verifying.verify(signed.as_bytes(), &signature).map_err(|_| VapidError::Signature)?;
    let claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| VapidError::Malformed)?;
    Ok((key, claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_who_to_whom_and_until_when() {
        let key = VapidKey::from_seed(&[7; 32]);
        let header = key.authorization("https://push.example", 1_900_000_000, Some("mailto:\"admin\"@example.org"));
        let (public, claims) = read(&header).unwrap();
        assert_eq!(public, key.public());
        assert_eq!((public.len(), public[0]), (PUBLIC_LEN, 4));
        assert_eq!(
            claims,
            json!({ "aud": "https://push.example", "exp": 1_900_000_000, "sub": "mailto:\"admin\"@example.org" })
        );
        let (_, silent) = read(&key.authorization("https://push.example", 1, None)).unwrap();
        assert_eq!(silent.get("sub"), None);
    }

    #[test]
    fn a_header_of_another_key_or_of_changed_claims_does_not_hold() {
        let header = VapidKey::from_seed(&[7; 32]).authorization("https://push.example", 1, None);
        let other = BASE64_URL_SAFE_NO_PAD.encode(VapidKey::from_seed(&[8; 32]).public());
        let (token, _) = header.split_once(", k=").unwrap();
        assert_eq!(read(&format!("{token}, k={other}")), Err(VapidError::Signature));
        let parts: Vec<&str> = header.split('.').collect();
        let claims = BASE64_URL_SAFE_NO_PAD.encode(br#"{"aud":"https://elsewhere.example","exp":1}"#);
        assert_eq!(read(&[parts[0], &claims, parts[2]].join(".")), Err(VapidError::Signature));
        assert_eq!(read("Bearer x"), Err(VapidError::Malformed));
    }

    /// RFC 8292 section 2.4: a header that somebody else has made.
    #[test]
    fn the_header_of_the_standard_is_read() {
        let header = "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOj\
            E0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1\
            JrErtmysazNjjvW2L9OkSSHzvoD1oA, \
            k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";
        let (_, claims) = read(header).unwrap();
        assert_eq!(claims["sub"], "mailto:push@example.com");
    }
}
