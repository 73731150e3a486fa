//! What the server has to know between the two steps of a login. It travels sealed, see the `api` of both.

use zeroize::Zeroizing;

/// Life of a login state, milliseconds.
pub(crate) const LIFETIME_MS: u64 = 60_000;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8 + 16 + 1 + 32;

/// See the module. Its length as bytes is the same for every user, known or not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoginState {
    /// Unix milliseconds.
    pub(crate) started_ms: u64,
    /// Under which guesses at this name are counted.
    pub(crate) name_tag: [u8; 16],
    /// Of the account; absent when nobody has the name.
    pub(crate) account_key: Option<[u8; 32]>,
    /// State of OPAQUE, secret.
    pub(crate) opaque: Zeroizing<Vec<u8>>,
}

impl LoginState {
    /// Layout: version 1 | started_ms (8) | name tag (16) | known (1) | account key or zeros (32) | OPAQUE state.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(HEAD + self.opaque.len()));
        out.push(VERSION);
        out.extend(self.started_ms.to_be_bytes());
        out.extend(self.name_tag);
        out.push(self.account_key.is_some().into());
        out.extend(self.account_key.unwrap_or_default());
        out.extend_from_slice(&self.opaque);
        out
    }

    /// Reverse of [`Self::to_bytes`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (started_ms, rest) = rest.split_first_chunk::<8>()?;
        let (name_tag, rest) = rest.split_first_chunk::<16>()?;
        let (known, rest) = rest.split_first()?;
        let (account_key, opaque) = rest.split_first_chunk::<32>()?;
        (*version == VERSION).then(|| Self {
            started_ms: u64::from_be_bytes(*started_ms),
            name_tag: *name_tag,
            account_key: (*known == 1).then_some(*account_key),
            opaque: Zeroizing::new(opaque.to_vec()),
        })
    }

    /// Whether the second step comes too late.
    pub(crate) fn expired(&self, now_ms: u64) -> bool {
        now_ms >= self.started_ms.saturating_add(LIFETIME_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(account_key: Option<[u8; 32]>) -> LoginState {
        let opaque = Zeroizing::new(vec![7; 128]);
        LoginState { started_ms: 1_000, name_tag: [3; 16], account_key, opaque }
    }

    #[test]
    fn reads_back_and_known_users_do_not_show_in_the_length() {
        for account_key in [None, Some([9; 32]), Some([0; 32])] {
            let state = state(account_key);
            assert_eq!(LoginState::from_bytes(&state.to_bytes()), Some(state));
        }
        assert_eq!(state(None).to_bytes().len(), state(Some([9; 32])).to_bytes().len());
    }

    #[test]
    fn lives_one_minute() {
        assert!(!state(None).expired(60_999));
        assert!(state(None).expired(61_000));
    }

    #[test]
    fn short_or_unknown_bytes_are_none() {
        let bytes = state(None).to_bytes();
        for len in 0..HEAD {
            assert_eq!(LoginState::from_bytes(&bytes[..len]), None);
        }
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(LoginState::from_bytes(&other), None);
    }
}
