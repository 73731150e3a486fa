//! Tokens for sealed messages: a server gives them to accounts, takes them from nobody in particular, and cannot tell which
//! of those that it has given it takes (RFC 9497, VOPRF mode, ristretto255-SHA512).
//!
//! A client blinds random nonces ([`TokenRequest`]), the server evaluates what it sees of them ([`TokenKeys::evaluate`]) and
//! proves that it did so under the key that it has published for all; a key of somebody's own would be a mark. Keys last for
//! [`KEY_MS`] and are taken for as long again, so that a token says no more of its age than that.

use bytes::Bytes;
use qpc_wire::{proofs, v1};
use rand::{CryptoRng, RngCore};
use subtle::ConstantTimeEq as _;
use voprf::{BlindedElement, EvaluationElement, Group, Proof, Ristretto255, VoprfClient, VoprfServer};
use zeroize::Zeroizing;

use crate::kdf;

/// Time for which tokens are issued under one key, milliseconds.
pub const KEY_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Bytes of a public key and of what goes to and fro when tokens are issued.
pub const ELEMENT_LEN: usize = 32;
/// Bytes of a nonce with what is kept of its blinding.
const KEPT_LEN: usize = 32 + 64;

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A field does not have its length, or is no element of the group.
    #[error("token message is malformed")]
    Malformed,
    /// What was evaluated was not evaluated under the published key.
    #[error("tokens were not made with the published key")]
    Proof,
}

impl From<voprf::Error> for TokenError {
    fn from(error: voprf::Error) -> Self {
        match error {
            voprf::Error::ProofVerification => Self::Proof,
            _ => Self::Malformed,
        }
    }
}

/// The number of the key under which tokens are issued at a time, Unix milliseconds.
pub fn key_epoch(now_ms: u64) -> u64 {
    now_ms / KEY_MS
}

/// When tokens of a key are no longer taken, Unix milliseconds.
pub fn expires_ms(key_epoch: u64) -> u64 {
    key_epoch.saturating_add(2).saturating_mul(KEY_MS)
}

/// A token, good for one message.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Number of its key.
    pub key_epoch: u64,
    /// What it is told from others by.
    pub nonce: [u8; 32],
    output: [u8; 64],
}

impl Token {
    /// Bytes of [`Self::to_bytes`].
    pub const LEN: usize = 8 + 32 + 64;

    /// For the client's store: key epoch (8) | nonce (32) | output (64).
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.key_epoch.to_be_bytes().as_slice(), &self.nonce, &self.output].concat())
    }

    /// Reads [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let (key_epoch, rest) = bytes.split_first_chunk().ok_or(TokenError::Malformed)?;
        let (nonce, output) = rest.split_first_chunk().ok_or(TokenError::Malformed)?;
        let output = output.try_into().map_err(|_| TokenError::Malformed)?;
        Ok(Self { key_epoch: u64::from_be_bytes(*key_epoch), nonce: *nonce, output })
    }
}

impl From<&Token> for v1::Token {
    fn from(token: &Token) -> Self {
        Self {
            key_epoch: token.key_epoch,
            nonce: Bytes::copy_from_slice(&token.nonce),
            output: Bytes::copy_from_slice(&token.output),
        }
    }
}

impl TryFrom<&v1::Token> for Token {
    type Error = TokenError;

    fn try_from(token: &v1::Token) -> Result<Self, TokenError> {
        let malformed = |_| TokenError::Malformed;
        Ok(Self {
            key_epoch: token.key_epoch,
            nonce: token.nonce.as_ref().try_into().map_err(malformed)?,
            output: token.output.as_ref().try_into().map_err(malformed)?,
        })
    }
}

/// The server's keys, all of them from one secret.
pub struct TokenKeys {
    secret: Zeroizing<[u8; 32]>,
}

/// What a server answers a [`TokenRequest`].
pub struct Evaluated {
    /// In the order of the request.
    pub elements: Vec<[u8; ELEMENT_LEN]>,
    /// That all were made with one key.
    pub proof: [u8; 64],
}

