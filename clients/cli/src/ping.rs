//! `qpc ping`

use std::{process::ExitCode, time::Duration};

use qpc_sdk::{Error, Runtime, transport::Connector};
use qpc_wire::{methods, v1};
use tokio::time::Instant;

use crate::{args::ServerArgs, console::say};

/// Calls that are timed.
const CALLS: u32 = 3;

pub(crate) async fn run(args: ServerArgs) -> anyhow::Result<ExitCode> {
    let runtime = Runtime::system();
    let trust = args.trust()?;
    let connector =
        Connector::new(&args.server, args.server_name.as_deref(), &trust, runtime.clone()).map_err(Error::from)?;
    let begun = Instant::now();
    let (connection, _pushes) = connector.connect().await.map_err(Error::from)?;
    say(format_args!("{}: connected in {}", args.server, millis(begun.elapsed())));
    for _ in 0..CALLS {
        let payload = runtime.random::<16>().to_vec();
        let begun = Instant::now();
        let request = v1::PingRequest { payload: payload.clone().into() };
        let answer = connection.call::<methods::Ping>(&request).await.map_err(Error::from)?;
        if answer.payload != payload {
            anyhow::bail!("the answer differs from the question");
        }
        say(format_args!("{}: answer in {}", args.server, millis(begun.elapsed())));
    }
    connection.close();
    Ok(ExitCode::SUCCESS)
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
