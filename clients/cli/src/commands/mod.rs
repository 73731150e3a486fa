//! The table of commands. Each is a file here and a row below; `qpc --help`, the help of the chat, completions, manual
//! pages and the reference are made of it.

mod account;
mod admin;
mod archive;
mod backup;
mod block;
mod chat;
mod completions;
mod configure;
mod create;
mod demo;
mod devices;
mod disappear;
mod discover;
mod dm;
mod doctor;
mod edit;
mod exit_codes;
mod export;
mod export_verify;
mod files;
mod get_file;
mod history;
mod info;
mod invite;
mod invites;
mod join;
mod leave;
mod link;
mod list;
mod login;
mod logout;
mod man;
mod manners;
mod members;
mod outbox;
mod petname;
mod ping;
mod profile;
pub(crate) mod progress;
mod push;
mod react;
mod read;
mod receipts;
mod recovery;
mod recv;
mod reference;
mod register;
mod remove;
mod rename;
mod replace;
mod reply;
mod report;
mod requests;
mod restore;
mod role;
mod rotate;
mod search;
mod send;
mod send_file;
mod status;
mod sync;
mod unread;
mod verify;
mod version;
mod whoami;

use std::{process::ExitCode, time::Duration};

use clap::ArgMatches;
use qpc_sdk::Client;

use self::progress::Shown;
pub(crate) use self::send::{Send, compose};
use crate::{
    engine::{Action, Cli, Needs, On, Outcome, Row, Run, Slash},
    exit::Usage,
    render::Render,
    repl,
    settings::Settings,
    tui,
};

/// Time for what a command has written to go out, when its answer is there.
const FLUSH: Duration = Duration::from_secs(5);

/// All commands, in the order of their help: accounts, conversations, messages, people, devices, the program itself.
#[rustfmt::skip]
pub(crate) const TABLE: &[&Row] = &[
    &register::ROW, &login::ROW, &logout::ROW, &whoami::ROW,
    &list::ROW, &dm::DM, &dm::NOTES, &create::ROW, &join::ROW, &leave::ROW,
    &send::SEND, &send::TELL, &send::ME, &recv::ROW, &chat::ROW, &history::ROW, &search::ROW, &unread::ROW, &read::ROW,
    &reply::ROW, &react::ROW, &edit::EDIT, &edit::DELETE, &disappear::ROW, &report::ROW,
    &info::ROW, &outbox::ROW,
    &send_file::ROW, &files::ROW, &get_file::ROW, &export::ROW, &export_verify::ROW,
    &verify::ROW, &members::ROW, &invite::ROW, &invite::ADD, &invites::ROW, &remove::ROW, &role::ROW, &rename::ROW, &petname::ROW,
    &requests::ACCEPT, &requests::DECLINE, &block::ROW, &manners::ROW,
    &rotate::ROW, &replace::SUITE, &replace::RESET,
    &devices::ROW, &link::ROW, &receipts::ROW, &recovery::ROW, &account::EXPORT, &account::DELETE, &backup::ROW, &restore::ROW,
    &sync::ROW, &status::ROW, &ping::ROW, &doctor::ROW, &discover::ROW, &admin::ROW,
    &repl::ROW, &tui::ROW, &demo::ROW, &configure::ROW, &profile::ROW, &completions::ROW, &man::ROW, &reference::ROW,
    &exit_codes::ROW, &version::ROW,
];

/// The subcommands.
pub(crate) fn cli() -> impl Iterator<Item = &'static Cli> {
    TABLE.iter().filter_map(|row| row.cli.as_ref())
}

/// The commands of the chat.
pub(crate) fn slashes() -> impl Iterator<Item = &'static Slash> {
    TABLE.iter().flat_map(|row| row.slash)
}

/// Runs a subcommand.
pub(crate) async fn run(name: &str, matches: ArgMatches, settings: Settings) -> anyhow::Result<ExitCode> {
    // The parser knows the same names.
    let cli = cli().find(|cli| cli.name == name).ok_or(Usage::NoCommand)?;
    if !cli.mends {
        settings.config.check()?;
    }
    match cli.run {
        Run::Program(program) => program(matches, settings).await,
        Run::Act(parse) => act(&*parse(&matches)?, &settings).await,
    }
}

async fn act(action: &dyn Action, settings: &Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(settings);
    let options = settings.existing()?;
    let client = Client::open(options).await?;
    let done = on_client(action, &client, settings).await;
    if let Ok(outcome) = &done {
        render.outcome(outcome);
    }
    client.close().await;
    Ok(ExitCode::from(done?.code))
}

async fn on_client(action: &dyn Action, client: &Client, settings: &Settings) -> anyhow::Result<Outcome> {
    let work = async {
        let on = On::new(client.clone(), settings.place()?).await?;
        if action.needs() == Needs::Connection {
            client.connect().await?;
        }
        let outcome = action.run(&on).await?;
        if action.needs() == Needs::Connection && !client.flush(FLUSH).await {
            let waiting = client.stats().await?.outbox;
            return Ok(outcome.note(format!("{waiting} not sent yet; kept, and sent when there is a connection")));
        }
        Ok(outcome)
    };
    let patience = settings.timeout() + action.patience();
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => Err(Usage::Timeout(patience).into()),
    }
}

/// Connects; [`Usage::Timeout`] if that takes too long.
async fn connect(client: &Client, settings: &Settings) -> anyhow::Result<()> {
    let patience = settings.timeout();
    match progress::connect(client, Some(patience), Shown::by(settings).work()).await {
        Some(done) => Ok(done?),
        None => Err(Usage::Timeout(patience).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_stands_for_two_commands() {
        let mut seen = HashSet::new();
        for slash in slashes() {
            for name in slash.names {
                assert!(seen.insert(name), "/{name}");
            }
            assert!(slash.form.starts_with(&format!("/{}", slash.names[0])), "{}", slash.form);
            assert!(!slash.about.ends_with('.') && !slash.about.is_empty(), "{}", slash.form);
        }
        let mut seen = HashSet::new();
        for cli in cli() {
            for name in [&[cli.name], cli.aliases].concat() {
                assert!(seen.insert(name), "{name}");
            }
            assert!(!cli.about.ends_with('.'), "{}", cli.name);
        }
    }
}
