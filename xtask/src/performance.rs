//! `cargo xtask docs --performance FILE`: the page of figures from the JSON of `cargo xtask bench`.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;

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

/// Writes the page from `figures`.
pub(crate) fn write(figures: &Path) -> Result<()> {
    let text = fs::read_to_string(figures).with_context(|| format!("read {}", figures.display()))?;
    let report: Report =
        serde_json::from_str(&text).with_context(|| format!("{} is not from bench", figures.display()))?;
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    fs::write(repo::root().join(PAGE), page(&report, cores)?).with_context(|| format!("write {PAGE}"))?;
    println!("wrote {PAGE}");
    Ok(())
}

fn page(report: &Report, cores: usize) -> Result<String> {
    let mut page = format!(
        "# Performance\n\n\
         <!-- Made by `cargo xtask docs --performance FILE` from the JSON of `cargo xtask bench`. Do not edit. -->\n\n\
         One run on one machine with {cores} cores, which clients, gateways, services and servers share, over loopback;\n\
         release builds, `fsync` on. Ceilings are measured in the same run on the bare parts, so read the ratios; rates\n\
         and times belong to the machine. [loadtest/README.md](../../loadtest/README.md) says what each row measures.\n\
         A target is one of the ratio where there is a ceiling, and else of the value.\n\n\
         | | value | ceiling | ratio | target | met |\n|---|---|---|---|---|---|\n",
    );
    for row in &report.rows {
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let met = row.met.map_or("", |met| if met { "yes" } else { "no" });
        writeln!(
            page,
            "| {} | {} {} | {} | {} | {} | {met} |",
            row.name,
            number(row.value),
            row.unit,
            optional(row.ceiling),
            optional(row.ratio),
            optional(row.target),
        )?;
    }
    Ok(page)
}

/// Two digits after the point, none for large numbers.
fn number(value: f64) -> String {
    if value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::{Report, page};

    #[test]
    fn a_row_of_the_report_is_a_row_of_the_table() {
        let json = r#"{"rows":[
            {"name":"ping","value":5000.4,"unit":"1/s","ceiling":10000.0,"ratio":0.5,"target":0.5,"met":true},
            {"name":"wait","value":1.25,"unit":"ms","ceiling":null,"ratio":null,"target":null,"met":null}]}"#;
        let report: Report = serde_json::from_str(json).unwrap();
        let page = page(&report, 2).unwrap();
        assert!(page.contains("| ping | 5000 1/s | 10000 | 0.50 | 0.50 | yes |\n"), "{page}");
        assert!(page.contains("| wait | 1.25 ms |  |  |  |  |\n"), "{page}");
    }
}
