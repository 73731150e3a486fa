//! A row of the table of commands: what it is called on the command line and in the chat, and what it becomes.

use std::{future::Future, pin::Pin, process::ExitCode};

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{Act, Action};
use crate::{repl::Sitting, settings::Settings};

/// A command.
pub(crate) struct Row {
    /// On the command line, if it is there.
    pub(crate) cli: Option<Cli>,
    /// In the chat, under as many names as it has forms.
    pub(crate) slash: &'static [Slash],
}

/// A subcommand.
pub(crate) struct Cli {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// What it does, in a line without a full stop.
    pub(crate) about: &'static str,
    /// What follows the options in its help: examples, exit codes of its own.
    pub(crate) after: &'static str,
    /// Adds its arguments.
    pub(crate) args: fn(Command) -> Command,
    pub(crate) run: Run,
    /// Whether it runs although the configuration file cannot be understood.
    pub(crate) mends: bool,
}

/// What a subcommand does.
pub(crate) enum Run {
    /// An action on the client of an account.
    Act(fn(&ArgMatches) -> anyhow::Result<Box<dyn Action>>),
    /// Something with a life of its own: it goes on, or needs no account.
    Program(fn(ArgMatches, Settings) -> Ended),
}

/// A program at work.
pub(crate) type Ended = Pin<Box<dyn Future<Output = anyhow::Result<ExitCode>> + Send>>;

/// What an action needs on the command line. In a chat everything is there, but perhaps no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The store of a device.
    Store,
    /// A connection as well.
    Connection,
}

/// A command of the chat.
pub(crate) struct Slash {
    /// Its spellings without the slash, the proper one first.
    pub(crate) names: &'static [&'static str],
    /// How it is typed: `/role USER ROLE`.
    pub(crate) form: &'static str,
    /// What it does, in a line without a full stop.
    pub(crate) about: &'static str,
    /// What the words after it mean; none if they are not of its form.
    pub(crate) parse: fn(&[&str]) -> Option<Said>,
}

/// A line of a chat, understood.
#[derive(Debug)]
pub(crate) enum Said {
    /// Something on the client.
    Act(Box<dyn Action>),
    /// Something of this sitting alone.
    Sitting(Sitting),
}

impl Said {
    pub(crate) fn act(action: impl Act) -> Option<Self> {
        Some(Self::Act(Box::new(action)))
    }
}

/// [`Cli::args`] of a struct of arguments.
pub(crate) fn args<A: Args>(command: Command) -> Command {
    A::augment_args(command)
}

/// [`Run::Act`] of a struct of arguments that is an action.
pub(crate) fn act<A: Act + FromArgMatches>(matches: &ArgMatches) -> anyhow::Result<Box<dyn Action>> {
    Ok(Box::new(A::from_arg_matches(matches)?))
}

/// [`Run::Program`] of a function of such a struct.
pub(crate) fn program<A, F>(matches: &ArgMatches, settings: Settings, run: impl FnOnce(A, Settings) -> F) -> Ended
where
    A: FromArgMatches,
    F: Future<Output = anyhow::Result<ExitCode>> + Send + 'static,
{
    match A::from_arg_matches(matches) {
        Ok(args) => Box::pin(run(args, settings)),
        Err(error) => error.exit(),
    }
}

impl Cli {
    /// The subcommand as clap has it.
    pub(crate) fn command(&self) -> Command {
        // Its own words after those of its arguments, which may have their own.
        let command = (self.args)(Command::new(self.name)).about(self.about).visible_aliases(self.aliases);
        if self.after.is_empty() { command } else { command.after_help(self.after) }
    }
}
