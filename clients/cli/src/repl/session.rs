//! One sitting: lines in, events in, lines out.

use std::{collections::HashMap, fmt, time::Duration};

use qpc_sdk::{Client, ConversationId, ConversationInfo, Error, Event, EventStream, GapReason, Message, MessageId};
use tokio::signal::unix::Signal;

use super::{
    Ending,
    command::{self, Command},
    input::{Input, Line},
    screen::Screen,
};
use crate::{exit, text, whoami::describe};

/// Own messages whose fate is told by their text; of others it is not known.
const MAX_REMEMBERED: usize = 10_000;
/// A message that was written in another sitting.
const EARLIER: &str = "an earlier message";
/// Events that are still on their way when a session ends.
const LAST_EVENTS: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Session {
    client: Client,
    screen: Screen,
    username: String,
    open: Option<Open>,
    sent: HashMap<MessageId, String>,
    events: Option<EventStream>,
    /// Exit code of the first command that failed.
    failure: u8,
}

/// The conversation that lines go to.
struct Open {
    id: ConversationId,
    name: String,
}

impl Session {
    pub(crate) fn new(client: Client, screen: Screen, username: String) -> Self {
        Self { client, screen, username, open: None, sent: HashMap::new(), events: None, failure: 0 }
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
                    Some(event) => self.show(event),
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
            self.show(event);
        }
        self.events = Some(events);
    }

    fn prompt(&self) -> String {
        match &self.open {
            Some(open) => format!("{} @{}", self.username, open.name),
            None => self.username.clone(),
        }
    }

    /// False when the person wants to leave.
    async fn obey(&mut self, line: &str) -> bool {
        let command = match command::parse(line) {
            Ok(Command::Quit) => return false,
            Ok(command) => command,
            Err(slip) => {
                self.print(slip);
                self.failed(2);
                return true;
            }
        };
        if let Err(error) = self.execute(command).await {
            self.print(format_args!("! {error}"));
            self.failed(exit::of_sdk(&error));
        }
        true
    }

    /// Remembers the exit code of a failure, if it is the first.
    pub(crate) fn failed(&mut self, code: u8) {
        if self.failure == 0 {
            self.failure = code;
        }
    }

    async fn execute(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Say(text) => self.say(text).await?,
            Command::Dm(name) => {
                let id = self.client.dm(&name).await?;
                self.enter(id, name).await?;
            }
            Command::List => self.list().await?,
            Command::Switch(target) => self.switch(&target).await?,
            Command::History(count) => match &self.open {
                Some(open) => {
                    let messages = self.client.history(open.id, count).await?;
                    messages.iter().for_each(|message| self.print(text::history_line(message)));
                }
                None => self.nothing_open(),
            },
            Command::UpdateKey => match &self.open {
                Some(open) => {
                    let epoch = self.client.update_keys(open.id).await?;
                    self.print(format_args!("new keys: epoch {epoch}"));
                }
                None => self.nothing_open(),
            },
            Command::Whoami => {
                let (who, stats) = (self.client.whoami().await?, self.client.stats().await?);
                describe(&who, &stats).iter().for_each(|line| self.print(line));
                self.print(format_args!("link      {}", if who.connected { "connected" } else { "not connected" }));
            }
            Command::Help => command::help().iter().for_each(|line| self.print(line)),
        }
        Ok(())
    }

    fn nothing_open(&mut self) {
        self.print("no conversation is open: /dm NAME or /switch NAME");
        self.failed(5);
    }

    async fn say(&mut self, text: String) -> Result<(), Error> {
        let Some(open) = &self.open else {
            self.nothing_open();
            return Ok(());
        };
        let id = self.client.send(open.id, &text).await?;
        if self.sent.len() < MAX_REMEMBERED {
            self.sent.insert(id, text::short(&text));
        }
        if !self.client.whoami().await?.connected {
            self.print(format_args!("… queued: {}", text::short(&text)));
        }
        Ok(())
    }

    async fn enter(&mut self, id: ConversationId, name: String) -> Result<(), Error> {
        let info = self.client.conversation(id).await?;
        self.print(format_args!("— {name} · {} · epoch {}", info.suite, info.epoch));
        self.open = Some(Open { id, name });
        Ok(())
    }

    async fn list(&mut self) -> Result<(), Error> {
        let conversations = self.client.conversations().await?;
        if conversations.is_empty() {
            self.print("no conversations yet: /dm NAME begins one");
        }
        for (number, info) in (1..).zip(&conversations) {
            let mark = if self.open.as_ref().is_some_and(|open| open.id == info.id) { '*' } else { ' ' };
            self.print(format_args!(
                "{mark}{number} {} · {} messages · last {} · epoch {}{}",
                title(info),
                info.messages,
                text::utc(info.last_at_ms),
                info.epoch,
                if info.active { "" } else { " · removed" },
            ));
        }
        Ok(())
    }

    async fn switch(&mut self, target: &str) -> Result<(), Error> {
        let conversations = self.client.conversations().await?;
        let by_name = conversations.iter().find(|info| title(info) == target);
        let by_number = || conversations.get(target.parse::<usize>().ok()?.checked_sub(1)?);
        match by_name.or_else(by_number) {
            Some(info) => self.enter(info.id, title(info)).await,
            None => {
                self.print(format_args!("no conversation {target}: /list shows all, /dm {target} begins one"));
                self.failed(5);
                Ok(())
            }
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::MessageReceived(message) => self.show_message(&message),
            Event::Accepted { message, receipt, .. } => {
                let devices = receipt.recipients;
                let text = self.sent.remove(&message).unwrap_or_else(|| EARLIER.to_owned());
                self.print(format_args!("✓ {text}   (stored for {devices}, receipt verified)"));
            }
            Event::SendFailed { message, error, .. } => {
                let text = self.sent.remove(&message).unwrap_or_else(|| EARLIER.to_owned());
                self.print(format_args!("⚠ not sent: {text} ({error})"));
                self.failed(exit::of_sdk(&error));
            }
            Event::ReceiptRefused { message, error, .. } => {
                let text = message.and_then(|id| self.sent.remove(&id)).unwrap_or_else(|| "a commit".to_owned());
                self.print(format_args!("⚠ the server's receipt does not hold: {text} ({error})"));
                self.failed(8);
            }
            Event::Connected => tracing::info!("connected"),
            Event::Disconnected => self.print("connection lost; trying again. What you write is kept."),
            Event::Undecryptable { seq, error, .. } => {
                self.print(format_args!("⚠ entry {seq} cannot be read: {error}"));
            }
            Event::Gap { from, to, reason } => {
                let why = match reason {
                    GapReason::Expired => "expired",
                    GapReason::Quota => "the mailbox was full",
                    GapReason::Unexplained => "the server does not say why",
                };
                self.print(format_args!("⚠ entries {from} to {to} are gone: {why}"));
            }
            Event::Removed(id) => self.print(format_args!("you were removed from conversation {id}")),
            Event::Lagged(missed) => self.print(format_args!("({missed} events not shown; /history has the messages)")),
            _ => {}
        }
    }

    fn show_message(&self, message: &Message) {
        let (from, body) = (text::sender(message), text::safe(&message.text));
        match &self.open {
            Some(open) if open.id == message.conversation => self.print(format_args!("{from}: {body}")),
            _ => self.print(format_args!("{from}: {body}   (/switch {from} to answer)")),
        }
    }
}

fn title(info: &ConversationInfo) -> String {
    text::name(info.peer_name.as_deref(), &info.peer.to_string())
}
