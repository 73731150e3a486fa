//! The messages of the open conversation: choosing, scrolling, what is done with one, what a search has found.

use std::path::PathBuf;

use linkify::{LinkFinder, LinkKind};
use qpc_sdk::{ConversationId, Message, MessageKind, MessageRef, MessageState};

use super::{Day, Effect, ask_messages, read_what_is_seen};
use crate::{
    text,
    tui::{
        areas::Areas,
        composer::Composer,
        keys::{Action, Keymap},
        model::{Focus, Found, MAX_LOADED, Model, Overlay, PAGE, Pictures, Purpose},
        timeline::Timeline,
    },
};

/// Messages around one that was found.
const AROUND: u32 = 50;

/// Messages have come.
pub(super) fn took(
    model: &mut Model,
    id: ConversationId,
    limit: u32,
    (messages, pictures): (Vec<Message>, Pictures),
    effects: &mut Vec<Effect>,
) {
    let Some(open) = model.open.as_mut().filter(|open| open.id == id) else { return };
    for message in &messages {
        if let Some(name) = &message.sender_name {
            model.names.insert(message.sender, name.clone());
        }
    }
    open.complete = messages.len() < limit as usize || limit >= MAX_LOADED;
    (open.messages, open.pictures) = (messages, pictures);
    open.loading = false;
    if open.selected.is_some_and(|selected| open.index_of(selected).is_none()) {
        open.selected = None;
    }
    if open.bottom.is_some_and(|(message, _)| open.index_of(message).is_none()) {
        open.bottom = None;
    }
    divide(model);
    let open = model.open.as_mut().filter(|open| open.id == id);
    if let Some(target) = open.and_then(|open| open.going_to.take()) {
        go_to(model, target, None, effects);
    }
    if model.open.as_mut().is_some_and(|open| std::mem::take(&mut open.stale)) {
        ask_messages(model, effects);
    }
    read_what_is_seen(model, effects);
}

/// Finds the first unread message, and begins there.
fn divide(model: &mut Model) {
    let Some(open) = &mut model.open else { return };
    let wanted = std::mem::take(&mut open.unread);
    let unread = |message: &&Message| {
        message.state == MessageState::Received && matches!(message.kind, MessageKind::Text | MessageKind::Unknown)
    };
    let Some(last) = wanted.checked_sub(1) else { return };
    let first = open.messages.iter().rev().filter(unread).nth(last as usize).map(Message::reference);
    open.divider = first;
    if let Some(first) = first {
        let areas = Areas::of(model);
        let rows = usize::from(areas.timeline.height);
        let bottom = Timeline::new(model, areas.timeline.width).and_then(|timeline| timeline.showing(first, rows));
        if let Some(open) = &mut model.open {
            open.bottom = bottom;
        }
    }
}

/// What has a text is here.
pub(super) fn found(
    model: &mut Model,
    id: ConversationId,
    query: String,
    hits: Vec<(MessageRef, u32)>,
    effects: &mut Vec<Effect>,
) {
    let Some(open) = model.open.as_mut().filter(|open| open.id == id) else { return };
    let Some(at) = hits.len().checked_sub(1) else {
        return model.complain(format!("nothing here has {:?}", text::label(&query)));
    };
    open.found = Some(Found { query, hits, at });
    go_to_found(model, effects);
}

fn go_to_found(model: &mut Model, effects: &mut Vec<Effect>) {
    let Some(found) = model.open.as_ref().and_then(|open| open.found.as_ref()) else { return };
    let Some((target, depth)) = found.hits.get(found.at).copied() else { return };
    let text = format!("{} of {} · n older · N newer", found.hits.len() - found.at, found.hits.len());
    model.say(text);
    go_to(model, target, Some(depth), effects);
}

/// Chooses a message, and has it loaded first if its distance from the newest is known and it is not here.
fn go_to(model: &mut Model, target: MessageRef, depth: Option<u32>, effects: &mut Vec<Effect>) {
    let Some(open) = &mut model.open else { return };
    if open.index_of(target).is_some() {
        open.selected = Some(target);
        model.focus = Focus::Messages;
        return show_chosen(model);
    }
    let Some(depth) = depth.filter(|depth| *depth >= open.limit && open.limit < MAX_LOADED) else {
        return model.complain("that message is not here");
    };
    open.limit = (depth + AROUND).min(MAX_LOADED);
    open.going_to = Some(target);
    ask_messages(model, effects);
}

/// Chooses the message so many further down; below the last one is the composer.
pub(super) fn choose(model: &mut Model, by: isize) {
    let Some(open) = model.open.as_mut().filter(|open| !open.messages.is_empty()) else { return };
    let len = open.messages.len();
    let from = open.selected.and_then(|selected| open.index_of(selected));
    let to = from.unwrap_or(len).saturating_add_signed(by);
    if to >= len {
        if from.is_some() {
            super::keys::write(model);
            if let Some(open) = &mut model.open {
                open.bottom = None;
            }
        }
        return;
    }
    open.selected = open.messages.get(to).map(Message::reference);
    model.focus = Focus::Messages;
    show_chosen(model);
}

