//! Rust source with comments, literals and test items blanked, so that a search finds code only. Lines keep their numbers.

/// Blanks comments, strings and character literals.
pub(super) fn code(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` when none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |c, _| c == '\n'),
        '/' if next == Some('*') => comment_end(chars, at),
        '"' => string_end(chars, at),
        'r' if !after_word || matches!(chars.get(at.wrapping_sub(1)), Some('b' | 'c')) => raw_end(chars, at),
        '\'' => char_end(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, stop: impl Fn(char, usize) -> bool) -> usize {
    (from..chars.len()).find(|index| stop(chars[*index], *index)).unwrap_or(chars.len())
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut index) = (0_usize, at);
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => (depth, index) = (depth + 1, index + 2),
            ('*', '/') => (depth, index) = (depth.saturating_sub(1), index + 2),
            _ => index += 1,
        }
        if depth == 0 {
            return index;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut index = at + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = find(chars, at + 1, |c, _| c != '#') - (at + 1);
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes =
        |index: usize| chars.get(index + 1..index + 1 + hashes).is_some_and(|run| run.iter().all(|c| *c == '#'));
    let close = find(chars, open + 1, |c, index| c == '"' && closes(index));
    (close + 1 + hashes).min(chars.len())
}

/// A lifetime is no literal.
fn char_end(chars: &[char], at: usize) -> usize {
    match chars.get(at + 1) {
        Some('\\') => find(chars, at + 3, |c, _| c == '\'').saturating_add(1).min(chars.len()),
        Some(_) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

/// Blanks every item under `#[cfg(test)]`. Takes masked, formatted source: an item ends at the first line that closes at
/// its own indentation.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        out.push('\n');
        let indent = line.len() - line.trim_start().len();
        for line in lines.by_ref() {
            out.push('\n');
            let text = line.trim_end();
            let closes = text.len() - text.trim_start().len() == indent && text.trim_start().starts_with('}');
            let is_whole = text.ends_with(';') || text.ends_with('}') || text.ends_with(',');
            let at_indent = text.len() - text.trim_start().len() == indent;
            if closes || (at_indent && is_whole) {
                break;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{code, without_tests};

    #[test]
    fn only_code_is_left() {
        let source = "a(\"x \\\" y\"); // note\nb(r#\"raw \" text\"#); /* c /* d */ e */ f('\\'', 'q', &'a str);\nfor_r(br\"z\")";
        let masked = code(source);
        assert_eq!(masked.lines().count(), 3);
        for gone in ["x", "y", "note", "raw", "text", "c ", "d", " e ", "q", "z"] {
            assert!(!masked.contains(gone), "{gone:?} in {masked}");
        }
        for kept in ["a(", "b(", "f(", "&'a str", "for_r(b"] {
            assert!(masked.contains(kept), "{kept:?} in {masked}");
        }
    }

    #[test]
    fn test_items_are_left_out() {
        let source = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\nmod tests {\n    fn d() {\n    }\n}\nfn e() {}\n\
            impl F {\n    #[cfg(test)]\n    fn g() {\n        1\n    }\n    fn h() {}\n}\n";
        let left = without_tests(source);
        assert_eq!(left.lines().count(), source.lines().count());
        for gone in ["b;", "d()", "tests", "g()"] {
            assert!(!left.contains(gone), "{gone}");
        }
        for kept in ["use a", "fn c", "fn e", "fn h", "impl F"] {
            assert!(left.contains(kept), "{kept}");
        }
    }
}