impl TokenKeys {
    /// All replicas must have the same secret.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret) }
    }

    /// The key of an epoch as clients know it.
    pub fn public(&self, key_epoch: u64) -> Result<[u8; ELEMENT_LEN], TokenError> {
        Ok(Ristretto255::serialize_elem(self.key(key_epoch)?.get_public_key()).into())
    }

    /// Evaluates blinded nonces.
    pub fn evaluate(
        &self,
        rng: &mut (impl RngCore + CryptoRng),
        key_epoch: u64,
        blinded: &[Bytes],
    ) -> Result<Evaluated, TokenError> {
        let key = self.key(key_epoch)?;
        let blinded = blinded.iter().map(|element| exactly(element)).collect::<Result<Vec<_>, _>>()?;
        let blinded =
            blinded.iter().map(|element| BlindedElement::deserialize(element)).collect::<Result<Vec<_>, _>>()?;
        let prepared: Vec<_> = key.batch_blind_evaluate_prepare(blinded.iter()).collect();
        let finished = key.batch_blind_evaluate_finish(rng, blinded.iter(), &prepared)?;
        let elements = finished.messages.map(|element| element.serialize().into()).collect();
        let mut proof = [0; 64];
        proof.copy_from_slice(&finished.proof.serialize());
        Ok(Evaluated { elements, proof })
    }

    /// Whether a token was issued here.
    pub fn made(&self, token: &Token) -> bool {
        let input = proofs::token(token.key_epoch, &token.nonce);
        let output = self.key(token.key_epoch).and_then(|key| Ok(key.evaluate(&input)?));
        output.is_ok_and(|output| output.as_slice().ct_eq(&token.output).into())
    }

    fn key(&self, key_epoch: u64) -> Result<VoprfServer<Ristretto255>, TokenError> {
        const LABEL: &[u8] = b"qpc token key v1";
        let seed = Zeroizing::new(kdf::expand(&*self.secret, &[LABEL, &key_epoch.to_be_bytes()].concat()));
        Ok(VoprfServer::new_from_seed(&*seed, LABEL)?)
    }
}

/// Tokens on their way to a client.
pub struct TokenRequest {
    key_epoch: u64,
    nonces: Vec<[u8; 32]>,
    blinds: Vec<VoprfClient<Ristretto255>>,
}

impl TokenRequest {
    /// A request for `count` tokens under the key of an epoch.
    pub fn new(rng: &mut (impl RngCore + CryptoRng), key_epoch: u64, count: usize) -> Result<Self, TokenError> {
        let nonces = (0..count)
            .map(|_| {
                let mut nonce = [0; 32];
                rng.fill_bytes(&mut nonce);
                nonce
            })
            .collect();
        Self::of_nonces(rng, key_epoch, nonces)
    }

    /// The same with nonces of the caller's choice. Whoever can guess one recognises its token.
    pub fn of_nonces(
        rng: &mut (impl RngCore + CryptoRng),
        key_epoch: u64,
        nonces: Vec<[u8; 32]>,
    ) -> Result<Self, TokenError> {
        let blind = |nonce| Ok(VoprfClient::blind(&proofs::token(key_epoch, nonce), rng)?.state);
        let blinds = nonces.iter().map(blind).collect::<Result<_, TokenError>>()?;
        Ok(Self { key_epoch, nonces, blinds })
    }

    /// Number of the key that is asked for.
    pub fn key_epoch(&self) -> u64 {
        self.key_epoch
    }

    /// What the server gets to see.
    pub fn blinded(&self) -> Vec<Bytes> {
        // Blinding (32), then the blinded element.
        self.blinds.iter().map(|blind| Bytes::copy_from_slice(&blind.serialize()[32..])).collect()
    }

