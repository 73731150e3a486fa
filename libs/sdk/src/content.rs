//! What stands inside an application message, before padding and MLS.
//!
//! One CBOR map (RFC 8949) with integer keys. Unknown keys are skipped, so that later versions can add to it; a version
//! above 1 means that the rest is not to be guessed at.
//!
//! | key | value                                                                                      |
//! |-----|--------------------------------------------------------------------------------------------|
//! | 0   | version, 1                                                                                 |
//! | 1   | message id, 16 bytes, chosen by the sender                                                 |
//! | 2   | when it was written, Unix milliseconds, by the sender's clock                              |
//! | 3   | name the sender claims; shown only after the directory has confirmed it                    |
//! | 4   | text                                                                                       |
//! | 5   | new name of the conversation                                                               |
//! | 6   | ids of messages that have arrived                                                          |
//! | 7   | ids of messages that were read                                                             |
//! | 8   | places in the group's chain of receipts whose messages are missing here, as pairs from, to |
//! | 9   | places in the chain that hold nothing for others to read                                   |
//! | 10  | of a message that is sent again: its first place in the chain and ms of its acceptance     |
//! | 11  | for own devices only: a message of somebody else, as array account, device, id, ms, text   |
//! | 12  | for own devices only: values that they share, as array of name, value, ms                  |
//! | 13  | for own devices only: a part of a history, see [`crate::history`]                          |
//!
//! Exactly one of 4 to 9 and 11 to 13 is there.

use ciborium::Value;
use qpc_wire::{AccountId, DeviceId};

use crate::MessageId;

const VERSION: u64 = 1;
/// Longest text, bytes of UTF-8: with the rest of the map it fits the largest padding bucket of a message to one.
pub(crate) const MAX_TEXT: usize = 60 << 10;
/// Longest name of a conversation, bytes of UTF-8.
pub(crate) const MAX_NAME: usize = 256;
/// Ids, ranges or values of one message.
pub(crate) const MAX_LIST: usize = 256;
/// Largest time of a message, Unix milliseconds: that of SQLite's integers.
const MAX_TIME_MS: u64 = i64::MAX as u64;

/// A message as its writer made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) id: MessageId,
    pub(crate) sent_at_ms: u64,
    pub(crate) from: String,
    /// When it is sent again: the place that it had in the chain, and when it was accepted, Unix milliseconds.
    pub(crate) again: Option<(u64, u64)>,
    pub(crate) body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    Name(String),
    Delivered(Vec<MessageId>),
    Read(Vec<MessageId>),
    Ask(Vec<(u64, u64)>),
    Void(Vec<u64>),
    Copy(Copied),
    Sync(Vec<Synced>),
    History(Vec<u8>),
}

/// A message of somebody else, from a sibling device that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) sender: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) id: MessageId,
    pub(crate) sent_at_ms: u64,
    pub(crate) text: String,
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
    /// Not a CBOR map with the fields of a message.
    #[error("message content is malformed")]
    Malformed,
    /// Of a version that this client does not know.
    #[error("message content of version {0} is unknown")]
    Version(u64),
}

impl Content {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let mut map: Vec<(Value, Value)> = vec![
            (0.into(), VERSION.into()),
            (1.into(), bytes(&self.id.0)),
            (2.into(), self.sent_at_ms.into()),
            (3.into(), Value::Text(self.from.clone())),
            self.body.entry(),
        ];
        if let Some(again) = self.again {
            map.push((10.into(), Value::Array(vec![again.0.into(), again.1.into()])));
        }
        let mut encoded = Vec::new();
        ciborium::into_writer(&Value::Map(map), &mut encoded).map_err(|_| ContentError::Malformed)?;
        Ok(encoded)
    }

    pub(crate) fn decode(encoded: &[u8]) -> Result<Self, ContentError> {
        let Ok(Value::Map(map)) = ciborium::from_reader::<Value, _>(encoded) else {
            return Err(ContentError::Malformed);
        };
        let field = |key: u64| map.iter().find(|(name, _)| *name == Value::from(key)).map(|(_, value)| value);
        match field(0).and_then(number) {
            Some(VERSION) => {}
            Some(version) => return Err(ContentError::Version(version)),
            None => return Err(ContentError::Malformed),
        }
        let body = (4..=13).filter(|key| *key != 10).find_map(|key| Body::decode(key, field(key)?));
        Ok(Self {
            id: field(1).and_then(id).map(MessageId).ok_or(ContentError::Malformed)?,
            sent_at_ms: field(2).and_then(time).ok_or(ContentError::Malformed)?,
            from: field(3).and_then(text).ok_or(ContentError::Malformed)?,
            again: field(10).and_then(pair),
            body: body.ok_or(ContentError::Malformed)?,
        })
    }
}

impl Body {
    fn entry(&self) -> (Value, Value) {
        let ids = |ids: &[MessageId]| Value::Array(ids.iter().map(|id| bytes(&id.0)).collect());
        let (key, value): (u64, Value) = match self {
            Self::Text(text) => (4, Value::Text(text.clone())),
            Self::Name(name) => (5, Value::Text(name.clone())),
            Self::Delivered(messages) => (6, ids(messages)),
            Self::Read(messages) => (7, ids(messages)),
            Self::Ask(ranges) => {
                let pair = |(from, to): &(u64, u64)| Value::Array(vec![(*from).into(), (*to).into()]);
                (8, Value::Array(ranges.iter().map(pair).collect()))
            }
            Self::Void(places) => (9, Value::Array(places.iter().map(|place| (*place).into()).collect())),
            Self::Copy(copied) => {
                let Copied { sender, device, id, sent_at_ms, text } = copied;
                let fields =
                    vec![bytes(&sender.0), bytes(&device.0), bytes(&id.0), (*sent_at_ms).into(), text.clone().into()];
                (11, Value::Array(fields))
            }
            Self::Sync(values) => {
                let item =
                    |item: &Synced| Value::Array(vec![item.name.clone().into(), bytes(&item.value), item.at_ms.into()]);
                (12, Value::Array(values.iter().map(item).collect()))
            }
            Self::History(part) => (13, bytes(part)),
        };
        (key.into(), value)
    }

