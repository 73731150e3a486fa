//! What commands do: those of the table on the client, with what follows here; those of the sitting here alone.

use std::collections::HashSet;

use qpc_sdk::{Client, ConversationId, Error, MessageId, MessageRef, Runtime};

use super::{
    command,
    own::Sitting,
    session::{Open, Session},
};
use crate::{
    commands::{Send, compose},
    engine::{Action, Effect, Item, Outcome, Spot, Target},
    show,
    style::{THEMES, Theme},
    text,
};

/// Own messages whose text is remembered until their fate is known.
const MAX_REMEMBERED: usize = 10_000;
/// Keys of the configuration file that `/set` takes.
pub(super) const SETTABLE: [&str; 4] = ["theme", "keymap", "numbers", "bell"];
/// Name under which the store has which conversations are muted.
const MUTED: &str = "repl/muted";
/// Empties the screen and goes to its top.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

impl Session {
    /// Does something on the client, and what follows from it.
    pub(super) async fn act(&mut self, action: &dyn Action) {
        self.on.open = self.open.as_ref().map(|open| open.id);
        match action.run(&self.on).await {
            Ok(outcome) => {
                if let Err(error) = self.follow(outcome).await {
                    self.refuse_error(&error);
                }
            }
            Err(error) => self.refuse_error(&error),
        }
    }

    async fn follow(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        let Outcome { items, notes, code, effect } = outcome;
        let numbers = self.on.listed.number(&effect);
        if code != 0 {
            self.failed(code);
        }
        match effect {
            Effect::None => self.plain(&items),
            Effect::Told => {}
            Effect::Enter(id) => self.enter(id).await?,
            Effect::Gone(id) => {
                self.gone(id);
                self.plain(&items);
            }
            Effect::Retitle => {
                self.retitle().await;
                self.plain(&items);
            }
            Effect::Sent(id, short) => self.remember(id, short, &items).await?,
            Effect::Conversations(ids) => {
                let open = self.open.as_ref().map(|open| open.id);
                for ((number, item), id) in numbers.iter().zip(&items).zip(&ids) {
                    let mark = if open == Some(*id) { '*' } else { ' ' };
                    let muted = if self.muted.contains(id) { " · muted" } else { "" };
                    self.print(format_args!("{mark}{number} {}{muted}", item.text));
                }
            }
            Effect::Devices(_) if numbers.is_empty() => self.plain(&items),
            Effect::Devices(_) | Effect::Invites(..) => {
                for (number, item) in numbers.iter().zip(&items) {
                    self.print(format_args!("{number} {}", item.text));
                }
            }
            Effect::Messages(_) => {
                for (number, item) in numbers.iter().zip(&items) {
                    self.print(format_args!("{}{}", self.gutter(*number), item.text));
                }
            }
        }
        notes.iter().for_each(|note| self.remark(note));
        Ok(())
    }

    fn plain(&self, items: &[Item]) {
        items.iter().filter(|item| !item.text.is_empty()).for_each(|item| self.print(&item.text));
    }

    /// The number of a message that is shown, as it stands before it.
    pub(super) fn number(&mut self, message: Spot) -> String {
        let number = self.on.listed.messages.note(message);
        self.gutter(number)
    }

    /// The gutter before a message: its number, by which commands name it.
    fn gutter(&self, number: u64) -> String {
        let wanted = self.settings.configured("numbers").map_or(self.interactive, |word| word == "on");
        if wanted { self.theme.paint(crate::style::Role::Aside, &format!("[{number}] ")) } else { String::new() }
    }

    /// What others would call a message of this account.
    pub(super) fn own(&self, id: MessageId) -> MessageRef {
        MessageRef { author: self.on.who.account, id }
    }

    /// A message of this account was written: an event will say what becomes of it.
    async fn remember(&mut self, id: MessageId, short: String, items: &[Item]) -> anyhow::Result<()> {
        if items.iter().any(|item| item.fields["state"] == "local") {
            self.plain(items);
            return Ok(());
        }
        if self.sent.len() < MAX_REMEMBERED {
            self.sent.insert(id, short.clone());
        }
        if !self.on.client.whoami().await?.connected {
            self.remark(format_args!("… queued: {short}"));
        }
        Ok(())
    }

    /// Does something of this sitting. False when the person wants to leave.
    pub(super) async fn execute(&mut self, sitting: Sitting) -> bool {
        let done = match sitting {
            Sitting::Nothing => Ok(()),
            Sitting::Quit => return false,
            Sitting::Say(text) => self.say(text).await,
            Sitting::Compose => self.compose().await,
            Sitting::Switch(target) => self.switch(&target).await,
            Sitting::Next => self.next().await,
            Sitting::Close => {
                self.open = None;
                Ok(())
            }
            Sitting::Mute(target, on) => self.mute(&target, on).await,
            Sitting::Help(word) => {
                command::help(&word).iter().for_each(|line| self.print(line));
                Ok(())
            }
            Sitting::Clear => {
                self.screen.control(CLEAR);
                Ok(())
            }
            Sitting::Theme(theme) => {
                self.set_theme(theme);
                Ok(())
            }
            Sitting::Set(change) => self.set(change),
            Sitting::Alias(change) => self.alias(change),
            Sitting::Unalias(word) => self.unalias(&word),
        };
        if let Err(error) = done {
            self.refuse_error(&error);
        }
        true
    }