    /// For the client's store, until there is an answer. Whoever reads it can tell the tokens of this request.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(self.key_epoch.to_be_bytes().to_vec());
        for (nonce, blind) in self.nonces.iter().zip(&self.blinds) {
            bytes.extend_from_slice(nonce);
            bytes.extend_from_slice(&blind.serialize());
        }
        bytes
    }

    /// Reads [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let (key_epoch, rest) = bytes.split_first_chunk().ok_or(TokenError::Malformed)?;
        let mut request = Self { key_epoch: u64::from_be_bytes(*key_epoch), nonces: Vec::new(), blinds: Vec::new() };
        let kept = rest.chunks_exact(KEPT_LEN);
        if !kept.remainder().is_empty() {
            return Err(TokenError::Malformed);
        }
        for kept in kept {
            let (nonce, blind) = kept.split_first_chunk().ok_or(TokenError::Malformed)?;
            request.nonces.push(*nonce);
            request.blinds.push(VoprfClient::deserialize(blind)?);
        }
        Ok(request)
    }

    /// The tokens, if the answer was made with the `public` key.
    pub fn finish(&self, public: &[u8], evaluated: &[Bytes], proof: &[u8]) -> Result<Vec<Token>, TokenError> {
        let public = Ristretto255::deserialize_elem(exactly(public)?)?;
        let evaluated = evaluated
            .iter()
            .map(|element| Ok(EvaluationElement::<Ristretto255>::deserialize(exactly(element)?)?))
            .collect::<Result<Vec<_>, TokenError>>()?;
        let proof = Proof::deserialize(proof)?;
        let inputs: Vec<_> = self.nonces.iter().map(|nonce| proofs::token(self.key_epoch, nonce)).collect();
        let outputs = VoprfClient::batch_finalize(&inputs, &self.blinds, &evaluated, &proof, public)?;
        self.nonces
            .iter()
            .zip(outputs)
            .map(|(nonce, output)| Ok(Token { key_epoch: self.key_epoch, nonce: *nonce, output: output?.into() }))
            .collect()
    }
}

/// An element without anything behind it.
fn exactly(bytes: &[u8]) -> Result<&[u8], TokenError> {
    if bytes.len() == ELEMENT_LEN { Ok(bytes) } else { Err(TokenError::Malformed) }
}

#[cfg(test)]
mod tests {
    use rand::rngs::OsRng;

    use super::*;

    const EPOCH: u64 = 2_960;

    fn issued(keys: &TokenKeys, request: &TokenRequest) -> Result<Vec<Token>, TokenError> {
        let answer = keys.evaluate(&mut OsRng, request.key_epoch(), &request.blinded())?;
        let elements: Vec<_> = answer.elements.iter().map(|element| Bytes::copy_from_slice(element)).collect();
        request.finish(&keys.public(request.key_epoch())?, &elements, &answer.proof)
    }

    #[test]
    fn tokens_are_what_the_server_makes_of_their_nonces() {
        let keys = TokenKeys::new([5; 32]);
        let request = TokenRequest::new(&mut OsRng, EPOCH, 50).unwrap();
        let tokens = issued(&keys, &TokenRequest::from_bytes(&request.to_bytes()).unwrap()).unwrap();
        assert_eq!(tokens.len(), 50);
        for token in &tokens {
            assert!(keys.made(token) && !TokenKeys::new([6; 32]).made(token));
            assert!(Token::from_bytes(&token.to_bytes()).unwrap() == *token);
            assert!(Token::try_from(&v1::Token::from(token)).unwrap() == *token);
        }
        let forged = Token { nonce: tokens[1].nonce, ..tokens[0].clone() };
        let of_another_key = Token { key_epoch: EPOCH + 1, ..tokens[0].clone() };
        assert!(!keys.made(&forged) && !keys.made(&of_another_key));
    }

    /// One token from its nonce to its output; the same values stand in the wire reference.
    #[test]
    fn a_token_is_as_the_wire_reference_has_it() {
        let keys = TokenKeys::new([5; 32]);
        let bytes = |hex: &str| Bytes::from(hex::decode(hex).unwrap());
        let request = TokenRequest {
            key_epoch: EPOCH,
            nonces: vec![[6; 32]],
            blinds: vec![VoprfClient::deserialize(&bytes(&[BLIND, BLINDED].concat())).unwrap()],
        };
        assert_eq!(hex::encode(keys.public(EPOCH).unwrap()), PUBLIC);
        assert_eq!(hex::encode(&request.blinded()[0]), BLINDED);
        assert_eq!(hex::encode(proofs::token(EPOCH, &[6; 32])), INPUT);
        let answer = keys.evaluate(&mut OsRng, EPOCH, &request.blinded()).unwrap();
        assert_eq!(hex::encode(answer.elements[0]), EVALUATED);
        let tokens = request.finish(&bytes(PUBLIC), &[bytes(EVALUATED)], &bytes(PROOF)).unwrap();
        assert_eq!(hex::encode(tokens[0].output), OUTPUT);
    }

