//! Keys while something lies over everything: help, a list to choose from, a line to fill in, a question.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use qpc_sdk::{ConversationInfo, Message, MessageRef, MessageState};
use unicode_segmentation::UnicodeSegmentation as _;

use super::{Day, Effect, composer, keys::is_text, open};
use crate::{
    show::title,
    text,
    tui::{
        command::{self, Command, Here},
        files::Entry,
        fuzzy,
        model::{Model, Overlay, Purpose},
    },
};

/// Rows that PgUp and PgDn scroll help and lines by.
const PAGE: usize = 10;
/// Longest line that is filled in, bytes.
const MAX_LINE: usize = 1_024;
/// Emoji that are offered.
const MAX_OFFERED: usize = 8;
/// Emoji that are offered where nothing was typed.
const USUAL: [&str; MAX_OFFERED] = ["👍", "❤️", "😂", "🎉", "😮", "😢", "🙏", "👀"];

pub(super) fn press(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) {
    let Some(mut overlay) = model.overlay.take() else { return };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match (key.code, &mut overlay) {
        (KeyCode::Esc, _) => return,
        (KeyCode::Char('c' | 'q'), _) if control => {
            return super::keys::act(model, super::super::keys::Action::Quit, effects);
        }
        (KeyCode::Enter, _) => return enter(model, overlay, effects),
        (code, Overlay::Help(top) | Overlay::Lines { top, .. }) => match code {
            KeyCode::Up | KeyCode::Char('k') => *top = top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *top += 1,
            KeyCode::PageUp => *top = top.saturating_sub(PAGE),
            KeyCode::PageDown | KeyCode::Char(' ') => *top += PAGE,
            KeyCode::Home | KeyCode::Char('g') => *top = 0,
            KeyCode::Char('q' | '?') | KeyCode::F(1) => return,
            _ => {}
        },
        (code, Overlay::Ask { line, .. }) => match code {
            KeyCode::Char('y' | 'Y') => {
                let open = model.open.as_ref().map(|open| open.id);
                effects.push(Effect::Run(Command::Shared(std::mem::take(line)), open));
                return;
            }
            KeyCode::Char('n' | 'N' | 'q') => return,
            _ => {}
        },
        (code, Overlay::Delete(target)) => match code {
            KeyCode::Char('y' | 'Y') => return delete(model, *target, effects),
            KeyCode::Char('n' | 'N' | 'q') => return,
            _ => {}
        },
        (KeyCode::Backspace, Overlay::Files { folder, query, .. }) if query.is_empty() => {
            if let Some(parent) = folder.parent() {
                effects.push(Effect::Folder(parent.to_owned()));
            }
        }
        (code, Overlay::Links { choice, .. }) => match code {
            KeyCode::Up | KeyCode::BackTab | KeyCode::Char('k') => *choice = choice.saturating_sub(1),
            KeyCode::Down | KeyCode::Tab | KeyCode::Char('j') => *choice += 1,
            KeyCode::Char('q' | 'n') => return,
            _ => {}
        },
        (
            code,
            Overlay::Switcher { query, choice }
            | Overlay::React { query, choice, .. }
            | Overlay::Files { query, choice, .. },
        ) => match code {
            KeyCode::Up | KeyCode::Left | KeyCode::BackTab => *choice = choice.saturating_sub(1),
            KeyCode::Down | KeyCode::Right | KeyCode::Tab => *choice += 1,
            KeyCode::Char('p') if control => *choice = choice.saturating_sub(1),
            KeyCode::Char('n' | 'k') if control => *choice += 1,
            _ if fill(query, key) => *choice = 0,
            _ => {}
        },
        (KeyCode::Backspace, Overlay::Search(line) | Overlay::Command(line)) if line.is_empty() => return,
        (KeyCode::Tab, Overlay::Command(line)) => complete(line),
        (_, Overlay::Search(line) | Overlay::Command(line)) => {
            fill(line, key);
        }
    }
    let most = offered(model, &overlay).saturating_sub(1);
    if let Overlay::Switcher { choice, .. }
    | Overlay::React { choice, .. }
    | Overlay::Files { choice, .. }
    | Overlay::Links { choice, .. } = &mut overlay
    {
        *choice = (*choice).min(most);
    }
    if let Overlay::Help(top) = &mut overlay {
        *top = (*top).min(super::super::view::help_rows(model).len().saturating_sub(1));
    }
    if let Overlay::Lines { top, lines, .. } = &mut overlay {
        *top = (*top).min(lines.len().saturating_sub(1));
    }
    model.overlay = Some(overlay);
}

