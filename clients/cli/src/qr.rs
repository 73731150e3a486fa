//! QR codes on a terminal.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2};

/// `data` as a QR code: two rows of modules in a line, of half blocks. What is light is drawn, as terminals are mostly
/// dark; readers take the reverse as well. None for more than fits into a code.
pub(crate) fn draw(data: impl AsRef<[u8]>) -> Option<String> {
    // A screen has no stains: the lowest level makes the smallest code.
    let code = QrCode::with_error_correction_level(data, EcLevel::L).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use rqrr::PreparedImage;

    use super::*;

    /// Pixels of a module, so that it is a picture.
    const SCALE: usize = 4;

    /// What a reader sees that takes a picture of the terminal, in which the drawn part is light.
    fn read(drawn: &str) -> String {
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let light = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => !y.is_multiple_of(2),
            _ => false,
        };
        let (width, height) = (lines[0].len(), lines.len() * 2);
        let mut picture = PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, |x, y| {
            if light(x / SCALE, y / SCALE) { 255 } else { 0 }
        });
        let codes = picture.detect_grids();
        assert_eq!(codes.len(), 1, "\n{drawn}");
        codes[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_reads_what_was_drawn() {
        for text in [format!("qpc:join/{}", "x".repeat(66)), "qpc:link/ABCDE-FGHIJ".to_owned()] {
            let drawn = draw(&text).unwrap();
            assert!(drawn.lines().count() <= 23, "fits on a screen of 24 lines\n{drawn}");
            assert_eq!(read(&drawn), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_drawn() {
        assert_eq!(draw("x".repeat(10_000)), None);
    }
}
