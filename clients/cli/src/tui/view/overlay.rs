//! What lies over everything.

use std::ops::Range;

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    style::Style,
    text::Line,
};

use super::{put, span};
use crate::engine::Slash;
use crate::tui::{
    areas::Areas,
    command::{FORMS, shared},
    glyph,
    keys::{self, Keymap, Place},
    model::{Model, Overlay},
    theme::Role,
    timeline::excerpt,
    update::{fitting, signs, switchable},
};

/// Widest box, cells, with its border.
const WIDEST: u16 = 76;
/// Cells for the keys in the help.
const KEYS: usize = 22;
/// Conversations that the switcher shows.
const MAX_SHOWN: usize = 12;

pub(super) fn draw(model: &Model, areas: &Areas, buffer: &mut Buffer) -> Option<Position> {
    match model.overlay.as_ref()? {
        Overlay::Help(top) => {
            let rows = help_rows(model).into_iter().map(|(keys, about)| match about {
                Some(about) => {
                    Line::from(vec![span(model, format!("{keys:<KEYS$} "), Role::Key), span(model, about, Role::Text)])
                }
                None => Line::from(span(model, keys, Role::Strong)),
            });
            boxed(model, "Keys", &rows.skip(*top).collect::<Vec<_>>(), buffer);
            None
        }
        Overlay::Lines { title, lines, top } => {
            let line = |line: &String| Line::from(span(model, glyph::plain(line), Role::Text));
            boxed(model, title, &lines.iter().skip(*top).map(line).collect::<Vec<_>>(), buffer);
            None
        }
        Overlay::Ask { question, line } => {
            let lines = [
                Line::from(span(model, format!("/{}", glyph::plain(line)), Role::Faint)),
                Line::from(span(model, "y do it   n do not", Role::Key)),
            ];
            boxed(model, question, &lines, buffer);
            None
        }
        Overlay::Delete(target) => {
            let said = model.open.as_ref().and_then(|open| open.message(*target)).map(excerpt).unwrap_or_default();
            let lines = [
                Line::from(span(model, glyph::plain(&said), Role::Faint)),
                Line::from(span(model, "All clients are asked to forget it; nobody can make them.", Role::Text)),
                Line::from(span(model, "y delete   n keep", Role::Key)),
            ];
            boxed(model, "Delete this message for all?", &lines, buffer);
            None
        }
        Overlay::Switcher { query, choice } => {
            let found = switchable(model, query);
            let first = (choice + 1).saturating_sub(MAX_SHOWN);
            let rows = found.iter().enumerate().skip(first).take(MAX_SHOWN).map(|(index, (title, info))| {
                let unread = if info.unread > 0 { format!("  {}", info.unread) } else { String::new() };
                let role = if index == *choice { Role::Chosen } else { Role::Text };
                Line::from(vec![span(model, glyph::plain(title), role), span(model, unread, Role::New)])
            });
            let lines: Vec<_> = std::iter::once(field(model, query)).chain(rows).collect();
            let inner = boxed(model, "Go to", &lines, buffer);
            Some(Position::new(inner.x + glyph::width(query) as u16 + 2, inner.y))
        }
        Overlay::Links { links, choice } => {
            let first = (choice + 1).saturating_sub(MAX_SHOWN);
            let rows = links.iter().enumerate().skip(first).take(MAX_SHOWN).flat_map(|(index, link)| {
                let role = if index == *choice { Role::Chosen } else { Role::Text };
                let room = usize::from(model.size.0.min(WIDEST)).saturating_sub(2);
                // Whole, as nobody should open what they have not seen.
                wrapped(link, room).into_iter().map(move |line| Line::from(span(model, line, role)))
            });
            boxed(model, "Open?", &rows.collect::<Vec<_>>(), buffer);
            None
        }
        Overlay::Files { folder, entries, query, choice } => {
            let found = fitting(entries, query);
            let first = (choice + 1).saturating_sub(MAX_SHOWN);
            let rows = found.iter().enumerate().skip(first).take(MAX_SHOWN).map(|(index, entry)| {
                let role = if index == *choice { Role::Chosen } else { Role::Text };
                let size = if entry.folder { "/".to_owned() } else { format!("  {}", crate::text::size(entry.size)) };
                Line::from(vec![span(model, glyph::plain(&entry.name), role), span(model, size, Role::Faint)])
            });
            let lines: Vec<_> = std::iter::once(field(model, query)).chain(rows).collect();
            let inner = boxed(model, &format!("Send from {}", folder.display()), &lines, buffer);
            Some(Position::new(inner.x + glyph::width(query) as u16 + 2, inner.y))
        }
        Overlay::React { query, choice, .. } => {
            let mut spans = Vec::new();
            for (index, sign) in signs(query).into_iter().enumerate() {
                let role = if index == *choice { Role::Chosen } else { Role::Text };
                spans.push(span(model, format!(" {} ", glyph::plain(&sign)), role));
            }
            let lines = [field(model, query), Line::from(spans)];
            let inner = boxed(model, "Emoji, or letters of its name", &lines, buffer);
            Some(Position::new(inner.x + glyph::width(query) as u16 + 2, inner.y))
        }
        Overlay::Search(line) => Some(bottom_line(model, areas, '/', line, buffer)),
        Overlay::Command(line) => Some(bottom_line(model, areas, ':', line, buffer)),
    }
}