    fn decode(key: u64, value: &Value) -> Option<Self> {
        Some(match key {
            4 => Self::Text(text(value).filter(|text| text.len() <= MAX_TEXT)?),
            5 => Self::Name(text(value).filter(|name| name.len() <= MAX_NAME)?),
            6 => Self::Delivered(list(value, |value| id(value).map(MessageId))?),
            7 => Self::Read(list(value, |value| id(value).map(MessageId))?),
            8 => Self::Ask(list(value, pair)?),
            9 => Self::Void(list(value, number)?),
            11 => {
                let [sender, device, message, at, body] = value.as_array()?.as_slice() else { return None };
                Self::Copy(Copied {
                    sender: AccountId(id(sender)?),
                    device: DeviceId(id(device)?),
                    id: MessageId(id(message)?),
                    sent_at_ms: time(at)?,
                    text: text(body)?,
                })
            }
            12 => Self::Sync(list(value, |item| {
                let [name, value, at] = item.as_array()?.as_slice() else { return None };
                Some(Synced { name: text(name)?, value: value.as_bytes()?.clone(), at_ms: time(at)? })
            })?),
            13 => Self::History(value.as_bytes()?.clone()),
            _ => return None,
        })
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn number(value: &Value) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok()
}

/// The writer's word: what the store cannot hold is no time.
fn time(value: &Value) -> Option<u64> {
    number(value).filter(|ms| *ms <= MAX_TIME_MS)
}

fn pair(value: &Value) -> Option<(u64, u64)> {
    let [first, second] = value.as_array()?.as_slice() else { return None };
    Some((number(first)?, time(second)?))
}

fn text(value: &Value) -> Option<String> {
    value.as_text().map(str::to_owned)
}

fn id(value: &Value) -> Option<[u8; 16]> {
    value.as_bytes()?.as_slice().try_into().ok()
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array().filter(|list| list.len() <= MAX_LIST)?.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies() -> impl Strategy<Value = Body> {
        let ids = || prop::collection::vec(any::<[u8; 16]>().prop_map(MessageId), 0..4);
        prop_oneof![
            any::<String>().prop_map(Body::Text),
            "[a-z ]{0,20}".prop_map(Body::Name),
            ids().prop_map(Body::Delivered),
            ids().prop_map(Body::Read),
            prop::collection::vec((any::<u64>(), 0..=MAX_TIME_MS), 0..4).prop_map(Body::Ask),
            prop::collection::vec(any::<u64>(), 0..4).prop_map(Body::Void),
            (any::<[u8; 16]>(), any::<String>()).prop_map(|(id, text)| Body::Copy(Copied {
                sender: AccountId(id),
                device: DeviceId(id),
                id: MessageId(id),
                sent_at_ms: 7,
                text
            })),
            ("[a-z]{1,9}", any::<Vec<u8>>()).prop_map(|(name, value)| Body::Sync(vec![Synced {
                name,
                value,
                at_ms: 3
            }])),
            any::<Vec<u8>>().prop_map(Body::History),
        ]
    }

    proptest! {
        #[test]
        fn comes_back_as_it_went(
            id: [u8; 16],
            sent_at_ms in 0..=MAX_TIME_MS,
            from in "[a-z]{1,9}",
            again in prop::option::of((any::<u64>(), 0..=MAX_TIME_MS)),
            body in bodies(),
        ) {
            let content = Content { id: MessageId(id), sent_at_ms, from, again, body };
            prop_assert_eq!(Content::decode(&content.encode().unwrap()), Ok(content));
        }

        #[test]
        fn anything_else_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = Content::decode(&bytes);
        }
    }

    #[test]
    fn later_versions_may_add_but_not_change() {
        let map = |version: u64, extra: bool| {
            let mut fields = vec![
                (Value::from(0), Value::from(version)),
                (1.into(), Value::Bytes(vec![7; 16])),
                (2.into(), 5.into()),
                (3.into(), Value::Text("a".into())),
                (4.into(), Value::Text("hi".into())),
            ];
            if extra {
                fields.push((99.into(), Value::Bool(true)));
            }
            let mut bytes = Vec::new();
            ciborium::into_writer(&Value::Map(fields), &mut bytes).unwrap();
            bytes
        };
        assert_eq!(Content::decode(&map(1, true)), Content::decode(&map(1, false)));
        assert!(Content::decode(&map(1, true)).is_ok());
        assert_eq!(Content::decode(&map(2, false)), Err(ContentError::Version(2)));
    }

    #[test]
    fn what_no_store_holds_is_malformed() {
        let made =
            |sent_at_ms, body| Content { id: MessageId([1; 16]), sent_at_ms, from: "a".into(), again: None, body };
        let decoded = |content: Content| Content::decode(&content.encode().unwrap());
        assert!(decoded(made(MAX_TIME_MS, Body::Text("t".into()))).is_ok());
        assert_eq!(decoded(made(MAX_TIME_MS + 1, Body::Text("t".into()))), Err(ContentError::Malformed));
        assert_eq!(decoded(made(1, Body::Name("n".repeat(MAX_NAME + 1)))), Err(ContentError::Malformed));
        assert_eq!(decoded(made(1, Body::Void(vec![1; MAX_LIST + 1]))), Err(ContentError::Malformed));
    }
}
