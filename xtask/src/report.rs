//! What a run did, step by step, and its sum.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Checks that passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Count {
    /// One check.
    pub(crate) fn one(success: bool) -> Self {
        Self { passed: success.into(), failed: (!success).into(), ignored: 0 }
    }

    /// Adds another's.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// The sum of the `test result:` lines of `cargo test`. Nothing found, or a failure that no line tells (it did not
    /// compile, a test killed its process), is one failed check.
    pub(crate) fn of_tests(stdout: &str, success: bool) -> Self {
        let mut sum = Self::default();
        for line in stdout.lines().filter(|line| line.starts_with("test result:")) {
            sum.passed += number_before(line, "passed");
            sum.failed += number_before(line, "failed");
            sum.ignored += number_before(line, "ignored");
        }
        if sum.failed == 0 && (!success || sum.passed == 0) {
            sum.failed = 1;
        }
        sum
    }

    /// What a script of `xtask/checks` printed: lines that begin with `ok`, `FAILED` or `skipped`. Nothing found, or a
    /// failure that no line tells, is one failed check.
    pub(crate) fn of_lines(stdout: &str, success: bool) -> Self {
        let lines = |word: &str| {
            stdout.lines().filter(|line| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(' '))).count()
                as u64
        };
        let mut sum = Self { passed: lines("ok"), failed: lines("FAILED"), ignored: lines("skipped") };
        if sum.failed == 0 && (!success || sum.passed == 0) {
            sum.failed = 1;
        }
        sum
    }
}

fn number_before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

struct Row {
    name: &'static str,
    count: Count,
    time: Duration,
}

/// The steps of a run.
pub(crate) struct Report {
    rows: Vec<Row>,
    start: Instant,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), start: Instant::now() }
    }

    /// Runs a step; an error is a failed check and does not end the run.
    pub(crate) fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<Count>) -> bool {
        println!("== {name}");
        let start = Instant::now();
        let count = work().unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Count::one(false)
        });
        self.rows.push(Row { name, count, time: start.elapsed() });
        count.failed == 0
    }

    /// Prints the list and the sum; returns whether all passed.
    pub(crate) fn finish(self) -> bool {
        let (mut passed, mut failed) = (0, 0);
        println!("== summary");
        for Row { name, count, time } in &self.rows {
            let word = if count.failed == 0 { "ok" } else { "FAILED" };
            let ignored = if count.ignored == 0 { String::new() } else { format!(", {} ignored", count.ignored) };
            println!(
                "{name:<10} {word:<7} {:>8.1} s   {} passed, {} failed{ignored}",
                time.as_secs_f64(),
                count.passed,
                count.failed
            );
            passed += count.passed;
            failed += count.failed;
        }
        println!("in {:.0} s", self.start.elapsed().as_secs_f64());
        println!("{passed} passed, {failed} failed");
        failed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn lines_of_scripts_are_summed_and_silence_is_a_failure() {
        let text = "overlay dev\nok one\nok two\nFAILED three: why\nskipped four: no tool\nokay\n";
        assert_eq!(Count::of_lines(text, false), Count { passed: 2, failed: 1, ignored: 1 });
        assert_eq!(Count::of_lines("", true).failed, 1);
        assert_eq!(Count::of_lines("ok one\n", true).failed, 0);
        assert_eq!(Count::of_lines("ok one\n", false).failed, 1);
    }

    #[test]
    fn test_results_are_summed_and_silence_is_a_failure() {
        let text = "running 3 tests\n\
            test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(Count::of_tests(text, false), Count { passed: 15, failed: 2, ignored: 1 });
        assert_eq!(Count::of_tests("", true), Count { passed: 0, failed: 1, ignored: 0 });
        let good = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(Count::of_tests(good, true).failed, 0);
        assert_eq!(Count::of_tests(good, false).failed, 1);
    }
}
