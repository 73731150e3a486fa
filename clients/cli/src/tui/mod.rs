//! `qpc tui`: conversations on the whole screen.
//!
//! What is known and shown is the [`model`]; [`update`] says what becomes of it by what happens, and what is to be done then;
//! [`view`] draws it. All three are plain functions. [`driver`] is the loop that joins them to the client and the
//! [`terminal`], [`work`] does what takes time. [`keys`] is the table of keys, [`command`] that of commands.

mod areas;
mod command;
mod composer;
mod driver;
mod files;
mod fuzzy;
mod glyph;
mod keys;
mod model;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;
mod timeline;
mod update;
mod view;
mod vim;
mod work;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use qpc_sdk::{Client, ClientOptions, Error, Runtime};

use self::{
    driver::Driver,
    keys::Keymap,
    model::{Model, Options},
    terminal::Screen,
    theme::{Depth, Theme},
    update::Answer,
    work::Programs,
};
use crate::{
    args::FirstRun,
    console::complain,
    engine::{Cli, Row, Run, args, program},
    exit::{self, Usage},
    settings::Settings,
    style,
};

/// What opens links where nobody says otherwise.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
/// Time for what was written to be sent, when the person leaves.
const LEAVE_FLUSH: Duration = Duration::from_secs(2);
/// Time for what is being kept to be kept.
const KEEP_WITHIN: Duration = Duration::from_secs(5);

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "tui",
        aliases: &[],
        about: "Chat on the whole screen: registers and logs in by itself",
        after: "Examples:\n  qpc tui -u alice\n  qpc tui -u alice --keymap vim --theme light --bell\n\n\
            Inside, F1 shows all keys and commands. The keys theme, keymap, bell, pictures and opener of the configuration file count here too.",
        args: args::<Tui>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Tui {
    /// Colours [default: the theme of the configuration file; none where --color and NO_COLOR say so]
    #[arg(long, env = "QPC_THEME", value_enum)]
    theme: Option<Theme>,
    /// How keys are understood [default: the keymap of the configuration file, or plain]
    #[arg(long, env = "QPC_KEYMAP", value_enum)]
    keymap: Option<Keymap>,
    /// Leave the mouse to the terminal, which then selects text with it
    #[arg(long)]
    no_mouse: bool,
    /// Ring when a message comes while you are elsewhere
    #[arg(long)]
    bell: bool,
    /// Show no pictures that were sent; there are none without colours either
    #[arg(long)]
    no_pictures: bool,
    /// Program that opens a link [default: the opener of the configuration file, or that of the desktop]
    #[arg(long, env = "QPC_OPENER", value_name = "PROGRAM")]
    opener: Option<String>,
    #[command(flatten)]
    first: FirstRun,
}

/// How it ended.
pub(crate) enum Ending {
    /// By the person, or with the terminal.
    Left,
    /// The server does not want this client.
    Refused(Arc<Error>),
}

impl Tui {
    fn options(&self, settings: &Settings) -> Options {
        let theme = self.theme.unwrap_or(match settings.theme() {
            style::Theme::Dark => Theme::Dark,
            style::Theme::Light => Theme::Light,
            style::Theme::Plain => Theme::None,
        });
        let around = &settings.globals.around;
        let is = |key: &str, word: &str| settings.configured(key).as_deref() == Some(word);
        let keymap = self.keymap.unwrap_or(if is("keymap", "vi") { Keymap::Vim } else { Keymap::Plain });
        Options {
            theme,
            keymap,
            bell: self.bell || is("bell", "on"),
            pictures: !self.no_pictures && !is("pictures", "off"),
            depth: Depth::said(around.colorterm.as_deref(), around.no_color.as_deref()),
        }
    }

    fn programs(&self, settings: &Settings) -> Programs {
        let opener = self.opener.clone().or_else(|| settings.configured("opener"));
        Programs {
            editor: settings.globals.around.editor().cloned(),
            opener: opener.unwrap_or_else(|| OPENER.to_owned()),
        }
    }
}

async fn run(args: Tui, settings: Settings) -> anyhow::Result<ExitCode> {
    if !terminal::is_there() {
        return Err(Usage::NoTerminal.into());
    }
    let username = settings.username()?;
    let invite = args.first.invite.clone();
    let client = Client::open(ClientOptions { invite, ..settings.options(&username)? }).await?;
    let who = client.whoami().await?;
    let model = Model::new(who.account, who.username, args.options(&settings));
    let drafts = Answer::Drafts(client.drafts().await?);
    let events = client.events();

    let runtime = Runtime::system();
    let ending = {
        let screen = Screen::enter(!args.no_mouse)?;
        let programs = args.programs(&settings);
        Driver::new(runtime.clone(), &client, &settings.place()?, programs, events, model, screen)?.run(drafts).await
    };
    if !runtime.drain(KEEP_WITHIN).await {
        tracing::warn!("left with work in flight");
    }
    let code = match ending? {
        Ending::Left if client.flush(LEAVE_FLUSH).await => 0,
        Ending::Left => {
            complain(format_args!("{} not sent yet; kept, and sent when you are back", client.stats().await?.outbox));
            exit::UNREACHABLE
        }
        Ending::Refused(error) => {
            complain(format_args!("the server refuses: {error}"));
            exit::of_sdk(&error)
        }
    };
    client.close().await;
    Ok(ExitCode::from(code))
}