pub(super) fn paste(model: &mut Model, text: &str) {
    let Some(
        Overlay::Switcher { query: line, .. }
        | Overlay::React { query: line, .. }
        | Overlay::Files { query: line, .. }
        | Overlay::Search(line)
        | Overlay::Command(line),
    ) = &mut model.overlay
    else {
        return;
    };
    for character in text.lines().next().unwrap_or_default().chars().filter(|character| !character.is_control()) {
        if line.len() + character.len_utf8() <= MAX_LINE {
            line.push(character);
        }
    }
}

/// Changes a line; false if the key does not.
fn fill(line: &mut String, key: &KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL) && !is_text(key);
    match key.code {
        KeyCode::Char('u') if control => line.clear(),
        KeyCode::Char('w') if control => {
            let kept = line.trim_end().rfind(' ').map_or(0, |at| at + 1);
            line.truncate(kept);
        }
        KeyCode::Backspace => {
            let kept = line.grapheme_indices(true).next_back().map_or(0, |(at, _)| at);
            line.truncate(kept);
        }
        KeyCode::Char(character) if is_text(key) && line.len() + character.len_utf8() <= MAX_LINE => {
            line.push(character)
        }
        _ => return false,
    }
    true
}

fn offered(model: &Model, overlay: &Overlay) -> usize {
    match overlay {
        Overlay::Switcher { query, .. } => switchable(model, query).len(),
        Overlay::React { query, .. } => signs(query).len(),
        Overlay::Files { entries, query, .. } => fitting(entries, query).len(),
        Overlay::Links { links, .. } => links.len(),
        _ => 0,
    }
}

/// Conversations that fit, the best first.
pub(crate) fn switchable<'a>(model: &'a Model, query: &str) -> Vec<(String, &'a ConversationInfo)> {
    let all = model.conversations.iter().map(|info| (title(info), info)).collect();
    fuzzy::find(all, query.trim_start_matches(['@', '#']), |(title, _)| title)
}

/// Entries of a folder that fit, the best first.
pub(crate) fn fitting<'a>(entries: &'a [Entry], query: &str) -> Vec<&'a Entry> {
    fuzzy::find(entries.iter().collect(), query, |entry| entry.name.as_str())
}

/// Signs that fit: what was typed itself if it is none of letters, or by shortcode and name.
pub(crate) fn signs(query: &str) -> Vec<String> {
    let query = query.trim().trim_matches(':');
    if query.is_empty() {
        return USUAL.map(str::to_owned).to_vec();
    }
    if !query.is_ascii() {
        return vec![query.to_owned()];
    }
    let codes = |emoji: &&'static emojis::Emoji| -> Option<i32> {
        emoji.shortcodes().chain([emoji.name()]).filter_map(|code| fuzzy::score(code, query)).max()
    };
    let mut fitting: Vec<_> = emojis::iter().filter_map(|emoji| Some((codes(&emoji)?, emoji))).collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    fitting.into_iter().take(MAX_OFFERED).map(|(_, emoji)| emoji.as_str().to_owned()).collect()
}

fn complete(line: &mut String) {
    let names = command::FORMS.iter().filter_map(|form| form.names.first());
    let names = names.chain(command::shared().filter_map(|slash| slash.names.first()));
    if let Some(name) = names.into_iter().find(|name| name.starts_with(line.as_str()) && **name != line) {
        *line = format!("{name} ");
    }
}

fn enter(model: &mut Model, overlay: Overlay, effects: &mut Vec<Effect>) {
    match overlay {
        Overlay::Help(_) | Overlay::Lines { .. } => {}
        // The answer that does nothing is the one that a finger slips to.
        Overlay::Ask { .. } | Overlay::Delete(_) => {}
        Overlay::Switcher { query, choice } => {
            if let Some(id) = switchable(model, &query).get(choice).map(|(_, info)| info.id) {
                open(model, id, effects);
            }
        }
        Overlay::React { target, query, choice } => {
            if let Some(sign) = signs(&query).into_iter().nth(choice) {
                react(model, target, sign, effects);
            }
        }
        Overlay::Links { links, choice } => effects.extend(links.into_iter().nth(choice).map(Effect::Browse)),
        Overlay::Files { folder, entries, query, choice } => {
            let Some(entry) = fitting(&entries, &query).get(choice).copied() else { return };
            let path = folder.join(&entry.name);
            if entry.folder {
                effects.push(Effect::Folder(path));
                model.overlay = Some(Overlay::Files { folder, entries, query, choice });
            } else {
                let name = text::label(&entry.name);
                upload(model, name, path, effects);
            }
        }
        Overlay::Search(query) => search(model, query, effects),
        Overlay::Command(line) => {
            if !obey(model, &line, effects) {
                model.overlay = Some(Overlay::Command(line));
            }
        }
    }
}

