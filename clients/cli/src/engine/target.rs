//! Which conversation is meant.

use std::{convert::Infallible, str::FromStr};

use qpc_sdk::{ConversationId, ConversationInfo, ConversationKind};

use super::On;
use crate::{exit::Usage, show};

/// Shortest beginning of an id that names a conversation.
const MIN_ID: usize = 6;

/// A conversation as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The open one.
    Open,
    /// `@user`: the direct one with somebody, to be begun if need be.
    User(String),
    /// `#name`, a title, an id, `notes`, or in a chat a number of the list.
    Named(String),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(given: &str) -> Result<Self, Infallible> {
        Ok(match given.strip_prefix('@') {
            Some(user) => Self::User(user.to_owned()),
            None => Self::Named(given.strip_prefix('#').unwrap_or(given).to_owned()),
        })
    }
}

impl Target {
    /// What a person types in a chat.
    pub(crate) fn typed(given: &str) -> Self {
        match given.parse() {
            Ok(target) => target,
            Err(never) => match never {},
        }
    }

    /// The conversation, if it is known here. Asks no server.
    pub(crate) async fn find(&self, on: &On) -> anyhow::Result<ConversationInfo> {
        let wanted = match self {
            Self::Open => return Ok(on.client.conversation(on.open.ok_or(Usage::NothingOpen)?).await?),
            Self::User(user) if is_self(on, user) => "notes",
            Self::User(wanted) | Self::Named(wanted) => wanted,
        };
        let all = on.client.conversations().await?;
        let found = match show::find(&all, &on.listed.conversations, wanted) {
            Err(show::Miss::None) => by_id(&all, wanted),
            found => found,
        };
        match found {
            Ok(info) => Ok(info.clone()),
            Err(_) if wanted == "notes" => Ok(on.client.conversation(on.client.notes().await?).await?),
            Err(show::Miss::None) => Err(Usage::NoConversation(wanted.to_owned()).into()),
            Err(show::Miss::Several) => Err(Usage::SeveralConversations(wanted.to_owned()).into()),
        }
    }

    /// The conversation; one with a user is begun if there is none, which needs a connection.
    pub(crate) async fn reach(&self, on: &On) -> anyhow::Result<ConversationInfo> {
        let known = self.find(on).await;
        match self {
            Self::User(user) if !is_self(on, user) => {
                if let Ok(info) = known
                    && info.kind == ConversationKind::Direct
                    && info.active
                {
                    return Ok(info);
                }
                let id = on.client.dm(user).await?;
                Ok(on.client.conversation(id).await?)
            }
            // It may be in what waits at the server.
            _ if known.is_err() && on.client.sync().await.is_ok() => self.find(on).await,
            _ => known,
        }
    }
}

/// Whether a conversation with that user is the notes.
pub(crate) fn is_self(on: &On, user: &str) -> bool {
    user == "self" || user == on.who.username
}

fn by_id<'a>(all: &'a [ConversationInfo], wanted: &str) -> Result<&'a ConversationInfo, show::Miss> {
    if wanted.len() < MIN_ID {
        return Err(show::Miss::None);
    }
    let wanted = wanted.to_ascii_lowercase();
    let begins = |id: ConversationId| id.to_string().starts_with(&wanted);
    let found: Vec<_> = all.iter().filter(|info| begins(info.id)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(show::Miss::None),
        _ => Err(show::Miss::Several),
    }
}
