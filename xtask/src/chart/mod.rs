//! `cargo xtask chart`: the Helm chart, rendered and judged without nodes.
//!
//! - [`render`]: helm's own look, the examples of `ci`, and what must be refused;
//! - [`properties`], [`network`], [`references`], [`settings`]: what is true of every example;
//! - [`golden`]: what changed since the last look;
//! - [`judges`]: programs of others;
//! - [`cluster`]: an API server;
//! - [`programs`]: where those are.

mod cluster;
mod golden;
mod judges;
mod network;
mod programs;
mod properties;
mod references;
mod render;
mod settings;

use std::path::Path;

use anyhow::Result;

use crate::{
    folder,
    reaper::Reaper,
    report::{Count, Report},
    servers::kube::{self, Kube},
};
use programs::Programs;
use render::Render;

/// Builds and installs what the checks run, so that they later need no network.
pub(crate) fn tools() -> Result<bool> {
    let found = Programs::find();
    for (name, path) in found.named() {
        println!(
            "{name:<20} {}",
            path.as_ref().map_or_else(|| "missing".to_owned(), |path| path.display().to_string())
        );
    }
    Ok(found.named().iter().all(|(_, path)| path.is_some()))
}

/// Returns whether everything passed. With `bless`, what the examples make now is what they should make.
pub(crate) fn run(bless: bool) -> Result<bool> {
    let mut reaper = Reaper::start()?;
    let mut report = Report::new();
    report.step("chart", || {
        let Some(program) = kube::program()? else { return check(&mut reaper, None, bless) };
        let folder = folder::temporary("chart")?;
        reaper.remove(&folder)?;
        let server = kube::start(program, &folder, &mut reaper, &mut Vec::new())?;
        check(&mut reaper, Some(&server), bless)
    });
    drop(reaper);
    Ok(report.finish())
}

/// Everything that can be said without nodes; without a server, without that too.
pub(crate) fn check(reaper: &mut Reaper, kube: Option<&Kube>, bless: bool) -> Result<Count> {
    let programs = Programs::find();
    let Some(helm) = &programs.helm else { return Ok(skipped("helm, which is built by Go")) };
    let mut count = refusals(helm)?;
    let renders = render::examples(helm)?;
    for file in render::values("ci")? {
        count.add(judged(
            &format!("lint {}", render::stem(&file)),
            render::lint(helm, &file).err().map(|error| error.to_string()),
        ));
    }
    for render in &renders {
        let mut wrong = properties::check(render);
        wrong.extend(network::check(render));
        wrong.extend(references::check(render));
        count.add(judged(&format!("{}, {} objects", render.name, render.objects.len()), wrong));
    }
    count.add(judged("jobs", properties::jobs(&renders)));
    count.add(judged("settings", settings::check(&renders)?));
    count.add(judged("metrics of autoscalers", settings::adapter(&renders)?));
    count.add(judged("as in tests/golden", golden::check(&renders, bless)?));
    count.add(by_others(reaper, &programs, &renders)?);
    count.add(match kube {
        Some(kube) => cluster::check(kube, helm, &renders)?,
        None => skipped("API server of Kubernetes, which is built by Go"),
    });
    Ok(count)
}

fn refusals(helm: &Path) -> Result<Count> {
    let mut count = Count::default();
    for file in render::values("tests/refused")? {
        let wrong = render::refused(helm, &file).err().map(|error| error.to_string());
        count.add(judged(&format!("refused {}", render::stem(&file)), wrong));
    }
    Ok(count)
}

fn by_others(reaper: &mut Reaper, programs: &Programs, renders: &[Render]) -> Result<Count> {
    let mut count = match &programs.kubernetes_validate {
        Some(program) => judges::schemas(reaper, program, renders)?,
        None => skipped("kubernetes-validate, which is installed by Python"),
    };
    count.add(match &programs.checkov {
        Some(program) => judges::checkov(reaper, program, renders)?,
        None => skipped("checkov, which is installed by Python"),
    });
    Ok(count)
}

/// One check, which nothing speaks against.
fn judged(name: &str, wrong: impl IntoIterator<Item = String>) -> Count {
    let wrong: Vec<String> = wrong.into_iter().collect();
    println!("{} {name}", if wrong.is_empty() { "ok" } else { "FAILED" });
    wrong.iter().for_each(|what| println!("  {what}"));
    Count::one(wrong.is_empty())
}

fn skipped(what: &str) -> Count {
    println!("skipped: no {what}");
    Count { ignored: 1, ..Count::default() }
}
