//! `qpc chat`: one conversation as two pipes.

use std::{
    io::{self, BufRead as _},
    process::ExitCode,
    thread,
};

use clap::Args;
use qpc_sdk::{Client, ConversationId, Error, Event};
use tokio::sync::mpsc;

use super::connect;
use crate::{
    engine::{Cli, On, Row, Run, Target, args, program},
    exit, records,
    render::Render,
    settings::Settings,
    show,
};

/// Lines of the pipe that wait to be sent.
const LINES: usize = 16;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "chat",
        about: "One conversation as two pipes: lines in are sent, lines out were written by others",
        after: "Examples:\n  qpc chat @bob\n  mkfifo in && qpc chat \"#Book club\" --json < in | ./bot > in\n\n\
            No line is a command. It begins with what comes from now on, and ends with the input, when all is sent.",
        args: args::<Chat>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Chat {
    /// The conversation: @user, #name, title or id
    target: Target,
}

async fn run(args: Chat, settings: Settings) -> anyhow::Result<ExitCode> {
    let client = Client::open(settings.existing()?).await?;
    let done = tokio::select! {
        done = talk(&client, &args, &settings) => done,
        _ = tokio::signal::ctrl_c() => Ok(exit::INTERRUPTED),
    };
    let sent = client.flush(settings.timeout()).await;
    client.settle(super::FLUSH).await;
    client.close().await;
    let code = done?;
    Ok(ExitCode::from(if code == 0 && !sent { exit::UNREACHABLE } else { code }))
}

async fn talk(client: &Client, args: &Chat, settings: &Settings) -> anyhow::Result<u8> {
    let mut events = client.events();
    connect(client, settings).await?;
    let on = On::new(client.clone(), settings.place()?).await?;
    let id = args.target.reach(&on).await?.id;
    let render = Render::new(settings);
    let mut lines = lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) if line.trim().is_empty() => {}
                Some(line) => drop(client.send(id, client.draft(id, line.trim_end_matches('\r')).await?).await?),
                None => return Ok(0),
            },
            event = events.next() => match event {
                Some(event) => hear(&on, id, &event, &render).await?,
                None => return Err(Error::Interrupted.into()),
            },
        }
    }
}

/// The lines of standard input. A thread of their own reads them, as that cannot be broken off.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn hear(on: &On, id: ConversationId, event: &Event, render: &Render) -> anyhow::Result<()> {
    match event {
        Event::MessageReceived(message) if message.conversation == id => {
            let line = format!("{}: {}", show::sender(message), show::body(message));
            render.try_item(&records::message(on, message, line))?;
            on.client.mark_message_read(message).await?;
        }
        Event::SendFailed { error, .. } | Event::LoginRefused(error) => return Err(Error::Failed(error.clone()).into()),
        Event::ReceiptRefused { message: Some(_), error, .. } => return Err(Error::Failed(error.clone()).into()),
        Event::ReceiptRefused { error, .. } => render.note(format_args!("⚠ {}", show::receipt_refused(error))),
        Event::Disconnected => render.note("connection lost; trying again. What is written is kept."),
        Event::Lagged(missed) => render.note(format_args!("({missed} events not shown; qpc history has the messages)")),
        _ => {}
    }
    Ok(())
}
