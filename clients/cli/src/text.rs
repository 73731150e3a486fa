//! Text for a terminal. What others wrote is not to be trusted with it.

use indicatif::HumanBytes;

/// Characters of a text that are shown on one line.
const MAX_LINE: usize = 4_000;
/// Zero width joiner: 👩‍🚀 is a woman, this and a rocket.
const JOINER: char = '\u{200d}';
/// A day, milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

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

/// `2026-11-20 14:03Z` (proleptic Gregorian calendar; the algorithm is Howard Hinnant's `civil_from_days`).
pub(crate) fn utc(unix_ms: u64) -> String {
    let days = unix_ms / DAY_MS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let minutes = unix_ms % DAY_MS / 60_000;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}Z", minutes / 60, minutes % 60)
}

/// The day of `2026-11-20`, counted from that of time 0 (the opposite of [`utc`]: Hinnant's `days_from_civil`).
pub(crate) fn day(date: &str) -> Option<u64> {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * shifted_month + 2) / 5 + day - 1;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    // The 31st of a short month is none of its days.
    let same = utc(days * DAY_MS).starts_with(&format!("{year:04}-{month:02}-{day:02} "));
    same.then_some(days)
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
        for (date, ms) in [("1970-01-01", 0), ("2000-02-29", 951_782_400_000), ("2026-11-20", 1_795_132_800_000)] {
            assert_eq!(day(date), Some(ms / DAY_MS), "{date}");
        }
        for slip in ["2026-02-29", "2026-13-01", "2026-11-31", "1969-12-31", "2026-11", "20.11.2026", "x", ""] {
            assert_eq!(day(slip), None, "{slip}");
        }
    }
}
