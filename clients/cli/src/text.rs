//! Text for a terminal. What others wrote is not to be trusted with it.

use std::sync::OnceLock;

use indicatif::HumanBytes;
use jiff::{
    Timestamp,
    civil::{Date, DateTime, date},
    tz::TimeZone,
};

/// Characters of a text that are shown on one line.
const MAX_LINE: usize = 4_000;
/// Zero width joiner: 👩‍🚀 is a woman, this and a rocket.
const JOINER: char = '\u{200d}';

/// `text` without what could steer the terminal or turn the direction of writing: other lines start with an indent, other
/// control characters and the like become `·`.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, character) in text.chars().enumerate() {
        if index == MAX_LINE {
            out.push('…');
            break;
        }
        match character {
            '\n' => out.push_str("\n    "),
            '\t' => out.push(' '),
            // What joins emoji to one, or letters of some scripts, joins nothing else.
            JOINER if !out.is_empty() => out.push(character),
            character if steers(character) => out.push('·'),
            character => out.push(character),
        }
    }
    out
}

/// Control characters, marks of direction, and what is invisible by design.
pub(crate) fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// A name that somebody has given: one line, and not long.
pub(crate) fn label(name: &str) -> String {
    const LENGTH: usize = 64;
    let blank = |character: char| if character.is_whitespace() { ' ' } else { character };
    let mut label: String = name.trim().chars().take(LENGTH).map(blank).collect();
    if name.trim().chars().nth(LENGTH).is_some() {
        label.push('…');
    }
    safe(&label)
}

/// The beginning of a text, for a line about it.
pub(crate) fn short(text: &str) -> String {
    const LENGTH: usize = 48;
    let first = text.lines().next().unwrap_or_default();
    let short: String = first.chars().take(LENGTH).collect();
    safe(&if short.len() < text.len() { format!("{short}…") } else { short })
}

/// A number of bytes, for a person.
pub(crate) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A confirmed name, or the beginning of an account id.
pub(crate) fn name(confirmed: Option<&str>, account: &str) -> String {
    confirmed.map_or_else(|| format!("?{}", account.get(..8).unwrap_or(account)), str::to_owned)
}

/// In which times are shown: that of this machine, or UTC before it was looked for.
static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Times are shown in this zone from here on.
pub(crate) fn show_times_in(zone: TimeZone) {
    drop(ZONE.set(zone));
}

/// `2026-11-20 14:03`, by the clock on the wall.
pub(crate) fn time(unix_ms: u64) -> String {
    on_the_wall(unix_ms, ZONE.get().unwrap_or(&TimeZone::UTC)).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `2026-11-20 13:03Z`, for what operators compare with logs.
pub(crate) fn utc(unix_ms: u64) -> String {
    on_the_wall(unix_ms, &TimeZone::UTC).strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// The day of a time by the clock on the wall, counted from that of time 0.
pub(crate) fn day_of(unix_ms: u64) -> u64 {
    days(on_the_wall(unix_ms, ZONE.get().unwrap_or(&TimeZone::UTC)).date())
}

/// The day of `2026-11-20`, counted likewise.
pub(crate) fn day(date: &str) -> Option<u64> {
    let date = Date::strptime("%Y-%m-%d", date).ok()?;
    (date >= EPOCH).then(|| days(date))
}

const EPOCH: Date = date(1970, 1, 1);

/// 0 before time 0.
fn days(date: Date) -> u64 {
    let hours = date.duration_since(EPOCH).as_hours();
    u64::try_from(hours).unwrap_or_default() / 24
}

fn on_the_wall(unix_ms: u64, zone: &TimeZone) -> DateTime {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    zone.to_datetime(at.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(safe("grüße 👋"), "grüße 👋");
        assert_eq!(safe("a 👩\u{200d}🚀 and \u{200b}"), "a 👩\u{200d}🚀 and ·");
        assert_eq!(safe("\u{1b}[2Jboo"), "·[2Jboo");
        assert_eq!(safe("a\u{202e}b\rc\u{7}"), "a·b·c·");
        assert_eq!(safe("one\nbob: two"), "one\n    bob: two");
        assert_eq!(safe(&"x".repeat(MAX_LINE + 9)).chars().count(), MAX_LINE + 1);
        assert_eq!(label(" Book\nclub\u{202e} "), "Book club·");
        assert_eq!(label(&"x".repeat(99)), format!("{}…", "x".repeat(64)));
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00Z");
        assert_eq!(utc(1_795_181_580_000), "2026-11-20 13:33Z");
        assert_eq!(on_the_wall(u64::MAX, &TimeZone::UTC).year(), 9999, "what others claim is no time to fail at");
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let there = |ms| on_the_wall(ms, &berlin).strftime("%H:%M").to_string();
        assert_eq!((there(1_795_181_580_000), there(1_783_000_000_000)), ("14:33".into(), "15:46".into()));
        for (date, ms) in [("1970-01-01", 0), ("2000-02-29", 951_782_400_000), ("2026-11-20", 1_795_132_800_000)] {
            assert_eq!((day(date), day_of(ms)), (Some(ms / 86_400_000), ms / 86_400_000), "{date}");
        }
        for slip in ["2026-02-29", "2026-13-01", "2026-11-31", "1969-12-31", "2026-11", "20.11.2026", "x", ""] {
            assert_eq!(day(slip), None, "{slip}");
        }
    }
}
