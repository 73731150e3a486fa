//! Draws the model. Every cell comes from here, and nothing that others wrote gets to one but through [`super::glyph`].

mod list;
mod overlay;
mod writing;

use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
    text::{Line, Span},
};

pub(crate) use self::{list::first_row, overlay::help_rows, writing::first_composer_row};
use super::{
    areas::Areas,
    command::duration,
    glyph, keys,
    model::{Focus, Model, Overlay, Transfer},
    theme::Role,
    timeline::{self, Timeline},
    update::place,
};
use crate::show::{self, title};

/// Names of those who are writing that fit.
const MAX_WRITING: usize = 3;

/// Draws everything; returns where the cursor is, if it is shown.
pub(crate) fn draw(model: &Model, buffer: &mut Buffer) -> Option<Position> {
    let areas = Areas::of(model);
    list::draw(model, areas.list, buffer);
    if !areas.list.is_empty() && !areas.timeline.is_empty() {
        column(model, areas.list.right(), areas.list, buffer);
    }
    header(model, areas.header, buffer);
    messages(model, areas.timeline, buffer);
    status(model, areas.status, buffer);
    let mut cursor = writing::draw(model, &areas, buffer);
    if !areas.members.is_empty() {
        column(model, areas.members.x - 1, areas.members, buffer);
        list::members(model, areas.members, buffer);
    }
    footer(model, areas.footer, buffer);
    if model.overlay.is_some() {
        cursor = overlay::draw(model, &areas, buffer);
    }
    cursor.filter(|cursor| buffer.area.contains(*cursor))
}

/// Text in the style of its role.
fn span(model: &Model, text: impl Into<String>, role: Role) -> Span<'static> {
    Span::styled(text.into(), model.options.theme.style(role))
}

/// A line in a row of an area, if the area has it; what does not fit is left out.
fn put(buffer: &mut Buffer, area: Rect, row: u16, line: &Line<'_>) {
    let area = area.intersection(buffer.area);
    if row < area.height && area.width > 0 {
        buffer.set_line(area.x, area.y + row, line, area.width);
    }
}

/// A line between two panes.
fn column(model: &Model, x: u16, beside: Rect, buffer: &mut Buffer) {
    let line = Line::from(span(model, "│", Role::Faint));
    for row in 0..beside.height {
        put(buffer, Rect { x, width: 1, ..beside }, row, &line);
    }
}

fn header(model: &Model, area: Rect, buffer: &mut Buffer) {
    let Some(info) = model.open_info() else { return };
    let members = model.open.as_ref().map_or(0, |open| open.members.len());
    let mut parts = vec![timeline::kind(info.kind).to_owned()];
    parts.extend(show::trust(info.trust).map(str::to_owned));
    if members > 2 {
        parts.push(format!("{members} members"));
    }
    if info.kind != qpc_sdk::ConversationKind::Notes {
        let suite = if info.suite == qpc_sdk::Suite::Hybrid { "post-quantum" } else { "classic" };
        parts.push(suite.to_owned());
    }
    if info.expires_after_ms > 0 {
        parts.push(format!("⏲ {}", duration(info.expires_after_ms)));
    }
    if info.missing > 0 {
        parts.push(format!("⚠ {} missing", info.missing));
    }
    if info.stuck {
        parts.push("⚠ being repaired".to_owned());
    }
    if !model.online {
        parts.push("○ offline".to_owned());
    }
    let name = glyph::cut(&title(info), usize::from(area.width));
    let room = usize::from(area.width).saturating_sub(glyph::width(&name) + 2);
    let about = glyph::cut(&parts.join(" · "), room);
    let line = Line::from(vec![span(model, name, Role::Strong), Span::raw("  "), span(model, about, Role::Faint)]);
    put(buffer, area, 0, &line);
}