    async fn say(&mut self, text: String) -> anyhow::Result<()> {
        let action = Send::queued(Target::Open, text);
        self.act(&action).await;
        Ok(())
    }

    /// The editor has the terminal meanwhile; what comes is shown afterwards.
    async fn compose(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.interactive, "there is no terminal for an editor");
        let editor = self.settings.globals.around.editor().cloned();
        let written = Runtime::system().blocking(move || compose(editor.as_deref(), "")).await;
        let written = written.ok_or(Error::Interrupted)??;
        if written.is_empty() {
            self.print("nothing was written, nothing was sent");
            return Ok(());
        }
        self.say(written).await
    }

    async fn switch(&mut self, target: &Target) -> anyhow::Result<()> {
        let id = target.find(&self.on).await?.id;
        Ok(self.enter(id).await?)
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        let all = self.on.client.conversations().await?;
        let open = self.open.as_ref().map(|open| open.id);
        match all.iter().find(|info| info.unread > 0 && Some(info.id) != open && !self.muted.contains(&info.id)) {
            Some(info) => Ok(self.enter(info.id).await?),
            None => {
                self.print("nothing is unread elsewhere");
                Ok(())
            }
        }
    }

    pub(super) async fn enter(&mut self, id: ConversationId) -> Result<(), Error> {
        let client = &self.on.client;
        let info = client.conversation(id).await?;
        let members = client.members(id).await.ok().map(|members| members.len());
        let unread = client.mark_read(id).await?;
        self.print(show::heading(&info, members, unread));
        self.known.insert(id);
        self.open = Some(Open { id, kind: info.kind, title: show::title(&info) });
        self.unread = false;
        Ok(())
    }

    fn gone(&mut self, id: ConversationId) {
        self.known.remove(&id);
        if self.open.as_ref().is_some_and(|open| open.id == id) {
            self.open = None;
            self.unread = false;
        }
    }

    pub(super) async fn load_muted(client: &Client) -> HashSet<ConversationId> {
        let kept = client.kept(MUTED).await.ok().flatten().unwrap_or_default();
        kept.chunks_exact(ConversationId::LEN).filter_map(|id| Some(ConversationId(id.try_into().ok()?))).collect()
    }

    async fn mute(&mut self, target: &Target, on: bool) -> anyhow::Result<()> {
        self.on.open = self.open.as_ref().map(|open| open.id);
        let info = target.find(&self.on).await?;
        if on {
            self.muted.insert(info.id)
        } else {
            self.muted.remove(&info.id)
        };
        let ids: Vec<u8> = self.muted.iter().flat_map(|id| id.0).collect();
        self.on.client.keep(MUTED, ids).await?;
        let what =
            if on { "counted and not shown live while another conversation is open" } else { "shown live again" };
        self.print(format_args!("{}: {what}", show::title(&info)));
        Ok(())
    }

    fn set_theme(&mut self, theme: Option<Theme>) {
        if let Some(theme) = theme {
            self.theme = theme;
        }
        for (name, theme) in THEMES {
            let mark = if theme == self.theme { '*' } else { ' ' };
            self.print(format_args!("{mark}{}", theme.paint(crate::style::Role::Name, name)));
        }
    }

    fn set(&mut self, change: Option<(String, String)>) -> anyhow::Result<()> {
        let Some((key, value)) = change else {
            for key in SETTABLE {
                let value = self.settings.configured(key);
                self.print(format_args!("{key:<10} {}", value.as_deref().unwrap_or("-")));
            }
            return Ok(());
        };
        anyhow::ensure!(SETTABLE.contains(&key.as_str()), crate::exit::Usage::Key(key));
        self.settings.config.set(None, &key, Some(&value))?;
        self.settings.config.save()?;
        if key == "theme" {
            self.theme = self.settings.theme();
        }
        let later = if key == "keymap" { " from the next sitting on" } else { "" };
        self.print(format_args!("{key} is {value} now{later}"));
        Ok(())
    }

    fn alias(&mut self, change: Option<(String, String)>) -> anyhow::Result<()> {
        let Some((word, expansion)) = change else {
            let all = self.settings.config.aliases();
            if all.is_empty() {
                self.print("no aliases: /alias brb /me is back soon");
            }
            all.iter().for_each(|(word, expansion)| self.print(format_args!("/{word:<12} {}", text::label(expansion))));
            return Ok(());
        };
        anyhow::ensure!(command::find(&word).is_none(), "/{word} is a command");
        self.settings.config.set_alias(&word, Some(&expansion))?;
        self.settings.config.save()?;
        self.print(format_args!("/{word} stands for {expansion}"));
        Ok(())
    }

    fn unalias(&mut self, word: &str) -> anyhow::Result<()> {
        let known = self.settings.config.aliases().iter().any(|(name, _)| name == word);
        anyhow::ensure!(known, "/{word} stands for nothing");
        self.settings.config.set_alias(word, None)?;
        self.settings.config.save()?;
        self.print(format_args!("/{word} stands for nothing now"));
        Ok(())
    }

    /// Whether what comes in a conversation is shown although another one is open.
    pub(super) fn is_shown(&self, id: ConversationId) -> bool {
        !self.muted.contains(&id)
    }
}
