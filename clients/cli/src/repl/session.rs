//! One sitting: lines in, events in, lines out. What commands do is in [`super::execute`], what events say in
//! [`super::events`].

use std::{
    collections::{HashMap, HashSet},
    fmt, future,
    time::Duration,
};

use qpc_sdk::{AccountId, Client, ConversationId, ConversationKind, Device, Error, Event, EventStream, MessageId};
use tokio::signal::unix::Signal;

use super::{
    Ending,
    command::{self, Command},
    input::{Input, Line},
    screen::Screen,
    show,
};
use crate::{exit, text};

/// Events that are still on their way when a session ends.
const LAST_EVENTS: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Session {
    pub(super) client: Client,
    screen: Screen,
    pub(super) username: String,
    pub(super) account: AccountId,
    pub(super) open: Option<Open>,
    /// Own messages whose fate is told by their text; of others it is not known.
    pub(super) sent: HashMap<MessageId, String>,
    /// Conversations whose beginning is no news.
    pub(super) known: HashSet<ConversationId>,
    /// Groups that this account was let into and whose name has not come yet.
    pub(super) nameless: HashSet<ConversationId>,
    /// Conversations as `/list` has numbered them.
    pub(super) listed: Vec<ConversationId>,
    /// Devices as `/devices` has numbered them.
    pub(super) devices: Vec<Device>,
    /// Invites of a conversation as `/invites` has numbered them.
    pub(super) invites: Option<(ConversationId, Vec<[u8; 32]>)>,
    /// Whether something was shown in the open conversation that does not count as read yet.
    pub(super) unread: bool,
    events: Option<EventStream>,
    /// Exit code of the first command that failed.
    failure: u8,
}

/// The conversation that lines go to.
pub(super) struct Open {
    pub(super) id: ConversationId,
    pub(super) kind: ConversationKind,
    pub(super) title: String,
}

impl Session {
    pub(crate) async fn new(client: Client, screen: Screen) -> Result<Self, Error> {
        let who = client.whoami().await?;
        let conversations = client.conversations().await?;
        let known = conversations.iter().filter(|info| info.active).map(|info| info.id).collect();
        Ok(Self {
            client,
            screen,
            username: who.username,
            account: who.account,
            open: None,
            sent: HashMap::new(),
            known,
            nameless: HashSet::new(),
            listed: Vec::new(),
            devices: Vec::new(),
            invites: None,
            unread: false,
            events: None,
            failure: 0,
        })
    }

    /// Exit code of the first command that failed; 0 if none has.
    pub(crate) fn failure(&self) -> u8 {
        self.failure
    }

    pub(crate) fn print(&self, line: impl fmt::Display) {
        self.screen.print(line);
    }

    /// Until the input ends, the person leaves, or the server refuses.
    pub(crate) async fn run(&mut self, mut input: Input, mut events: EventStream, mut interrupts: Signal) -> Ending {
        input.ask(self.prompt());
        let ending = loop {
            tokio::select! {
                // What has happened is shown before what is done about it.
                biased;
                event = events.next() => match event {
                    Some(Event::LoginRefused(error)) => {
                        self.print(format_args!("the server refuses: {error}"));
                        break Ending::Refused(exit::of_sdk(&error));
                    }
                    Some(event) => self.show(event).await,
                    None => break Ending::Left,
                },
                _ = interrupts.recv() => break Ending::Interrupted,
                line = input.line() => match line {
                    Line::Interrupt => break Ending::Interrupted,
                    Line::End => break Ending::Left,
                    Line::Text(line) => {
                        if !self.obey(&line).await {
                            break Ending::Left;
                        }
                        input.ask(self.prompt());
                    }
                },
                // Once for all that has come together.
                () = future::ready(()), if self.unread => self.read_shown().await,
            }
        };
        input.stop().await;
        self.events = Some(events);
        ending
    }

    /// Shows what has happened by now, after the input has ended.
    pub(crate) async fn drain_events(&mut self) {
        let Some(mut events) = self.events.take() else { return };
        while let Ok(Some(event)) = tokio::time::timeout(LAST_EVENTS, events.next()).await {
            self.show(event).await;
        }
        self.read_shown().await;
        self.events = Some(events);
    }

    fn prompt(&self) -> String {
        show::prompt(&self.username, self.open.as_ref().map(|open| (&*open.title, open.kind)))
    }

    /// False when the person wants to leave.
    async fn obey(&mut self, line: &str) -> bool {
        let command = match command::parse(line) {
            Ok(Command::Quit) => return false,
            Ok(command) => command,
            Err(slip) => {
                self.refuse(2, slip);
                return true;
            }
        };
        if let Err(error) = self.execute(command).await {
            self.refuse(exit::of_sdk(&error), format_args!("! {error}"));
        }
        true
    }

    /// Says why a command was not done.
    pub(super) fn refuse(&mut self, code: u8, line: impl fmt::Display) {
        self.print(line);
        self.failed(code);
    }

    /// Remembers the exit code of a failure, if it is the first.
    pub(crate) fn failed(&mut self, code: u8) {
        if self.failure == 0 {
            self.failure = code;
        }
    }

    /// What was shown in the open conversation has been read.
    async fn read_shown(&mut self) {
        let Some(open) = self.open.as_ref().filter(|_| self.unread) else { return };
        if let Err(error) = self.client.mark_read(open.id).await {
            tracing::warn!(%error, "not marked as read");
        }
        self.unread = false;
    }

    /// What a conversation is called.
    pub(super) async fn title(&self, id: ConversationId) -> String {
        match self.client.conversation(id).await {
            Ok(info) => show::title(&info),
            Err(_) => text::name(None, &id.to_string()),
        }
    }

    /// Takes up the title of the open conversation if it may have changed.
    pub(super) async fn retitle(&mut self) {
        let Some(id) = self.open.as_ref().map(|open| open.id) else { return };
        let title = self.title(id).await;
        if let Some(open) = &mut self.open {
            open.title = title;
        }
    }

    /// Who that is.
    pub(super) async fn who(&self, account: AccountId) -> String {
        if account == self.account {
            return "you".to_owned();
        }
        let name = self.client.name_of(account).await.unwrap_or_default();
        text::name(name.as_deref(), &account.to_string())
    }

    pub(super) async fn all_of(&self, accounts: &[AccountId]) -> String {
        let mut names = Vec::with_capacity(accounts.len());
        for account in accounts {
            names.push(self.who(*account).await);
        }
        names.join(", ")
    }
}
