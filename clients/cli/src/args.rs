//! The command line: what stands before and after every command, and the root that the table of commands hangs on.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Args, Command, ValueEnum};
use qpc_sdk::AccountInvite;

use crate::commands;

/// Where the flags that go with every command stand in `--help`.
const EVERYWHERE: &str = "Options of every command";

/// What this is.
const ABOUT: &str = "End-to-end encrypted chat over QUIC";

/// What stands below every list of commands.
const AFTER: &str = "Examples:\n  \
    qpc demo                          two people talk, on this machine, and you see what is proved\n  \
    qpc register-user alice           an account with the server on this machine\n  \
    qpc repl -u alice                 chat as alice; registers by itself\n  \
    qpc tui -u alice                  the same on the whole screen\n  \
    qpc send @bob \"see you at six\"    one message\n  \
    qpc recv --follow --json          what others write, as JSON lines\n  \
    qpc doctor                        what is wrong, if something is\n\n\
    Settings: a flag goes before its environment variable, that before the configuration file (qpc config path).\n\
    What was asked for goes to standard output, everything else to standard error.\n\n\
    Exit codes: 0 ok, 1 other, 2 usage, 3 login, 4 unreachable, 5 not found, 6 conflict, 7 forbidden,\n\
    8 verification failed, 9 rate limited, 10 partly done or unreadable file, 130 interrupted (qpc exit-codes)";

/// What goes with every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = EVERYWHERE)]
pub(crate) struct Globals {
    /// Profile of the configuration file, with a folder of its own for its accounts
    #[arg(short = 'P', long, env = "QPC_PROFILE", value_name = "NAME", global = true)]
    pub(crate) profile: Option<String>,
    /// Configuration file [default: ~/.config/qpc/config.toml]
    #[arg(long, env = "QPC_CONFIG", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Server, HOST[:PORT] [default: 127.0.0.1:7000]
    #[arg(short, long, env = "QPC_SERVER", value_name = "SERVER", global = true)]
    pub(crate) server: Option<String>,
    /// Certificate of the server or its authority, PEM [default: qpc-data/cert.pem if it is there]
    #[arg(long, env = "QPC_CA_CERT", value_name = "FILE", global = true)]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Name in the server's certificate, where that is not HOST
    #[arg(long, env = "QPC_SERVER_NAME", value_name = "NAME", global = true)]
    pub(crate) server_name: Option<String>,
    /// Name of the account [default: the only one on this device]
    #[arg(short, long, env = "QPC_USERNAME", value_name = "NAME", global = true)]
    pub(crate) username: Option<String>,
    /// Folder of this device's store [default: ~/.local/share/quicprochat/NAME]
    #[arg(long, alias = "data", env = "QPC_DATA_DIR", value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Password; others on this machine can see it in the list of processes
    #[arg(short, long, env = "QPC_PASSWORD", hide_env_values = true, value_name = "PASSWORD", global = true)]
    pub(crate) password: Option<String>,
    /// File whose first line is the password; goes before --password
    #[arg(long, env = "QPC_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub(crate) password_file: Option<PathBuf>,
    /// Open file descriptor whose first line is the password; goes before --password-file
    #[arg(long, env = "QPC_PASSWORD_FD", value_name = "FD", global = true)]
    pub(crate) password_fd: Option<i32>,
    /// Cipher suite of new conversations [default: hybrid]
    #[arg(long, env = "QPC_SUITE", value_enum, global = true)]
    pub(crate) suite: Option<SuiteArg>,
    /// JSON lines, each with the name of its schema
    #[arg(long, env = "QPC_JSON", value_parser = clap::builder::FalseyValueParser::new(), action = ArgAction::SetTrue, global = true)]
    pub(crate) json: bool,
    /// Of JSON, only these fields; implies --json
    #[arg(long, env = "QPC_FIELDS", value_name = "FIELD,...", value_delimiter = ',', global = true)]
    pub(crate) fields: Vec<String>,
    /// Nothing on standard error but errors
    #[arg(short, long, env = "QPC_QUIET", value_parser = clap::builder::FalseyValueParser::new(), action = ArgAction::SetTrue, global = true)]
    pub(crate) quiet: bool,
    /// More of what happens, on standard error; twice for every call
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Sends a span of each call to this collector of traces, an OTLP/gRPC URL; says nothing of people and texts
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) otlp: Option<String>,
    /// Authority of the collector's certificate, PEM, for an https URL
    #[arg(long, value_name = "FILE", requires = "otlp", global = true)]
    pub(crate) otlp_ca: Option<PathBuf>,
    /// Longest wait for the server [default: 30]
    #[arg(long, env = "QPC_TIMEOUT", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400), global = true)]
    pub(crate) timeout: Option<u64>,
    /// Never ask a person for anything
    #[arg(long, env = "QPC_NO_INPUT", value_parser = clap::builder::FalseyValueParser::new(), action = ArgAction::SetTrue, global = true)]
    pub(crate) no_input: bool,
    /// Colours: on a terminal, always or never; NO_COLOR and CLICOLOR_FORCE are heeded [default: auto]
    #[arg(long, env = "QPC_COLOR", value_enum, value_name = "WHEN", global = true)]
    pub(crate) color: Option<ColorArg>,

    /// What the desktop and the terminal say.
    #[arg(skip)]
    pub(crate) around: Around,
}

