//! What is known and shown. Nothing here waits for anything: [`super::update`] changes it, [`super::view`] draws it.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use qpc_sdk::{AccountId, ConversationId, ConversationInfo, Draft, Member, Message, MessageRef, Picture, Progress};

use super::{
    composer::Composer,
    files::Entry,
    keys::Keymap,
    theme::{Depth, Theme},
    vim::Vim,
};
use crate::text;

/// Messages that are loaded at first, and with every step back.
pub(crate) const PAGE: u32 = 200;
/// Most messages that are held of the open conversation.
pub(crate) const MAX_LOADED: u32 = 10_000;
/// Time that a notice stays, milliseconds.
pub(crate) const NOTICE_MS: u64 = 10_000;

/// How this sitting is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) theme: Theme,
    pub(crate) keymap: Keymap,
    /// Whether a message that comes while nobody looks rings the bell and asks the terminal for a notification.
    pub(crate) bell: bool,
    /// Whether small pictures of files are drawn, where there are colours.
    pub(crate) pictures: bool,
    pub(crate) depth: Depth,
}

/// Small pictures of files, by the bytes that came with the message: not by the file's address, as somebody may put another
/// picture beside it. None for what cannot be read.
pub(crate) type Pictures = HashMap<Bytes, Option<Arc<Picture>>>;

/// Where keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Focus {
    Composer,
    Messages,
    List,
}

/// What lies over everything and takes the keys.
#[derive(Debug, Clone)]
pub(crate) enum Overlay {
    /// All keys, scrolled by so many rows.
    Help(usize),
    /// Conversations that fit.
    Switcher { query: String, choice: usize },
    /// Emoji that fit, for a message.
    React { target: MessageRef, query: String, choice: usize },
    /// Whether to do what a line says.
    Ask { question: &'static str, line: String },
    /// Whether to delete a message for all.
    Delete(MessageRef),
    /// Links of a message, of which one is opened.
    Links { links: Vec<String>, choice: usize },
    /// What stands in a folder and fits.
    Files { folder: PathBuf, entries: Vec<Entry>, query: String, choice: usize },
    /// Lines about something, scrolled.
    Lines { title: String, lines: Vec<String>, top: usize },
    /// What is searched for.
    Search(String),
    /// A command, without its `:`.
    Command(String),
}

/// A file on its way.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    pub(crate) name: String,
    /// To the server, rather than from it.
    pub(crate) up: bool,
    /// How far it is, once that is known.
    pub(crate) progress: Option<Progress>,
}

/// A line that tells how something went.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) bad: bool,
    /// Unix milliseconds.
    pub(crate) until_ms: u64,
}

/// What the text in the composer will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    #[default]
    Message,
    Reply(MessageRef),
    Edit(MessageRef),
}

/// What is being written in a conversation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writing {
    pub(crate) composer: Composer,
    pub(crate) purpose: Purpose,
    /// What was being written when an edit was begun.
    pub(crate) aside: Option<Composer>,
    /// Whether the store does not have it as it is.
    pub(crate) dirty: bool,
}

impl Writing {
    /// What the store keeps of it.
    pub(crate) fn draft(&self) -> Draft {
        let composer = self.aside.as_ref().unwrap_or(&self.composer);
        let reply_to = match self.purpose {
            Purpose::Reply(target) => Some(target),
            Purpose::Message | Purpose::Edit(_) => None,
        };
        Draft { text: composer.text().to_owned(), reply_to, ..Draft::default() }
    }

    /// Goes on with what the store has kept.
    pub(crate) fn restore(&mut self, draft: Draft) {
        self.purpose = draft.reply_to.map_or(Purpose::Message, Purpose::Reply);
        self.composer = Composer::new(draft.text);
    }

    /// Whether there is nothing to remember of it.
    pub(crate) fn is_idle(&self) -> bool {
        self.composer.is_empty() && self.purpose == Purpose::Message && self.aside.is_none() && !self.dirty
    }
}

/// What a search has found, oldest first, each with its distance from the newest message.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) query: String,
    pub(crate) hits: Vec<(MessageRef, u32)>,
    pub(crate) at: usize,
}

