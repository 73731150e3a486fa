//! What is being written.

use qpc_sdk::{ConversationId, ConversationKind, Draft};

use super::{Effect, messages, overlay};
use crate::{
    text,
    tui::{
        areas::Areas,
        command::{FORMS, shared},
        composer::Composer,
        keys::{Action, Write},
        model::{Model, Purpose},
    },
};

/// Time between two words to others that this account is writing, milliseconds.
const TELL_EVERY_MS: u64 = 3_000;
const TOO_LONG: &str = "a message is at most 60 KiB long; the rest was left out";
/// Letters of a shortcode from which on it is completed.
const MIN_SHORTCODE: usize = 2;
/// Candidates that are named.
const MAX_NAMED: usize = 8;

/// Does something to the text, and sees to what follows from it.
pub(super) fn change<T>(
    model: &mut Model,
    effects: &mut Vec<Effect>,
    work: impl FnOnce(&mut Composer) -> T,
) -> Option<T> {
    let now_ms = model.now_ms;
    let writing = model.writing_mut()?;
    let before = writing.composer.text().to_owned();
    let result = work(&mut writing.composer);
    if writing.composer.text() == before {
        return Some(result);
    }
    writing.dirty = !matches!(writing.purpose, Purpose::Edit(_));
    let empty = writing.composer.is_empty();
    let command = writing.composer.text().starts_with('/');
    let Some(info) = model.open_info().filter(|info| info.active && info.kind != ConversationKind::Notes) else {
        return Some(result);
    };
    let id = info.id;
    if empty && model.told_ms > 0 {
        model.told_ms = 0;
        effects.push(Effect::Typing(id, false));
    } else if !empty && !command && now_ms >= model.told_ms.saturating_add(TELL_EVERY_MS) {
        model.told_ms = now_ms;
        effects.push(Effect::Typing(id, true));
    }
    Some(result)
}

pub(super) fn insert(model: &mut Model, text: &str, effects: &mut Vec<Effect>) {
    if change(model, effects, |composer| composer.insert(text)) == Some(false) {
        model.complain(TOO_LONG);
    }
}

pub(super) fn act(model: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::Send => send(model, effects),
        Action::Newline => insert(model, "\n", effects),
        Action::Complete => complete(model, effects),
        Action::Write(write) => edit(model, write, effects),
        _ => {}
    }
}

fn edit(model: &mut Model, write: Write, effects: &mut Vec<Effect>) {
    let empty = model.writing().is_none_or(|writing| writing.composer.is_empty());
    if write == Write::Up && empty {
        return messages::edit_last(model);
    }
    let width = Areas::of(model).writing_width();
    change(model, effects, |composer| match write {
        Write::Left => composer.left(),
        Write::Right => composer.right(),
        Write::Up => {
            composer.vertical(false, width);
        }
        Write::Down => {
            composer.vertical(true, width);
        }
        Write::WordLeft => composer.move_to(composer.word_before()),
        Write::WordRight => composer.move_to(composer.word_after()),
        Write::LineStart => composer.move_to(composer.line().start),
        Write::LineEnd => composer.move_to(composer.line().end),
        Write::Backspace => drop(composer.remove(composer.before(composer.cursor())..composer.cursor())),
        Write::Delete => drop(composer.remove(composer.cursor()..composer.after())),
        Write::DeleteWord => drop(composer.remove(composer.word_before()..composer.cursor())),
        Write::DeleteToStart => {
            let start = composer.line().start;
            // At the begin of a line, its end before it.
            let start = if start == composer.cursor() { composer.before(start) } else { start };
            composer.remove(start..composer.cursor());
        }
        Write::Undo => {
            composer.undo();
        }
    });
}

fn send(model: &mut Model, effects: &mut Vec<Effect>) {
    let Some(id) = model.open.as_ref().map(|open| open.id) else { return };
    let Some(writing) = model.writing_mut() else { return };
    let text = writing.composer.text().to_owned();
    if text.trim().is_empty() {
        return;
    }
    let purpose = writing.purpose;
    let text = match text.strip_prefix('/') {
        // A slip is never sent.
        Some(command) if !command.starts_with('/') && purpose == Purpose::Message => {
            if overlay::obey(model, command, effects) {
                clear(model, id, effects);
            }
            return;
        }
        Some(literal) if literal.starts_with('/') => literal.to_owned(),
        _ => text,
    };
    if model.open_info().is_some_and(|info| !info.active) {
        return model.complain("nothing can be written here");
    }
    match purpose {
        Purpose::Message => effects.push(Effect::Send(id, text.into())),
        Purpose::Reply(target) => {
            effects.push(Effect::Send(id, Draft { text, reply_to: Some(target), ..Draft::default() }))
        }
        Purpose::Edit(target) => effects.push(Effect::Edit(id, target, text)),
    }
    clear(model, id, effects);
    model.told_ms = 0;
    if let Some(open) = &mut model.open {
        open.bottom = None;
        open.divider = None;
    }
}