/// Sends a file in the open conversation; as an answer, where one is being written.
fn upload(model: &mut Model, name: String, path: PathBuf, effects: &mut Vec<Effect>) {
    let Some(conversation) = model.open.as_ref().map(|open| open.id) else { return };
    let transfer = model.transfer(name, true);
    let mut reply_to = None;
    if let Some(writing) = model.writing_mut()
        && let Purpose::Reply(target) = writing.purpose
    {
        reply_to = Some(target);
        writing.purpose = Purpose::Message;
    }
    effects.push(Effect::Upload { transfer, conversation, path, reply_to });
}

fn search(model: &mut Model, query: String, effects: &mut Vec<Effect>) {
    match &model.open {
        Some(open) if !query.trim().is_empty() => effects.push(Effect::Search(open.id, query.trim().to_owned())),
        _ => {}
    }
}

/// Puts a sign under a message, or takes the own one away.
pub(super) fn react(model: &mut Model, target: MessageRef, sign: String, effects: &mut Vec<Effect>) {
    let Some(open) = &model.open else { return };
    let mut reactions = open.message(target).into_iter().flat_map(|message| &message.reactions);
    let own = reactions.any(|known| known.emoji == sign && known.accounts.contains(&model.account));
    effects.push(Effect::React(open.id, target, sign, own));
}

fn delete(model: &mut Model, target: MessageRef, effects: &mut Vec<Effect>) {
    let Some(open) = &model.open else { return };
    // Nobody else has what was not sent.
    let unsent = |message: &&Message| matches!(message.state, MessageState::Queued | MessageState::Failed);
    effects.push(match open.message(target).filter(unsent) {
        Some(message) => Effect::Cancel(open.id, message.id),
        None => Effect::Delete(open.id, target),
    });
}

/// Does what a line says; false if it is not understood, and then says why.
pub(super) fn obey(model: &mut Model, line: &str, effects: &mut Vec<Effect>) -> bool {
    let command = match command::parse(line) {
        Ok(command) => command,
        Err(slip) => {
            model.complain(slip);
            return false;
        }
    };
    let id = model.open.as_ref().map(|open| open.id);
    match command {
        Command::Help => model.overlay = Some(Overlay::Help(0)),
        Command::Quit => super::keys::act(model, super::super::keys::Action::Quit, effects),
        Command::Theme(theme) => model.options.theme = theme,
        Command::Keymap(keymap) => {
            model.options.keymap = keymap;
            model.vim.cancel();
        }
        Command::Editor => composer::lend(model, effects),
        Command::Bell(bell) => model.options.bell = bell,
        Command::Pictures(pictures) => model.options.pictures = pictures,
        Command::Search(query) => search(model, query, effects),
        Command::Date(day) => match id {
            Some(id) => effects.push(Effect::Day(id, Day::Since(day))),
            None => model.complain("no conversation is open"),
        },
        Command::Switch(name) => {
            let name = name.trim_start_matches(['@', '#']);
            let best = switchable(model, name).into_iter().next().map(|(_, info)| info.id);
            match best {
                Some(id) => open(model, id, effects),
                // A number of the list that was shown.
                None if name.parse::<usize>().is_ok() => {
                    effects.push(Effect::Run(Command::Switch(name.to_owned()), id))
                }
                None => model.complain(format!("no conversation like {name:?}")),
            }
        }
        Command::Here(_) if id.is_none() => model.complain("no conversation is open"),
        Command::Here(Here::Report(note)) => match model.open.as_ref().and_then(|open| Some((open.id, open.selected?)))
        {
            Some((id, target)) => effects.push(Effect::Report(id, target, note)),
            None => model.complain("choose the message first (Tab), then : and report"),
        },
        Command::Here(Here::Info) => {
            if let Some(info) = model.open_info() {
                model.overlay = Some(about(info));
            }
        }
        Command::Shared(line) => match command::action(&line).and_then(|action| action.asks()) {
            Some(question) => model.overlay = Some(Overlay::Ask { question, line }),
            None => effects.push(Effect::Run(Command::Shared(line), id)),
        },
        command => effects.push(Effect::Run(command, id)),
    }
    true
}

fn about(info: &ConversationInfo) -> Overlay {
    let mut lines = vec![
        format!("kind      {}", super::super::timeline::kind(info.kind)),
        format!("id        {}", info.id),
        format!("suite     {}", info.suite),
        format!("epoch     {}", info.epoch),
        format!("messages  {}", info.messages),
    ];
    if info.expires_after_ms > 0 {
        lines.push(format!("stays     {} after it was read", command::duration(info.expires_after_ms)));
    }
    if info.missing > 0 {
        lines.push(format!("missing   {}", info.missing));
    }
    if info.stuck {
        lines.push("state     being repaired".to_owned());
    }
    Overlay::Lines { title: title(info), lines, top: 0 }
}
