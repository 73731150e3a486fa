//! The vim keymap of the composer: modes, counts, operators, the motions of a few lines of text.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use super::composer::Composer;

/// Largest count.
const MAX_COUNT: usize = 999;

/// Where the keymap stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vim {
    /// Whether keys are text.
    pub(crate) inserting: bool,
    /// What was typed of a command: a count, an operator, a prefix.
    count: usize,
    operator: Option<(char, usize)>,
    prefix: Option<char>,
    /// What was deleted or copied; lines with their end.
    register: String,
}

/// What a key has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// The command goes on, or was about the text.
    Done,
    /// From the text into the messages, so many up.
    Up(usize),
    /// To the oldest message, to the newest.
    Top,
    Bottom,
    /// Nothing of this keymap.
    Nothing,
}

impl Vim {
    /// Forgets a command that was begun; false if there was none.
    pub(crate) fn cancel(&mut self) -> bool {
        let begun = self.count > 0 || self.operator.is_some() || self.prefix.is_some();
        (self.count, self.operator, self.prefix) = (0, None, None);
        begun
    }

    /// Whether a command was begun, so that the next key is part of it.
    pub(crate) fn is_pending(&self) -> bool {
        self.count > 0 || self.operator.is_some() || self.prefix.is_some()
    }

    /// The count that was typed, once.
    pub(crate) fn take_count(&mut self) -> usize {
        std::mem::take(&mut self.count).max(1)
    }

    /// Takes a digit of a count; false if it is none.
    pub(crate) fn digit(&mut self, character: char) -> bool {
        match character.to_digit(10) {
            Some(digit) if digit > 0 || self.count > 0 => {
                self.count = (self.count * 10 + digit as usize).min(MAX_COUNT);
                true
            }
            _ => false,
        }
    }

    /// A key of the normal mode; `width` is that of the composer.
    pub(crate) fn key(&mut self, character: char, composer: &mut Composer, width: usize) -> Came {
        if let Some(prefix) = self.prefix.take() {
            return self.prefixed(prefix, character, composer);
        }
        if self.digit(character) {
            return Came::Done;
        }
        match character {
            'g' | 'r' => self.prefix = Some(character),
            'i' | 'a' if self.operator.is_some() => self.prefix = Some(character),
            'd' | 'c' | 'y' => match self.operator {
                Some((operator, count)) if operator == character => {
                    let count = count.max(1) * self.take_count();
                    self.lines(operator, count, composer);
                }
                _ => self.operator = Some((character, std::mem::take(&mut self.count))),
            },
            'h' | 'l' | 'w' | 'b' | 'e' | '0' | '^' | '$' => self.motion(character, composer),
            _ if self.cancel_operator() => {}
            'j' | 'k' => return self.vertical(character == 'j', composer, width),
            'G' => {
                self.take_count();
                return Came::Bottom;
            }
            _ => return self.simple(character, composer),
        }
        Came::Done
    }

    fn cancel_operator(&mut self) -> bool {
        self.operator.is_some() && self.cancel()
    }

    fn prefixed(&mut self, prefix: char, character: char, composer: &mut Composer) -> Came {
        match (prefix, character) {
            ('g', 'g') => {
                self.cancel();
                return Came::Top;
            }
            ('r', character) if !character.is_control() => {
                self.take_count();
                let here = composer.cursor()..composer.after();
                if !here.is_empty() && !composer.text()[here.clone()].starts_with('\n') {
                    let start = here.start;
                    composer.replace(here, &character.to_string());
                    composer.move_to(start);
                }
            }
            ('i' | 'a', 'w') => {
                let word = word_at(composer, prefix == 'a');
                if let Some((operator, _)) = self.operator.take() {
                    self.operate(operator, word, composer);
                }
            }
            _ => {}
        }
        self.cancel();
        Came::Done
    }

    fn vertical(&mut self, down: bool, composer: &mut Composer, width: usize) -> Came {
        for left in (1..=self.take_count()).rev() {
            if !composer.vertical(down, width) {
                return if down { Came::Done } else { Came::Up(left) };
            }
        }
        Came::Done
    }

