//! By what right a message is sent.

use qpc_chassis::rpc::Identity;
use qpc_crypto::{
    mls::delivery_key_hash,
    token::{self, Token, TokenKeys},
};
use qpc_wire::{DeviceId, v1::sealed_enqueue_request::Permit as Shown};

use crate::error::Error;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// This device sends it, and says so.
    Device(Identity),
    /// Somebody who has the delivery key of the epoch that this is the hash of.
    Key([u8; 32]),
    /// Somebody who has paid.
    Token {
        /// What the token is told from others by.
        nonce: [u8; 32],
        /// Until when it must be remembered, Unix milliseconds.
        expires_ms: u64,
    },
}

impl Permit {
    /// What is shown with a sealed message. That a token is not spent is for the database to say, and whose key it is for the
    /// group.
    pub fn shown(shown: Option<&Shown>, keys: &TokenKeys, now_ms: u64) -> Result<Self, Error> {
        match shown {
            Some(Shown::DeliveryKey(key)) if key.len() == 32 => Ok(Self::Key(delivery_key_hash(key))),
            Some(Shown::Token(shown)) => {
                let token = Token::try_from(shown).map_err(|_| Error::Token)?;
                let current = token::key_epoch(now_ms);
                // Replicas whose clocks are ahead may have begun with the next key.
                let known = current.saturating_sub(1)..=current + 1;
                if !known.contains(&token.key_epoch) || !keys.made(&token) {
                    return Err(Error::Token);
                }
                // Longer than it is taken, by whatever clock.
                let expires_ms = token::expires_ms(token.key_epoch) + token::KEY_MS;
                Ok(Self::Token { nonce: token.nonce, expires_ms })
            }
            Some(Shown::DeliveryKey(_)) | None => Err(Error::NoPermit),
        }
    }

    /// The sender, where it is known.
    pub fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Device(sender) => Some(sender.device),
            Self::Key(_) | Self::Token { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qpc_crypto::token::{KEY_MS, TokenRequest};
    use rand::rngs::OsRng;

    use super::*;

    fn token(keys: &TokenKeys, key_epoch: u64) -> Token {
        let request = TokenRequest::new(&mut OsRng, key_epoch, 1).unwrap();
        let answer = keys.evaluate(&mut OsRng, key_epoch, &request.blinded()).unwrap();
        let evaluated = [Bytes::copy_from_slice(&answer.elements[0])];
        request.finish(&keys.public(key_epoch).unwrap(), &evaluated, &answer.proof).unwrap().remove(0)
    }

    #[test]
    fn a_token_is_taken_in_its_week_and_the_next() {
        let keys = TokenKeys::new([1; 32]);
        let token = token(&keys, 100);
        let shown = Shown::Token((&token).into());
        let at = |now_ms| Permit::shown(Some(&shown), &keys, now_ms);
        assert!(at(100 * KEY_MS).is_ok() && at(102 * KEY_MS - 1).is_ok());
        assert!(matches!(at(102 * KEY_MS), Err(Error::Token)));
        assert!(at(99 * KEY_MS).is_ok(), "issued by a replica that is ahead");
        assert!(matches!(at(99 * KEY_MS - 1), Err(Error::Token)));
        let Permit::Token { nonce, expires_ms } = at(100 * KEY_MS).unwrap() else { panic!("not a token") };
        assert!(nonce == token.nonce && expires_ms > 102 * KEY_MS);
        assert!(matches!(Permit::shown(Some(&shown), &TokenKeys::new([2; 32]), 100 * KEY_MS), Err(Error::Token)));
    }

    #[test]
    fn without_a_key_or_a_token_there_is_no_permit() {
        let keys = TokenKeys::new([1; 32]);
        let shown = |shown: Option<Shown>| Permit::shown(shown.as_ref(), &keys, 0);
        assert!(matches!(shown(None), Err(Error::NoPermit)));
        assert!(matches!(shown(Some(Shown::DeliveryKey(Bytes::from_static(&[0; 31])))), Err(Error::NoPermit)));
        let key = [3; 32];
        let permit = shown(Some(Shown::DeliveryKey(Bytes::copy_from_slice(&key)))).unwrap();
        assert_eq!(permit, Permit::Key(delivery_key_hash(&key)));
        assert!(matches!(shown(Some(Shown::Token(Default::default()))), Err(Error::Token)));
    }
}
