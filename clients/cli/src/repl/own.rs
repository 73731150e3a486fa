//! Commands of a sitting: which conversation is open, how things look, what is typed for what. They have no subcommand, as
//! they mean nothing without a chat.

use crate::{
    engine::{Said, Slash, Target},
    style::Theme,
};

/// Something of this sitting alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sitting {
    /// Nothing but blanks.
    Nothing,
    /// A message into the open conversation.
    Say(String),
    /// A message that is written in an editor.
    Compose,
    /// Open another conversation.
    Switch(Target),
    /// Open the next one with something unread.
    Next,
    /// Open none.
    Close,
    /// Show live what comes in a conversation, or do not.
    Mute(Target, bool),
    /// What can be typed; of a word, what has to do with it.
    Help(String),
    /// Empty the screen.
    Clear,
    /// Other colours; none to ask which.
    Theme(Option<Theme>),
    /// A key of the configuration file and its value; none to ask.
    Set(Option<(String, String)>),
    /// What a command is called besides; none to ask.
    Alias(Option<(String, String)>),
    /// Not any more.
    Unalias(String),
    /// End the session.
    Quit,
}

fn here(sitting: Sitting) -> Option<Said> {
    Some(Said::Sitting(sitting))
}

fn alone(words: &[&str], sitting: Sitting) -> Option<Said> {
    if words.is_empty() { here(sitting) } else { None }
}

fn named(words: &[&str]) -> Option<Target> {
    if words.is_empty() { Some(Target::Open) } else { words.join(" ").parse().ok() }
}

/// All of them, in the order of the help.
#[rustfmt::skip]
pub(crate) const OWN: &[Slash] = &[
    Slash {
        names: &["switch", "s", "open"],
        form: "/switch NAME",
        about: "open another conversation, by name or number of the list",
        parse: |words| if words.is_empty() { None } else { here(Sitting::Switch(named(words)?)) },
    },
    Slash {
        names: &["next", "n"],
        form: "/next",
        about: "open the next conversation with something unread",
        parse: |words| alone(words, Sitting::Next),
    },
    Slash {
        names: &["close"],
        form: "/close",
        about: "have no conversation open; nobody is told, and nothing is left",
        parse: |words| alone(words, Sitting::Close),
    },
    Slash {
        names: &["mute"],
        form: "/mute [NAME]",
        about: "do not show live what comes in this conversation, or NAME, while another is open",
        parse: |words| here(Sitting::Mute(named(words)?, true)),
    },
    Slash {
        names: &["unmute"],
        form: "/unmute [NAME]",
        about: "show it again",
        parse: |words| here(Sitting::Mute(named(words)?, false)),
    },
    Slash {
        names: &["compose"],
        form: "/compose",
        about: "write a message of several lines in an editor (VISUAL, EDITOR)",
        parse: |words| alone(words, Sitting::Compose),
    },
    Slash {
        names: &["alias"],
        form: "/alias [WORD COMMAND...]",
        about: "let /WORD stand for COMMAND, or list what stands for what",
        parse: |words| match words {
            [] => here(Sitting::Alias(None)),
            [word, command @ ..] if !command.is_empty() => {
                let word = word.strip_prefix('/').unwrap_or(word).to_owned();
                here(Sitting::Alias(Some((word, command.join(" ")))))
            }
            _ => None,
        },
    },
    Slash {
        names: &["unalias"],
        form: "/unalias WORD",
        about: "let /WORD stand for nothing",
        parse: |words| match words {
            [word] => here(Sitting::Unalias(word.strip_prefix('/').unwrap_or(word).to_owned())),
            _ => None,
        },
    },
    Slash {
        names: &["set"],
        form: "/set [KEY VALUE]",
        about: "set theme, keymap, numbers or bell for this and later sittings, or list them",
        parse: |words| match words {
            [] => here(Sitting::Set(None)),
            [key, value] => here(Sitting::Set(Some(((*key).to_owned(), (*value).to_owned())))),
            _ => None,
        },
    },
    Slash {
        names: &["theme"],
        form: "/theme [THEME]",
        about: "colours for a dark or a light background, or plain, for this sitting",
        parse: |words| match words {
            [] => here(Sitting::Theme(None)),
            [theme] => here(Sitting::Theme(Some(Theme::parse(theme)?))),
            _ => None,
        },
    },
    Slash {
        names: &["clear", "cls"],
        form: "/clear",
        about: "empty the screen",
        parse: |words| alone(words, Sitting::Clear),
    },
    Slash {
        names: &["help", "h", "?"],
        form: "/help [WORD]",
        about: "all commands, or those that have to do with WORD",
        parse: |words| here(Sitting::Help(words.join(" "))),
    },
    Slash {
        names: &["quit", "exit", "q"],
        form: "/quit",
        about: "end; what is not sent yet is kept",
        parse: |words| alone(words, Sitting::Quit),
    },
];
