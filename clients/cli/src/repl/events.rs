//! What events say: a line each, or nothing where the state says enough.

use qpc_sdk::{
    AccountId, ConversationId, ConversationInfo, ConversationKind, Event, GapReason, Message, Standing, TYPING_FOR,
};

use super::session::Session;
use crate::{exit, show, style::Role, text};

/// A message that was written in another sitting.
const EARLIER: &str = "an earlier message";

impl Session {
    pub(super) async fn show(&mut self, event: Event) {
        match event {
            Event::MessageReceived(message) => self.show_message(&message).await,
            Event::ConversationAdded(id) if self.known.insert(id) => self.show_added(id).await,
            Event::MembersChanged { conversation, by, added, removed, left } => {
                let title = self.title(conversation).await;
                let lines = [self.came(by, &added).await, self.went(by, &removed).await, self.left(&left).await];
                lines.into_iter().flatten().for_each(|line| self.remark(format_args!("{title}: {line}")));
            }
            Event::RolesChanged { conversation, by } => self.show_roles(conversation, by).await,
            Event::Renamed { conversation, name } => self.show_renamed(conversation, &name).await,
            Event::Replaced { conversation, suite } => {
                let title = self.title(conversation).await;
                self.remark(format_args!("{title}: carried on in a new group · {suite}"));
            }
            Event::Removed(id) => {
                self.known.remove(&id);
                self.remark(format_args!("you were removed from {}", self.title(id).await));
            }
            Event::Stuck(id) => {
                let title = self.title(id).await;
                self.remark(format_args!(
                    "⚠ {title}: this device cannot follow the group; repairing it. What you write is kept."
                ));
            }
            Event::Healed(id) => self.remark(format_args!("{}: repaired", self.title(id).await)),
            Event::Recovered { conversation, .. } => {
                self.remark(format_args!("{}: a message that was missing has come", self.title(conversation).await));
            }
            Event::MessageChanged { message, by: Some(by) } if by != self.on.who.account => {
                self.show_changed(&message, by).await;
            }
            Event::Typing { conversation, by, active: true } => self.show_writing(conversation, by).await,
            Event::TimerChanged { conversation, expires_after_ms, by } => {
                let (title, who) = (self.title(conversation).await, self.who(by).await);
                match expires_after_ms {
                    0 => self.remark(format_args!("{title}: {who} has messages stay")),
                    ms => {
                        let after = show::span(ms);
                        self.remark(format_args!("{title}: {who} has messages disappear {after} after they were read"));
                    }
                }
            }
            Event::Lost { conversation, count } => {
                let title = self.title(conversation).await;
                self.remark(format_args!("⚠ {title}: {count} messages are lost; nobody who was asked has them"));
            }
            Event::IdentityChanged { username, .. } => {
                self.remark(format_args!("⚠ {}", show::key_changed(&username)));
            }
            Event::DeviceLinked(device) => {
                self.remark(format_args!("your new device {device} is there; conversations and history follow"));
            }
            Event::History { messages } => {
                self.remark(format_args!("{messages} earlier messages have come from another device of yours"));
            }
            Event::Synced(_) => self.retitle().await,
            Event::Accepted { .. } | Event::SendFailed { .. } | Event::ReceiptRefused { .. } => self.show_fate(event),
            event => self.show_mailbox(&event),
        }
    }

    /// What became of something that was written here.
    fn show_fate(&mut self, event: Event) {
        match event {
            Event::Accepted { conversation, message, receipt } => {
                let (devices, number) = (receipt.recipients, self.number((conversation, self.own(message))));
                let text = self.sent.remove(&message).unwrap_or_else(|| EARLIER.to_owned());
                self.print(format_args!("{number}✓ {text}   (stored for {devices}, receipt verified)"));
            }
            Event::SendFailed { message, error, .. } => {
                let text = self.sent.remove(&message).unwrap_or_else(|| EARLIER.to_owned());
                self.refuse(exit::of_sdk(&error), format_args!("⚠ not sent: {text} ({error})"));
            }
            Event::ReceiptRefused { message, error, .. } => {
                let Some(text) = message.map(|id| self.sent.remove(&id).unwrap_or_else(|| EARLIER.to_owned())) else {
                    // No message fails by it, but whoever asks for the exit code learns of it.
                    return self.refuse(exit::VERIFICATION, format_args!("⚠ {}", show::receipt_refused(&error)));
                };
                let line = format!("⚠ the server's receipt does not hold: {text} ({error})");
                self.refuse(exit::VERIFICATION, line);
            }
            _ => {}
        }
    }

    /// What happened to the connection and the mailbox. What others have and have read is shown by the history.
    fn show_mailbox(&self, event: &Event) {
        match event {
            Event::Connected => tracing::info!("connected"),
            Event::Disconnected => self.remark("connection lost; trying again. What you write is kept."),
            Event::Undecryptable { seq, error, .. } => {
                self.remark(format_args!("⚠ entry {seq} cannot be read: {error}"));
            }
            Event::Gap { from, to, reason } => {
                let why = match reason {
                    GapReason::Expired => "expired",
                    GapReason::Quota => "the mailbox was full",
                    GapReason::Restored => return self.remark(format_args!("⚠ {}", show::RESTORED)),
                    GapReason::Unexplained => "the server does not say why",
                };
                self.remark(format_args!("⚠ entries {from} to {to} are gone: {why}"));
            }
            Event::Lagged(missed) => {
                self.remark(format_args!("({missed} events not shown; /history has the messages)"))
            }
            _ => {}
        }
    }

