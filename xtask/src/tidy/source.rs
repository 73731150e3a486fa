//! What must not stand in the source outside tests.

use std::path::Path;

use anyhow::Result;

use super::{Finding, mask, read, relative};
use crate::repo;

/// Lines of a file before its tests.
const MAX_LINES: usize = 600;
/// Text of code, and why it is refused.
const REFUSED: [(&str, &str); 4] = [
    ("todo!(", "no stubs: leave it out until it works"),
    ("unimplemented!(", "no stubs: leave it out until it works"),
    ("dbg!(", "left over from a hunt"),
    ("thread::sleep", "wait on a condition or a timer of the runtime"),
];
/// It waits for processes, of which the kernel tells nobody but a parent.
const SLEEPER: &str = "xtask";
/// Folders with Rust source.
const FOLDERS: [&str; 5] = ["libs", "services", "clients", "loadtest", "xtask"];

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for folder in FOLDERS {
        for path in repo::files(&root.join(folder), "rs")? {
            let path = (relative(root, &path), read(&path)?);
            findings.extend(judge(&path.0, &path.1));
        }
    }
    Ok(findings)
}

fn judge(file: &Path, source: &str) -> Vec<Finding> {
    let is_test = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs" || part == "benches";
    if file.components().any(|part| is_test(part.as_os_str())) {
        return Vec::new();
    }
    let code = mask::without_tests(&mask::code(source));
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for (text, reason) in REFUSED {
            let sleeps = text == "thread::sleep" && file.starts_with(SLEEPER);
            if line.contains(text) && !sleeps {
                findings.push(Finding::new(file, index + 1, format!("{}: {reason}", text.trim_end_matches('('))));
            }
        }
    }
    let length = lines_before_tests(source);
    if length > MAX_LINES {
        findings.push(Finding::new(file, MAX_LINES, format!("{length} lines before the tests; at most {MAX_LINES}")));
    }
    findings
}

/// Lines before the test module at the end. An attribute on something else does not end the count.
fn lines_before_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{MAX_LINES, judge};

    #[test]
    fn stubs_and_sleeps_are_found_with_their_lines_but_not_in_tests() {
        let source = "// todo!()\nfn a() {\n    todo!()\n}\nfn b() {\n    std::thread::sleep(x);\n}\n#[cfg(test)]\nmod tests {\n    fn c() {\n        dbg!(1);\n    }\n}\n";
        let found: Vec<usize> = judge(Path::new("libs/x/src/a.rs"), source).iter().map(|found| found.line).collect();
        assert_eq!(found, [3, 6]);
        assert!(judge(Path::new("libs/x/tests/a.rs"), source).is_empty());
        assert_eq!(judge(Path::new("xtask/src/a.rs"), source).len(), 1);
    }

    #[test]
    fn length_is_counted_up_to_the_tests() {
        let long = "x();\n".repeat(MAX_LINES);
        let file = Path::new("libs/x/src/a.rs");
        assert!(judge(file, &format!("{long}#[cfg(test)]\nmod tests {{\n{long}}}\n")).is_empty());
        assert_eq!(judge(file, &format!("{long}x();\n")).len(), 1);
    }
}
