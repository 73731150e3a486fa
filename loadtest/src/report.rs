//! Rows of the result.

use std::{fs, path::Path};

use anyhow::Result;
use serde::Serialize;

/// One figure.
#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    /// The same measured on the bare parts, in the same run.
    ceiling: Option<f64>,
    /// Value to ceiling.
    ratio: Option<f64>,
    /// Of the ratio where there is a ceiling, else of the value.
    target: Option<f64>,
    met: Option<bool>,
}

/// All figures of a run.
#[derive(Serialize, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]
impl Report {
    /// Says what is being measured.
    pub(crate) fn step(&self, what: &str) {
        eprintln!("measuring {what}");
    }

    /// A rate that should reach `target` of its ceiling.
    pub(crate) fn rate(&mut self, name: &str, value: f64, ceiling: Option<f64>, target: Option<f64>) {
        let ratio = ceiling.map(|ceiling| value / ceiling);
        let met = ratio.zip(target).map(|(ratio, target)| ratio >= target);
        self.rows.push(Row { name: name.into(), value, unit: "1/s", ceiling, ratio, target, met });
    }

    /// MB/s that should reach `target` of their ceiling.
    pub(crate) fn throughput(&mut self, name: &str, value: f64, ceiling: f64, target: f64) {
        let (ratio, met) = (Some(value / ceiling), Some(value / ceiling >= target));
        let (ceiling, target) = (Some(ceiling), Some(target));
        self.rows.push(Row { name: name.into(), value, unit: "MB/s", ceiling, ratio, target, met });
    }

    /// A figure that should stay below `target`.
    pub(crate) fn at_most(&mut self, name: &str, unit: &'static str, value: f64, target: f64) {
        let (target, met) = (Some(target), Some(value < target));
        self.rows.push(Row { name: name.into(), value, unit, ceiling: None, ratio: None, target, met });
    }

    /// A figure without a target.
    pub(crate) fn figure(&mut self, name: String, unit: &'static str, value: f64) {
        self.rows.push(Row { name, value, unit, ceiling: None, ratio: None, target: None, met: None });
    }

    pub(crate) fn print(&self) {
        println!("{:<32} {:>12} {:<4} {:>12} {:>6} {:>7}  met", "", "value", "unit", "ceiling", "ratio", "target");
        let number = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
        for row in &self.rows {
            println!(
                "{:<32} {:>12.2} {:<4} {:>12} {:>6} {:>7}  {}",
                row.name,
                row.value,
                row.unit,
                number(row.ceiling),
                number(row.ratio),
                number(row.target),
                row.met.map(|met| if met { "yes" } else { "NO" }).unwrap_or_default(),
            );
        }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        Ok(fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }
}
