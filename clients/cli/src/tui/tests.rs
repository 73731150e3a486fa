//! The screen without a terminal: what becomes of a model, and how it looks.
#![allow(clippy::disallowed_methods, reason = "QPC_BLESS is for whoever runs the tests")]

mod pictures;
pub(crate) mod samples;
mod screens;
mod steps;
mod storm;

use std::path::PathBuf;

use crossterm::event::{Event as Terminal, KeyCode, KeyEvent, KeyModifiers};
use ratatui::{buffer::Buffer, layout::Rect};

use super::{
    model::Model,
    update::{Effect, Input, update},
    view,
};

/// A key with its modifiers.
pub(crate) fn press(model: &mut Model, modifiers: KeyModifiers, code: KeyCode) -> Vec<Effect> {
    let now_ms = model.now_ms;
    update(model, now_ms, Input::Terminal(Terminal::Key(KeyEvent::new(code, modifiers))))
}

/// A key alone.
pub(crate) fn tap(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    press(model, KeyModifiers::NONE, code)
}

pub(crate) fn ctrl(model: &mut Model, character: char) -> Vec<Effect> {
    press(model, KeyModifiers::CONTROL, KeyCode::Char(character))
}

/// One character after another; `\n` is Enter.
pub(crate) fn types(model: &mut Model, text: &str) -> Vec<Effect> {
    let code = |character| if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
    text.chars().flat_map(|character| tap(model, code(character))).collect()
}

/// How the model looks in so many columns and rows.
pub(crate) fn drawn(model: &mut Model, columns: u16, rows: u16) -> Buffer {
    model.size = (columns, rows);
    let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
    view::draw(model, &mut buffer);
    buffer
}

/// The same as text.
pub(crate) fn shown(model: &mut Model, columns: u16, rows: u16) -> String {
    let buffer = drawn(model, columns, rows);
    let mut text = String::new();
    for y in 0..rows {
        let mut line = String::new();
        let mut x = 0;
        while let Some(cell) = buffer.cell((x, y)).filter(|_| x < columns) {
            line.push_str(cell.symbol());
            x += (super::glyph::width(cell.symbol()) as u16).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares with what is checked in; `QPC_BLESS=1` writes it.
pub(crate) fn holds(path: &str, fresh: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var("QPC_BLESS").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, fresh).unwrap();
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let name = path.display();
    assert!(
        known == fresh,
        "{name} is not what it was; if it is to be so: QPC_BLESS=1\n{fresh}\n--- instead of\n{known}"
    );
}
