//! `qpc recv`: what others have written, for programs and people.

use std::process::ExitCode;

use clap::Args;
use qpc_sdk::{Client, Error, Event, EventStream, Message};

use super::connect;
use crate::{
    engine::{Cli, On, Row, Run, Target, args, program},
    exit, records,
    render::Render,
    settings::Settings,
    show,
};

/// Unread messages that are looked at at a time: those beyond come when these are read. With `--keep-unread` that never
/// happens, so that it shows no more.
const BATCH: u32 = 1_000;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "recv",
        about: "Fetch and print what nobody has read here yet, and mark it as read",
        after: "Examples:\n  qpc recv\n  qpc recv --follow --json | while read -r line; do ...; done\n  \
            qpc recv --in @bob --count 1 --timeout 60\n\n\
            A message is marked as read when its line was written and flushed, so that one that a dying reader did not get\n\
            is printed again. With --count it waits for so many, with --follow for ever; else it ends when the mailbox is\n\
            empty. Exit code 4 if --count are not there within --timeout.",
        args: args::<Recv>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Recv {
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// End after so many messages
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only of this conversation: #name, @user, title or id
    #[arg(long = "in", value_name = "TARGET")]
    within: Option<Target>,
    /// Leave them unread, and print those of this call once
    #[arg(long, alias = "no-ack")]
    keep_unread: bool,
}

async fn run(args: Recv, settings: Settings) -> anyhow::Result<ExitCode> {
    let client = Client::open(settings.existing()?).await?;
    let done = tokio::select! {
        done = receive(&client, &args, &settings) => done,
        _ = tokio::signal::ctrl_c() => Ok(exit::INTERRUPTED),
    };
    // The senders are told.
    client.flush(super::FLUSH).await;
    client.settle(super::FLUSH).await;
    client.close().await;
    Ok(ExitCode::from(done?))
}

async fn receive(client: &Client, args: &Recv, settings: &Settings) -> anyhow::Result<u8> {
    let mut events = client.events();
    connect(client, settings).await?;
    client.sync().await?;
    let on = On::new(client.clone(), settings.place()?).await?;
    let mut reader = Reader { args, render: Render::new(settings), printed: 0, seen: Vec::new() };
    let patience = settings.timeout();
    loop {
        if reader.print(&on).await? {
            return Ok(0);
        }
        match (args.follow, args.count) {
            (true, _) => wait(&mut events).await?,
            (false, Some(count)) => match tokio::time::timeout(patience, wait(&mut events)).await {
                Ok(done) => done?,
                Err(_) => {
                    reader.render.note(format_args!(
                        "only {} of {count} within {} s",
                        reader.printed,
                        patience.as_secs()
                    ));
                    return Ok(exit::UNREACHABLE);
                }
            },
            (false, None) => return Ok(0),
        }
    }
}

/// Until something may be there to read.
async fn wait(events: &mut EventStream) -> Result<(), Error> {
    loop {
        match events.next().await {
            Some(Event::MessageReceived(_) | Event::Recovered { .. } | Event::History { .. } | Event::Lagged(_)) => {
                return Ok(());
            }
            Some(Event::LoginRefused(error)) => return Err(Error::Failed(error)),
            Some(_) => {}
            None => return Err(Error::Interrupted),
        }
    }
}

/// What prints, and what it has printed.
struct Reader<'a> {
    args: &'a Recv,
    render: Render,
    printed: u64,
    /// Of messages that stay unread, those that were printed; at most [`BATCH`], as many as are looked at.
    seen: Vec<qpc_sdk::MessageId>,
}

impl Reader<'_> {
    /// Prints what is unread; true when as many were printed as were wanted.
    async fn print(&mut self, on: &On) -> anyhow::Result<bool> {
        loop {
            let within = match &self.args.within {
                Some(target) => Some(target.reach(on).await?.id),
                None => None,
            };
            let mut fresh = on.client.unread(BATCH).await?;
            fresh.retain(|message| {
                within.is_none_or(|id| message.conversation == id) && !self.seen.contains(&message.id)
            });
            if fresh.is_empty() {
                return Ok(false);
            }
            for message in fresh {
                self.one(on, &message).await?;
                if self.args.count.is_some_and(|count| self.printed >= count) {
                    return Ok(true);
                }
            }
        }
    }

    async fn one(&mut self, on: &On, message: &Message) -> anyhow::Result<()> {
        let title = on.title(message.conversation).await;
        let from = show::sender(message);
        let place = if title == from { String::new() } else { format!("{title} · ") };
        let line = format!("{} {place}{from}: {}", crate::text::time(message.sent_at_ms), show::body(message));
        self.render.try_item(&records::message(on, message, line))?;
        self.printed += 1;
        if self.args.keep_unread {
            self.seen.push(message.id);
        } else {
            on.client.mark_message_read(message).await?;
        }
        Ok(())
    }
}
