//! The composer, and the line above it that says what the text will be.

use qpc_sdk::Standing;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::Line,
};

use super::{put, span};
use crate::{
    show::title,
    tui::{
        areas::{Areas, PROMPT},
        glyph,
        keys::{Keymap, Place},
        model::{Focus, Model, Open, Purpose},
        theme::Role,
        timeline::excerpt,
        update::place,
    },
};

/// The first row of the composer that is seen in so many, so that the one of the cursor is.
pub(crate) fn first_composer_row(cursor: usize, height: usize) -> usize {
    (cursor + 1).saturating_sub(height.max(1))
}

pub(super) fn draw(model: &Model, areas: &Areas, buffer: &mut Buffer) -> Option<Position> {
    let open = model.open.as_ref()?;
    rule(model, open, areas.rule, buffer);
    let area = areas.composer;
    let info = model.open_info();
    let focused = model.focus == Focus::Composer;
    if info.is_some_and(|info| !info.active) {
        put(buffer, area, 0, &Line::from(span(model, "  nothing can be written here", Role::Faint)));
        return None;
    }
    let prompt = span(model, "› ", if focused { Role::Key } else { Role::Faint });
    put(buffer, area, 0, &Line::from(prompt));
    let text = Rect { x: area.x + PROMPT.min(area.width), width: area.width.saturating_sub(PROMPT), ..area };
    let Some(composer) = model.writing().map(|writing| &writing.composer).filter(|composer| !composer.is_empty())
    else {
        if let Some(info) = info {
            let hint = match info.standing {
                Standing::Requested => "a stranger: /accept, /decline, or write".to_owned(),
                _ if info.blocked => format!("{} is blocked; /unblock takes that back", title(info)),
                _ => format!("write to {}", title(info)),
            };
            let hint = glyph::cut(&hint, usize::from(text.width));
            put(buffer, text, 0, &Line::from(span(model, hint, Role::Faint)));
        }
        return focused.then_some(Position::new(text.x, text.y));
    };
    let width = areas.writing_width();
    let (row, column) = composer.place(width);
    let first = first_composer_row(row, usize::from(area.height));
    for (at, range) in (0..area.height).zip(composer.rows(width).into_iter().skip(first)) {
        let line = glyph::plain(&composer.text()[range]);
        put(buffer, text, at, &Line::from(span(model, line, Role::Text)));
    }
    focused.then_some(Position::new(text.x + column as u16, text.y + (row - first) as u16))
}

fn rule(model: &Model, open: &Open, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let said = |target| match open.message(target) {
        Some(message) => format!("{}: {}", model.name(message.sender), excerpt(message)),
        None => "a message that is not here".to_owned(),
    };
    let purpose = match model.writing().map(|writing| writing.purpose) {
        Some(Purpose::Reply(target)) => format!("reply to {}", said(target)),
        Some(Purpose::Edit(target)) => format!("edit {}", said(target)),
        Some(Purpose::Message) | None => String::new(),
    };
    let mode = match (model.options.keymap, place(model)) {
        (Keymap::Plain, _) => "",
        (Keymap::Vim, Place::Composer) => "INSERT",
        (Keymap::Vim, _) => "NORMAL",
    };
    let words = [mode, &purpose].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" · ");
    let mut line = vec![span(model, "──", Role::Faint)];
    let mut used = 2;
    if !words.is_empty() {
        let words = format!(" {} ", glyph::cut(&words, width.saturating_sub(6)));
        used += glyph::width(&words);
        line.push(span(model, words, Role::Strong));
    }
    line.push(span(model, "─".repeat(width.saturating_sub(used)), Role::Faint));
    put(buffer, area, 0, &Line::from(line));
}
