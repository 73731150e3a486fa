//! One engine behind the command line and the chat: what was typed becomes an [`Action`], which does something on a client
//! and returns an [`Outcome`]. The command line renders that as text or JSON, the chat as lines above its prompt. A command
//! is a file in `commands` with its row in the table there.

mod outcome;
mod row;
mod target;

use std::{fmt::Debug, future::Future, pin::Pin, time::Duration};

use qpc_sdk::{AccountId, Client, ConversationId, Device, Error, Identification, MessageRef};

pub(crate) use self::{
    outcome::{Effect, Item, Outcome},
    row::{Cli, Needs, Row, Run, Said, Slash, act, args, program},
    target::Target,
};
use crate::settings::Place;

/// What is done on. A chat keeps one, the command line makes one for its command.
pub(crate) struct On {
    pub(crate) client: Client,
    pub(crate) who: Identification,
    /// The server, for questions about it.
    pub(crate) place: Place,
    /// The conversation that is open, in a chat.
    pub(crate) open: Option<ConversationId>,
    /// What the numbers of the lists stand for that were shown last.
    pub(crate) listed: Listed,
    /// Whether a person can be asked something while it is done. Not on the whole screen, whose terminal is taken.
    pub(crate) asks: bool,
}

/// What was shown with numbers, which begin with 1.
#[derive(Default)]
pub(crate) struct Listed {
    pub(crate) conversations: Vec<ConversationId>,
    pub(crate) devices: Vec<Device>,
    pub(crate) invites: Option<(ConversationId, Vec<[u8; 32]>)>,
    pub(crate) messages: crate::repl::Shown,
}

impl Listed {
    /// Remembers what the items of an outcome stand for; their numbers, if they have any.
    pub(crate) fn number(&mut self, effect: &Effect) -> Vec<u64> {
        let count = match effect {
            Effect::Messages(spots) => return spots.iter().map(|spot| self.messages.note(*spot)).collect(),
            Effect::Conversations(ids) => {
                self.conversations.clone_from(ids);
                ids.len()
            }
            Effect::Devices(devices) => {
                self.devices.clone_from(devices);
                devices.len()
            }
            Effect::Invites(id, keys) => {
                self.invites = Some((*id, keys.clone()));
                keys.len()
            }
            _ => return Vec::new(),
        };
        (1..=count as u64).collect()
    }
}

/// Something that can be done.
pub(crate) trait Action: Debug + Send + Sync {
    /// Does it.
    fn run<'a>(&'a self, on: &'a On) -> Running<'a>;
    /// What it needs, on the command line.
    fn needs(&self) -> Needs;
    /// Time that it takes beyond `--timeout`, for a person.
    fn patience(&self) -> Duration;
    /// What a person at a terminal is asked before it is done in a chat.
    fn asks(&self) -> Option<&'static str>;
}

/// An action at work.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + Send + 'a>>;

/// How an [`Action`] is written.
pub(crate) trait Act: Debug + Send + Sync + 'static {
    /// What it needs, on the command line.
    const NEEDS: Needs = Needs::Connection;

    /// Time that it takes beyond `--timeout`, for a person.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// What a person at a terminal is asked before it is done in a chat.
    fn asks(&self) -> Option<&'static str> {
        None
    }

    /// Does it.
    fn act(&self, on: &On) -> impl Future<Output = anyhow::Result<Outcome>> + Send;
}

impl<T: Act> Action for T {
    fn run<'a>(&'a self, on: &'a On) -> Running<'a> {
        Box::pin(self.act(on))
    }

    fn needs(&self) -> Needs {
        T::NEEDS
    }

    fn patience(&self) -> Duration {
        Act::patience(self)
    }

    fn asks(&self) -> Option<&'static str> {
        Act::asks(self)
    }
}

impl On {
    pub(crate) async fn new(client: Client, place: Place) -> Result<Self, Error> {
        let who = client.whoami().await?;
        Ok(Self { client, who, place, open: None, listed: Listed::default(), asks: true })
    }

    /// What a conversation is called here.
    pub(crate) async fn title(&self, id: ConversationId) -> String {
        match self.client.conversation(id).await {
            Ok(info) => crate::show::title(&info),
            Err(_) => crate::text::name(None, &id.to_string()),
        }
    }

    /// Who that is.
    pub(crate) async fn name(&self, account: AccountId) -> String {
        if account == self.who.account {
            return "you".to_owned();
        }
        let name = self.client.name_of(account).await.unwrap_or_default();
        crate::text::name(name.as_deref(), &account.to_string())
    }

    pub(crate) async fn names(&self, accounts: &[AccountId]) -> String {
        let mut names = Vec::with_capacity(accounts.len());
        for account in accounts {
            names.push(self.name(*account).await);
        }
        names.join(", ")
    }
}

/// A message and where it is.
pub(crate) type Spot = (ConversationId, MessageRef);
