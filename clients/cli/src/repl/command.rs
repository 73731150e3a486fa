//! What a line means. A line that looks like a command and is none is never sent: it was a slip.

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Nothing but blanks.
    Nothing,
    /// A message to the open conversation.
    Say(String),
    /// Open the conversation with a user, and begin it if there is none.
    Dm(String),
    /// List the conversations.
    List,
    /// Open another conversation: a name, or a number of the list.
    Switch(String),
    /// The last messages of the open conversation.
    History(u32),
    /// New keys for the open conversation.
    UpdateKey,
    /// Who this is.
    Whoami,
    /// What can be typed.
    Help,
    /// Leave.
    Quit,
}

/// A line that begins like a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Slip {
    /// Nothing like it exists.
    #[error("no command /{0}; nothing was sent (//{0} sends it as text, /help lists the commands)")]
    Unknown(String),
    /// Something like it exists.
    #[error("no command /{given}; nothing was sent. Did you mean /{nearest}?")]
    Near {
        /// What was typed.
        given: String,
        /// What there is.
        nearest: &'static str,
    },
    /// The argument is missing, or one too many.
    #[error("usage: {0}")]
    Usage(&'static str),
}

/// Messages that `/history` shows by itself.
const HISTORY: u32 = 20;

/// Commands with their other spellings, forms and explanations, in the order of `/help`.
const COMMANDS: &[(&[&str], &str, &str)] = &[
    (&["dm"], "/dm NAME", "open the conversation with NAME, or begin it"),
    (&["list", "ls"], "/list", "all conversations"),
    (&["switch", "s"], "/switch NAME", "open another conversation, by name or number of the list"),
    (&["history", "hist"], "/history [N]", "the last N messages (20)"),
    (&["update-key", "rotate-key", "rotate-keys"], "/update-key", "new keys for this conversation"),
    (&["whoami"], "/whoami", "who you are"),
    (&["help"], "/help", "this list"),
    (&["quit", "exit"], "/quit", "leave; what is not sent yet is kept"),
];

/// Understands a line.
pub(crate) fn parse(line: &str) -> Result<Command, Slip> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Command::Nothing);
    }
    let Some(rest) = line.strip_prefix('/') else { return Ok(Command::Say(line.to_owned())) };
    if rest.starts_with('/') {
        return Ok(Command::Say(rest.to_owned()));
    }
    // A blank after the slash is no command either.
    let (given, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let mut words = arguments.split_whitespace();
    let Some((names, form, _)) = COMMANDS.iter().find(|(names, ..)| names.contains(&given)) else {
        return Err(unknown(given));
    };
    let (argument, more) = (words.next(), words.next());
    match (names[0], argument, more) {
        ("dm", Some(name), None) => Ok(Command::Dm(plain(name))),
        ("switch", Some(name), None) => Ok(Command::Switch(plain(name))),
        ("history", None, None) => Ok(Command::History(HISTORY)),
        ("history", Some(count), None) => count.parse().map(Command::History).map_err(|_| Slip::Usage(form)),
        ("list", None, None) => Ok(Command::List),
        ("update-key", None, None) => Ok(Command::UpdateKey),
        ("whoami", None, None) => Ok(Command::Whoami),
        ("help", _, _) => Ok(Command::Help),
        ("quit", None, None) => Ok(Command::Quit),
        _ => Err(Slip::Usage(form)),
    }
}

/// The lines of `/help`.
pub(crate) fn help() -> Vec<String> {
    let mut lines: Vec<String> = COMMANDS.iter().map(|(_, form, meaning)| format!("{form:<16} {meaning}")).collect();
    lines.push("Any other line is a message. A message that begins with / is typed with //.".to_owned());
    lines
}

/// A name without the `@` that some type before it.
fn plain(name: &str) -> String {
    name.strip_prefix('@').unwrap_or(name).to_owned()
}

fn unknown(given: &str) -> Slip {
    let names = COMMANDS.iter().flat_map(|(names, ..)| names.iter().copied()).filter(|name| name.len() > 2);
    let nearest = names.map(|name| (distance(given, name), name)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 2 && given.len() > 2 => {
            Slip::Near { given: given.to_owned(), nearest }
        }
        _ => Slip::Unknown(given.to_owned()),
    }
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(from != *to)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_unless_they_begin_with_a_slash() {
        assert_eq!(parse("hello bob"), Ok(Command::Say("hello bob".into())));
        assert_eq!(parse("  a /dm b "), Ok(Command::Say("a /dm b".into())));
        assert_eq!(parse("//etc/hosts"), Ok(Command::Say("/etc/hosts".into())));
        assert_eq!(parse(" \t"), Ok(Command::Nothing));
    }

    #[test]
    fn commands_have_the_spellings_people_try() {
        for line in ["/dm bob", "/dm @bob", " /dm   bob "] {
            assert_eq!(parse(line), Ok(Command::Dm("bob".into())), "{line}");
        }
        assert_eq!(parse("/s @bob"), Ok(Command::Switch("bob".into())));
        assert_eq!(parse("/ls"), Ok(Command::List));
        assert_eq!(parse("/hist 5"), Ok(Command::History(5)));
        assert_eq!(parse("/history"), Ok(Command::History(20)));
        assert_eq!(parse("/rotate-keys"), Ok(Command::UpdateKey));
        assert_eq!(parse("/whoami"), Ok(Command::Whoami));
        assert_eq!(parse("/help dm"), Ok(Command::Help));
        assert_eq!(parse("/quit"), Ok(Command::Quit));
    }

    #[test]
    fn a_slip_is_never_a_message() {
        assert_eq!(parse("/hlep"), Err(Slip::Near { given: "hlep".into(), nearest: "help" }));
        assert_eq!(parse("/histroy 3"), Err(Slip::Near { given: "histroy".into(), nearest: "history" }));
        assert_eq!(parse("/frobnicate"), Err(Slip::Unknown("frobnicate".into())));
        for line in
            ["/", "/ dm bob", "/DM bob", "/dm", "/dm a b", "/history x", "/history -1", "/quit now", "/list all"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_names_every_command() {
        let help = help().join("\n");
        for (names, ..) in COMMANDS {
            assert!(help.contains(&format!("/{}", names[0])));
        }
    }
}