    const PUBLIC: &str = "a6ce9663c9a507eaa82a18d8b48fd38b32d519914520a7b7ea981a92189d980d";
    const INPUT: &str = concat!(
        "71706320746f6b656e2076310000000000000b90",
        "0606060606060606060606060606060606060606060606060606060606060606"
    );
    const BLIND: &str = "df7226d74bb5ae143135d678f803bce6ee4ef070a3e0a1fe20c36fe804d11108";
    const BLINDED: &str = "e6e60468e3e19255bc4cf94a4d9ea37c902ea70b1b6e9a1ed7b344d7a195d45c";
    const EVALUATED: &str = "a2b4752635f63d33d80582d27eb16e415f057954857f2724fc9d8e1d697cd443";
    const PROOF: &str = concat!(
        "58eb727f73470a11539482a6f2d30987eefad3301000b03c8c17e256e71ab806",
        "3c127b1fbbed626f6d93271d224911ffef03598a3fedced75332000ec34ba80d"
    );
    const OUTPUT: &str = concat!(
        "366de56df604c928baf6284d3cbc08c1096867a494c243425ef2d707d8a66634",
        "96f9ada986bc883c639928d8e7e4ada52f84925976938a536813ef1828c57c54"
    );

    #[test]
    fn a_key_of_ones_own_is_noticed() {
        let (published, other) = (TokenKeys::new([5; 32]), TokenKeys::new([6; 32]));
        let request = TokenRequest::new(&mut OsRng, EPOCH, 3).unwrap();
        let answer = other.evaluate(&mut OsRng, EPOCH, &request.blinded()).unwrap();
        let elements: Vec<_> = answer.elements.iter().map(|element| Bytes::copy_from_slice(element)).collect();
        let public = published.public(EPOCH).unwrap();
        assert!(request.finish(&public, &elements, &answer.proof).err() == Some(TokenError::Proof));
        // One element of another key among those of the right one is noticed too.
        let right = published.evaluate(&mut OsRng, EPOCH, &request.blinded()).unwrap();
        let mixed: Vec<_> = [right.elements[0], right.elements[1], answer.elements[2]]
            .iter()
            .map(|element| Bytes::copy_from_slice(element))
            .collect();
        assert!(request.finish(&public, &mixed, &right.proof).err() == Some(TokenError::Proof));
    }

    #[test]
    fn what_is_no_element_is_refused() {
        let keys = TokenKeys::new([5; 32]);
        let request = TokenRequest::new(&mut OsRng, EPOCH, 1).unwrap();
        for bad in [vec![0; 32], vec![0xff; 32], Vec::new(), vec![1; 33], [&request.blinded()[0][..], &[0]].concat()] {
            assert!(keys.evaluate(&mut OsRng, EPOCH, &[bad.clone().into()]).is_err(), "{bad:?}");
            assert!(request.finish(&keys.public(EPOCH).unwrap(), &[bad.into()], &[0; 64]).is_err());
        }
        assert!(TokenRequest::from_bytes(&[0; 9]).is_err() && Token::from_bytes(&[0; 103]).is_err());
    }

    #[test]
    fn a_key_is_issued_for_a_week_and_taken_for_another() {
        assert_eq!((key_epoch(EPOCH * KEY_MS), key_epoch(EPOCH * KEY_MS - 1)), (EPOCH, EPOCH - 1));
        assert_eq!(expires_ms(EPOCH) - EPOCH * KEY_MS, 2 * KEY_MS);
    }
}
