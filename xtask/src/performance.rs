//! `cargo xtask docs --performance FILE --groups FILE --traces FILE`: the page of figures from the JSON of `cargo xtask bench`,
//! `bench groups` and `bench traces`. A part of which no file is given stays as it is.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};

use crate::repo;

const PAGE: &str = "docs/reference/performance.md";

#[derive(Deserialize)]
struct Report {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    value: f64,
    unit: String,
    ceiling: Option<f64>,
    ratio: Option<f64>,
    target: Option<f64>,
    met: Option<bool>,
}

/// What `bench groups` writes, as far as it is told here.
#[derive(Deserialize)]
struct Groups {
    rows: Vec<Step>,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Step {
    suite: String,
    leaves: usize,
    tree: String,
    step: String,
    bytes: Option<u64>,
    memory: Times,
    disk: Times,
    server: Times,
}

#[derive(Deserialize)]
struct Times {
    ours: Option<f64>,
    ratio: Option<f64>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    value: f64,
    unit: String,
    target: Option<f64>,
    met: Option<bool>,
}

/// Begin of what the page says of groups, and of traces behind that.
const GROUPS: &str = "\n## Groups\n";
const TRACES: &str = "\n## Traces\n";

/// Writes the page from the figures of `bench`, `bench groups` and `bench traces`.
pub(crate) fn write([figures, groups, traces]: [Option<&Path>; 3]) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let place = repo::root().join(PAGE);
    let before = fs::read_to_string(&place).with_context(|| format!("read {PAGE}"))?;
    let (rest, old_traces) = before.split_at(before.find(TRACES).unwrap_or(before.len()));
    let (old_figures, old_groups) = rest.split_at(rest.find(GROUPS).unwrap_or(rest.len()));
    let figures = figures.map_or(Ok(old_figures.to_owned()), |file| page(&read(file)?, cores))?;
    let groups = groups.map_or(Ok(old_groups.to_owned()), |file| of_groups(&read(file)?))?;
    let traces = traces.map_or(Ok(old_traces.to_owned()), |file| of_traces(&read(file)?, cores))?;
    fs::write(place, figures + &groups + &traces).with_context(|| format!("write {PAGE}"))?;
    println!("wrote {PAGE}");
    Ok(())
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not from bench", file.display()))
}

fn page(report: &Report, cores: usize) -> Result<String> {
    let mut page = format!(
        "# Performance\n\n\
         <!-- Made by `cargo xtask docs --performance FILE --groups FILE --traces FILE` from the JSON of `cargo xtask bench`,\n\
         `cargo xtask bench groups` and `cargo xtask bench traces`. Do not edit. -->\n\n\
         One run on one machine with {cores} cores, which clients, gateways, services and servers share, over loopback;\n\
         release builds, `fsync` on. Ceilings are measured in the same run on the bare parts, so read the ratios; rates\n\
         and times belong to the machine. [loadtest/README.md](../../loadtest/README.md) says what each row measures.\n\
         A target is one of the ratio where there is a ceiling, and else of the value.\n\n\
         | | value | ceiling | ratio | target | met |\n|---|---|---|---|---|---|\n",
    );
    for row in &report.rows {
        let (value, met) = (row.value(), told(row.met));
        let [ceiling, ratio, target] = [row.ceiling, row.ratio, row.target].map(optional);
        writeln!(page, "| {} | {value} | {ceiling} | {ratio} | {target} | {met} |", row.name)?;
    }
    Ok(page)
}

impl Row {
    fn value(&self) -> String {
        format!("{} {}", number(self.value), self.unit).trim_end().to_owned()
    }
}

fn of_traces(report: &Report, cores: usize) -> Result<String> {
    let mut page = format!(
        "{TRACES}\n\
         1 KiB messages made durable for an absent recipient, 64 senders, over four `qpc-server` with SQLite in turn, on a machine\n\
         with {cores} cores, which the senders and the collector share; medians of five rounds. The ratio is that to the server\n\
         without `--otlp`.\n\n\
         | | value | ratio |\n|---|---|---|\n"
    );
    for row in &report.rows {
        writeln!(page, "| {} | {} | {} |", row.name, row.value(), optional(row.ratio))?;
    }
    Ok(page)
}

