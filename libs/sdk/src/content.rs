//! What stands inside an application message, before padding and MLS: `proto/qpc/content/v1`, checked.
//!
//! Whatever people say is a [`Saying`]; it is kept, shown, and given to those who miss it. The rest is what clients tell each
//! other. A content of a later version, or with a body that is not known here, is kept as it is and shown as something that
//! this client does not understand.

mod said;
mod text;

use bytes::Bytes;
use prost::Message as _;
use qpc_wire::{AccountId, content as pb};

pub(crate) use self::said::{Said, Saying};
pub use self::text::{Draft, Mention, MessageRef};
pub(crate) use self::text::{MAX_TEXT, Text, is_sign};
use crate::MessageId;

const VERSION: u32 = 2;
/// Largest content, bytes: padded and encrypted it fits an envelope.
pub(crate) const MAX_CONTENT: usize = 190 << 10;
/// Longest name of a conversation, bytes of UTF-8.
pub(crate) const MAX_NAME: usize = 256;
/// Members that are named beside the name of a conversation: each is a lookup for whoever does not know them.
pub(crate) const MAX_NAMED: usize = 32;
/// Ids, ranges or values of one message.
pub(crate) const MAX_LIST: usize = 256;
/// Largest time of a message, Unix milliseconds: that of SQLite's integers.
pub(crate) const MAX_TIME_MS: u64 = i64::MAX as u64;

/// A message as its writer made it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) id: MessageId,
    pub(crate) sent_at_ms: u64,
    pub(crate) from: String,
    /// When it is sent again: the place that it had in the chain, and when it was accepted, Unix milliseconds.
    pub(crate) again: Option<(u64, u64)>,
    /// Random, so that the commitment to the content hides it.
    pub(crate) blind: [u8; 16],
    pub(crate) body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Say(Saying),
    Name(Naming),
    /// How long what is written from now on stays after it was read, milliseconds; 0 for ever.
    Timer(u64),
    Delivered(Vec<MessageId>),
    Read(Vec<MessageId>),
    Ask(Vec<(u64, u64)>),
    Void(Vec<u64>),
    Copy(Box<Said>),
    Sync(Vec<Synced>),
    History(pb::History),
    /// Nothing.
    Cover,
}

/// The name of a conversation, and names of its members that newcomers may not know: claims, like [`Content::from`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) name: String,
    pub(crate) members: Vec<(AccountId, String)>,
}

/// A value that the devices of an account share. The latest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
    pub(crate) at_ms: u64,
}

/// A plaintext that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Not a message with the fields that each must have.
    #[error("message content is malformed")]
    Malformed,
    /// Of a version that this client does not know.
    #[error("message content of version {0} is unknown")]
    Version(u32),
    /// More than an envelope holds.
    #[error("message content of {0} bytes is too large")]
    TooLarge(usize),
}

impl Content {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let content = pb::Content {
            version: VERSION,
            id: bytes(&self.id.0),
            sent_at_ms: self.sent_at_ms,
            from: self.from.clone(),
            again: self.again.map(|(place, accepted_at_ms)| pb::Again { place, accepted_at_ms }),
            blind: bytes(&self.blind),
            // Stands behind all of it; see `qpc_crypto::franking`.
            signature: Bytes::new(),
            body: Some(self.body.encode()),
        };
        match content.encoded_len() {
            0..=MAX_CONTENT => Ok(content.encode_to_vec()),
            len => Err(ContentError::TooLarge(len)),
        }
    }

    /// A content of an unknown version is an error, one with an unknown body is not: id and times of that can be read.
    pub(crate) fn decode(encoded: &[u8]) -> Result<Self, ContentError> {
        let content = pb::Content::decode(encoded).map_err(|_| ContentError::Malformed)?;
        match content.version {
            VERSION => {}
            0 => return Err(ContentError::Malformed),
            version => return Err(ContentError::Version(version)),
        }
        let known = content.body.map(|body| Body::decode(body).ok_or(ContentError::Malformed)).transpose()?.flatten();
        Ok(Self {
            id: id(&content.id).map(MessageId).ok_or(ContentError::Malformed)?,
            sent_at_ms: time(content.sent_at_ms).ok_or(ContentError::Malformed)?,
            from: content.from,
            blind: id(&content.blind).unwrap_or_default(),
            again: content.again.and_then(|again| Some((again.place, time(again.accepted_at_ms)?))),
            body: known.unwrap_or_else(|| Body::Say(Saying::Unknown(encoded.to_vec()))),
        })
    }
}

