//! What becomes of the model by what happens, and what is to be done then. Nothing here touches the network, the store or the
//! terminal: that is [`Effect`]s, which [`super::driver`] carries out.

mod composer;
mod events;
mod keys;
mod messages;
mod mouse;
mod overlay;

use std::path::PathBuf;

use crossterm::event::Event as Terminal;
use qpc_sdk::{ConversationId, ConversationInfo, Draft, Event, Member, Message, MessageId, MessageRef, Progress};

pub(crate) use self::{
    keys::place,
    overlay::{fitting, signs, switchable},
};
use super::{
    areas::Areas,
    command::Command,
    files::Entry,
    keys::Keymap,
    model::{Focus, Model, Open, Overlay, Pictures, Purpose},
    timeline::Timeline,
};
use crate::text;

/// A file as a message tells of it.
pub(crate) type FileOfMessage = qpc_wire::content::Attachment;

/// Something happened.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Input {
    /// The sitting begins.
    Begin,
    /// At the terminal.
    Terminal(Terminal),
    /// At the client.
    Sdk(Event),
    /// What was asked for is here.
    Answer(Answer),
    /// Time passes.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// Connects, and goes on trying.
    Connect,
    Conversations,
    Messages(ConversationId, u32),
    Members(ConversationId),
    Send(ConversationId, Draft),
    Edit(ConversationId, MessageRef, String),
    Delete(ConversationId, MessageRef),
    /// Puts a sign under a message, or takes it away.
    React(ConversationId, MessageRef, String, bool),
    Report(ConversationId, MessageRef, String),
    /// Looks into a folder.
    Folder(PathBuf),
    /// Brings a file to the server and sends a message with it.
    Upload {
        transfer: u64,
        conversation: ConversationId,
        path: PathBuf,
        reply_to: Option<MessageRef>,
    },
    /// Takes a file from the server into a folder.
    Download {
        transfer: u64,
        file: Box<FileOfMessage>,
        folder: PathBuf,
    },
    Typing(ConversationId, bool),
    /// Keeps a draft.
    Keep(ConversationId, Draft),
    Read(ConversationId),
    Search(ConversationId, String),
    /// Finds where a day begins.
    Day(ConversationId, Day),
    /// Sends a message again that was refused.
    Retry(ConversationId, MessageId),
    /// Takes a message back that was not sent.
    Cancel(ConversationId, MessageId),
    Run(Command, Option<ConversationId>),
    /// To the clipboard.
    Copy(String),
    /// Gives a link to a program.
    Browse(String),
    /// Lends the terminal to an editor, with a text that is being written.
    Editor(ConversationId, String),
    /// Calls the person, with a line.
    Ring(String),
    Redraw,
    Suspend,
    /// Ends, with an exit code of what the client said.
    Quit,
    Refused(std::sync::Arc<qpc_sdk::Error>),
}

/// A day of a conversation, counted from that of time 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Day {
    /// The last one before it on which something was written.
    Before(u64),
    /// It, or the first one after it on which something was written.
    Since(u64),
}