    async fn show_message(&mut self, message: &Message) {
        if self.nameless.contains(&message.conversation)
            && let Ok(info) = self.on.client.conversation(message.conversation).await
            && info.kind == ConversationKind::Direct
        {
            self.nameless.remove(&message.conversation);
            self.show_begun(&info);
        }
        let number = self.number((message.conversation, message.reference()));
        let from = self.theme.paint(Role::Name, &show::sender(message));
        let body = show::body(message);
        if self.open.as_ref().is_some_and(|open| open.id == message.conversation) {
            self.print(format_args!("{number}{from}: {body}"));
            self.unread = true;
            // The name of who wrote may have been confirmed by this.
            self.retitle().await;
        } else if self.is_shown(message.conversation) {
            let title = self.title(message.conversation).await;
            let place = if title == show::sender(message) { String::new() } else { format!("{title} · ") };
            self.print(format_args!("{number}{place}{from}: {body}   (/switch {title} to answer)"));
        }
        if self.is_shown(message.conversation) && self.settings.configured("bell").as_deref() == Some("on") {
            self.screen.control("\u{7}");
        }
    }

    async fn show_changed(&mut self, message: &Message, by: AccountId) {
        if !self.is_shown(message.conversation) {
            return;
        }
        let number = self.number((message.conversation, message.reference()));
        let (who, line) = (self.who(by).await, show::history_line(message, ConversationKind::Group));
        self.remark(format_args!("{number}{who} changed it: {line}"));
    }

    /// Once for each time that somebody begins to write.
    async fn show_writing(&mut self, conversation: ConversationId, by: AccountId) {
        let now = tokio::time::Instant::now();
        let before = self.writing.insert((conversation, by), now);
        let goes_on = before.is_some_and(|before| now.duration_since(before) < TYPING_FOR);
        if !goes_on && self.open.as_ref().is_some_and(|open| open.id == conversation) {
            self.remark(format_args!("… {} is writing", self.who(by).await));
        }
    }

    async fn show_added(&mut self, id: ConversationId) {
        let Ok(info) = self.on.client.conversation(id).await else { return };
        match info.kind {
            _ if info.name.is_some() || info.peer_name.is_some() => self.show_begun(&info),
            ConversationKind::Group | ConversationKind::Direct => drop(self.nameless.insert(id)),
            ConversationKind::Own | ConversationKind::Notes => {}
        }
    }

    /// Said once it is known who or what it is.
    fn show_begun(&self, info: &ConversationInfo) {
        let title = show::title(info);
        match (info.standing, info.kind) {
            (Standing::Requested, ConversationKind::Direct) => {
                self.remark(format_args!("{title} asks to talk to you: /accept {title} or /decline {title}"));
            }
            (Standing::Requested, _) => {
                self.remark(format_args!("you are asked into the group {title}: /accept {title} or /decline {title}"));
            }
            // A direct one speaks for itself, with its first message.
            (_, ConversationKind::Direct) => {}
            _ => self.remark(format_args!("you are in the group {title} now   (/switch {title} to enter)")),
        }
    }

    async fn came(&self, by: AccountId, added: &[AccountId]) -> Option<String> {
        match added {
            [] => None,
            [one] if *one == by => Some(format!("{} has come in by an invite", self.who(by).await)),
            added => Some(format!("{} added {}", self.who(by).await, self.all_of(added).await)),
        }
    }

    async fn went(&self, by: AccountId, removed: &[AccountId]) -> Option<String> {
        (!removed.is_empty()).then_some(())?;
        Some(format!("{} removed {}", self.who(by).await, self.all_of(removed).await))
    }

    async fn left(&self, left: &[AccountId]) -> Option<String> {
        (!left.is_empty()).then_some(())?;
        Some(format!("{} left", self.all_of(left).await))
    }

    async fn show_roles(&mut self, id: ConversationId, by: AccountId) {
        let title = self.title(id).await;
        let members = self.on.client.members(id).await.unwrap_or_default();
        let own =
            members.iter().find(|member| member.account == self.on.who.account).map(|member| show::role(member.role));
        let you = own.map(|role| format!("; your role: {role}")).unwrap_or_default();
        self.remark(format_args!("{title}: {} changed roles or invites{you}", self.who(by).await));
    }

    async fn show_renamed(&mut self, id: ConversationId, name: &str) {
        let name = text::label(name);
        if self.nameless.remove(&id)
            && let Ok(info) = self.on.client.conversation(id).await
        {
            return self.show_begun(&info);
        }
        let before = self.open.as_ref().filter(|open| open.id == id).map(|open| open.title.clone());
        self.retitle().await;
        match before {
            Some(before) if before != name => self.remark(format_args!("{before} is called {name} now")),
            Some(_) => {}
            None => self.remark(format_args!("a group is called {name} now   (/switch {name} to enter)")),
        }
    }
}
