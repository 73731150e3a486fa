//! Screenshots for the documents: what the view draws, cell by cell, as SVG.

use std::fmt::Write as _;

use crossterm::event::KeyCode;
use qpc_sdk::Event;
use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

use super::{ctrl, drawn, holds, samples, tap, types};
use crate::tui::{
    glyph,
    theme::Theme,
    update::{Input, update},
};

/// Size of a cell, and what is left around the screen.
const CELL: (usize, usize) = (9, 19);
const BORDER: usize = 12;

/// Colours of a terminal: behind and before, and those that have names.
struct Palette {
    back: &'static str,
    front: &'static str,
    named: fn(Color) -> &'static str,
}

const DARK: Palette = Palette {
    back: "#16181d",
    front: "#d7dae0",
    named: |color| match color {
        Color::Red | Color::LightRed => "#f47067",
        Color::Green | Color::LightGreen => "#7bd88f",
        Color::Yellow | Color::LightYellow => "#e6c667",
        Color::Blue | Color::LightBlue => "#6ca4f8",
        Color::Magenta | Color::LightMagenta => "#d08bf0",
        Color::Cyan | Color::LightCyan => "#5fd7d7",
        _ => "#8a919e",
    },
};

const LIGHT: Palette = Palette {
    back: "#fdfdfb",
    front: "#22252b",
    named: |color| match color {
        Color::Red | Color::LightRed => "#c0341d",
        Color::Green | Color::LightGreen => "#1f7a36",
        Color::Yellow | Color::LightYellow => "#8a6500",
        Color::Blue | Color::LightBlue => "#2556c4",
        Color::Magenta | Color::LightMagenta => "#8e2fb0",
        Color::Cyan | Color::LightCyan => "#0f7480",
        _ => "#6b7280",
    },
};

fn full(colour: Color) -> String {
    match colour {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        _ => String::new(),
    }
}

fn picture(buffer: &Buffer, palette: &Palette, title: &str) -> String {
    let (width, height) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    let (whole_width, whole_height) = (width * CELL.0 + 2 * BORDER, height * CELL.1 + 2 * BORDER);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole_width} {whole_height}\" role=\"img\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"15\" xml:space=\"preserve\">\n",
        palette.back
    );
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let (text, cells, cell) = run(buffer, x, y, width);
            if let (Color::Rgb(..), Color::Rgb(..)) = (cell.fg, cell.bg) {
                // Two pixels, as no font draws them without a gap.
                for (half, colour) in [cell.fg, cell.bg].into_iter().enumerate() {
                    let (left, top) = (BORDER + x * CELL.0, BORDER + y * CELL.1 + half * (CELL.1 / 2));
                    let (wide, high) = (cells * CELL.0, CELL.1 / 2 + half);
                    let fill = full(colour);
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{high}\" fill=\"{fill}\"/>"
                    );
                }
                x += cells;
                continue;
            }
            let reversed = cell.modifier.contains(Modifier::REVERSED);
            let colour = if cell.fg == Color::Reset { palette.front } else { (palette.named)(cell.fg) };
            let (left, top) = (BORDER + x * CELL.0, BORDER + y * CELL.1);
            if reversed {
                let (wide, high) = (cells * CELL.0, CELL.1);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{high}\" fill=\"{colour}\"/>"
                );
            }
            if !text.trim().is_empty() {
                let colour = if reversed { palette.back } else { colour };
                let mut how = format!("fill=\"{colour}\"");
                if cell.modifier.contains(Modifier::BOLD) {
                    how.push_str(" font-weight=\"bold\"");
                }
                if cell.modifier.contains(Modifier::UNDERLINED) {
                    how.push_str(" text-decoration=\"underline\"");
                }
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let _ = writeln!(
                    svg,
                    "<text x=\"{left}\" y=\"{}\" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\" {how}>{text}</text>",
                    top + 14,
                    cells * CELL.0
                );
            }
            x += cells;
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The cells from one on that look alike, without the blanks at their end where those look like nothing.
fn run(buffer: &Buffer, x: usize, y: usize, width: usize) -> (String, usize, Cell) {
    let at = |x: usize| buffer.cell((x as u16, y as u16)).cloned().unwrap_or_default();
    let first = at(x);
    let (mut text, mut cells) = (String::new(), 0);
    while x + cells < width {
        let cell = at(x + cells);
        let blank = cell.symbol() == " " && !cell.modifier.contains(Modifier::REVERSED);
        if (cell.fg, cell.bg, cell.modifier) != (first.fg, first.bg, first.modifier)
            || blank != (first.symbol() == " ") && !first.modifier.contains(Modifier::REVERSED)
        {
            break;
        }
        text.push_str(cell.symbol());
        cells += glyph::width(cell.symbol()).max(1);
    }
    (text, cells.max(1), first)
}

fn checked_in(name: &str, svg: &str) {
    holds(&format!("../../docs/images/{name}.svg"), svg);
}

#[test]
fn the_screenshots_are_what_is_drawn() {
    let mut model = samples::model();
    let typing = Event::Typing { conversation: samples::CLUB, by: samples::CAROL, active: true };
    update(&mut model, samples::NOW_MS, Input::Sdk(typing));
    types(&mut model, "I can bring two: one with plums, and the one that Carol likes so much.");
    let talk = picture(&drawn(&mut model, 120, 32), &DARK, "A conversation, with the list and the members beside it");
    checked_in("tui-talk", &talk);

    let mut model = samples::model();
    tap(&mut model, KeyCode::Tab);
    types(&mut model, "gjj+tad");
    let react = picture(&drawn(&mut model, 80, 24), &DARK, "An emoji is chosen for a message, at 80 by 24");
    checked_in("tui-react", &react);

    let photo = picture(&drawn(&mut samples::with_photo(), 80, 24), &DARK, "A picture that was sent, at 80 by 24");
    checked_in("tui-photo", &photo);

    let mut model = samples::model();
    model.options.theme = Theme::Light;
    ctrl(&mut model, 'k');
    types(&mut model, "o");
    let switcher = picture(&drawn(&mut model, 80, 24), &LIGHT, "The quick switcher, in the light theme");
    checked_in("tui-switcher", &switcher);
}
