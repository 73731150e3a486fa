//! Invites as people pass them on: `qpc:join/` and, in base64url, version 1, the group's id and the secret.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use qpc_wire::GroupId;
use zeroize::Zeroizing;

const PREFIX: &str = "qpc:join/";
const VERSION: u8 = 1;

/// An invite to a group. Whoever has it can join: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteLink {
    pub(crate) group: GroupId,
    pub(crate) secret: Zeroizing<[u8; 32]>,
}

/// What is known of an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// Its public key, by which it is revoked.
    pub key: [u8; 32],
    /// Unix milliseconds.
    pub expires_ms: u64,
    /// How often it can be used; 0 for any number.
    pub max_uses: u32,
    /// The link, where it was made on this device.
    pub link: Option<InviteLink>,
}

/// Not an invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no invite: it begins with qpc:join/ and has 75 characters")]
pub struct BadInvite;

impl fmt::Display for InviteLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Zeroizing::new(vec![VERSION]);
        bytes.extend_from_slice(self.group.as_ref());
        bytes.extend_from_slice(self.secret.as_slice());
        write!(f, "{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&*bytes))
    }
}

impl fmt::Debug for InviteLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InviteLink({}, ..)", self.group)
    }
}

impl FromStr for InviteLink {
    type Err = BadInvite;

    fn from_str(link: &str) -> Result<Self, BadInvite> {
        let encoded = link.trim().strip_prefix(PREFIX).ok_or(BadInvite)?;
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| BadInvite)?);
        let Some((&[VERSION], rest)) = bytes.split_first_chunk::<1>() else { return Err(BadInvite) };
        let (group, secret) = rest.split_first_chunk::<{ GroupId::LEN }>().ok_or(BadInvite)?;
        Ok(Self { group: GroupId(*group), secret: Zeroizing::new(secret.try_into().map_err(|_| BadInvite)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_what_it_was_made_of_and_shows_nothing_in_logs() {
        let link = InviteLink { group: GroupId([3; 16]), secret: [0xab; 32].into() };
        let written = link.to_string();
        assert_eq!(written.parse(), Ok(link.clone()));
        assert_eq!(written.len(), 75);
        assert!(!format!("{link:?}").contains("q6ur") && !format!("{link:?}").contains("171"));
        for bad in
            ["", "qpc:join/", "qpc:join/AA", &written[..74], &format!("{written}A"), &written.replace("join", "jion")]
        {
            assert_eq!(bad.parse::<InviteLink>(), Err(BadInvite), "{bad}");
        }
    }
}
