//! Keys, where nothing lies over everything.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Effect, composer, drop_purpose, keep_drafts, messages, open, overlay, read_what_is_seen};
use crate::tui::{
    areas::Areas,
    keys::{self, Action, Keymap, Place},
    model::{Focus, Model, Overlay},
    vim::Came,
};

pub(super) fn press(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    if model.overlay.is_some() {
        return overlay::press(model, key, effects);
    }
    if vim_took(model, key, effects) {
        return;
    }
    let place = place(model);
    match keys::find(place, key) {
        Some(action) => act(model, action, effects),
        None => match (place, key.code) {
            (Place::Composer, KeyCode::Char(character)) if is_text(key) => {
                composer::insert(model, character.encode_utf8(&mut [0; 4]), effects);
            }
            _ => {}
        },
    }
}

pub(super) fn paste(model: &mut Model, text: &str, effects: &mut Vec<Effect>) {
    if model.overlay.is_some() {
        return overlay::paste(model, text);
    }
    if model.open.is_some() {
        model.focus = Focus::Composer;
        composer::insert(model, text, effects);
    }
}

/// A character that is typed; AltGr comes as both modifiers.
pub(super) fn is_text(key: &KeyEvent) -> bool {
    let steering = key.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT);
    steering.is_empty() || steering == KeyModifiers::CONTROL | KeyModifiers::ALT
}

pub(crate) fn place(model: &Model) -> Place {
    match model.focus {
        Focus::Composer if model.open.is_none() => Place::List,
        Focus::Composer if model.options.keymap == Keymap::Vim && !model.vim.inserting => Place::Normal,
        Focus::Composer => Place::Composer,
        Focus::Messages => Place::Messages,
        Focus::List => Place::List,
    }
}

/// What the vim keymap alone understands.
fn vim_took(model: &mut Model, key: &KeyEvent, effects: &mut Vec<Effect>) -> bool {
    let KeyCode::Char(character) = key.code else { return false };
    if model.options.keymap != Keymap::Vim || !is_text(key) {
        return false;
    }
    match place(model) {
        Place::Normal => {
            if !model.vim.is_pending() && keys::find(Place::Normal, key).is_some() {
                return false;
            }
            let width = Areas::of(model).writing_width();
            let mut vim = std::mem::take(&mut model.vim);
            let came = composer::change(model, effects, |composer| vim.key(character, composer, width));
            model.vim = vim;
            match came.unwrap_or(Came::Nothing) {
                Came::Done | Came::Nothing => {}
                Came::Up(count) => messages::choose(model, -(count as isize)),
                Came::Top => act(model, Action::Top, effects),
                Came::Bottom => act(model, Action::Bottom, effects),
            }
            true
        }
        Place::Messages => match character {
            'i' | 'a' => {
                write(model);
                model.vim.inserting = true;
                true
            }
            character => model.vim.digit(character),
        },
        Place::Anywhere | Place::Composer | Place::List => false,
    }
}

/// From the messages to what is being written.
pub(super) fn write(model: &mut Model) {
    model.focus = Focus::Composer;
    model.vim.cancel();
    if let Some(open) = &mut model.open {
        open.selected = None;
    }
}

