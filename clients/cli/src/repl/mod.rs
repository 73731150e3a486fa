//! `qpc repl`: a conversation on a terminal, or driven by a script through a pipe.

mod command;
mod events;
mod execute;
mod input;
mod screen;
mod session;
mod show;

use std::{process::ExitCode, time::Duration};

use qpc_sdk::{Client, Error};
use tokio::signal::unix::{SignalKind, signal};

use self::{input::Input, screen::Screen, session::Session};
use crate::{args::AccountArgs, exit};

/// Time for what was written from a pipe to be sent, once the pipe has ended.
const PIPE_FLUSH: Duration = Duration::from_secs(30);
/// The same when a person leaves.
const LEAVE_FLUSH: Duration = Duration::from_secs(2);

/// How a session ended.
enum Ending {
    /// `/quit`, or the end of the input.
    Left,
    /// Ctrl-C.
    Interrupted,
    /// The server does not want this client.
    Refused(u8),
}

pub(crate) async fn run(args: AccountArgs) -> anyhow::Result<ExitCode> {
    // Listened to from here on, so that an interrupt while a command runs is not lost.
    let options = args.options()?;
    let interrupts = signal(SignalKind::interrupt())?;
    let client = Client::open(options).await?;
    let screen = Screen::new();
    let events = client.events();
    let who = client.whoami().await?;
    if !who.registered {
        screen.print(format_args!("registering {} …", who.username));
    }
    let mut session = Session::new(client.clone(), screen.clone()).await?;
    match client.connect().await {
        Ok(()) => screen.print(format_args!(
            "{} is online at {}. /help lists the commands.",
            who.username, args.device.server.server
        )),
        Err(error) if error.is_transient() => {
            screen.print(format_args!("not connected ({error}); trying again. What you write is kept and sent then."));
            session.failed(exit::of_sdk(&error));
        }
        Err(error) => return Err(error.into()),
    }
    let input = Input::start(&screen);
    let interactive = input.is_interactive();
    let ending = session.run(input, events, interrupts).await;
    screen.direct();
    let code = match ending {
        Ending::Left => {
            let within = if interactive { LEAVE_FLUSH } else { PIPE_FLUSH };
            finish(&client, &mut session, within).await?.max(if interactive { 0 } else { session.failure() })
        }
        Ending::Interrupted => {
            finish(&client, &mut session, LEAVE_FLUSH).await?;
            exit::INTERRUPTED
        }
        Ending::Refused(code) => code,
    };
    client.close().await;
    Ok(ExitCode::from(code))
}

/// Gives the outbox time to empty, and tells what stays in it.
async fn finish(client: &Client, session: &mut Session, within: Duration) -> Result<u8, Error> {
    let sent = client.flush(within).await;
    session.drain_events().await;
    if sent {
        return Ok(0);
    }
    let waiting = client.stats().await?.outbox;
    session.print(format_args!("{waiting} not sent yet; kept, and sent when you are back"));
    Ok(exit::UNREACHABLE)
}