/// The conversation that is open.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) id: ConversationId,
    /// Oldest first.
    pub(crate) messages: Vec<Message>,
    pub(crate) pictures: Pictures,
    pub(crate) members: Vec<Member>,
    /// So many messages are asked for.
    pub(crate) limit: u32,
    /// Whether they were asked for and have not come; and whether they have changed meanwhile.
    pub(crate) loading: bool,
    pub(crate) stale: bool,
    /// Whether there is nothing older.
    pub(crate) complete: bool,
    /// The last line that is seen: the message and which of its lines. None is the end, and stays there.
    pub(crate) bottom: Option<(MessageRef, usize)>,
    pub(crate) selected: Option<MessageRef>,
    /// The first message that nobody had read when the conversation was opened.
    pub(crate) divider: Option<MessageRef>,
    /// Unread messages when it was opened, until the divider is found.
    pub(crate) unread: u64,
    pub(crate) found: Option<Found>,
    /// The message to go to once it is loaded.
    pub(crate) going_to: Option<MessageRef>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) account: AccountId,
    pub(crate) username: String,
    pub(crate) options: Options,
    /// Columns and rows.
    pub(crate) size: (u16, u16),
    /// Unix milliseconds.
    pub(crate) now_ms: u64,
    /// Whether there is a connection, and whether the terminal has the keyboard.
    pub(crate) online: bool,
    pub(crate) attended: bool,
    pub(crate) conversations: Vec<ConversationInfo>,
    pub(crate) list_loading: bool,
    pub(crate) list_stale: bool,
    /// Row of the list that is chosen.
    pub(crate) choice: usize,
    pub(crate) open: Option<Open>,
    pub(crate) writings: HashMap<ConversationId, Writing>,
    pub(crate) focus: Focus,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) vim: Vim,
    pub(crate) notice: Option<Notice>,
    /// Who is writing where, and until when that holds, Unix milliseconds.
    pub(crate) typing: BTreeMap<(ConversationId, AccountId), u64>,
    /// When others were last told that this account is writing.
    pub(crate) told_ms: u64,
    pub(crate) names: HashMap<AccountId, String>,
    /// Files on their way, by numbers that go up.
    pub(crate) transfers: BTreeMap<u64, Transfer>,
    pub(crate) last_transfer: u64,
}

impl Open {
    pub(crate) fn new(id: ConversationId, unread: u64) -> Self {
        Self {
            id,
            messages: Vec::new(),
            pictures: Pictures::new(),
            members: Vec::new(),
            limit: PAGE.max(unread.min(u64::from(MAX_LOADED)) as u32),
            loading: false,
            stale: false,
            complete: false,
            bottom: None,
            selected: None,
            divider: None,
            unread,
            found: None,
            going_to: None,
        }
    }

    pub(crate) fn index_of(&self, message: MessageRef) -> Option<usize> {
        self.messages.iter().rposition(|known| known.reference() == message)
    }

    pub(crate) fn message(&self, message: MessageRef) -> Option<&Message> {
        self.messages.get(self.index_of(message)?)
    }

    /// The message that is chosen.
    pub(crate) fn chosen(&self) -> Option<&Message> {
        self.message(self.selected?)
    }
}

impl Model {
    pub(crate) fn new(account: AccountId, username: String, options: Options) -> Self {
        Self {
            names: HashMap::from([(account, username.clone())]),
            account,
            username,
            options,
            size: (80, 24),
            now_ms: 0,
            online: false,
            attended: true,
            conversations: Vec::new(),
            list_loading: false,
            list_stale: false,
            choice: 0,
            open: None,
            writings: HashMap::new(),
            focus: Focus::List,
            overlay: None,
            vim: Vim::default(),
            notice: None,
            typing: BTreeMap::new(),
            told_ms: 0,
            transfers: BTreeMap::new(),
            last_transfer: 0,
        }
    }

    pub(crate) fn info(&self, id: ConversationId) -> Option<&ConversationInfo> {
        self.conversations.iter().find(|info| info.id == id)
    }

    pub(crate) fn open_info(&self) -> Option<&ConversationInfo> {
        self.info(self.open.as_ref()?.id)
    }

    /// What is being written in the open conversation.
    pub(crate) fn writing(&self) -> Option<&Writing> {
        self.writings.get(&self.open.as_ref()?.id)
    }

    pub(crate) fn writing_mut(&mut self) -> Option<&mut Writing> {
        Some(self.writings.entry(self.open.as_ref()?.id).or_default())
    }

    /// What an account is called.
    pub(crate) fn name(&self, account: AccountId) -> String {
        if account == self.account {
            return "you".to_owned();
        }
        text::name(self.names.get(&account).map(String::as_str), &account.to_string())
    }

    /// Who else is writing in a conversation now.
    pub(crate) fn typing_in(&self, id: ConversationId) -> impl Iterator<Item = AccountId> {
        let here = self.typing.range((id, AccountId([0; 16]))..=(id, AccountId([0xff; 16])));
        here.filter(|(_, until_ms)| **until_ms > self.now_ms).map(|((_, account), _)| *account)
    }

    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.tell(text.into(), false);
    }

    pub(crate) fn complain(&mut self, text: impl Into<String>) {
        self.tell(text.into(), true);
    }

    fn tell(&mut self, text: String, bad: bool) {
        self.notice = Some(Notice { text, bad, until_ms: self.now_ms + NOTICE_MS });
    }

    /// A number for a file that sets out.
    pub(crate) fn transfer(&mut self, name: String, up: bool) -> u64 {
        self.last_transfer += 1;
        self.transfers.insert(self.last_transfer, Transfer { name, up, progress: None });
        self.last_transfer
    }

    /// Whether the clock matters.
    pub(crate) fn is_waiting(&self) -> bool {
        self.notice.is_some() || !self.typing.is_empty() || self.writings.values().any(|writing| writing.dirty)
    }
}
