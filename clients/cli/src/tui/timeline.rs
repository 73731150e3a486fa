//! The messages of the open conversation as lines, and which of them are seen. Lines are made as they are needed: of those that
//! are seen, and of those that are passed over.

use qpc_sdk::{ConversationKind, Message, MessageKind, MessageRef, MessageState, Picture};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    glyph::{self, Glyph},
    model::{Model, Open, Options},
    theme::{Depth, Role, Theme},
};
use crate::text;

/// A name is not said again for what follows within this time.
const GROUP_MS: u64 = 5 * 60 * 1000;
/// Cells before a text, and after it for what became of it.
const GUTTER: usize = 2;
const MARKS: usize = 3;
/// Narrower, marks stand in a line of their own.
const NARROW: usize = 16;
/// Lines of one message that are shown.
const MAX_LINES: usize = 500;
/// Signs under one message that are shown.
const MAX_SIGNS: usize = 24;

/// Draws messages of a model in a width.
pub(crate) struct Timeline<'a> {
    model: &'a Model,
    open: &'a Open,
    width: usize,
}

/// A line that is seen: of which message, and which of its lines.
pub(crate) type Place = (usize, usize);

impl<'a> Timeline<'a> {
    pub(crate) fn new(model: &'a Model, width: u16) -> Option<Self> {
        Some(Self { model, open: model.open.as_ref()?, width: usize::from(width).max(1) })
    }

