//! The mouse: the wheel scrolls, a click chooses.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{Effect, keys, messages, open};
use crate::tui::{
    areas::{Areas, PROMPT},
    glyph,
    model::{Focus, Model, Overlay},
    timeline::Timeline,
    view,
};

/// Lines of one turn of the wheel.
const WHEEL: isize = 3;

pub(super) fn point(model: &mut Model, event: &MouseEvent, effects: &mut Vec<Effect>) {
    let areas = Areas::of(model);
    let at = Position::new(event.column, event.row);
    let wheel = match event.kind {
        MouseEventKind::ScrollUp => -WHEEL,
        MouseEventKind::ScrollDown => WHEEL,
        MouseEventKind::Down(MouseButton::Left) => 0,
        _ => return,
    };
    if let Some(overlay) = &mut model.overlay {
        match overlay {
            Overlay::Help(top) | Overlay::Lines { top, .. } if wheel != 0 => *top = top.saturating_add_signed(wheel),
            _ if wheel == 0 => model.overlay = None,
            _ => {}
        }
        return;
    }
    match wheel {
        0 => click(model, &areas, at, effects),
        by if areas.list.contains(at) => keys::choose_row(model, by.signum()),
        by => messages::scroll(model, by, effects),
    }
}

fn click(model: &mut Model, areas: &Areas, at: Position, effects: &mut Vec<Effect>) {
    if areas.list.contains(at) {
        // The first one is the title.
        let row = usize::from(at.y - areas.list.y).checked_sub(1);
        let row = row.map(|row| row + view::first_row(model, areas.list.height));
        if let Some(info) = row.and_then(|row| model.conversations.get(row)) {
            open(model, info.id, effects);
        }
    } else if areas.timeline.contains(at) {
        let rows = usize::from(areas.timeline.height);
        let Some(timeline) = Timeline::new(model, areas.timeline.width) else { return };
        let window = timeline.window(rows);
        // They stand at the bottom.
        let place = (usize::from(at.y - areas.timeline.y) + window.len()).checked_sub(rows);
        let Some((index, _)) = place.and_then(|row| window.get(row)).copied() else { return };
        if let Some(open) = &mut model.open {
            open.selected = open.messages.get(index).map(qpc_sdk::Message::reference);
            model.focus = Focus::Messages;
        }
    } else if areas.composer.contains(at) && model.open.is_some() {
        keys::write(model);
        put_cursor(model, areas, at);
    }
}

fn put_cursor(model: &mut Model, areas: &Areas, at: Position) {
    let (width, height) = (areas.writing_width(), usize::from(areas.composer.height));
    let Some(writing) = model.writing_mut() else { return };
    let rows = writing.composer.rows(width);
    let first = view::first_composer_row(writing.composer.place(width).0, height);
    let Some(row) = rows.get(first + usize::from(at.y - areas.composer.y)) else { return };
    let column = usize::from(at.x.saturating_sub(areas.composer.x + PROMPT));
    let mut used = 0;
    let before = glyph::glyphs(&writing.composer.text()[row.clone()]).into_iter().take_while(|glyph| {
        used += glyph.width;
        used <= column
    });
    let to = before.last().map_or(row.start, |glyph| row.start + glyph.at.end);
    writing.composer.move_to(to);
}
