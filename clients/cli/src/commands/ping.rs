//! `qpc ping`, `/ping`: a sign of life of the server.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use qpc_sdk::{
    Error, Runtime,
    transport::{Connection, Connector},
};
use qpc_wire::{methods, v1};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    engine::{Act, Cli, Item, Needs, On, Outcome, Row, Run, Said, Slash, args, program},
    exit::Usage,
    render::Render,
    settings::{Place, Settings},
};

/// Calls that are timed.
const CALLS: u32 = 3;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "ping",
        about: "Ask a server for a sign of life",
        after: "Example:\n  qpc ping --server 127.0.0.1:7000 --ca-cert qpc-data/cert.pem",
        args: args::<Ping>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["ping"],
        form: "/ping",
        about: "ask the server for a sign of life, and measure how long it takes",
        parse: |words| words.is_empty().then(|| Said::act(Ping {})).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Ping {}

async fn run(_: Ping, settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let place = settings.place()?;
    match tokio::time::timeout(settings.timeout(), ping(&place, |item| render.item(&item))).await {
        Ok(done) => done?,
        Err(_) => return Err(Usage::Timeout(settings.timeout()).into()),
    }
    Ok(ExitCode::SUCCESS)
}

impl Act for Ping {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        ping(&on.place, |item| outcome.items.push(item)).await?;
        Ok(outcome)
    }
}

async fn ping(place: &Place, mut tell: impl FnMut(Item)) -> anyhow::Result<()> {
    let mut say = |what: &str, took: Duration| {
        let line = format!("{}: {what} in {}", place.server, millis(took));
        let fields = json!({"server": place.server, "what": what, "ms": took.as_secs_f64() * 1000.0});
        tell(Item::new("qpc.ping/1", &fields, line));
    };
    let begun = Instant::now();
    let connection = reach(place).await?;
    say("connected", begun.elapsed());
    for _ in 0..CALLS {
        say("answer", answer(&connection).await?);
    }
    connection.close();
    Ok(())
}

/// A connection of its own.
pub(super) async fn reach(place: &Place) -> Result<Connection, Error> {
    let runtime = Runtime::system();
    let connector = Connector::new(&place.server, place.server_name.as_deref(), &place.trust, runtime)?;
    let (connection, _pushes) = connector.connect().await?;
    Ok(connection)
}

/// Time that a call takes.
pub(super) async fn answer(connection: &Connection) -> anyhow::Result<Duration> {
    let payload = Runtime::system().random::<16>().to_vec();
    let begun = Instant::now();
    let request = v1::PingRequest { payload: payload.clone().into() };
    let answer = connection.call::<methods::Ping>(&request).await.map_err(Error::from)?;
    anyhow::ensure!(answer.payload == payload, "the answer differs from the question");
    Ok(begun.elapsed())
}

pub(super) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