pub(super) fn act(model: &mut Model, action: Action, effects: &mut Vec<Effect>) {
    match action {
        Action::Quit => {
            keep_drafts(model, effects);
            effects.push(Effect::Quit);
        }
        Action::Editor => composer::lend(model, effects),
        Action::Suspend => effects.push(Effect::Suspend),
        Action::Redraw => effects.push(Effect::Redraw),
        Action::Help => model.overlay = Some(Overlay::Help(0)),
        Action::Switcher => model.overlay = Some(Overlay::Switcher { query: String::new(), choice: 0 }),
        Action::Command => model.overlay = Some(Overlay::Command(String::new())),
        Action::Search if model.open.is_some() => model.overlay = Some(Overlay::Search(String::new())),
        Action::NextConversation => step(model, 1, effects),
        Action::PreviousConversation => step(model, -1, effects),
        Action::NextUnread => {
            let unread = model.conversations.iter().filter(|info| info.unread > 0);
            match unread.max_by_key(|info| (info.for_us > 0, info.last_at_ms)).map(|info| info.id) {
                Some(id) => open(model, id, effects),
                None => model.say("nothing is unread"),
            }
        }
        Action::Files if model.open_info().is_some_and(|info| info.active) => {
            effects.push(Effect::Folder(PathBuf::from(".")));
        }
        Action::Back => back(model, effects),
        Action::ToMessages => messages::choose(model, -1),
        Action::ToList => {
            model.focus = Focus::List;
            if let Some(open) = &mut model.open {
                open.selected = None;
            }
        }
        Action::ToComposer if model.open.is_some() => {
            write(model);
            read_what_is_seen(model, effects);
        }
        Action::Up | Action::Down => {
            let by = model.vim.take_count() as isize * if action == Action::Up { -1 } else { 1 };
            match model.focus {
                Focus::List => choose_row(model, by),
                _ => messages::choose(model, by),
            }
        }
        Action::Open => {
            if let Some(info) = model.conversations.get(model.choice) {
                open(model, info.id, effects);
            }
        }
        Action::Top | Action::Bottom => ends(model, action == Action::Top, effects),
        Action::PageUp | Action::PageDown => {
            let rows = isize::from(Areas::of(model).timeline.height as i16 - 1).max(1);
            messages::scroll(model, if action == Action::PageUp { -rows } else { rows }, effects);
        }
        Action::Send | Action::Newline | Action::Complete | Action::Write(_) => composer::act(model, action, effects),
        Action::Reply
        | Action::Edit
        | Action::Delete
        | Action::React
        | Action::Copy
        | Action::Info
        | Action::Save
        | Action::Links
        | Action::Jump
        | Action::FoundNext
        | Action::FoundBefore
        | Action::DayBefore
        | Action::DayAfter => messages::act(model, action, effects),
        Action::Files | Action::Search | Action::ToComposer | Action::Vim => {}
    }
}

/// Esc: of what was begun last.
fn back(model: &mut Model, effects: &mut Vec<Effect>) {
    let vim = model.options.keymap == Keymap::Vim;
    if vim && model.focus == Focus::Composer && model.vim.inserting {
        model.vim.inserting = false;
        return;
    }
    if model.vim.cancel() || model.notice.take().is_some() {
        return;
    }
    match model.focus {
        Focus::Messages => write(model),
        Focus::List if model.open.is_some() => write(model),
        _ => {
            if drop_purpose(model) {
                return;
            }
            let Some(open) = &mut model.open else { return };
            if open.found.take().is_none() {
                open.bottom = None;
                read_what_is_seen(model, effects);
            }
        }
    }
}

fn ends(model: &mut Model, top: bool, effects: &mut Vec<Effect>) {
    if model.focus == Focus::List || model.open.is_none() {
        model.choice = if top { 0 } else { model.conversations.len().saturating_sub(1) };
        return;
    }
    let writes = place(model) == Place::Composer && model.writing().is_some_and(|writing| !writing.composer.is_empty());
    if writes {
        let to = if top { keys::Write::LineStart } else { keys::Write::LineEnd };
        return composer::act(model, Action::Write(to), effects);
    }
    messages::end(model, top, effects);
}

/// Another row of the list.
pub(super) fn choose_row(model: &mut Model, by: isize) {
    let last = model.conversations.len().saturating_sub(1);
    model.choice = model.choice.saturating_add_signed(by).min(last);
}

/// Another conversation.
fn step(model: &mut Model, by: isize, effects: &mut Vec<Effect>) {
    let id = model.open.as_ref().map(|open| open.id);
    let at = model.conversations.iter().position(|info| Some(info.id) == id);
    let to = at.map_or(0, |at| at.saturating_add_signed(by).min(model.conversations.len().saturating_sub(1)));
    if let Some(info) = model.conversations.get(to) {
        open(model, info.id, effects);
    }
}
