//! Every metric that the source registers, read from it: xtask depends on nothing of ours.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::repo;

/// The page made here.
pub(crate) const PAGE: &str = "docs/reference/metrics.md";
/// Where metrics are registered.
const FOLDERS: [&str; 2] = ["libs/chassis/src", "services"];
/// What registers one, and what it makes.
const MAKERS: [(&str, &str); 8] = [
    (".counter(", "counter"),
    (".counters(", "counter"),
    (".gauge(", "gauge"),
    (".gauges(", "gauge"),
    (".age(", "gauge"),
    (".sizes(", "histogram"),
    (".register(", "histogram"),
    (".info(", "info"),
];
/// What all names begin with.
const PREFIX: &str = "qpc_";

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
    render(&all(root)?)
}

/// The names by which queries ask for them.
pub(crate) fn names(root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for Metric { name, kind, .. } in all(root)? {
        match kind {
            "histogram" => names.extend(["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}"))),
            _ => _ = names.insert(name),
        }
    }
    Ok(names)
}

/// Those that a query asks for.
pub(crate) fn used(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(PREFIX)).collect()
}

fn all(root: &Path) -> Result<Vec<Metric>> {
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
    Ok(metrics)
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
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let (name, source) = (format!("{PREFIX}{name}{suffix}"), source.to_owned());
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
    use super::{names, page, render, scan, used};
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
    fn a_query_is_held_to_what_there_is() {
        let names = names(&repo::root()).unwrap();
        let used = used("rate(qpc_call_seconds_bucket{x=\"y\"}[5m]) + up / qpc_never_total + qpc_build_info");
        let unknown: Vec<_> = used.into_iter().filter(|name| !names.contains(*name)).collect();
        assert_eq!(unknown, ["qpc_never_total"]);
    }

    #[test]
    fn the_page_has_a_row_for_what_all_processes_count() {
        let page = page(&repo::root()).unwrap();
        for row in ["| `qpc_call_seconds` | histogram |", "| `qpc_gateway_handshakes_total` | counter |"] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }
}