    fn motion(&mut self, motion: char, composer: &mut Composer) {
        let from = composer.cursor();
        let operator = self.operator.take();
        let count = operator.map_or(1, |(_, count)| count.max(1)) * self.take_count();
        // `cw` leaves the space behind the word.
        let motion = if motion == 'w' && matches!(operator, Some(('c', _))) { 'e' } else { motion };
        for _ in 0..count {
            let to = target(motion, composer, operator.is_some());
            if to == composer.cursor() {
                break;
            }
            composer.move_to(to);
        }
        let to = composer.cursor();
        let Some((operator, _)) = operator else { return };
        composer.move_to(from);
        self.operate(operator, from.min(to)..from.max(to), composer);
    }

    fn operate(&mut self, operator: char, range: Range<usize>, composer: &mut Composer) {
        if operator == 'y' {
            self.register = composer.text()[range.clone()].to_owned();
            composer.move_to(range.start);
            return;
        }
        self.register = composer.remove(range);
        self.inserting = operator == 'c';
    }

    fn lines(&mut self, operator: char, count: usize, composer: &mut Composer) {
        self.operator = None;
        let first = composer.line();
        let mut end = first.end;
        for _ in 1..count {
            let Some(next) = composer.text().get(end + 1..) else { break };
            end += 1 + next.find('\n').unwrap_or(next.len());
        }
        self.register = format!("{}\n", &composer.text()[first.start..end]);
        match operator {
            'y' => {}
            'c' => {
                composer.remove(first.start..end);
                self.inserting = true;
            }
            _ => {
                // The last line takes the end of the one before with it.
                let (start, end) = match composer.text()[end..].starts_with('\n') {
                    true => (first.start, end + 1),
                    false => (first.start.saturating_sub(1), end),
                };
                composer.remove(start..end);
                composer.move_to(start.min(composer.text().len()));
                composer.move_to(composer.line().start);
            }
        }
    }

    fn simple(&mut self, character: char, composer: &mut Composer) -> Came {
        let count = self.take_count();
        let line = composer.line();
        match character {
            'i' => self.inserting = true,
            'a' => {
                if composer.cursor() < line.end {
                    composer.right();
                }
                self.inserting = true;
            }
            'I' => self.insert_at(line.start, "", composer),
            'A' => self.insert_at(line.end, "", composer),
            'o' => self.insert_at(line.end, "\n", composer),
            'O' => {
                self.insert_at(line.start, "\n", composer);
                composer.move_to(line.start);
            }
            'x' | 's' => {
                let rest = &composer.text()[composer.cursor()..line.end];
                let len: usize = rest.graphemes(true).take(count).map(str::len).sum();
                let operator = if character == 's' { 'c' } else { 'd' };
                self.operate(operator, composer.cursor()..composer.cursor() + len, composer);
            }
            'X' => {
                let start = composer.before(composer.cursor()).max(line.start);
                self.operate('d', start..composer.cursor(), composer);
            }
            'D' => self.operate('d', composer.cursor()..line.end, composer),
            'C' => self.operate('c', composer.cursor()..line.end, composer),
            'p' | 'P' => self.put(character == 'p', count, composer),
            'u' => {
                composer.undo();
            }
            _ => return Came::Nothing,
        }
        Came::Done
    }

    fn insert_at(&mut self, at: usize, text: &str, composer: &mut Composer) {
        composer.move_to(at);
        if !text.is_empty() {
            composer.insert(text);
        }
        self.inserting = true;
    }

    fn put(&mut self, after: bool, count: usize, composer: &mut Composer) {
        let text = self.register.repeat(count);
        if text.is_empty() {
            return;
        }
        let line = composer.line();
        match (text.ends_with('\n'), after) {
            (true, true) => {
                composer.move_to(line.end);
                composer.insert(&format!("\n{}", text.trim_end_matches('\n')));
            }
            (true, false) => {
                composer.move_to(line.start);
                composer.insert(&text);
                composer.move_to(line.start);
            }
            (false, _) => {
                if after && composer.cursor() < line.end {
                    composer.right();
                }
                composer.insert(&text);
            }
        }
    }
}

/// Where a motion ends. `operated`: up to its end, not on its last character.
fn target(motion: char, composer: &Composer, operated: bool) -> usize {
    let (cursor, line) = (composer.cursor(), composer.line());
    match motion {
        'h' => composer.before(cursor).max(line.start),
        'l' => composer.after().min(line.end),
        'b' => composer.word_before(),
        'w' => next_word(composer),
        'e' if operated => composer.word_after(),
        'e' => {
            let mut ahead = composer.clone();
            ahead.right();
            let end = ahead.word_after();
            composer.before(end).max(cursor)
        }
        '0' => line.start,
        '^' => line.start + composer.text()[line.clone()].len() - composer.text()[line].trim_start().len(),
        _ => line.end,
    }
}

