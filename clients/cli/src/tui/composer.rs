//! The text that is being written. The cursor is always between two graphemes.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use super::glyph;

/// Longest text, bytes: that of a message.
pub(crate) const MAX_TEXT: usize = 60 << 10;
/// Steps that can be taken back.
const MAX_UNDO: usize = 100;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Composer {
    text: String,
    cursor: usize,
    /// The column that going up and down keeps to.
    goal: Option<usize>,
    undo: Vec<(String, usize)>,
}

impl Composer {
    /// With a text, at its end.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text, ..Self::default() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts the cursor at a byte, or at the boundary before it.
    pub(crate) fn move_to(&mut self, at: usize) {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        self.cursor = at;
        self.goal = None;
        self.settle();
    }

    /// Inserts a text as it was typed or pasted: lines end with `\n`, and what steers a terminal is left out. What would make
    /// it too long is left out as well; false if there was such.
    pub(crate) fn insert(&mut self, text: &str) -> bool {
        let mut clean = String::with_capacity(text.len());
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\r' if characters.peek() == Some(&'\n') => {}
                '\r' => clean.push('\n'),
                '\t' => clean.push_str("    "),
                '\n' => clean.push('\n'),
                character if character.is_control() => {}
                character => clean.push(character),
            }
        }
        let whole = self.text.len() + clean.len() <= MAX_TEXT;
        if !whole {
            let mut room = MAX_TEXT.saturating_sub(self.text.len());
            while !clean.is_char_boundary(room) {
                room -= 1;
            }
            clean.truncate(room);
        }
        self.remember();
        self.text.insert_str(self.cursor, &clean);
        self.cursor += clean.len();
        self.goal = None;
        self.settle();
        whole
    }

    /// Takes away a part; returns it.
    pub(crate) fn remove(&mut self, range: Range<usize>) -> String {
        if range.is_empty() {
            return String::new();
        }
        self.remember();
        let removed = self.text.drain(range.clone()).collect();
        if self.cursor >= range.end {
            self.cursor -= range.len();
        } else if self.cursor > range.start {
            self.cursor = range.start;
        }
        self.goal = None;
        self.settle();
        removed
    }

    /// Puts another text in place of a part, and the cursor behind it.
    pub(crate) fn replace(&mut self, range: Range<usize>, text: &str) {
        self.remove(range.clone());
        self.move_to(range.start);
        self.insert(text);
    }

    /// Takes the text away.
    pub(crate) fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        *self = Self::default();
        text
    }

    pub(crate) fn undo(&mut self) -> bool {
        let Some((text, cursor)) = self.undo.pop() else { return false };
        (self.text, self.cursor, self.goal) = (text, cursor, None);
        true
    }

    fn remember(&mut self) {
        if self.undo.len() == MAX_UNDO {
            self.undo.remove(0);
        }
        self.undo.push((self.text.clone(), self.cursor));
    }

    /// A mark that was put before the cursor's place may have made one grapheme of two.
    fn settle(&mut self) {
        if self.cursor > 0 && self.cursor < self.text.len() {
            self.cursor = self.next_boundary(self.before(self.cursor)).max(self.cursor);
        }
    }

    /// The boundary before one.
    pub(crate) fn before(&self, at: usize) -> usize {
        self.text[..at].grapheme_indices(true).next_back().map_or(0, |(start, _)| start)
    }

    fn next_boundary(&self, at: usize) -> usize {
        self.text[at..].graphemes(true).next().map_or(at, |grapheme| at + grapheme.len())
    }

    /// The boundary after the cursor.
    pub(crate) fn after(&self) -> usize {
        self.next_boundary(self.cursor)
    }

    pub(crate) fn left(&mut self) {
        self.move_to(self.before(self.cursor));
    }

    pub(crate) fn right(&mut self) {
        self.move_to(self.after());
    }

    /// Begin of the word that the cursor is in or after.
    pub(crate) fn word_before(&self) -> usize {
        let mut words = self.text[..self.cursor].split_word_bound_indices();
        words.rfind(|(_, word)| !word.trim().is_empty()).map_or(0, |(start, _)| start)
    }

    /// End of the word that the cursor is in or before.
    pub(crate) fn word_after(&self) -> usize {
        let mut words = self.text[self.cursor..].split_word_bound_indices();
        let word = words.find(|(_, word)| !word.trim().is_empty());
        word.map_or(self.text.len(), |(start, word)| self.cursor + start + word.len())
    }

    /// The line of the cursor, without its end.
    pub(crate) fn line(&self) -> Range<usize> {
        let start = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at);
        start..end
    }

    /// What is shown in each row of so many cells, as bytes of the text.
    pub(crate) fn rows(&self, width: usize) -> Vec<Range<usize>> {
        let mut rows = Vec::new();
        let mut start = 0;
        for line in self.text.split('\n') {
            let glyphs = glyph::glyphs(line);
            for row in glyph::wrap(&glyphs, width) {
                let row = &glyphs[row];
                // What is joined is several glyphs of the same bytes, and stays together in the row of its first.
                let from = row.first().map_or(0, |glyph| glyph.at.start);
                let to = row.last().map_or(0, |glyph| glyph.at.end);
                let from = rows.last().map_or(start + from, |last: &Range<usize>| (start + from).max(last.end));
                if from < start + to || row.is_empty() {
                    rows.push(from..start + to);
                }
            }
            start += line.len() + 1;
        }
        rows
    }

    /// Row and column of the cursor, among rows of so many cells.
    pub(crate) fn place(&self, width: usize) -> (usize, usize) {
        let rows = self.rows(width);
        let row = rows.iter().rposition(|row| row.start <= self.cursor).unwrap_or(0);
        // What is not shown at the begin of a line is before its first row.
        let start = rows.get(row).map_or(0, |row| row.start).min(self.cursor);
        (row, glyph::width(&self.text[start..self.cursor]).min(width))
    }

    /// A row up or down; false if there is none.
    pub(crate) fn vertical(&mut self, down: bool, width: usize) -> bool {
        let rows = self.rows(width);
        let (row, column) = self.place(width);
        let goal = self.goal.unwrap_or(column);
        let to = if down { row + 1 } else { row.wrapping_sub(1) };
        let Some(range) = rows.get(to) else { return false };
        let mut at = range.start;
        let mut used = 0;
        for (start, grapheme) in self.text[range.clone()].grapheme_indices(true) {
            used += glyph::width(grapheme);
            if used > goal {
                break;
            }
            at = range.start + start + grapheme.len();
        }
        // The end of a row that goes on is the begin of the next one.
        if at == range.end && rows.get(to + 1).is_some_and(|next| next.start == at) && at > range.start {
            at = self.before(at);
        }
        self.move_to(at);
        self.goal = Some(goal);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_cursor_walks_over_what_a_person_sees() {
        let mut composer = Composer::new("a👩\u{200d}💻e\u{301}");
        for at in [12, 1, 0, 0] {
            composer.left();
            assert_eq!(composer.cursor(), at);
        }
        composer.right();
        composer.remove(composer.cursor()..composer.after());
        assert_eq!(composer.text(), "ae\u{301}");
        assert!(composer.undo());
        assert_eq!(composer.text(), "a👩\u{200d}💻e\u{301}");
    }

    #[test]
    fn what_is_pasted_stays_one_text() {
        let mut composer = Composer::default();
        assert!(composer.insert("one\r\ntwo\rthree\u{1b}[31m\tfour"));
        assert_eq!(composer.text(), "one\ntwo\nthree[31m    four");
        assert!(!composer.insert(&"ü".repeat(MAX_TEXT)));
        assert!(composer.text().len() <= MAX_TEXT && composer.text().len() > MAX_TEXT - 2);
    }

    #[test]
    fn words_and_lines_have_ends() {
        let mut composer = Composer::new("see you, bob\nat six");
        composer.move_to(9);
        assert_eq!((composer.word_before(), composer.word_after()), (7, 12));
        assert_eq!(composer.line(), 0..12);
        composer.move_to(13);
        assert_eq!(composer.line(), 13..19);
    }

    #[test]
    fn a_line_may_begin_with_what_is_not_shown() {
        let mut composer = Composer::new("\u{fe00} x");
        composer.move_to(0);
        assert_eq!(composer.place(9), (0, 0));
        composer.move_to(5);
        assert_eq!(composer.place(9), (0, 2));
    }

    #[test]
    fn going_up_and_down_keeps_to_the_column() {
        let mut composer = Composer::new("one two three\nx\nfour five");
        composer.move_to(25);
        assert_eq!(composer.place(40), (2, 9));
        assert!(composer.vertical(false, 40));
        assert_eq!(composer.place(40), (1, 1));
        assert!(composer.vertical(false, 40));
        assert_eq!(composer.place(40), (0, 9));
        assert!(!composer.vertical(false, 40));
        assert_eq!(composer.rows(8), [0..8, 8..13, 14..15, 16..21, 21..25]);
        assert!(composer.vertical(true, 40) && composer.vertical(true, 40) && !composer.vertical(true, 40));
    }

    proptest! {
        #[test]
        fn whatever_is_done_the_cursor_is_in_the_text(
            texts in prop::collection::vec("\\PC{0,8}|\n|👩\u{200d}", 1..6), moves in prop::collection::vec(0u8..9, 0..40), width in 1usize..12
        ) {
            let mut composer = Composer::default();
            for (index, step) in moves.into_iter().enumerate() {
                match step {
                    0 => composer.left(),
                    1 => composer.right(),
                    2 => { composer.vertical(false, width); }
                    3 => { composer.vertical(true, width); }
                    4 => { composer.remove(composer.word_before()..composer.cursor()); }
                    5 => { composer.remove(composer.cursor()..composer.word_after()); }
                    6 => { composer.undo(); }
                    _ => { composer.insert(&texts[index % texts.len()]); }
                }
                prop_assert!(composer.text().is_char_boundary(composer.cursor()));
                let (row, column) = composer.place(width);
                prop_assert!(row < composer.rows(width).len().max(1) && column <= width);
            }
        }
    }
}