/// Variables that are not ours. They have flags, as everything that is read from the environment, but nobody sees them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Around {
    #[arg(long, env = "XDG_DATA_HOME", hide = true, global = true)]
    pub(crate) xdg_data_home: Option<OsString>,
    #[arg(long, env = "XDG_CONFIG_HOME", hide = true, global = true)]
    pub(crate) xdg_config_home: Option<OsString>,
    #[arg(long, env = "HOME", hide = true, global = true)]
    pub(crate) home: Option<OsString>,
    #[arg(long, env = "NO_COLOR", hide = true, global = true)]
    pub(crate) no_color: Option<OsString>,
    #[arg(long, env = "CLICOLOR_FORCE", hide = true, global = true)]
    pub(crate) clicolor_force: Option<OsString>,
    #[arg(long, env = "COLORTERM", hide = true, global = true)]
    pub(crate) colorterm: Option<OsString>,
    #[arg(long, env = "VISUAL", hide = true, global = true)]
    pub(crate) visual: Option<OsString>,
    #[arg(long, env = "EDITOR", hide = true, global = true)]
    pub(crate) editor: Option<OsString>,
}

impl Around {
    /// What the person writes longer texts with.
    pub(crate) fn editor(&self) -> Option<&OsString> {
        self.visual.as_ref().or(self.editor.as_ref())
    }
}

/// Cipher suite by its short name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteArg {
    /// X25519 and ML-KEM-768 together
    #[value(alias = "pq")]
    Hybrid,
    /// X25519 alone
    Classic,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On a terminal
    Auto,
    /// Also in a pipe
    Always,
    /// Nowhere
    Never,
}

/// What may be needed where an account is made.
#[derive(Args, Clone, Debug)]
pub(crate) struct FirstRun {
    /// Invite to a server that takes new accounts by invite only
    #[arg(long, env = "QPC_INVITE", hide_env_values = true, value_name = "CODE")]
    pub(crate) invite: Option<AccountInvite>,
}

/// How long to wait for a person at another device.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct WaitArgs {
    /// Longest wait for the other device; a code is good for ten minutes
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) wait: u64,
}

/// The whole command line.
pub(crate) fn root() -> Command {
    Around::augment_args(shown()).about(ABOUT)
}

/// The command line as people see it.
pub(crate) fn shown() -> Command {
    let command = Command::new("qpc")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER)
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true);
    // The words about all options together are for who reads the source.
    let command = Globals::augment_args(command).about(ABOUT).long_about(None).next_help_heading(None::<&str>);
    commands::cli().fold(command, |command, cli| command.subcommand(cli.command()))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        root().debug_assert();
        let names: Vec<_> = commands::cli().map(|cli| cli.name).collect();
        assert!(names.len() >= 20, "{names:?}");
        assert_eq!(root().get_about().unwrap().to_string(), ABOUT);
    }

    #[test]
    fn what_goes_with_every_command_can_stand_on_either_side_of_it() {
        for line in [
            &["qpc", "-u", "alice", "-s", "chat.example", "devices", "list"][..],
            &["qpc", "devices", "-u", "alice", "list", "-s", "chat.example"],
            &["qpc", "devices", "list", "-s", "chat.example", "--username", "alice"],
        ] {
            let matches = root().try_get_matches_from(line).unwrap();
            let globals = Globals::from_arg_matches(&matches).unwrap();
            assert_eq!(globals.username.as_deref(), Some("alice"), "{line:?}");
            assert_eq!(globals.server.as_deref(), Some("chat.example"), "{line:?}");
        }
    }
}
