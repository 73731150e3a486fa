//! QR codes on a terminal.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// `text` as a QR code: two rows of modules in a line, of half blocks. What is light is drawn, as terminals are mostly
/// dark; readers take the reverse as well. None for more than fits into a code.
pub(crate) fn draw(text: &str) -> Option<String> {
    // A screen has no stains: the lowest level makes the smallest code.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use qrcode::Color;

    use super::*;

    /// Margin around a code, modules.
    const QUIET: usize = 4;

    #[test]
    fn every_module_is_where_the_code_has_it() {
        let text = format!("qpc:join/{}", "x".repeat(66));
        let code = QrCode::with_error_correction_level(&text, EcLevel::L).unwrap();
        let (width, colors) = (code.width(), code.to_colors());
        let drawn = draw(&text).unwrap();
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        assert!(lines.len() <= 23 && lines.iter().all(|line| line.len() == width + 2 * QUIET), "\n{drawn}");
        for (index, color) in colors.into_iter().enumerate() {
            let (x, y) = (index % width + QUIET, index / width + QUIET);
            let light = match lines[y / 2][x] {
                '█' => true,
                '▀' => y % 2 == 0,
                '▄' => y % 2 == 1,
                _ => false,
            };
            assert_eq!(light, color == Color::Light, "{x} {y}\n{drawn}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_drawn() {
        assert_eq!(draw(&"x".repeat(10_000)), None);
    }
}