    fn span(&self, text: impl Into<String>, role: Role) -> Span<'static> {
        Span::styled(text.into(), self.model.options.theme.style(role))
    }

    /// All lines of one message: what separates it from the one before, who wrote it, what, and what others made of it.
    pub(crate) fn lines(&self, index: usize) -> Vec<Line<'static>> {
        let Some(message) = self.open.messages.get(index) else { return Vec::new() };
        let before = index.checked_sub(1).and_then(|index| self.open.messages.get(index));
        let mut lines = Vec::new();
        let same_day = before.is_some_and(|before| text::day_of(before.sent_at_ms) == text::day_of(message.sent_at_ms));
        if !same_day {
            lines.push(self.rule(text::time(message.sent_at_ms).get(..10).unwrap_or_default(), Role::Faint));
        }
        let divides = self.open.divider == Some(message.reference());
        if divides {
            lines.push(self.rule("unread", Role::New));
        }
        let follows = before.is_some_and(|before| {
            before.sender == message.sender && message.sent_at_ms.saturating_sub(before.sent_at_ms) < GROUP_MS
        });
        if !(follows && same_day) || divides {
            lines.push(self.head(message));
        }
        let begin = lines.len();
        lines.extend(self.quote(message));
        lines.extend(self.body(message));
        self.mark(message, begin, &mut lines);
        lines.extend(self.signs(message));
        lines
    }

    fn rule(&self, word: &str, role: Role) -> Line<'static> {
        let rest = self.width.saturating_sub(word.len() + 4);
        Line::from(self.span(glyph::cut(&format!("── {word} {}", "─".repeat(rest)), self.width), role))
    }

    fn head(&self, message: &Message) -> Line<'static> {
        let own = message.sender == self.model.account;
        let role = if own { Role::Own } else { Role::Name(message.sender.0[0]) };
        let name = match (own, &message.sender_name) {
            (false, Some(name)) => text::label(name),
            _ => self.model.name(message.sender),
        };
        let time = text::time(message.sent_at_ms).get(11..16).unwrap_or_default().to_owned();
        let name = glyph::cut(&name, self.width);
        let room = self.width.saturating_sub(glyph::width(&name) + 2);
        let timed = if message.expires_after_ms > 0 { format!("{time} ⏲") } else { time };
        Line::from(vec![self.span(name, role), self.span(glyph::cut(&format!("  {timed}"), room + 2), Role::Faint)])
    }

    /// Cells for a text.
    fn room(&self) -> usize {
        if self.width < NARROW { self.width.saturating_sub(1).max(1) } else { self.width - GUTTER - MARKS }
    }

    fn gutter(&self, message: &Message) -> Span<'static> {
        let width = if self.width < NARROW { 1 } else { GUTTER };
        let chosen = self.open.selected == Some(message.reference());
        let (sign, role) = match chosen {
            true => ("▌", Role::Key),
            false if message.for_us => ("@", Role::New),
            false => (" ", Role::Text),
        };
        self.span(format!("{sign:<width$}"), role)
    }

    fn quote(&self, message: &Message) -> Option<Line<'static>> {
        let target = message.reply_to?;
        let said = match self.open.message(target) {
            Some(quoted) => format!("┃ {}: {}", self.model.name(quoted.sender), excerpt(quoted)),
            None => format!("┃ {}: …", self.model.name(target.author)),
        };
        Some(Line::from(vec![self.gutter(message), self.span(glyph::cut(&said, self.room()), Role::Faint)]))
    }

    fn body(&self, message: &Message) -> Vec<Line<'static>> {
        let faint = |said: String| vec![self.faint_line(message, &said)];
        match message.kind {
            MessageKind::Deleted => {
                let by = message.deleted_by.map(|by| format!(" by {}", self.model.name(by))).unwrap_or_default();
                return faint(format!("∅ deleted{by}"));
            }
            MessageKind::Expired => return faint("∅ disappeared".to_owned()),
            MessageKind::Unknown => return faint("? something that this version does not understand".to_owned()),
            MessageKind::Text => {}
        }
        let mut lines = Vec::new();
        for file in &message.attachments {
            let said = format!("[file] {} · {}", text::label(&file.name), text::size(file.size));
            lines.push(self.faint_line(message, &said));
            if let Some(Some(picture)) = self.open.pictures.get(&file.thumbnail) {
                lines.extend(self.picture(message, picture));
            }
        }
        let mut start = 0;
        for line in message.text.split('\n').take_while(|_| !message.text.is_empty()) {
            let glyphs = glyph::glyphs(line);
            for row in glyph::wrap(&glyphs, self.room()) {
                if lines.len() == MAX_LINES {
                    lines.push(self.faint_line(message, "… (y copies the whole text)"));
                    return self.edited(message, lines);
                }
                lines.push(self.text_line(message, start, &glyphs[row]));
            }
            start += line.len() + 1;
        }
        self.edited(message, lines)
    }

    /// Two pixels in a cell, one above the other. None where there is no room or no colour.
    fn picture(&self, message: &Message, picture: &Picture) -> Vec<Line<'static>> {
        let Options { pictures, depth, theme, .. } = self.model.options;
        let width = picture.width as usize;
        if !pictures || theme == Theme::None || depth == Depth::None || width == 0 || width > self.room() {
            return Vec::new();
        }
        let rows: Vec<&[Option<[u8; 3]>]> = picture.pixels.chunks(width).collect();
        let line = |pair: &[&[Option<[u8; 3]>]]| {
            let mut spans = vec![self.gutter(message)];
            for x in 0..width {
                let pixel = |row: usize| Some(depth.color((*pair.get(row)?.get(x)?)?));
                spans.push(match (pixel(0), pixel(1)) {
                    (Some(upper), Some(lower)) => Span::styled("▀", Style::new().fg(upper).bg(lower)),
                    (Some(upper), None) => Span::styled("▀", Style::new().fg(upper)),
                    (None, Some(lower)) => Span::styled("▄", Style::new().fg(lower)),
                    (None, None) => Span::raw(" "),
                });
            }
            Line::from(spans)
        };
        rows.chunks(2).map(line).collect()
    }

    fn faint_line(&self, message: &Message, said: &str) -> Line<'static> {
        Line::from(vec![self.gutter(message), self.span(glyph::cut(said, self.room()), Role::Faint)])
    }

    /// A row of the text, whose line begins at byte `start`.
    fn text_line(&self, message: &Message, start: usize, row: &[Glyph]) -> Line<'static> {
        let hits = self.hits(message);
        let mut spans = vec![self.gutter(message)];
        let (mut run, mut run_role, mut used) = (String::new(), Role::Text, 0);
        for glyph in row {
            used += glyph.width.min(self.room());
            if used > self.room() {
                break;
            }
            let at = start + glyph.at.start;
            let role = match () {
                () if hits.iter().any(|hit| hit.contains(&at)) => Role::Hit,
                () if message.mentions.iter().any(|mention| mention.range.contains(&at)) => Role::New,
                () => Role::Text,
            };
            if role != run_role && !run.is_empty() {
                spans.push(self.span(std::mem::take(&mut run), run_role));
            }
            run_role = role;
            // In one cell a wide one cannot be shown.
            run.push_str(if glyph.width > self.room() { "·" } else { &glyph.shown });
        }
        spans.push(self.span(run, run_role));
        Line::from(spans)
    }

    fn hits(&self, message: &Message) -> Vec<std::ops::Range<usize>> {
        let Some(found) = &self.open.found else { return Vec::new() };
        if !found.hits.iter().any(|(hit, _)| *hit == message.reference()) {
            return Vec::new();
        }
        matches(&message.text, &found.query)
    }

    fn edited(&self, message: &Message, mut lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
        const EDITED: &str = " (edited)";
        if message.edited_at_ms.is_none() {
            return lines;
        }
        let room = self.room().min(self.width.saturating_sub(GUTTER));
        match lines.last_mut() {
            Some(last) if last.width() + EDITED.len() <= room => last.push_span(self.span(EDITED, Role::Faint)),
            _ => lines.push(self.faint_line(message, EDITED.trim_start())),
        }
        lines
    }

    fn signs(&self, message: &Message) -> Vec<Line<'static>> {
        let mut lines: Vec<Line<'static>> = Vec::new();
        for reaction in message.reactions.iter().take(MAX_SIGNS) {
            let own = reaction.accounts.contains(&self.model.account);
            let (open, close) = if own { ("[", "]") } else { (" ", " ") };
            let sign = format!("{open}{} {}{close}", glyph::cut(&reaction.emoji, 12), reaction.accounts.len());
            let role = if own { Role::Strong } else { Role::Text };
            let cells = glyph::width(&sign);
            match lines.last_mut() {
                Some(last) if last.width() + cells <= self.room() + 1 => last.push_span(self.span(sign, role)),
                _ => {
                    let sign = glyph::cut(&sign, self.room());
                    lines.push(Line::from(vec![self.gutter(message), self.span(sign, role)]));
                }
            }
        }
        lines
    }

    /// Puts what became of an own message at the right of its last line of text.
    fn mark(&self, message: &Message, begin: usize, lines: &mut Vec<Line<'static>>) {
        let Some((mark, role)) = state_mark(message) else { return };
        let colours = self.model.options.theme != Theme::None;
        let mark = if message.state == MessageState::Read && colours { "✓✓" } else { mark };
        let has_text = lines.len() > begin;
        match lines.last_mut() {
            Some(line) if self.width >= NARROW && has_text => {
                let gap = self.width.saturating_sub(line.width() + 2);
                line.push_span(Span::raw(" ".repeat(gap)));
                line.push_span(self.span(format!("{mark:<2}"), role));
            }
            _ => lines.push(Line::from(self.span(glyph::cut(mark, self.width), role))),
        }
    }

    /// Lines of a message.
    pub(crate) fn height(&self, index: usize) -> usize {
        self.lines(index).len()
    }

    /// The last line that is seen.
    fn bottom(&self) -> Option<Place> {
        let last = self.open.messages.len().checked_sub(1)?;
        let anchored = self.open.bottom.and_then(|(message, line)| Some((self.open.index_of(message)?, line)));
        let (index, line) = anchored.unwrap_or((last, usize::MAX));
        Some((index, line.min(self.height(index).saturating_sub(1))))
    }

    fn above(&self, (index, line): Place) -> Option<Place> {
        if let Some(line) = line.checked_sub(1) {
            return Some((index, line));
        }
        let index = index.checked_sub(1)?;
        Some((index, self.height(index).saturating_sub(1)))
    }

    fn below(&self, (index, line): Place) -> Option<Place> {
        if line + 1 < self.height(index) {
            return Some((index, line + 1));
        }
        (index + 1 < self.open.messages.len()).then_some((index + 1, 0))
    }

    /// The lines that are seen in so many rows, from the top. Fewer, if there are no more.
    pub(crate) fn window(&self, rows: usize) -> Vec<Place> {
        let mut window: Vec<_> = std::iter::successors(self.bottom(), |place| self.above(*place)).take(rows).collect();
        window.reverse();
        window
    }

    /// [`Open::bottom`] for a last line.
    fn anchor(&self, place: Place) -> Option<(MessageRef, usize)> {
        self.below(place)?;
        Some((self.open.messages.get(place.0)?.reference(), place.1))
    }

    /// [`Open::bottom`] so many lines further up; the first line does not go below the first row.
    pub(crate) fn up(&self, by: usize, rows: usize) -> Option<(MessageRef, usize)> {
        let from = self.bottom()?;
        let to = std::iter::successors(Some(from), |place| self.above(*place)).take(by + 1).last()?;
        let full = std::iter::successors(Some(to), |place| self.above(*place)).take(rows).count() == rows;
        if full { self.anchor(to) } else { self.top(rows) }
    }

    /// The same so that the first line is seen.
    pub(crate) fn top(&self, rows: usize) -> Option<(MessageRef, usize)> {
        self.rows_from_top((0, 0), rows)
    }

    /// The same further down.
    pub(crate) fn down(&self, by: usize) -> Option<(MessageRef, usize)> {
        let to = std::iter::successors(self.bottom(), |place| self.below(*place)).take(by + 1).last()?;
        self.anchor(to)
    }

    /// The same so that this line is the first.
    fn rows_from_top(&self, place: Place, rows: usize) -> Option<(MessageRef, usize)> {
        let last = std::iter::successors(Some(place), |place| self.below(*place)).take(rows.max(1)).last()?;
        self.anchor(last)
    }

    /// The same so that a message is seen, as it is if it is seen already.
    pub(crate) fn showing(&self, message: MessageRef, rows: usize) -> Option<(MessageRef, usize)> {
        let Some(index) = self.open.index_of(message) else { return self.open.bottom };
        let (window, height) = (self.window(rows), self.height(index));
        let seen = window.iter().filter(|(shown, _)| *shown == index).count();
        match window.first() {
            _ if seen == height => self.open.bottom,
            Some((first, _)) if index <= *first || height > rows => self.rows_from_top((index, 0), rows),
            _ => self.anchor((index, height.saturating_sub(1))),
        }
    }
}