impl Day {
    /// The first message of it, of messages in their order.
    pub(crate) fn find(self, messages: &[Message]) -> Option<usize> {
        let day = |message: &Message| text::day_of(message.sent_at_ms);
        match self {
            Self::Since(wanted) => messages.iter().position(|message| day(message) >= wanted),
            Self::Before(wanted) => {
                let last = messages.iter().rposition(|message| day(message) < wanted)?;
                let same = messages[..=last].iter().rev().take_while(|message| day(message) == day(&messages[last]));
                Some(last + 1 - same.count())
            }
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Conversations(Vec<ConversationInfo>),
    Messages(ConversationId, u32, Vec<Message>, Pictures),
    Members(ConversationId, Vec<Member>),
    Drafts(Vec<(ConversationId, Draft)>),
    /// What has a text, oldest first, each with its distance from the newest.
    Found(ConversationId, String, Vec<(MessageRef, u32)>),
    /// Where a day begins, with its distance from the newest.
    Day(ConversationId, Option<(MessageRef, u32)>),
    Opened(ConversationId),
    /// Something was said in a conversation, or it is otherwise than it was.
    Written(ConversationId),
    Changed(ConversationId),
    Lines(String, Vec<String>),
    Said(String),
    Failed(String),
    Folder(PathBuf, Vec<Entry>),
    Progress(u64, Progress),
    /// A file has come to where it was to go, with a line about that, or has not.
    Arrived(u64, Result<String, String>),
    /// A text that was not taken, and why.
    NotSent(ConversationId, Draft, String),
    /// What an editor has made of a text, or why nothing.
    Edited(ConversationId, Result<String, String>),
    /// A draft that is to be kept later.
    NotKept(ConversationId),
}

/// See the module. `now_ms`: Unix milliseconds.
pub(crate) fn update(model: &mut Model, now_ms: u64, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    model.now_ms = now_ms;
    match input {
        Input::Terminal(Terminal::Key(key)) => keys::press(model, &key, &mut effects),
        Input::Terminal(Terminal::Paste(text)) => keys::paste(model, &text, &mut effects),
        Input::Terminal(Terminal::Mouse(event)) => mouse::point(model, &event, &mut effects),
        Input::Terminal(Terminal::Resize(columns, rows)) => model.size = (columns, rows),
        Input::Terminal(Terminal::FocusGained) => {
            model.attended = true;
            read_what_is_seen(model, &mut effects);
        }
        Input::Terminal(Terminal::FocusLost) => model.attended = false,
        Input::Sdk(event) => events::happened(model, event, &mut effects),
        Input::Answer(answer) => answered(model, answer, &mut effects),
        Input::Begin => {
            ask_list(model, &mut effects);
            effects.push(Effect::Connect);
        }
        Input::Tick => tick(model, &mut effects),
    }
    load_older(model, &mut effects);
    effects
}

fn tick(model: &mut Model, effects: &mut Vec<Effect>) {
    let now_ms = model.now_ms;
    model.typing.retain(|_, until_ms| *until_ms > now_ms);
    model.notice = model.notice.take().filter(|notice| notice.until_ms > now_ms);
    keep_drafts(model, effects);
}

/// Has the store keep what was written since the last time.
pub(crate) fn keep_drafts(model: &mut Model, effects: &mut Vec<Effect>) {
    for (id, writing) in model.writings.iter_mut().filter(|(_, writing)| writing.dirty) {
        writing.dirty = false;
        effects.push(Effect::Keep(*id, writing.draft()));
    }
    let open = model.open.as_ref().map(|open| open.id);
    model.writings.retain(|id, writing| !writing.is_idle() || open == Some(*id));
}

fn answered(model: &mut Model, answer: Answer, effects: &mut Vec<Effect>) {
    match answer {
        Answer::Conversations(conversations) => took_list(model, conversations, effects),
        Answer::Messages(id, limit, messages, pictures) => {
            messages::took(model, id, limit, (messages, pictures), effects);
        }
        Answer::Members(id, members) => {
            let named = members.iter().filter_map(|member| Some((member.account, member.name.clone()?)));
            model.names.extend(named);
            if let Some(open) = model.open.as_mut().filter(|open| open.id == id) {
                open.members = members;
            }
        }
        Answer::Drafts(drafts) => {
            for (id, draft) in drafts {
                model.writings.entry(id).or_default().restore(draft);
            }
        }
        Answer::Found(id, query, hits) => messages::found(model, id, query, hits, effects),
        Answer::Day(id, found) => messages::to_day(model, id, found, effects),
        Answer::Opened(id) => open(model, id, effects),
        Answer::Written(id) => {
            ask_list(model, effects);
            if is_open(model, id) {
                ask_messages(model, effects);
            }
        }
        Answer::Changed(id) => {
            ask_list(model, effects);
            if is_open(model, id) {
                effects.push(Effect::Members(id));
            }
        }
        Answer::Edited(id, Ok(text)) => composer::edited(model, id, &text),
        Answer::Edited(_, Err(why)) => model.complain(why),
        Answer::NotKept(id) => model.writings.entry(id).or_default().dirty = true,
        Answer::Lines(title, lines) => {
            model.overlay = Some(Overlay::Lines { title, lines, top: 0 });
            // Whatever they are about may have been changed.
            ask_list(model, effects);
        }
        Answer::Said(text) => model.say(text),
        Answer::Folder(folder, entries) => {
            model.overlay = Some(Overlay::Files { folder, entries, query: String::new(), choice: 0 });
        }
        Answer::Progress(transfer, progress) => {
            if let Some(transfer) = model.transfers.get_mut(&transfer) {
                transfer.progress = Some(progress);
            }
        }
        Answer::Arrived(transfer, result) => {
            model.transfers.remove(&transfer);
            match result {
                Ok(line) => model.say(line),
                Err(why) => model.complain(why),
            }
            ask_list(model, effects);
            ask_messages(model, effects);
        }
        Answer::Failed(why) => {
            // It may have been one of these.
            model.list_loading = false;
            if let Some(open) = &mut model.open {
                open.loading = false;
            }
            model.complain(why);
        }
        Answer::NotSent(id, draft, why) => {
            model.complain(why);
            let writing = model.writings.entry(id).or_default();
            if writing.composer.is_empty() {
                writing.restore(draft);
                writing.dirty = true;
            }
        }
    }
}

fn took_list(model: &mut Model, conversations: Vec<ConversationInfo>, effects: &mut Vec<Effect>) {
    let chosen = model.conversations.get(model.choice).map(|info| info.id);
    for info in &conversations {
        if let (Some(peer), Some(name)) = (info.peer, &info.peer_name) {
            model.names.insert(peer, name.clone());
        }
    }
    model.conversations = conversations;
    let stays = chosen.and_then(|id| model.conversations.iter().position(|info| info.id == id));
    model.choice = stays.unwrap_or(0);
    model.list_loading = false;
    if std::mem::take(&mut model.list_stale) {
        ask_list(model, effects);
    }
    read_what_is_seen(model, effects);
}

/// Asks for the list; once more when it is here, if it was asked for already.
pub(crate) fn ask_list(model: &mut Model, effects: &mut Vec<Effect>) {
    if model.list_loading {
        model.list_stale = true;
    } else {
        model.list_loading = true;
        effects.push(Effect::Conversations);
    }
}

/// The same for the messages of the open conversation.
fn ask_messages(model: &mut Model, effects: &mut Vec<Effect>) {
    let Some(open) = &mut model.open else { return };
    if open.loading {
        open.stale = true;
    } else {
        open.loading = true;
        effects.push(Effect::Messages(open.id, open.limit));
    }
}

fn is_open(model: &Model, id: ConversationId) -> bool {
    model.open.as_ref().is_some_and(|open| open.id == id)
}

/// Opens a conversation. What was begun in the one before is kept.
fn open(model: &mut Model, id: ConversationId, effects: &mut Vec<Effect>) {
    model.overlay = None;
    model.focus = Focus::Composer;
    model.vim.cancel();
    if model.options.keymap == Keymap::Vim {
        model.vim.inserting = false;
    }
    if let Some(row) = model.conversations.iter().position(|info| info.id == id) {
        model.choice = row;
    } else {
        ask_list(model, effects);
    }
    if is_open(model, id) {
        return;
    }
    keep_drafts(model, effects);
    let unread = model.info(id).map_or(0, |info| info.unread);
    model.open = Some(Open::new(id, unread));
    ask_messages(model, effects);
    effects.push(Effect::Members(id));
}

/// Asks for older messages where the first one that is loaded is seen.
fn load_older(model: &mut Model, effects: &mut Vec<Effect>) {
    let areas = Areas::of(model);
    let Some(timeline) = Timeline::new(model, areas.timeline.width) else { return };
    let at_top = timeline.window(usize::from(areas.timeline.height)).first().is_none_or(|first| *first == (0, 0));
    let Some(open) = &mut model.open else { return };
    if at_top && open.bottom.is_some() && !open.complete && !open.loading {
        open.limit = (open.limit + super::model::PAGE).min(super::model::MAX_LOADED);
        open.loading = true;
        effects.push(Effect::Messages(open.id, open.limit));
    }
}

/// Whoever looks at the end of a conversation has read it.
fn read_what_is_seen(model: &mut Model, effects: &mut Vec<Effect>) {
    let Some(open) = model.open.as_ref().filter(|open| open.bottom.is_none() && !open.loading) else { return };
    let id = open.id;
    if !model.attended || model.focus == Focus::List && Areas::of(model).timeline.is_empty() {
        return;
    }
    if let Some(info) = model.conversations.iter_mut().find(|info| info.id == id && info.unread > 0) {
        (info.unread, info.for_us) = (0, 0);
        effects.push(Effect::Read(id));
    }
}

/// Lets go of the purpose of what is being written.
fn drop_purpose(model: &mut Model) -> bool {
    let Some(writing) = model.writing_mut() else { return false };
    match std::mem::take(&mut writing.purpose) {
        Purpose::Message => false,
        Purpose::Reply(_) => {
            writing.dirty = true;
            true
        }
        Purpose::Edit(_) => {
            writing.composer = writing.aside.take().unwrap_or_default();
            true
        }
    }
}
