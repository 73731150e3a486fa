//! Text in cells of a terminal. Terminals disagree about how wide a joined emoji is, and whoever believes another width than
//! the terminal's draws over what is beside it: so what is joined is shown as its parts, whose widths are agreed on.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::text::steers;

/// Marks over one letter that are shown; more would run over the lines around it.
const MAX_MARKS: usize = 4;

/// What one or more cells show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glyph {
    /// What the terminal is given: nothing that steers it or turns the direction of writing.
    pub(crate) shown: String,
    /// Cells: 1 or 2, in rare scripts more.
    pub(crate) width: usize,
    /// Bytes of the text.
    pub(crate) at: Range<usize>,
}

impl Glyph {
    pub(crate) fn is_space(&self) -> bool {
        self.shown == " "
    }
}

/// The glyphs of one line. What is joined comes as several glyphs of the same bytes.
pub(crate) fn glyphs(line: &str) -> Vec<Glyph> {
    let mut all = Vec::with_capacity(line.len());
    for (start, grapheme) in line.grapheme_indices(true) {
        push(&mut all, start..start + grapheme.len(), grapheme);
    }
    all
}

fn push(all: &mut Vec<Glyph>, at: Range<usize>, grapheme: &str) {
    let mut current = String::new();
    let mut marks = 0;
    let mut flush = |current: &mut String| {
        if !current.is_empty() {
            let width = current.width().max(1);
            all.push(Glyph { shown: std::mem::take(current), width, at: at.clone() });
        }
    };
    for character in grapheme.chars() {
        match (character, character.width()) {
            ('\t' | '\n' | '\r', _) => {
                flush(&mut current);
                current.push(' ');
            }
            (character, _) if is_joiner(character) => {}
            (character, _) if character.is_control() || steers(character) => {
                flush(&mut current);
                current.push('·');
            }
            (character, None | Some(0)) => {
                marks += 1;
                match (current.is_empty(), marks) {
                    (true, 1) => current.extend(['◌', character]),
                    (_, ..=MAX_MARKS) => current.push(character),
                    _ => {}
                }
            }
            (character, Some(_)) if is_regional(character) && current.chars().count() == 1 => current.push(character),
            (character, Some(_)) => {
                flush(&mut current);
                current.push(character);
            }
        }
    }
    flush(&mut current);
}

/// Joins what is beside it, or says how that is to look; shows nothing itself.
fn is_joiner(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{61c}' | '\u{fe00}'..='\u{fe0f}')
        // Skin tones, which some terminals draw as squares of their own.
        || matches!(character, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Half of a flag.
fn is_regional(character: char) -> bool {
    matches!(character, '\u{1f1e6}'..='\u{1f1ff}')
}

/// A text as it can be shown on one line.
pub(crate) fn plain(text: &str) -> String {
    glyphs(text).into_iter().map(|glyph| glyph.shown).collect()
}

/// Cells of a line.
pub(crate) fn width(line: &str) -> usize {
    glyphs(line).iter().map(|glyph| glyph.width).sum()
}

/// The beginning of a line that fits so many cells, with `…` if that is not all.
pub(crate) fn cut(line: &str, width: usize) -> String {
    let glyphs = glyphs(line);
    if glyphs.iter().map(|glyph| glyph.width).sum::<usize>() <= width {
        return glyphs.into_iter().map(|glyph| glyph.shown).collect();
    }
    let (mut out, mut used) = (String::new(), 1);
    for glyph in glyphs {
        used += glyph.width;
        if used > width {
            break;
        }
        out.push_str(&glyph.shown);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// Rows of at most so many cells, broken after spaces where that is possible. A space at the end of a row may hang over it.
pub(crate) fn wrap(glyphs: &[Glyph], width: usize) -> Vec<Range<usize>> {
    let width = width.max(1);
    let mut rows = Vec::new();
    let (mut start, mut used, mut last_break, mut index) = (0, 0, 0, 0);
    while let Some(glyph) = glyphs.get(index) {
        let wide = glyph.width.min(width);
        if used + wide > width {
            let end = match glyph.is_space() {
                true => index + 1,
                false if last_break > start => last_break,
                false => index,
            };
            rows.push(start..end);
            start = end;
            used = glyphs.get(start..index).unwrap_or_default().iter().map(|glyph| glyph.width.min(width)).sum();
            index = index.max(start);
            continue;
        }
        used += wide;
        index += 1;
        if glyph.is_space() {
            last_break = index;
        }
    }
    if start < glyphs.len() || rows.is_empty() {
        rows.push(start..glyphs.len());
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(text: &str, width: usize) -> Vec<String> {
        let glyphs = glyphs(text);
        wrap(&glyphs, width).into_iter().map(|row| glyphs[row].iter().map(|glyph| &*glyph.shown).collect()).collect()
    }

    #[test]
    fn widths_are_those_that_terminals_agree_on() {
        for (text, cells, shown) in [
            ("grüße", 5, "grüße"),
            ("e\u{301}", 1, "e\u{301}"),
            ("漢字", 4, "漢字"),
            ("👍🏽", 2, "👍"),
            ("👩\u{200d}💻", 4, "👩💻"),
            ("❤\u{fe0f}", 1, "❤"),
            ("🇩🇪", 2, "🇩🇪"),
            ("שלום", 4, "שלום"),
            ("\u{301}", 1, "◌\u{301}"),
        ] {
            assert_eq!((width(text), plain(text).as_str()), (cells, shown), "{text:?}");
        }
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("\u{1b}[2Ja\u{202e}b\u{7}\u{2066}"), "·[2Ja·b··");
        assert_eq!(plain("a\tb\rc"), "a b c");
        let marks = "\u{300}".repeat(50);
        assert_eq!(plain(&format!("z{marks}")).chars().count(), 1 + MAX_MARKS);
    }

    #[test]
    fn rows_break_at_words_and_long_words_anywhere() {
        assert_eq!(rows("one two three", 8), ["one two ", "three"]);
        assert_eq!(rows("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(rows("ab abcdefgh", 4), ["ab ", "abcd", "efgh"]);
        assert_eq!(rows("漢字漢字", 3), ["漢", "字", "漢", "字"]);
        assert_eq!(rows("", 4), [""]);
        assert_eq!(rows("x", 0), ["x"]);
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("Book club", 9), "Book club");
        assert_eq!(cut("Book club", 5), "Book…");
        assert_eq!(cut("漢字", 3), "漢…");
        assert_eq!(cut("漢字", 0), "");
    }

    proptest! {
        #[test]
        fn wrapping_loses_nothing_and_fits(text in "\\PC{0,60}", width in 1usize..30) {
            let glyphs = glyphs(&text);
            let rows = wrap(&glyphs, width);
            let mut next = 0;
            for row in &rows {
                prop_assert_eq!(row.start, next);
                next = row.end;
                let mut shown = &glyphs[row.clone()];
                if let [before @ .., last] = shown && last.is_space() {
                    shown = before;
                }
                prop_assert!(shown.iter().map(|glyph| glyph.width.min(width)).sum::<usize>() <= width);
            }
            prop_assert_eq!(next, glyphs.len());
        }
    }
}