fn show_chosen(model: &mut Model) {
    let areas = Areas::of(model);
    let Some(selected) = model.open.as_ref().and_then(|open| open.selected) else { return };
    let Some(timeline) = Timeline::new(model, areas.timeline.width) else { return };
    let bottom = timeline.showing(selected, usize::from(areas.timeline.height));
    if let Some(open) = &mut model.open {
        open.bottom = bottom;
    }
}

/// Scrolls by so many lines, down where that is positive.
pub(super) fn scroll(model: &mut Model, by: isize, effects: &mut Vec<Effect>) {
    let areas = Areas::of(model);
    let rows = usize::from(areas.timeline.height);
    let Some(timeline) = Timeline::new(model, areas.timeline.width) else { return };
    let bottom = if by < 0 { timeline.up(by.unsigned_abs(), rows) } else { timeline.down(by.unsigned_abs()) };
    if let Some(open) = &mut model.open {
        open.bottom = bottom;
    }
    keep_choice_seen(model, rows, areas.timeline.width);
    trim(model);
    read_what_is_seen(model, effects);
}

/// The chosen message stays among those that are seen.
fn keep_choice_seen(model: &mut Model, rows: usize, width: u16) {
    let Some(selected) = model.open.as_ref().and_then(|open| open.index_of(open.selected?)) else { return };
    let Some(timeline) = Timeline::new(model, width) else { return };
    let window = timeline.window(rows);
    let (Some((first, _)), Some((last, _))) = (window.first(), window.last()) else { return };
    let index = selected.clamp(*first, *last);
    if let Some(open) = &mut model.open {
        open.selected = open.messages.get(index).map(Message::reference);
    }
}

/// Whoever is at the end again does not need what is far above.
fn trim(model: &mut Model) {
    let Some(open) = model.open.as_mut().filter(|open| open.bottom.is_none() && !open.loading) else { return };
    let spare = open.messages.len().saturating_sub(PAGE as usize);
    if spare > PAGE as usize {
        open.messages.drain(..spare);
        (open.limit, open.complete) = (PAGE, false);
    }
}

/// To the oldest message here, or the newest.
pub(super) fn end(model: &mut Model, top: bool, effects: &mut Vec<Effect>) {
    let areas = Areas::of(model);
    let Some(timeline) = Timeline::new(model, areas.timeline.width) else { return };
    let bottom = if top { timeline.top(usize::from(areas.timeline.height)) } else { None };
    let Some(open) = &mut model.open else { return };
    open.bottom = bottom;
    if model.focus == Focus::Messages {
        let message = if top { open.messages.first() } else { open.messages.last() };
        open.selected = message.map(Message::reference);
    }
    trim(model);
    read_what_is_seen(model, effects);
}

/// Up where nothing is written.
pub(super) fn edit_last(model: &mut Model) {
    let Some(open) = &model.open else { return };
    let own = |message: &&Message| message.sender == model.account && message.kind == MessageKind::Text;
    match open.messages.iter().rev().find(own).map(|message| (message.reference(), message.text.clone())) {
        Some((target, text)) => edit(model, target, text),
        None => model.say("nothing of yours is here to edit"),
    }
}

fn edit(model: &mut Model, target: MessageRef, text: String) {
    super::keys::write(model);
    model.vim.inserting = model.options.keymap == Keymap::Vim;
    let Some(writing) = model.writing_mut() else { return };
    let before = std::mem::replace(&mut writing.composer, Composer::new(text));
    if !matches!(writing.purpose, Purpose::Edit(_)) && !before.is_empty() {
        writing.aside = Some(before);
    }
    writing.purpose = Purpose::Edit(target);
}