fn field(model: &Model, line: &str) -> Line<'static> {
    Line::from(vec![span(model, "› ", Role::Key), span(model, glyph::plain(line), Role::Text)])
}

/// All rows of the help: keys with what they do, and headings without.
pub(crate) fn help_rows(model: &Model) -> Vec<(String, Option<String>)> {
    let mut rows = Vec::new();
    for place in keys::PLACES {
        if place == Place::Normal && model.options.keymap == Keymap::Plain {
            continue;
        }
        rows.push((place.title().to_owned(), None));
        let here = keys::TABLE.iter().filter(|row| row.place == place);
        here.for_each(|row| rows.extend(explained(model, row.shown, row.about)));
    }
    rows.push(("Commands, after : or / in a line of its own".to_owned(), None));
    FORMS.iter().for_each(|form| rows.extend(explained(model, form.form, form.about)));
    shared().for_each(|slash: &Slash| {
        rows.extend(explained(model, slash.form.trim_start_matches('/'), slash.about));
    });
    rows
}

/// Keys and what they do, in as many rows as that takes.
fn explained(model: &Model, keys: &str, about: &str) -> Vec<(String, Option<String>)> {
    let room = usize::from(model.size.0.min(WIDEST)).saturating_sub(2 + KEYS + 1).max(1);
    let mut lines = wrapped(about, room);
    if glyph::width(keys) > KEYS {
        lines.insert(0, String::new());
    }
    let of = |(index, line)| (if index == 0 { keys.to_owned() } else { String::new() }, Some(line));
    lines.into_iter().enumerate().map(of).collect()
}

/// A text in as many lines as it takes.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let glyphs = glyph::glyphs(text);
    let line = |range: Range<usize>| glyphs[range].iter().map(|glyph| &*glyph.shown).collect::<String>();
    glyph::wrap(&glyphs, room).into_iter().map(line).collect()
}

/// A box in the middle with a title and lines; returns its inside.
fn boxed(model: &Model, title: &str, lines: &[Line<'static>], buffer: &mut Buffer) -> Rect {
    let screen = buffer.area;
    let width = screen.width.min(WIDEST);
    let height = screen.height.min((lines.len() as u16).saturating_add(2));
    let area = Rect::new((screen.width - width) / 2, (screen.height - height) / 2, width, height);
    clear(area, buffer);
    let inner =
        Rect::new(area.x + 1.min(width), area.y + 1.min(height), width.saturating_sub(2), height.saturating_sub(2));
    let bar = |left: &str, words: &str, right: &str| {
        let words = glyph::cut(words, usize::from(inner.width));
        let rest = usize::from(inner.width).saturating_sub(glyph::width(&words));
        Line::from(vec![
            span(model, left, Role::Faint),
            span(model, words, Role::Strong),
            span(model, format!("{}{right}", "─".repeat(rest)), Role::Faint),
        ])
    };
    put(buffer, area, 0, &bar("┌", &format!(" {title} "), "┐"));
    for row in 1..height.saturating_sub(1) {
        let side = Line::from(span(model, "│", Role::Faint));
        put(buffer, area, row, &side);
        put(buffer, Rect { x: area.right().saturating_sub(1), width: 1, ..area }, row, &side);
    }
    if height > 1 {
        put(buffer, area, height - 1, &bar("└", "", "┘"));
    }
    for (row, line) in (0..inner.height).zip(lines) {
        put(buffer, inner, row, line);
    }
    inner
}

fn clear(area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    for y in area.top()..area.bottom() {
        for x in area.left()..area.right() {
            if let Some(cell) = buffer.cell_mut((x, y)) {
                cell.reset();
            }
        }
        // Half of a wide character that the box has cut.
        if let Some(cell) = area.left().checked_sub(1).and_then(|x| buffer.cell_mut((x, y)))
            && glyph::width(cell.symbol()) > 1
        {
            cell.set_symbol(" ").set_style(Style::new());
        }
    }
}

/// A line to fill in where the text is written otherwise; returns where its cursor is.
fn bottom_line(model: &Model, areas: &Areas, prompt: char, line: &str, buffer: &mut Buffer) -> Position {
    let screen = buffer.area;
    let (x, y, width) = match areas.composer.is_empty() {
        false => (areas.composer.x, areas.composer.y, areas.composer.width),
        true => (0, screen.height.saturating_sub(1), screen.width),
    };
    let area = Rect { x, y, width, height: 1 };
    clear(area, buffer);
    // The end of a long one is seen.
    let room = usize::from(width.saturating_sub(2)).max(1);
    let glyphs = glyph::glyphs(line);
    let mut used = 0;
    let fits = glyphs.iter().rev().take_while(|glyph| {
        used += glyph.width;
        used <= room
    });
    let fits = fits.count();
    let shown: String = glyphs[glyphs.len() - fits..].iter().map(|glyph| glyph.shown.as_str()).collect();
    let cursor = x + 1 + glyph::width(&shown) as u16;
    let text = Line::from(vec![span(model, prompt.to_string(), Role::Key), span(model, shown, Role::Text)]);
    put(buffer, area, 0, &text);
    Position::new(cursor, y)
}