/// Begin of the next word.
fn next_word(composer: &Composer) -> usize {
    let from = composer.cursor();
    let mut bounds = composer.text()[from..].split_word_bound_indices().skip(1);
    bounds.find(|(_, word)| !word.trim().is_empty()).map_or(composer.text().len(), |(start, _)| from + start)
}

/// The word at the cursor; with the spaces behind it, where `around`.
fn word_at(composer: &Composer, around: bool) -> Range<usize> {
    let cursor = composer.cursor();
    let words = composer.text().split_word_bound_indices();
    let mut at = words.skip_while(|(start, word)| start + word.len() <= cursor);
    let Some((start, word)) = at.next() else { return cursor..cursor };
    let mut end = start + word.len();
    if around && let Some((_, space)) = at.next().filter(|(_, next)| next.trim().is_empty() && !next.contains('\n')) {
        end += space.len();
    }
    start..end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of a text with the cursor at `|` by these keys.
    fn after(text: &str, keys: &str) -> String {
        let mut composer = Composer::new(text.replace('|', ""));
        composer.move_to(text.find('|').unwrap());
        let mut vim = Vim::default();
        for key in keys.chars() {
            match (vim.inserting, key) {
                (true, '␛') => vim.inserting = false,
                (true, key) => assert!(composer.insert(&key.to_string())),
                (false, key) => {
                    vim.key(key, &mut composer, 40);
                }
            }
        }
        let mut text = composer.text().to_owned();
        text.insert(composer.cursor(), '|');
        text
    }

    #[test]
    fn commands_do_what_their_fingers_expect() {
        for (text, keys, expected) in [
            ("se|e you at six", "ciwmeet", "meet| you at six"),
            ("|see you at six", "dw", "|you at six"),
            ("|see you at six", "2dw", "|at six"),
            ("|see you at six", "d2w", "|at six"),
            ("|see you", "cwmeet", "meet| you"),
            ("see |you at", "daw", "see |at"),
            ("one\nt|wo\nthree", "dd", "one\n|three"),
            ("one\nt|wo", "dd", "|one"),
            ("|one\ntwo\nthree", "2dd", "|three"),
            ("|one\ntwo", "ddp", "two\none|"),
            ("|one", "yyp", "one\none|"),
            ("on|e", "x", "on|"),
            ("|abc", "2x", "|c"),
            ("a|bc", "D", "a|"),
            ("a|bc", "Cx", "ax|"),
            ("a|bc", "rx", "a|xc"),
            ("a|bc", "A!", "abc!|"),
            ("a|bc", "I!", "!|abc"),
            ("a|bc", "ob", "abc\nb|"),
            ("a|bc", "Ob", "b|\nabc"),
            ("a|bc", "xu", "a|bc"),
            ("one two |three", "bb", "|one two three"),
            ("|one two", "e", "on|e two"),
            ("|one two", "$", "one two|"),
            ("one| two", "0d$", "|"),
            ("|one", "cctwo", "two|"),
            ("|one two", "yw$p", "one twoone |"),
            ("|one", "dz", "|one"),
        ] {
            assert_eq!(after(text, keys), expected, "{text} {keys}");
        }
    }

    #[test]
    fn from_the_first_row_one_goes_up_to_the_messages() {
        let mut composer = Composer::new("one\ntwo");
        let mut vim = Vim::default();
        assert_eq!(vim.key('5', &mut composer, 40), Came::Done);
        assert_eq!(vim.key('k', &mut composer, 40), Came::Up(4));
        assert_eq!(vim.key('g', &mut composer, 40), Came::Done);
        assert_eq!(vim.key('g', &mut composer, 40), Came::Top);
    }

    proptest! {
        #[test]
        fn no_keys_break_the_text(text in "\\PC{0,20}|[ab\n ]{0,20}", keys in "[hlwbe0$dcyxXDCspPruiaIAoOjkgG1-9w]{0,40}") {
            let mut composer = Composer::new(text);
            let mut vim = Vim::default();
            for key in keys.chars() {
                if vim.inserting {
                    vim.inserting = false;
                }
                vim.key(key, &mut composer, 7);
                prop_assert!(composer.text().is_char_boundary(composer.cursor()));
            }
        }
    }
}
