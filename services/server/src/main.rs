//! `qpc-server`: the whole of quicprochat in one process.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use qpc_chassis::{
    Runtime,
    config::Process,
    probe,
    run::{self, Deps, StartError},
};
use qpc_server::{Embedded, Options, SCHEMAS, SERVICE};

/// The whole of quicprochat in one process, on SQLite.
#[derive(Parser)]
#[command(name = SERVICE, version)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    process: Process,
    /// Asks the server with the same --observe whether it is ready, and ends: with 0 if it is
    #[arg(long)]
    probe: bool,
}

/// What the end of the process needs besides the drain.
const MARGIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let Cli { options, process, probe } = Cli::parse();
    if probe {
        return probe::run(process.observe);
    }
    if options.migrate.ends() {
        return run::migrate(SERVICE, &process, options.migrate, SCHEMAS, || Ok(options.database()?));
    }
    let grace = Duration::from_secs(process.drain_seconds).saturating_sub(MARGIN);
    run::block_on(SERVICE, &process.clone(), async move {
        let embedded = qpc_server::start(options, &process).await?;
        announce(&embedded)?;
        Ok((stop_in_order(embedded, grace), ()))
    })
}

/// The one line on standard output; everything else is a log.
fn announce(embedded: &Embedded) -> Result<(), StartError> {
    let address = embedded.local_addr();
    let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { address.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let (port, certificate) = (address.port(), embedded.certificate.display());
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "listening on {address}, certificate in {certificate}; connect with: \
         qpc repl -u alice --server {host}:{port} --ca-cert {certificate}"
    )?;
    stdout.flush()?;
    Ok(())
}

/// The process drains a runtime of its own, whose only task stops the server in its order: were it the server's runtime,
/// the services would stop together with the gateway that still needs them.
fn stop_in_order(embedded: Embedded, grace: Duration) -> Deps {
    let control = Deps { runtime: Runtime::system(), ..embedded.deps.clone() };
    let shutdown = control.runtime.shutdown().clone();
    control.runtime.spawn(async move {
        shutdown.cancelled().await;
        embedded.shutdown(grace).await;
    });
    control
}