fn of_groups(groups: &Groups) -> Result<String> {
    let mut page = format!(
        "{GROUPS}\n\
         Our client beside bare openmls taking the same steps in the same run: the median of the ratios of all steps of a\n\
         group, and the highest; bytes of an update and times in milliseconds are ours, times on disk.\n\n\
         | suite | leaves | tree | memory | highest | disk | highest | server | update | ms | encrypt ms | decrypt ms |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    // Those in parentheses are parts of others.
    let steps: Vec<&Step> = groups.rows.iter().filter(|step| !step.step.starts_with('(')).collect();
    for group in steps.chunk_by(|a, b| (&a.suite, a.leaves, &a.tree) == (&b.suite, b.leaves, &b.tree)) {
        let ratios = |times: fn(&Step) -> &Times| -> Vec<f64> {
            let mut ratios: Vec<f64> = group.iter().filter_map(|step| times(step).ratio).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        let (memory, disk, server) =
            (ratios(|step| &step.memory), ratios(|step| &step.disk), ratios(|step| &step.server));
        let median = |ratios: &[f64]| optional(ratios.get(ratios.len() / 2).copied());
        let highest = |ratios: &[f64]| optional(ratios.last().copied());
        let of = |name: &str| group.iter().find(|step| step.step == name);
        let time = |name| optional(of(name).and_then(|step| step.disk.ours));
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} B | {} | {} | {} |",
            // The key exchange is what differs.
            if group[0].suite.contains("MLKEM") { "hybrid" } else { "classic" },
            group[0].leaves,
            group[0].tree,
            median(&memory),
            highest(&memory),
            median(&disk),
            highest(&disk),
            median(&server),
            of("update").and_then(|step| step.bytes).unwrap_or_default(),
            time("update"),
            time("encrypt"),
            time("decrypt"),
        )?;
    }
    page.push_str("\nThe delivery service, on SQLite, with as many devices, all but one of them joiners:\n\n");
    page.push_str("| suite, devices, what | value | target | met |\n|---|---|---|---|\n");
    for check in &groups.checks {
        let Check { name, value, unit, target, met } = check;
        let value = format!("{} {unit}", number(*value));
        writeln!(page, "| {name} | {} | {} | {} |", value.trim_end(), optional(*target), told(*met))?;
    }
    Ok(page)
}

fn optional(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

fn told(met: Option<bool>) -> &'static str {
    met.map_or("", |met| if met { "yes" } else { "no" })
}

/// Two digits after the point, none for large numbers.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::{Groups, Report, of_groups, of_traces, page};

    #[test]
    fn a_row_of_the_report_is_a_row_of_the_table() {
        let json = r#"{"rows":[
            {"name":"ping","value":5000.4,"unit":"1/s","ceiling":10000.0,"ratio":0.5,"target":0.5,"met":true},
            {"name":"wait","value":1.25,"unit":"ms","ceiling":null,"ratio":null,"target":null,"met":null}]}"#;
        let report: Report = serde_json::from_str(json).unwrap();
        let page = page(&report, 2).unwrap();
        assert!(page.contains("| ping | 5000 1/s | 10000 | 0.50 | 0.50 | yes |\n"), "{page}");
        assert!(page.contains("| wait | 1.25 ms |  |  |  |  |\n"), "{page}");
        let traces = of_traces(&report, 2).unwrap();
        assert!(traces.contains("| ping | 5000 1/s | 0.50 |\n| wait | 1.25 ms |  |\n"), "{traces}");
    }

    #[test]
    fn the_steps_of_a_group_are_one_row() {
        let step = |step: &str, ratio: f64| {
            format!(
                r#"{{"suite":"MLS_128_MLKEM768X25519_X","leaves":50,"tree":"cold","step":"{step}","bytes":7,
                "memory":{{"ours":1.0,"ratio":{ratio}}},"disk":{{"ours":2.0,"ratio":{ratio}}},
                "server":{{"ours":null,"ratio":null}}}}"#
            )
        };
        let steps = [step("update", 1.1), step("encrypt", 1.0), step("add one", 1.5), step("(load)", 9.0)];
        let check = r#"{"name":"rows","value":1.0,"unit":"","target":1.0,"met":true}"#;
        let json = format!(r#"{{"rows":[{}],"checks":[{check}]}}"#, steps.join(","));
        let groups: Groups = serde_json::from_str(&json).unwrap();
        let page = of_groups(&groups).unwrap();
        assert!(
            page.contains("| hybrid | 50 | cold | 1.10 | 1.50 | 1.10 | 1.50 |  | 7 B | 2.00 | 2.00 |  |\n"),
            "{page}"
        );
        assert!(page.contains("| rows | 1.00 | 1.00 | yes |\n"), "{page}");
    }
}
