//! `cargo xtask observe`: alerts and dashboards against what an installation really says of itself.
//!
//! - [`alerts()`]: the rules and their unit tests, by promtool;
//! - [`boards`], [`grafana`]: the dashboards and their form;
//! - [`record`], [`people`]: every panel and every rule asked of Prometheus while people talk.

mod boards;
mod grafana;
mod people;
mod record;

use std::{process::Command, time::Duration};

use anyhow::Result;

use crate::{
    cluster::{self, Profile},
    reaper::Reaper,
    repo,
    report::{Count, Report},
    servers::{self, prometheus},
    step::{self, Show},
};

/// What promtool works on.
const ALERTS: &str = "charts/quicprochat/files/alerts.yaml";
const TESTS: &str = "charts/quicprochat/tests/alerts_test.yaml";
/// promtool.
const SHORT: Duration = Duration::from_secs(120);

/// Returns whether everything passed.
pub(crate) fn run(quick: bool) -> Result<bool> {
    let mut reaper = Reaper::start()?;
    let mut report = Report::new();
    report.step("alerts", || alerts(&mut reaper));
    if !quick {
        servers::install()?;
        cluster::build(&mut reaper, Profile::Dev)?;
        report.step("dashboards", || recorded(&mut reaper));
    }
    drop(reaper);
    Ok(report.finish())
}

/// The dashboards: files and what is in them.
pub(crate) fn dashboards() -> Vec<(&'static str, String)> {
    boards::all().iter().map(|board| (board.file, board.render())).collect()
}

/// The rules are rules, and each fires when it should and not when it should not.
pub(crate) fn alerts(reaper: &mut Reaper) -> Result<Count> {
    let Some(promtool) = prometheus::program("promtool") else { return Ok(skipped("promtool")) };
    let mut count = Count::default();
    for args in [["check", "rules", ALERTS], ["test", "rules", TESTS]] {
        let mut command = Command::new(&promtool);
        command.args(args).current_dir(repo::root());
        if step::run(reaper, "promtool", &mut command, SHORT, Show::Yes)?.success {
            count.passed += 1;
        } else {
            count.failed += 1;
        }
    }
    Ok(count)
}

/// No panel is empty and no rule fires or fails while people talk over an installation that is well. The unoptimised
/// binaries are there.
pub(crate) fn recorded(reaper: &mut Reaper) -> Result<Count> {
    let Some(program) = prometheus::program("prometheus") else { return Ok(skipped("prometheus")) };
    record::run(&program, reaper)
}

fn skipped(program: &str) -> Count {
    println!("skipped: no {program}; install Debian's package prometheus, or put its programs into PATH");
    Count { ignored: 1, ..Count::default() }
}
