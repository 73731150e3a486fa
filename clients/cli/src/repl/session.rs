//! One sitting: lines in, events in, lines out. What commands do is in [`super::execute`], what events say in
//! [`super::events`].

use std::{
    collections::{HashMap, HashSet},
    fmt, future,
    time::Duration,
};

use qpc_sdk::{AccountId, Client, ConversationId, ConversationKind, Error, Event, EventStream, MessageId};
use tokio::{signal::unix::Signal, time::Instant};

use super::{
    Ending, command,
    complete::{Names, Vocabulary},
    input::{Editor, Input, Line},
    past::Past,
    screen::Screen,
};
use crate::{
    engine::{Action, On, Said},
    exit,
    settings::Settings,
    show,
    style::{Role, Theme},
};

/// Events that are still on their way when a session ends.
const LAST_EVENTS: Duration = Duration::from_millis(50);
/// Time between two looks whether lines were missed.
const CATCH_UP: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Session {
    /// The client, and what commands do not say: the open conversation, and the numbers that were shown.
    pub(super) on: On,
    pub(super) screen: Screen,
    pub(super) settings: Settings,
    pub(super) theme: Theme,
    pub(super) open: Option<Open>,
    /// Own messages whose fate is told by their text; of others it is not known.
    pub(super) sent: HashMap<MessageId, String>,
    /// Conversations whose beginning is no news.
    pub(super) known: HashSet<ConversationId>,
    /// Conversations that others have begun and whose name has not come yet.
    pub(super) nameless: HashSet<ConversationId>,
    /// When somebody was last said to be writing; as many as there are people in conversations.
    pub(super) writing: HashMap<(ConversationId, AccountId), Instant>,
    /// Conversations of which nothing is shown live.
    pub(super) muted: HashSet<ConversationId>,
    /// Whether something was shown in the open conversation that does not count as read yet.
    pub(super) unread: bool,
    /// Something that a person has to confirm.
    pub(super) asked: Option<Box<dyn Action>>,
    pub(super) interactive: bool,
    vocabulary: Vocabulary,
    past: Past,
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
    pub(crate) async fn new(client: Client, screen: Screen, settings: Settings) -> anyhow::Result<Self> {
        let conversations = client.conversations().await?;
        let known = conversations.iter().filter(|info| info.active).map(|info| info.id).collect();
        let (past, muted) = (Past::load(&client).await, Self::load_muted(&client).await);
        Ok(Self {
            on: On::new(client, settings.place()?).await?,
            screen,
            theme: settings.theme(),
            settings,
            open: None,
            sent: HashMap::new(),
            known,
            nameless: HashSet::new(),
            writing: HashMap::new(),
            muted,
            unread: false,
            asked: None,
            interactive: false,
            vocabulary: Vocabulary::default(),
            past,
            events: None,
            failure: 0,
        })
    }

    /// What an editor needs to know.
    pub(crate) fn editor(&self) -> Editor {
        let vi = self.settings.configured("keymap").as_deref() == Some("vi");
        Editor { past: self.past.lines().to_vec(), vocabulary: self.vocabulary.clone(), vi, theme: self.theme }
    }

    /// Exit code of the first command that failed; 0 if none has.
    pub(crate) fn failure(&self) -> u8 {
        self.failure
    }

    pub(crate) fn print(&self, line: impl fmt::Display) {
        self.screen.print(line);
    }

    /// Prints what happened besides, or what a person should look into.
    pub(super) fn remark(&self, line: impl fmt::Display) {
        let line = line.to_string();
        let role = if line.starts_with(['⚠', '!']) { Role::Warning } else { Role::Aside };
        self.screen.print(self.theme.paint(role, &line));
    }

    /// Until the input ends, the person leaves, or the server refuses.
    pub(crate) async fn run(&mut self, mut input: Input, mut events: EventStream, mut interrupts: Signal) -> Ending {
        self.interactive = input.is_interactive();
        self.ask(&input).await;
        let mut catch_up = tokio::time::interval(CATCH_UP);
        let mut interrupted = false;
        let ending = loop {
            tokio::select! {
                // What has happened is shown before what is done about it.
                biased;
                event = events.next() => match event {
                    Some(Event::LoginRefused(error)) => {
                        self.remark(format_args!("the server refuses: {error}"));
                        break Ending::Refused(exit::of_sdk(&error));
                    }
                    Some(event) => self.show(event).await,
                    None => break Ending::Left,
                },
                _ = interrupts.recv() => break Ending::Interrupted,
                line = input.line() => match line {
                    Line::Interrupt if interrupted => break Ending::Interrupted,
                    Line::Interrupt => {
                        interrupted = true;
                        self.remark("Ctrl-C again ends, as /quit does");
                        self.ask(&input).await;
                    }
                    Line::End => break Ending::Left,
                    Line::Text(line) => {
                        interrupted = false;
                        let goes_on = tokio::select! {
                            goes_on = self.obey(&line) => goes_on,
                            // The terminal is not the editor's now, so this is a signal.
                            _ = interrupts.recv(), if input.is_interactive() => {
                                self.remark("not waited for any longer; what was begun goes on by itself");
                                true
                            }
                        };
                        if !goes_on {
                            break Ending::Left;
                        }
                        self.ask(&input).await;
                    }
                },
                // Once for all that has come together.
                () = future::ready(()), if self.unread => self.read_shown().await,
                _ = catch_up.tick() => self.screen.catch_up(),
            }
        };
        input.stop().await;
        self.events = Some(events);
        ending
    }

    async fn ask(&mut self, input: &Input) {
        if self.interactive {
            let names = self.names().await.unwrap_or_default();
            self.vocabulary.replace(names);
        }
        let prompt = show::prompt(&self.on.who.username, self.open.as_ref().map(|open| (&*open.title, open.kind)));
        input.ask(prompt, self.theme);
    }

    /// What may be typed now.
    async fn names(&self) -> Result<Names, Error> {
        let conversations = self.on.client.conversations().await?;
        let mut users: Vec<String> = conversations.iter().filter_map(|info| info.peer_name.clone()).collect();
        if let Some(open) = &self.open {
            let members = self.on.client.members(open.id).await.unwrap_or_default();
            users.extend(members.into_iter().filter_map(|member| member.name));
        }
        users.retain(|name| *name != self.on.who.username);
        users.sort();
        users.dedup();
        let mut titles: Vec<String> = conversations.iter().map(show::title).collect();
        titles.dedup();
        let aliases = self.settings.config.aliases().into_iter().map(|(name, _)| name).collect();
        Ok(Names { users, conversations: titles, aliases })
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

    /// False when the person wants to leave.
    async fn obey(&mut self, line: &str) -> bool {
        if let Some(action) = self.asked.take() {
            let yes = ["y", "yes"].contains(&line.trim().to_lowercase().as_str());
            if yes {
                self.act(&*action).await
            } else {
                self.print("not done")
            }
            return true;
        }
        if self.interactive {
            self.past.add(&self.on.client, line).await;
        }
        let aliases = self.settings.config.aliases();
        let alias = |word: &str| aliases.iter().find(|(name, _)| name == word).map(|(_, expansion)| expansion.clone());
        match command::parse(line, &alias) {
            Ok(Said::Sitting(sitting)) => return self.execute(sitting).await,
            Ok(Said::Act(action)) => match action.asks().filter(|_| self.interactive) {
                Some(question) => {
                    self.remark(format_args!("{question} y does it, anything else does not."));
                    self.asked = Some(action);
                }
                None => self.act(&*action).await,
            },
            Err(slip) => self.refuse(2, slip),
        }
        true
    }

    /// Says why a command was not done.
    pub(super) fn refuse(&mut self, code: u8, line: impl fmt::Display) {
        self.screen.print(self.theme.paint(Role::Warning, &line.to_string()));
        self.failed(code);
    }

    /// The same for an error.
    pub(super) fn refuse_error(&mut self, error: &anyhow::Error) {
        self.refuse(exit::code(error), format_args!("! {error:#}"));
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
        if let Err(error) = self.on.client.mark_read(open.id).await {
            tracing::warn!(%error, "not marked as read");
        }
        self.unread = false;
    }

    /// What a conversation is called.
    pub(super) async fn title(&self, id: ConversationId) -> String {
        self.on.title(id).await
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
        self.on.name(account).await
    }

    pub(super) async fn all_of(&self, accounts: &[AccountId]) -> String {
        self.on.names(accounts).await
    }
}