/// What became of an own message.
pub(crate) fn state_mark(message: &Message) -> Option<(&'static str, Role)> {
    Some(match message.state {
        MessageState::Queued | MessageState::Sent => ("◷", Role::Faint),
        MessageState::Accepted => ("✓", Role::Faint),
        MessageState::Delivered => ("✓✓", Role::Faint),
        MessageState::Read => ("◉◉", Role::Read),
        MessageState::Failed | MessageState::ReceiptRefused => ("⚠", Role::Bad),
        MessageState::Received | MessageState::Local => return None,
    })
}

/// One line about a message.
pub(crate) fn excerpt(message: &Message) -> String {
    match message.kind {
        MessageKind::Text if message.text.is_empty() => "[file]".to_owned(),
        MessageKind::Text => glyph::plain(message.text.lines().next().unwrap_or_default()),
        MessageKind::Deleted => "deleted".to_owned(),
        MessageKind::Expired => "disappeared".to_owned(),
        MessageKind::Unknown => "…".to_owned(),
    }
}

/// Where a text has a query, in any case.
pub(crate) fn matches(text: &str, query: &str) -> Vec<std::ops::Range<usize>> {
    let wanted: Vec<char> = query.chars().flat_map(char::to_lowercase).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    // Lower case may be longer, so each of its characters remembers where it comes from.
    let lower: Vec<(usize, usize, char)> = text
        .char_indices()
        .flat_map(|(at, character)| character.to_lowercase().map(move |lower| (at, at + character.len_utf8(), lower)))
        .collect();
    let fits = |window: &&[(usize, usize, char)]| window.iter().map(|(.., lower)| lower).eq(&wanted);
    lower.windows(wanted.len()).filter(fits).map(|window| window[0].0..window[window.len() - 1].1).collect()
}

/// What the header says of a conversation.
pub(crate) fn kind(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Direct => "direct",
        ConversationKind::Group => "group",
        ConversationKind::Own => "devices",
        ConversationKind::Notes => "notes, on this device alone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_find_any_case_and_keep_their_place() {
        assert_eq!(matches("Grüße, GRÜSSE", "grü"), [0..4, 9..13]);
        assert_eq!(matches("İx x", "x"), [2..3, 4..5]);
        assert!(matches("abc", "").is_empty());
    }
}
