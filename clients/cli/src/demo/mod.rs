//! `qpc demo`: a server in this process, and two people who talk through it over real QUIC connections.

mod person;
mod report;
mod story;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;

use self::{report::Report, story::Story};
use crate::{console::complain, engine::Item, render::Render, settings::Settings};

/// Time for the server to end.
const SERVER_GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let folder = tempfile::Builder::new().prefix("qpc-demo-").tempdir().context("no temporary folder")?;
    let mut options = qpc_server::Options { data: folder.path().join("server"), ..Default::default() };
    options.listen = ([127, 0, 0, 1], 0).into();
    options.drain_grace_ms = 0;
    let server = qpc_server::start(options, &defaults()?)
        .await
        .map_err(|error| anyhow::anyhow!("the server does not start: {error}"))?;

    let mut report = Report::default();
    let told = Story::new(folder.path(), &server, !render.is_json()).tell(&mut report).await;
    server.shutdown(SERVER_GRACE).await;
    let failure = told.err().map(|error| format!("{error:#}")).or_else(|| report.failure());
    report.finish(failure.clone());

    render.item(&Item::new("qpc.demo/1", &report, report.summary().join("\n")));
    match failure {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => {
            complain(format_args!("qpc: the demonstration failed: {failure}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Settings of a server process that are not of interest here, as its command line has them.
fn defaults<A: clap::Args>() -> Result<A, clap::Error> {
    let command = A::augment_args(clap::Command::new("qpc-server"));
    A::from_arg_matches(&command.try_get_matches_from(["qpc-server"])?)
}