fn messages(model: &Model, area: Rect, buffer: &mut Buffer) {
    let Some(timeline) = Timeline::new(model, area.width) else { return welcome(model, area, buffer) };
    let rows = usize::from(area.height);
    let window = timeline.window(rows);
    // The newest stand at the bottom.
    let first = (rows - window.len().min(rows)) as u16;
    let mut shown: Option<(usize, Vec<Line<'static>>)> = None;
    for (row, (index, line)) in (first..).zip(window) {
        let lines = match shown.take() {
            Some((same, lines)) if same == index => lines,
            _ => timeline.lines(index),
        };
        if let Some(line) = lines.get(line) {
            put(buffer, area, row, line);
        }
        shown = Some((index, lines));
    }
    let open = model.open.as_ref().filter(|open| open.messages.is_empty() && !open.loading);
    if open.is_some() {
        put(buffer, area, 0, &Line::from(span(model, "nothing here yet", Role::Faint)));
    }
}

fn welcome(model: &Model, area: Rect, buffer: &mut Buffer) {
    let lines = [
        "Choose a conversation: Up, Down, Enter, or Ctrl-K and some letters of its name.",
        ":dm USER begins one, :create-group NAME USER... founds a group.",
        "? shows all keys and commands.",
    ];
    let width = usize::from(area.width).max(1);
    let glyphs = lines.map(glyph::glyphs);
    let rows = glyphs.iter().flat_map(|glyphs| glyph::wrap(glyphs, width).into_iter().map(|row| &glyphs[row]));
    for (row, glyphs) in (0..).zip(rows) {
        let text: String = glyphs.iter().map(|glyph| glyph.shown.as_str()).collect();
        put(buffer, area, row, &Line::from(span(model, text, Role::Faint)));
    }
}

/// How something went, or who is writing, or that there is more below.
fn status(model: &Model, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    if let Some(notice) = &model.notice {
        let (sign, role) = if notice.bad { ("⚠ ", Role::Bad) } else { ("", Role::Strong) };
        let text = glyph::cut(&format!("{sign}{}", notice.text), width);
        return put(buffer, area, 0, &Line::from(span(model, text, role)));
    }
    if let Some((_, transfer)) = model.transfers.first_key_value() {
        let text = glyph::cut(&self::transfer(transfer, model.transfers.len()), width);
        return put(buffer, area, 0, &Line::from(span(model, text, Role::Strong)));
    }
    let Some(open) = &model.open else { return };
    let writing: Vec<_> = model.typing_in(open.id).take(MAX_WRITING + 1).collect();
    let text = match writing.as_slice() {
        [] if open.bottom.is_some() => "↓ newer messages below (End)".to_owned(),
        [] => return,
        [one] => format!("{} is writing …", model.name(*one)),
        several if several.len() > MAX_WRITING => "several are writing …".to_owned(),
        several => {
            let names: Vec<_> = several.iter().map(|account| model.name(*account)).collect();
            format!("{} are writing …", names.join(", "))
        }
    };
    put(buffer, area, 0, &Line::from(span(model, glyph::cut(&text, width), Role::Faint)));
}

/// How far a file is: `↑ cake.jpg ████░░░░ 43 % 1.2 MB/s, 2 more`.
fn transfer(transfer: &Transfer, all: usize) -> String {
    const BAR: u64 = 10;
    let arrow = if transfer.up { "↑" } else { "↓" };
    let mut text = format!("{arrow} {} ", transfer.name);
    match transfer.progress.filter(|progress| progress.total > 0) {
        Some(progress) => {
            let done = progress.bytes.min(progress.total);
            // Sizes are far from where this overflows.
            let (filled, percent) = (done * BAR / progress.total, done * 100 / progress.total);
            text.push_str(&"█".repeat(filled as usize));
            text.push_str(&"░".repeat((BAR - filled) as usize));
            text.push_str(&format!(" {percent} % {}/s", crate::text::size(progress.rate)));
        }
        None => text.push('…'),
    }
    if all > 1 {
        text.push_str(&format!(", {} more", all - 1));
    }
    text
}

fn footer(model: &Model, area: Rect, buffer: &mut Buffer) {
    let mut spans = Vec::new();
    let of_overlay: &[(&str, &str)] = match &model.overlay {
        None => &[],
        Some(Overlay::Help(_) | Overlay::Lines { .. }) => &[("Up", "and Down scroll"), ("Esc", "close")],
        Some(Overlay::Delete(_)) => &[("y", "delete"), ("n", "keep")],
        Some(Overlay::Ask { .. }) => &[("y", "do it"), ("n", "do not")],
        Some(Overlay::Switcher { .. } | Overlay::Links { .. }) => {
            &[("Enter", "open"), ("Up", "and Down choose"), ("Esc", "close")]
        }
        Some(Overlay::Files { .. }) => &[("Enter", "send or open"), ("Backspace", "folder above"), ("Esc", "close")],
        Some(Overlay::React { .. }) => &[("Enter", "put or take away"), ("Left", "and Right choose"), ("Esc", "close")],
        Some(Overlay::Search(_)) => &[("Enter", "search"), ("Esc", "close")],
        Some(Overlay::Command(_)) => &[("Enter", "do it"), ("Tab", "complete"), ("Esc", "close")],
    };
    let here: Vec<_> = if of_overlay.is_empty() { keys::footer(place(model)).collect() } else { of_overlay.to_vec() };
    let mut used = 0;
    for (key, word) in here {
        used += key.len() + word.len() + 3;
        if used > usize::from(area.width) + 2 {
            break;
        }
        spans.push(span(model, key, Role::Key));
        spans.push(span(model, format!(" {word}  "), Role::Faint));
    }
    put(buffer, area, 0, &Line::from(spans));
}

/// Whether the list has the keys.
fn in_list(model: &Model) -> bool {
    model.focus == Focus::List || model.open.is_none()
}
