//! Each alert says how bad it is and where its runbook is, has both tests, and asks only for metrics that there are.

use std::path::Path;

use anyhow::Result;

use super::{Finding, read, relative};
use crate::{metrics, repo};

/// The alerts, and their unit tests.
const ALERTS: &str = "charts/quicprochat/files/alerts.yaml";
const TESTS: &str = "charts/quicprochat/tests/alerts_test.yaml";
const RUNBOOKS: &str = "docs/runbooks";
/// Where the runbooks are for who reads an alert.
const RUNBOOK_URL: &str = "https://github.com/quicprochat/quicprochat/blob/main/docs/runbooks/";
/// More are not read.
const MOST: usize = 20;
/// What a runbook of an alert answers.
const SECTIONS: [&str; 5] =
    ["## What it means", "## What users notice", "## Confirm", "## Mend", "## Give up and escalate"];

/// One alert, as the file has it.
struct Alert<'a> {
    name: &'a str,
    line: usize,
    text: &'a str,
}

impl<'a> Alert<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        let line = |line: &'a str| line.trim().strip_prefix(key)?.strip_prefix(':');
        self.text.lines().find_map(line).map(str::trim).filter(|value| !value.is_empty())
    }
}

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let (text, tests) = (read(&root.join(ALERTS))?, read(&root.join(TESTS))?);
    let (alerts, names) = (alerts(&text), metrics::names(root)?);
    let mut findings = Vec::new();
    if !(1..=MOST).contains(&alerts.len()) {
        findings.push(Finding::new(ALERTS, 1, format!("{} alerts; there are 1 to {MOST}", alerts.len())));
    }
    for alert in &alerts {
        let mut find = |message: String| findings.push(Finding::new(ALERTS, alert.line, message));
        if !matches!(alert.value("severity"), Some("critical" | "warning")) {
            find(format!("{} is neither critical nor a warning", alert.name));
        }
        for key in ["expr", "for", "summary", "description"] {
            if alert.value(key).is_none() {
                find(format!("{} has no {key}", alert.name));
            }
        }
        for metric in metrics::used(alert.text).iter().filter(|metric| !names.contains(**metric)) {
            find(format!("{} asks for {metric}, which nothing registers", alert.name));
        }
        let (fires, stays) = tested(&tests, alert.name);
        if !(fires && stays) {
            find(format!("{TESTS} needs a test that fires {} and one that does not", alert.name));
        }
        let page = alert.value("runbook_url").and_then(|url| url.strip_prefix(RUNBOOK_URL)).unwrap_or_default();
        let runbook = read(&root.join(RUNBOOKS).join(page)).unwrap_or_default();
        if page.is_empty() || !runbook.contains(&format!("`{}`", alert.name)) {
            find(format!("{} has no runbook in {RUNBOOKS} that names it", alert.name));
        } else if let Some(section) = SECTIONS.iter().find(|section| !runbook.lines().any(|line| line == **section)) {
            find(format!("{RUNBOOKS}/{page} lacks {section:?}"));
        }
    }
    findings.extend(unlisted(root)?);
    Ok(findings)
}

/// Each runbook stands in the list of them.
fn unlisted(root: &Path) -> Result<Vec<Finding>> {
    let index = read(&root.join(RUNBOOKS).join("README.md"))?;
    let pages = repo::files(&root.join(RUNBOOKS), "md")?;
    let missing = pages.iter().filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name != "README.md" && !index.contains(&format!("({name})"))
    });
    Ok(missing.map(|path| Finding::new(relative(root, path), 1, "is not listed in docs/runbooks/README.md")).collect())
}

fn alerts(text: &str) -> Vec<Alert<'_>> {
    const BEGIN: &str = "- alert: ";
    let mut found = Vec::new();
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        let block = &text[*start..end];
        let name = block[BEGIN.len()..].lines().next().unwrap_or_default().trim();
        found.push(Alert { name, line: text[..*start].matches('\n').count() + 1, text: block });
    }
    found
}

/// Whether a test expects it to fire, and one not to.
fn tested(tests: &str, alert: &str) -> (bool, bool) {
    let lines: Vec<&str> = tests.lines().map(str::trim).collect();
    let expected = |wanted: &str| {
        lines.windows(2).any(|pair| pair[0].strip_prefix("alertname: ") == Some(alert) && pair[1] == wanted)
    };
    (expected("exp_alerts:"), expected("exp_alerts: []"))
}

#[cfg(test)]
mod tests {
    use super::{alerts, tested};

    #[test]
    fn alerts_are_read_with_what_they_say() {
        let text = "groups:\n  - alert: A\n    expr: |\n      x > 1\n    labels:\n      severity: warning\n  - alert: B\n    expr: y\n";
        let found = alerts(text);
        assert_eq!(found.iter().map(|alert| (alert.name, alert.line)).collect::<Vec<_>>(), [("A", 2), ("B", 7)]);
        assert_eq!((found[0].value("severity"), found[1].value("severity")), (Some("warning"), None));
        assert_eq!((found[0].value("expr"), found[1].value("for")), (Some("|"), None));
    }

    #[test]
    fn a_test_of_each_kind_is_told_from_none() {
        let tests = "alertname: A\n exp_alerts:\n - x\nalertname: A\n exp_alerts: []\nalertname: AB\nexp_alerts: []\n";
        assert_eq!(tested(tests, "A"), (true, true));
        assert_eq!(tested(tests, "AB"), (false, true));
        assert_eq!(tested(tests, "B"), (false, false));
    }
}
