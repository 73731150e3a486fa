//! What people say.

use prost::Message as _;
use qpc_wire::{AccountId, DeviceId, GroupId, content as pb};

use super::{Body, MAX_CONTENT, MessageRef, Text, bytes, id, is_sign, time};
use crate::MessageId;

/// Something that people see: a message, or a change of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Saying {
    Text(Text),
    /// A sign under a message, or the same taken away.
    Reaction {
        target: MessageRef,
        emoji: String,
        removed: bool,
    },
    /// Another text for a message.
    Edit {
        target: MessageRef,
        text: Text,
    },
    /// A message is to be gone for all.
    Delete(MessageRef),
    /// A whole content that this client does not understand.
    Unknown(Vec<u8>),
}

/// Something said, with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) conversation: GroupId,
    pub(crate) sender: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) id: MessageId,
    pub(crate) sent_at_ms: u64,
    /// When the server accepted it; 0 before.
    pub(crate) at_ms: u64,
    /// Group and place in its chain of receipts, where they are known.
    pub(crate) place: Option<(GroupId, u64)>,
    pub(crate) saying: Saying,
}

impl From<Saying> for Body {
    fn from(saying: Saying) -> Self {
        Self::Say(saying)
    }
}

impl Saying {
    /// The message that it changes; none of a message.
    pub(crate) fn target(&self) -> Option<MessageRef> {
        match self {
            Self::Text(_) | Self::Unknown(_) => None,
            Self::Reaction { target, .. } | Self::Edit { target, .. } | Self::Delete(target) => Some(*target),
        }
    }

    pub(super) fn encode(&self) -> pb::Saying {
        use pb::saying::Body as Pb;
        let body = match self {
            Self::Text(text) => Pb::Text(text.encode()),
            Self::Reaction { target, emoji, removed } => {
                let target = Some(target.encode());
                Pb::Reaction(pb::Reaction { target, emoji: emoji.clone(), removed: *removed })
            }
            Self::Edit { target, text } => {
                Pb::Edit(pb::Edit { target: Some(target.encode()), text: Some(text.encode()) })
            }
            Self::Delete(target) => Pb::Delete(pb::Delete { target: Some(target.encode()) }),
            Self::Unknown(raw) => Pb::Unknown(bytes(raw)),
        };
        pb::Saying { body: Some(body) }
    }

    /// The outer none: malformed. The inner one: of a kind that is not known here.
    pub(super) fn decode(saying: pb::Saying) -> Option<Option<Self>> {
        use pb::saying::Body as Pb;
        let Some(body) = saying.body else { return Some(None) };
        Some(Some(match body {
            Pb::Text(text) => Self::Text(Text::decode(text)?),
            Pb::Reaction(pb::Reaction { target, emoji, removed }) => {
                let target = MessageRef::decode(target?)?;
                Self::Reaction { target, emoji: Some(emoji).filter(|sign| is_sign(sign))?, removed }
            }
            Pb::Edit(edit) => Self::Edit { target: MessageRef::decode(edit.target?)?, text: Text::decode(edit.text?)? },
            Pb::Delete(delete) => Self::Delete(MessageRef::decode(delete.target?)?),
            Pb::Unknown(raw) => Self::Unknown(Some(raw).filter(|raw| raw.len() <= MAX_CONTENT)?.to_vec()),
        }))
    }

    /// As it is kept.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.encode().encode_to_vec()
    }

    /// As it was kept.
    pub(crate) fn from_bytes(kept: &[u8]) -> Option<Self> {
        Self::decode(pb::Saying::decode(kept).ok()?)?
    }
}

impl Said {
    pub(crate) fn encode(&self) -> pb::Said {
        pb::Said {
            conversation: bytes(&self.conversation.0),
            account: bytes(&self.sender.0),
            device: bytes(&self.device.0),
            id: bytes(&self.id.0),
            sent_at_ms: self.sent_at_ms,
            accepted_at_ms: self.at_ms,
            group: self.place.map(|(group, _)| bytes(&group.0)).unwrap_or_default(),
            place: self.place.map_or(0, |(_, place)| place),
            saying: Some(self.saying.encode()),
        }
    }

    pub(crate) fn decode(said: pb::Said) -> Option<Self> {
        let saying = said.saying?;
        let saying = match Saying::decode(saying.clone())? {
            Some(saying) => saying,
            None => Saying::Unknown(saying.encode_to_vec()),
        };
        Some(Self {
            conversation: GroupId(id(&said.conversation)?),
            sender: AccountId(id(&said.account)?),
            device: DeviceId(id(&said.device)?),
            id: MessageId(id(&said.id)?),
            sent_at_ms: time(said.sent_at_ms)?,
            at_ms: time(said.accepted_at_ms)?,
            place: match said.group.len() {
                0 => None,
                _ => Some((GroupId(id(&said.group)?), time(said.place)?)),
            },
            saying,
        })
    }
}
