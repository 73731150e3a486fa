//! Every panel and every rule asked of a Prometheus that watches a cluster over which people talk.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ALERTS, boards, people};
use crate::{
    cluster::{self, Profile, State},
    folder,
    process::wait_until,
    reaper::Reaper,
    repo,
    report::Count,
    servers::{self, prometheus::Prometheus},
};

/// Window of rates; Prometheus looks every second.
const RATE: &str = "15s";
/// Resolution of what is looked at.
const STEP: &str = "1";
/// Time that the last calls get to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn run(program: &Path, reaper: &mut Reaper) -> Result<Count> {
    let folder = folder::temporary("observe")?;
    reaper.remove(&folder)?;
    let postgres = servers::postgres_folder(&folder)?;
    if postgres != folder {
        reaper.remove(&postgres)?;
    }
    let state = cluster::start(&folder, Profile::Dev, reaper)?;
    let targets = targets(&state);
    let prometheus = Prometheus::start(program, &folder, &repo::root().join(ALERTS), &targets, reaper)?;
    let all_seen = || number(&prometheus, "count(qpc_build_info)").is_ok_and(|seen| seen == targets.len() as f64);
    ensure!(wait_until(SEEN_WITHIN, all_seen), "Prometheus does not see all {} processes", targets.len());
    // Before the first call, so that the first of a kind is seen to come.
    let from = number(&prometheus, "time()")?;
    println!("people talk");
    people::talk(&folder, &state, reaper)?;
    let mut count = panels(&prometheus, from)?;
    let rules = rules(&prometheus)?;
    count.passed += rules.passed;
    count.failed += rules.failed;
    Ok(count)
}

/// Job and port of each process of ours.
fn targets(state: &State) -> Vec<(String, u16)> {
    let of = |process: &cluster::Process| {
        let name = process.tracked.name.split('-').next().unwrap_or_default();
        Some((format!("qpc-{name}"), process.observe?))
    };
    state.processes.iter().filter_map(of).collect()
}

/// The one value of a query.
fn number(prometheus: &Prometheus, query: &str) -> Result<f64> {
    let data = prometheus.get("query", &[("query", query)])?;
    // A scalar is not wrapped.
    let value = data["result"][0]["value"][1].as_str().or_else(|| data["result"][1].as_str());
    value.context("no value")?.parse().context("no number")
}

fn panels(prometheus: &Prometheus, from: f64) -> Result<Count> {
    let boards = boards::all();
    let queries = || {
        boards.iter().flat_map(|board| {
            board.panels.iter().flat_map(move |panel| panel.lines.iter().map(move |line| (board, panel, line)))
        })
    };
    let mut empty = Vec::new();
    let mut failure = None;
    wait_until(SEEN_WITHIN, || {
        empty.clear();
        for (board, panel, line) in queries() {
            match is_empty(prometheus, &line.query(".*", RATE), from) {
                Ok(true) => empty.push(format!("{} / {}: {}", board.title, panel.title, line.query(".*", RATE))),
                Ok(false) => {}
                Err(error) => failure = Some(error),
            }
        }
        empty.is_empty() || failure.is_some()
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    for line in &empty {
        println!("empty: {line}");
    }
    let (all, failed) = (queries().count() as u64, empty.len() as u64);
    println!("{} dashboards, {all} queries, {failed} empty", boards.len());
    Ok(Count { passed: all - failed, failed, ignored: 0 })
}

/// Whether a query has not given a single number since `from`.
fn is_empty(prometheus: &Prometheus, query: &str, from: f64) -> Result<bool> {
    let (start, end) = (from.to_string(), number(prometheus, "time()")?.to_string());
    let data = prometheus
        .get("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", STEP)])
        .with_context(|| query.to_owned())?;
    let series = data["result"].as_array().context("no result")?;
    let values = series.iter().flat_map(|series| series["values"].as_array().into_iter().flatten());
    let is_number = |value: &Value| value[1].as_str().is_some_and(|text| text != "NaN");
    Ok(!values.into_iter().any(is_number))
}

/// All rules can be evaluated, and none fires or is about to where nothing is wrong.
fn rules(prometheus: &Prometheus) -> Result<Count> {
    let data = prometheus.get("rules", &[])?;
    let groups = data["groups"].as_array().context("no groups")?;
    let mut count = Count::default();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
        if rule["health"] == "ok" && rule["state"] == "inactive" {
            count.passed += 1;
        } else {
            println!("{}: health {}, state {} {}", rule["name"], rule["health"], rule["state"], rule["lastError"]);
            count.failed += 1;
        }
    }
    ensure!(count.passed + count.failed > 0, "Prometheus has loaded no rules");
    println!("{} alerts, {} not well", count.passed + count.failed, count.failed);
    Ok(count)
}
