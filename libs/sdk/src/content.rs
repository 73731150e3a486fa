//! What stands inside an application message, before padding and MLS.
//!
//! One CBOR map (RFC 8949) with integer keys. Unknown keys are skipped, so that later versions can add to it; a version
//! above 1 means that the rest is not to be guessed at.
//!
//! | key | value                                                                    |
//! |-----|--------------------------------------------------------------------------|
//! | 0   | version, 1                                                               |
//! | 1   | message id, 16 bytes, chosen by the sender                               |
//! | 2   | when it was written, Unix milliseconds, by the sender's clock            |
//! | 3   | name the sender claims; shown only after the directory has confirmed it  |
//! | 4   | text                                                                     |

use ciborium::Value;

use crate::MessageId;

const VERSION: u64 = 1;
/// Longest text, bytes of UTF-8: with the rest of the map it fits the largest padding bucket of a message to one.
pub(crate) const MAX_TEXT: usize = 60 << 10;

/// A message as its writer made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) id: MessageId,
    pub(crate) sent_at_ms: u64,
    pub(crate) from: String,
    pub(crate) text: String,
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

/// Largest time of a message, Unix milliseconds: that of SQLite's integers.
const MAX_TIME_MS: u64 = i64::MAX as u64;

impl Content {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let map = Value::Map(vec![
            (0.into(), VERSION.into()),
            (1.into(), Value::Bytes(self.id.0.to_vec())),
            (2.into(), self.sent_at_ms.into()),
            (3.into(), Value::Text(self.from.clone())),
            (4.into(), Value::Text(self.text.clone())),
        ]);
        let mut bytes = Vec::new();
        ciborium::into_writer(&map, &mut bytes).map_err(|_| ContentError::Malformed)?;
        Ok(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let Ok(Value::Map(map)) = ciborium::from_reader::<Value, _>(bytes) else { return Err(ContentError::Malformed) };
        let field = |key: u64| map.iter().find(|(name, _)| *name == Value::from(key)).map(|(_, value)| value);
        let number = |key| field(key).and_then(Value::as_integer).and_then(|value| u64::try_from(value).ok());
        let text = |key| field(key).and_then(Value::as_text).map(str::to_owned);
        match number(0) {
            Some(VERSION) => {}
            Some(version) => return Err(ContentError::Version(version)),
            None => return Err(ContentError::Malformed),
        }
        let id = field(1).and_then(Value::as_bytes).and_then(|id| id.as_slice().try_into().ok());
        Ok(Self {
            id: MessageId(id.ok_or(ContentError::Malformed)?),
            // The writer's word: what the store cannot hold is no time.
            sent_at_ms: number(2).filter(|ms| *ms <= MAX_TIME_MS).ok_or(ContentError::Malformed)?,
            from: text(3).ok_or(ContentError::Malformed)?,
            text: text(4).ok_or(ContentError::Malformed)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_as_it_went(id: [u8; 16], sent_at_ms in 0..=MAX_TIME_MS, from in "[a-z]{1,9}", text: String) {
            let content = Content { id: MessageId(id), sent_at_ms, from, text };
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
    fn a_time_that_no_store_holds_is_malformed() {
        let at = |sent_at_ms| Content { id: MessageId([1; 16]), sent_at_ms, from: "a".into(), text: "t".into() };
        assert!(Content::decode(&at(MAX_TIME_MS).encode().unwrap()).is_ok());
        assert_eq!(Content::decode(&at(MAX_TIME_MS + 1).encode().unwrap()), Err(ContentError::Malformed));
    }
}