impl Body {
    fn encode(&self) -> pb::content::Body {
        use pb::content::Body as Pb;
        match self {
            Self::Say(saying) => Pb::Say(saying.encode()),
            Self::Name(naming) => Pb::Rename(naming.encode()),
            Self::Timer(expires_after_ms) => Pb::Timer(pb::Timer { expires_after_ms: *expires_after_ms }),
            Self::Delivered(messages) => Pb::Delivered(ids(messages)),
            Self::Read(messages) => Pb::Read(ids(messages)),
            Self::Ask(ranges) => {
                let ranges = ranges.iter().map(|(from, to)| pb::Range { from: *from, to: *to }).collect();
                Pb::Ask(pb::Ask { ranges })
            }
            Self::Void(places) => Pb::Void(pb::Void { places: places.clone() }),
            Self::Copy(said) => Pb::Copy(said.encode()),
            Self::Sync(values) => {
                let value = |value: &Synced| pb::sync::Value {
                    name: value.name.clone(),
                    value: bytes(&value.value),
                    at_ms: value.at_ms,
                };
                Pb::Sync(pb::Sync { values: values.iter().map(value).collect() })
            }
            Self::History(part) => Pb::History(part.clone()),
            Self::Cover => Pb::Cover(pb::Cover {}),
        }
    }

    /// The outer none: malformed. The inner one: of a kind that is not known here.
    fn decode(body: pb::content::Body) -> Option<Option<Self>> {
        use pb::content::Body as Pb;
        Some(Some(match body {
            Pb::Say(saying) => match Saying::decode(saying)? {
                Some(saying) => Self::Say(saying),
                None => return Some(None),
            },
            Pb::Rename(rename) => Self::Name(Naming::decode(rename)?),
            Pb::Timer(timer) => Self::Timer(time(timer.expires_after_ms)?),
            Pb::Delivered(messages) => Self::Delivered(list(messages.ids, |raw| id(&raw).map(MessageId))?),
            Pb::Read(messages) => Self::Read(list(messages.ids, |raw| id(&raw).map(MessageId))?),
            Pb::Ask(ask) => Self::Ask(list(ask.ranges, |range| Some((range.from, time(range.to)?)))?),
            Pb::Void(void) => Self::Void(list(void.places, Some)?),
            Pb::Copy(said) => Self::Copy(Box::new(Said::decode(said)?)),
            Pb::Sync(sync) => Self::Sync(list(sync.values, |value| {
                Some(Synced { name: value.name, value: value.value.to_vec(), at_ms: time(value.at_ms)? })
            })?),
            Pb::History(part) => Self::History(part),
            Pb::Cover(pb::Cover {}) => Self::Cover,
        }))
    }
}

impl Naming {
    fn encode(&self) -> pb::Rename {
        let named = |(account, username): &(AccountId, String)| pb::Named {
            account: account.to_bytes(),
            username: username.clone(),
        };
        pb::Rename { name: self.name.clone(), members: self.members.iter().map(named).collect() }
    }

    fn decode(rename: pb::Rename) -> Option<Self> {
        let members = list(rename.members, |named| Some((id(&named.account).map(AccountId)?, named.username)))?;
        Some(Self { name: Some(rename.name).filter(|name| name.len() <= MAX_NAME)?, members })
    }
}

fn ids(messages: &[MessageId]) -> pb::Ids {
    pb::Ids { ids: messages.iter().map(|id| bytes(&id.0)).collect() }
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// The writer's word: what the store cannot hold is no time.
pub(crate) fn time(ms: u64) -> Option<u64> {
    Some(ms).filter(|ms| *ms <= MAX_TIME_MS)
}

pub(crate) fn id(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}

fn list<T, U>(items: Vec<T>, item: impl Fn(T) -> Option<U>) -> Option<Vec<U>> {
    Some(items).filter(|items| items.len() <= MAX_LIST)?.into_iter().map(item).collect()
}

#[cfg(test)]
mod tests;