/// Nothing is being written any more; what was put aside is again.
fn clear(model: &mut Model, id: ConversationId, effects: &mut Vec<Effect>) {
    let writing = model.writings.entry(id).or_default();
    writing.composer.take();
    writing.purpose = Purpose::Message;
    if let Some(aside) = writing.aside.take() {
        writing.composer = aside;
    }
    writing.dirty = false;
    effects.push(Effect::Keep(id, writing.draft()));
}

/// Has an editor go on with what is being written.
pub(super) fn lend(model: &Model, effects: &mut Vec<Effect>) {
    let Some(id) = model.open_info().filter(|info| info.active).map(|info| info.id) else { return };
    let written = model.writing().map_or("", |writing| writing.composer.text());
    // The command that asks for it is no part of it.
    let text = if written.starts_with('/') { "" } else { written };
    effects.push(Effect::Editor(id, text.to_owned()));
}

/// Goes on with what the editor has made of it.
pub(super) fn edited(model: &mut Model, id: ConversationId, text: &str) {
    let writing = model.writings.entry(id).or_default();
    writing.composer = Composer::default();
    let fits = writing.composer.insert(text);
    writing.dirty = !matches!(writing.purpose, Purpose::Edit(_));
    if !fits {
        model.complain(TOO_LONG);
    }
}

/// The word before the cursor, or otherwise the messages.
fn complete(model: &mut Model, effects: &mut Vec<Effect>) {
    let Some(writing) = model.writing() else { return messages::choose(model, -1) };
    let (written, cursor) = (writing.composer.text(), writing.composer.cursor());
    let start = written[..cursor]
        .rfind(char::is_whitespace)
        .map_or(0, |at| at + written[at..].chars().next().map_or(0, char::len_utf8));
    let word = &written[start..cursor];
    let candidates: Vec<String> = match word.chars().next() {
        Some('@') => people(model, &word[1..]).into_iter().map(|name| format!("@{name} ")).collect(),
        Some(':') if word.len() > MIN_SHORTCODE => emoji(&word[1..]),
        Some('/') if start == 0 => {
            let names = FORMS.iter().filter_map(|form| form.names.first());
            let names = names.chain(shared().filter_map(|slash| slash.names.first()));
            names.filter(|name| name.starts_with(&word[1..])).map(|name| format!("/{name} ")).collect()
        }
        _ => return messages::choose(model, -1),
    };
    let named: Vec<_> = candidates.iter().take(MAX_NAMED).map(|candidate| candidate.trim().to_owned()).collect();
    match candidates.into_iter().next() {
        Some(first) => {
            change(model, effects, |composer| composer.replace(start..cursor, &first));
            if named.len() > 1 {
                model.say(format!("also {}", named[1..].join("  ")));
            }
        }
        None => model.complain("nothing begins like that"),
    }
}

/// Names in the open conversation that begin so.
fn people(model: &Model, begin: &str) -> Vec<String> {
    let Some(open) = &model.open else { return Vec::new() };
    let others = open.members.iter().filter(|member| member.account != model.account);
    let names = others.filter_map(|member| member.name.as_deref()).map(text::label);
    names.filter(|name| name.starts_with(begin)).collect()
}

/// Emoji whose shortcode begins so, the shortest first.
fn emoji(begin: &str) -> Vec<String> {
    let begin = begin.trim_end_matches(':').to_lowercase();
    let shortcodes = emojis::iter().flat_map(|emoji| emoji.shortcodes().map(move |code| (code, emoji)));
    let mut fitting: Vec<_> = shortcodes.filter(|(code, _)| code.starts_with(&begin)).collect();
    fitting.sort_by_key(|(code, _)| code.len());
    fitting.into_iter().take(MAX_NAMED).map(|(_, emoji)| emoji.as_str().to_owned()).collect()
}