pub(super) fn act(model: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::FoundNext | Action::FoundBefore => return found_next(model, action == Action::FoundNext, effects),
        Action::DayBefore | Action::DayAfter => return other_day(model, action == Action::DayBefore, effects),
        _ => {}
    }
    let Some((id, message)) = model.open.as_ref().and_then(|open| Some((open.id, open.chosen()?.clone()))) else {
        return;
    };
    let own = message.sender == model.account;
    let gone = matches!(message.kind, MessageKind::Deleted | MessageKind::Expired);
    match action {
        Action::Info => model.overlay = Some(info(model, &message)),
        Action::Jump => match message.reply_to {
            Some(target) => go_to(model, target, None, effects),
            None => model.say("it answers nothing"),
        },
        _ if gone => model.say("nothing is left of it"),
        Action::Reply if own && message.state == MessageState::Failed => {
            effects.push(Effect::Retry(id, message.id));
            model.say("sent again");
        }
        Action::Reply => {
            super::keys::write(model);
            model.vim.inserting = model.options.keymap == Keymap::Vim;
            if let Some(writing) = model.writing_mut() {
                if let Some(aside) = writing.aside.take() {
                    writing.composer = aside;
                }
                writing.purpose = Purpose::Reply(message.reference());
                writing.dirty = true;
            }
        }
        Action::Links => match links(&message.text) {
            links if links.is_empty() => model.say("there is no link in it"),
            links => model.overlay = Some(Overlay::Links { links, choice: 0 }),
        },
        Action::Save if message.attachments.is_empty() => model.say("it has no files"),
        Action::Save => {
            for file in message.attachments {
                let transfer = model.transfer(text::label(&file.name), false);
                effects.push(Effect::Download { transfer, file: Box::new(file), folder: PathBuf::from(".") });
            }
        }
        Action::Edit if own && message.kind == MessageKind::Text => edit(model, message.reference(), message.text),
        Action::Edit => model.complain("only what you wrote can be edited"),
        Action::Delete => model.overlay = Some(Overlay::Delete(message.reference())),
        Action::React => {
            model.overlay = Some(Overlay::React { target: message.reference(), query: String::new(), choice: 0 });
        }
        Action::Copy => {
            effects.push(Effect::Copy(message.text));
            model.say("copied, if your terminal takes OSC 52");
        }
        _ => {}
    }
}

/// The web addresses in a text, each once.
fn links(text: &str) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    for link in LinkFinder::new().kinds(&[LinkKind::Url]).links(text).map(|link| link.as_str()) {
        let is_web = ["https://", "http://"].iter().any(|scheme| link.starts_with(scheme));
        if is_web && !links.iter().any(|known| known == link) {
            links.push(link.to_owned());
        }
    }
    links
}

/// Asks where the day before that of the chosen message begins, or the one after it; of the last message where none is chosen.
fn other_day(model: &mut Model, before: bool, effects: &mut Vec<Effect>) {
    let Some(open) = &model.open else { return };
    let Some(message) = open.chosen().or(open.messages.last()) else { return };
    let day = text::day_of(message.sent_at_ms);
    effects.push(Effect::Day(open.id, if before { Day::Before(day) } else { Day::Since(day + 1) }));
}

/// The begin of a day was found, or there is none.
pub(super) fn to_day(
    model: &mut Model,
    id: ConversationId,
    found: Option<(MessageRef, u32)>,
    effects: &mut Vec<Effect>,
) {
    if !super::is_open(model, id) {
        return;
    }
    match found {
        Some((target, depth)) => go_to(model, target, Some(depth), effects),
        None => model.say("nothing was written then"),
    }
}

fn found_next(model: &mut Model, older: bool, effects: &mut Vec<Effect>) {
    let Some(found) = model.open.as_mut().and_then(|open| open.found.as_mut()) else {
        return model.say("nothing was searched for");
    };
    let len = found.hits.len();
    // Around the end to the other one.
    found.at = if older { found.at.checked_sub(1).unwrap_or(len - 1) } else { (found.at + 1) % len };
    go_to_found(model, effects);
}

fn info(model: &Model, message: &Message) -> Overlay {
    let mut lines = vec![
        format!("from      {} ({})", model.name(message.sender), message.sender),
        format!("device    {}", message.device),
        format!("written   {}", text::time(message.sent_at_ms)),
    ];
    if let Some(at_ms) = message.edited_at_ms {
        lines.push(format!("edited    {}", text::time(at_ms)));
    }
    if message.expires_after_ms > 0 {
        let stays = super::super::command::duration(message.expires_after_ms);
        let until = message.expires_at_ms.map(|at_ms| format!(", until {}", text::time(at_ms))).unwrap_or_default();
        lines.push(format!("stays     {stays} after it was read{until}"));
    }
    let state = match message.state {
        MessageState::Queued => "◷ waits to be sent",
        MessageState::Sent => "◷ on its way to the server",
        MessageState::Accepted => "✓ accepted; the server has signed for it",
        MessageState::Delivered => "✓✓ everybody has it",
        MessageState::Read => "✓✓ everybody has read it",
        MessageState::Failed => "⚠ not sent; r sends it again",
        MessageState::ReceiptRefused => "⚠ the server's receipt does not hold",
        MessageState::Received => "received",
        MessageState::Local => "kept on this device alone",
    };
    lines.push(format!("state     {state}"));
    if message.sender == model.account {
        lines.push(format!("others    {} have it, {} have read it", message.delivered_to, message.read_by));
    }
    for reaction in &message.reactions {
        let names: Vec<_> = reaction.accounts.iter().map(|account| model.name(*account)).collect();
        lines.push(format!("{:<9} {}", reaction.emoji, names.join(", ")));
    }
    lines.push(format!("epoch     {}", message.epoch));
    lines.push(format!("id        {}", message.id));
    Overlay::Lines { title: "Message".to_owned(), lines, top: 0 }
}
