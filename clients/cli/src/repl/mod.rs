//! `qpc repl`: a conversation on a terminal, or driven by a script through a pipe.
//!
//! [`command`] understands lines by the table of all commands, [`own`] has those that only make sense here. [`session`] takes
//! lines and events, [`execute`] and [`events`] say what they do, [`input`] and [`screen`] are the terminal, with [`complete`]
//! and [`past`] for who types, and [`shown`] numbers messages.

mod command;
mod complete;
mod events;
mod execute;
mod input;
mod own;
mod past;
mod screen;
mod session;
mod shown;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use qpc_sdk::{Client, ClientOptions, Error};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::{command::slashes, own::Sitting, shown::Shown};
use self::{input::Input, screen::Screen, session::Session};
use crate::{
    args::FirstRun,
    commands::progress::{self, WORKING},
    engine::{Cli, Row, Run, args, program},
    exit,
    render::Render,
    settings::Settings,
};

/// Time for what was written from a pipe to be sent, once the pipe has ended.
const PIPE_FLUSH: Duration = Duration::from_secs(30);
/// The same when a person leaves.
const LEAVE_FLUSH: Duration = Duration::from_secs(2);

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "repl",
        aliases: &[],
        about: "Chat: registers and logs in by itself",
        after: "Examples:\n  qpc repl -u alice\n  \
            printf '/dm bob\\nhello\\n' | qpc repl -u alice --password-file pw.txt\n\n\
            Inside, /help lists the commands, Tab completes, Ctrl-R searches what was typed before. A line that begins with /\n\
            is never sent; //x sends /x. Reading from a pipe, it ends when everything is sent, with the exit code of the first\n\
            command that failed.",
        args: args::<Repl>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Repl {
    /// List the commands of the chat, and end
    #[arg(long)]
    help_commands: bool,
    #[command(flatten)]
    first: FirstRun,
}

/// How a session ended.
enum Ending {
    /// `/quit`, or the end of the input.
    Left,
    /// Ctrl-C.
    Interrupted,
    /// The server does not want this client.
    Refused(u8),
}

async fn run(args: Repl, settings: Settings) -> anyhow::Result<ExitCode> {
    if args.help_commands {
        let render = Render::new(&settings);
        command::items().for_each(|item| render.item(&item));
        return Ok(ExitCode::SUCCESS);
    }
    let username = settings.username()?;
    let options = ClientOptions { invite: args.first.invite, ..settings.options(&username)? };
    // Listened to from here on, so that an interrupt while a command runs is not lost.
    let interrupts = signal(SignalKind::interrupt())?;
    let client = Client::open(options).await?;
    let screen = Screen::new();
    let events = client.events();
    let who = client.whoami().await?;
    if !who.registered {
        screen.print(format_args!("registering {} …", who.username));
    }
    let server = settings.server();
    let mut session = Session::new(client.clone(), screen.clone(), settings).await?;
    let working = |done, _| {
        if done == 0 {
            screen.print(WORKING);
        }
    };
    match progress::connect(&client, None, working).await.unwrap_or(Err(Error::Interrupted)) {
        Ok(()) => screen.print(format_args!("{} is online at {server}. /help lists the commands.", who.username)),
        Err(error) if error.is_transient() => {
            screen.print(format_args!("not connected ({error}); trying again. What you write is kept and sent then."));
            session.failed(exit::of_sdk(&error));
        }
        Err(error) => return Err(error.into()),
    }
    let input = Input::start(&screen, session.editor())?;
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
