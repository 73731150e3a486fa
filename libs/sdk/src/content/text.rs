//! What a person writes.

use std::ops::Range;

use qpc_wire::{AccountId, content as pb};

use super::{MAX_LIST, bytes, id, time};
use crate::MessageId;

/// Longest text, bytes of UTF-8.
pub(crate) const MAX_TEXT: usize = 60 << 10;
/// Files of one message.
pub(crate) const MAX_ATTACHMENTS: usize = 16;
/// Longest sign of a reaction, bytes of UTF-8: families of emoji are that long.
const MAX_SIGN: usize = 32;

/// A message of somebody. Ids are chosen by writers, so that only both together name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageRef {
    /// Whose message.
    pub author: AccountId,
    /// Which of theirs.
    pub id: MessageId,
}

/// A part of a text that stands for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// For whom.
    pub account: AccountId,
    /// Bytes of the text, at the boundaries of characters.
    pub range: Range<usize>,
}

/// A message before it is sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// What is written; may be empty where there are files.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageRef>,
    /// Who is named in the text; see [`crate::Client::draft`].
    pub mentions: Vec<Mention>,
    /// Files that were uploaded.
    pub attachments: Vec<pb::Attachment>,
}

impl From<String> for Draft {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<&str> for Draft {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Draft {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

/// A message as it travels and is kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Text {
    pub(crate) draft: Draft,
    /// It goes so many milliseconds after it was read; 0 for never.
    pub(crate) expires_after_ms: u64,
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self { draft: text.into(), expires_after_ms: 0 }
    }
}

impl Text {
    pub(crate) fn encode(&self) -> pb::Text {
        let Draft { text, reply_to, mentions, attachments } = &self.draft;
        pb::Text {
            text: text.clone(),
            reply_to: reply_to.map(|target| target.encode()),
            mentions: mentions.iter().map(Mention::encode).collect(),
            attachments: attachments.clone(),
            expires_after_ms: self.expires_after_ms,
        }
    }

    /// Mentions that do not fit the text are left out: they are an ornament. A reply to nothing is a message like others.
    pub(crate) fn decode(text: pb::Text) -> Option<Self> {
        let pb::Text { text, reply_to, mentions, attachments, expires_after_ms } = text;
        if text.len() > MAX_TEXT || mentions.len() > MAX_LIST || attachments.len() > MAX_ATTACHMENTS {
            return None;
        }
        let mentions = mentions.into_iter().filter_map(|mention| Mention::decode(mention, &text)).collect();
        let reply_to = reply_to.and_then(MessageRef::decode);
        let draft = Draft { reply_to, mentions, attachments, text };
        Some(Self { draft, expires_after_ms: time(expires_after_ms)? })
    }

    /// Whether it is nothing but a text.
    pub(crate) fn is_plain(&self) -> bool {
        let Draft { reply_to, mentions, attachments, .. } = &self.draft;
        reply_to.is_none() && mentions.is_empty() && attachments.is_empty()
    }

    /// Whether an account is meant: named in the text, or answered.
    pub(crate) fn is_for(&self, account: AccountId) -> bool {
        self.draft.mentions.iter().any(|mention| mention.account == account)
            || self.draft.reply_to.is_some_and(|target| target.author == account)
    }
}

impl Mention {
    pub(crate) fn encode(&self) -> pb::Mention {
        pb::Mention {
            account: bytes(&self.account.0),
            // At most MAX_TEXT.
            start: self.range.start as u32,
            length: self.range.len() as u32,
        }
    }

    fn decode(mention: pb::Mention, text: &str) -> Option<Self> {
        let start = mention.start as usize;
        let range = start..start.checked_add(mention.length as usize)?;
        text.get(range.clone()).filter(|named| !named.is_empty())?;
        Some(Self { account: AccountId(id(&mention.account)?), range })
    }
}

impl MessageRef {
    pub(crate) fn encode(self) -> pb::MessageRef {
        pb::MessageRef { id: bytes(&self.id.0), author: bytes(&self.author.0) }
    }

    pub(crate) fn decode(target: pb::MessageRef) -> Option<Self> {
        Some(Self { author: AccountId(id(&target.author)?), id: MessageId(id(&target.id)?) })
    }
}

/// Whether something can stand under a message as a reaction: short, and nothing that moves or hides what is around it.
pub(crate) fn is_sign(sign: &str) -> bool {
    !sign.is_empty() && sign.len() <= MAX_SIGN && !sign.chars().any(|c| c.is_control() || c.is_whitespace())
}
