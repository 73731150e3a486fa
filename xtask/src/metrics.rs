//! Every metric that the source registers, read from it: xtask depends on nothing of ours.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::repo;

/// The page made here.
pub(crate) const PAGE: &str = "docs/reference/metrics.md";
/// Where metrics are registered.
const FOLDERS: [&str; 2] = ["libs/chassis/src", "services"];
/// What registers one, and what it makes.
const MAKERS: [(&str, &str); 7] = [
    (".counter(", "counter"),
    (".counters(", "counter"),
    (".gauge(", "gauge"),
    (".gauges(", "gauge"),
    (".age(", "gauge"),
    (".sizes(", "histogram"),
    (".register(", "histogram"),
];

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Metric {
    /// As it is scraped.
    name: String,
    kind: &'static str,
    help: String,
    /// Where it is registered.
    source: String,
}

/// The page as the source has it.
pub(crate) fn page(root: &Path) -> Result<String> {
    let mut metrics = Vec::new();
    for folder in FOLDERS {
        for path in repo::files(&root.join(folder), "rs")? {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let source = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if !source.contains("/tests/") {
                metrics.extend(scan(&text, &source));
            }
        }
    }
    metrics.sort();
    metrics.dedup();
    ensure!(!metrics.is_empty(), "no metrics found below {FOLDERS:?}");
    render(&metrics)
}

/// The metrics that `text` registers. A name that is no literal is not seen, so names are literals.
fn scan(text: &str, source: &str) -> Vec<Metric> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for (maker, kind) in MAKERS {
        for (at, _) in code.match_indices(maker) {
            let arguments = &code[at + maker.len()..];
            let Some((name, rest)) = literal(arguments) else { continue };
            let help = rest.trim_start().strip_prefix(',').map(str::trim_start).unwrap_or_default();
            // A help that is too long for its line stands in a variable above, the last one of that name.
            let help = match literal(help) {
                Some((help, _)) => help,
                None => {
                    let variable = help.split([',', ')']).next().unwrap_or_default();
                    let named = code[..at].rsplit_once(&format!("let {variable} = ")).map(|(_, value)| value);
                    named.and_then(literal).map(|(help, _)| help).unwrap_or_default()
                }
            };
            let suffix = if kind == "counter" { "_total" } else { "" };
            let (name, source) = (format!("qpc_{name}{suffix}"), source.to_owned());
            found.push(Metric { name, kind, help: help.to_owned(), source });
        }
    }
    found
}

/// A string literal at the beginning of `text`, and what follows it. Those of metrics hold no escapes.
fn literal(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('"')?.split_once('"')
}

fn render(metrics: &[Metric]) -> Result<String> {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made by `cargo xtask docs` from the source. Do not edit. -->\n\n\
         OpenMetrics, at `/metrics` of the address that `--observe` names. Labels are closed lists: never an account, a\n\
         device or an address. `call_seconds` has the labels `service`, `method` and `code`; a family says in its text by\n\
         what it is told apart. A process shows what its services count; `qpc-server` shows all.\n\n\
         | metric | kind | meaning | registered in |\n\
         |---|---|---|---|\n",
    );
    for Metric { name, kind, help, source } in metrics {
        ensure!(!help.is_empty(), "{source}: {name} has no text that could be read");
        writeln!(page, "| `{name}` | {kind} | {help} | `{source}` |")?;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::{page, render, scan};
    use crate::repo;

    const SOURCE: &str = r#"
        let sent = metrics.counter("sent", "Sent ones");
        let help = "Age of
            one";
        let help = "Age of another";
        metrics.age("age_seconds", help);
        deps.bus.register(name, help, sent.clone());
        #[cfg(test)]
        metrics.gauge("planted", "In a test");
    "#;

    #[test]
    fn names_and_texts_are_read_as_they_are_written() {
        let found = scan(SOURCE, "x.rs");
        let seen: Vec<_> = found.iter().map(|metric| (&*metric.name, metric.kind, &*metric.help)).collect();
        assert_eq!(seen, [("qpc_sent_total", "counter", "Sent ones"), ("qpc_age_seconds", "gauge", "Age of another")]);
        let silent = scan(r#"metrics.gauge("x", from_elsewhere())"#, "x.rs");
        assert!(render(&silent).is_err(), "one without a text is an error");
    }

    #[test]
    fn the_page_has_a_row_for_what_all_processes_count() {
        let page = page(&repo::root()).unwrap();
        for row in ["| `qpc_call_seconds` | histogram |", "| `qpc_gateway_handshakes_total` | counter |"] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }
}
