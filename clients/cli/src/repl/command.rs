//! What a line means. A line that looks like a command and is none is never sent: it was a slip.

use qpc_sdk::{Role, Suite};

/// A line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Nothing but blanks.
    Nothing,
    /// Open the conversation with a user, and begin it if there is none.
    Dm(String),
    /// Found a group of a name and people.
    Create(String, Vec<String>),
    /// Come into a group by an invite.
    Join(String),
    /// Open the conversation with oneself.
    Notes,
    /// List the conversations.
    List,
    /// Open another conversation: a name, or a number of the list.
    Switch(String),
    /// Leave a conversation: the open one, or a name or number of the list.
    Leave(Option<String>),
    /// List the devices of this account.
    Devices,
    /// Give a device of the list a name.
    NameDevice(usize, String),
    /// Revoke a device of the list.
    RevokeDevice(usize),
    /// Make a new device one of this account.
    Link(String),
    /// Who this is.
    Whoami,
    /// What can be typed.
    Help,
    /// End the session.
    Quit,
    /// Something in the open conversation.
    Here(Here),
}

/// Something in the open conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Here {
    /// A message.
    Say(String),
    /// Its last messages.
    History(u32),
    /// All of it is read.
    Read,
    /// Who is in it.
    Members,
    /// More people.
    Add(Vec<String>),
    /// Fewer people.
    Remove(String),
    /// What somebody may do.
    Role(String, Role),
    /// Another name for everybody.
    Rename(String),
    /// Another name for this account alone; an empty one takes it away.
    Petname(String),
    /// A new invite: hours until it expires, and how many joins it is good for (0: any number).
    Invite(u32, u32),
    /// List the invites.
    Invites,
    /// Make an invite of the list void.
    RevokeInvite(usize),
    /// New keys for this device.
    UpdateKey,
    /// A new group for the same conversation.
    Reset,
    /// The same, of another cipher suite.
    Suite(Suite),
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
/// Hours that an invite is good for, if nothing else is said.
const INVITE_HOURS: u32 = 168;
/// A year: whoever wants an invite for ever wants another one then.
const MAX_INVITE_HOURS: u32 = 366 * 24;

/// Commands with their other spellings, forms and explanations, in the order of `/help`.
const COMMANDS: &[(&[&str], &str, &str)] = &[
    (&["dm"], "/dm USER", "open the conversation with USER, or begin it"),
    (&["create", "new", "group"], "/create NAME [USER]...", "found a group; NAME is one word, /rename takes more"),
    (&["join"], "/join LINK", "come into a group by an invite"),
    (&["notes", "note"], "/notes", "notes to yourself; they stay on this device"),
    (&["list", "ls"], "/list", "all conversations"),
    (&["switch", "s"], "/switch NAME", "open another conversation, by name or number of the list"),
    (&["history", "hist"], "/history [N]", "the last N messages (20), and what became of yours"),
    (&["read"], "/read", "mark this conversation as read; looking at it does so too"),
    (&["members", "who"], "/members", "who is in this conversation"),
    (&["add"], "/add USER...", "let people into this group"),
    (&["remove", "kick"], "/remove USER", "remove somebody from this group"),
    (&["role"], "/role USER ROLE", "give somebody a role: owner, admin, member or read-only"),
    (&["rename"], "/rename NAME", "give this group another name"),
    (&["petname", "nickname", "nick"], "/petname [NAME]", "call this conversation NAME on your devices alone"),
    (&["invite"], "/invite [HOURS] [USES]", "make a link by which people come in (168 hours, any number)"),
    (&["invites"], "/invites", "the invites of this group"),
    (&["revoke-invite", "uninvite"], "/revoke-invite NUMBER", "make an invite of /invites void"),
    (&["leave"], "/leave [NAME]", "leave this conversation, or NAME; what was written stays here"),
    (&["update-key", "rotate-key", "rotate-keys"], "/update-key", "new keys for this conversation"),
    (&["suite"], "/suite SUITE", "carry this conversation on with another suite: hybrid or classic"),
    (&["reset"], "/reset", "carry this conversation on in a new group, if it does not heal by itself"),
    (&["devices"], "/devices", "your devices"),
    (&["link"], "/link CODE", "make a new device yours: the code that `qpc link` shows on it"),
    (&["name-device", "rename-device"], "/name-device NUMBER NAME", "give a device of /devices a name"),
    (&["revoke-device", "remove-device"], "/revoke-device NUMBER", "log a device of /devices out for ever"),
    (&["whoami"], "/whoami", "who you are"),
    (&["help"], "/help", "this list"),
    (&["quit", "exit"], "/quit", "end; what is not sent yet is kept"),
];

/// Understands a line.
pub(crate) fn parse(line: &str) -> Result<Command, Slip> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Command::Nothing);
    }
    let Some(rest) = line.strip_prefix('/') else { return Ok(Command::Here(Here::Say(line.to_owned()))) };
    if rest.starts_with('/') {
        return Ok(Command::Here(Here::Say(rest.to_owned())));
    }
    // A blank after the slash is no command either.
    let (given, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let Some((names, form, _)) = COMMANDS.iter().find(|(names, ..)| names.contains(&given)) else {
        return Err(unknown(given));
    };
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let found = anywhere(names[0], &words).or_else(|| here(names[0], &words).map(Command::Here));
    found.ok_or(Slip::Usage(form))
}

/// A command that needs no open conversation.
fn anywhere(command: &str, words: &[&str]) -> Option<Command> {
    Some(match (command, words) {
        ("dm", [name]) => Command::Dm(plain(name)),
        ("create", [name, people @ ..]) => Command::Create((*name).to_owned(), all_plain(people)),
        ("join", [link]) => Command::Join((*link).to_owned()),
        ("notes", []) => Command::Notes,
        ("list", []) => Command::List,
        ("switch", [_, ..]) => Command::Switch(plain(&words.join(" "))),
        ("leave", []) => Command::Leave(None),
        ("leave", _) => Command::Leave(Some(plain(&words.join(" ")))),
        ("devices", []) => Command::Devices,
        ("name-device", [number, name @ ..]) if !name.is_empty() => {
            Command::NameDevice(number.parse().ok()?, name.join(" "))
        }
        ("revoke-device", [number]) => Command::RevokeDevice(number.parse().ok()?),
        // Read aloud and typed in groups, or pasted.
        ("link", [_, ..]) => Command::Link(words.join(" ")),
        ("whoami", []) => Command::Whoami,
        ("help", _) => Command::Help,
        ("quit", []) => Command::Quit,
        _ => return None,
    })
}

/// A command about the open conversation.
fn here(command: &str, words: &[&str]) -> Option<Here> {
    Some(match (command, words) {
        ("history", []) => Here::History(HISTORY),
        ("history", [count]) => Here::History(count.parse().ok()?),
        ("read", []) => Here::Read,
        ("members", []) => Here::Members,
        ("add", [_, ..]) => Here::Add(all_plain(words)),
        ("remove", [name]) => Here::Remove(plain(name)),
        ("role", [name, role]) => Here::Role(plain(name), parse_role(role)?),
        ("rename", [_, ..]) => Here::Rename(words.join(" ")),
        ("petname", _) => Here::Petname(words.join(" ")),
        ("invite", []) => Here::Invite(INVITE_HOURS, 0),
        ("invite", [hours]) => Here::Invite(parse_hours(hours)?, 0),
        ("invite", [hours, uses]) => Here::Invite(parse_hours(hours)?, uses.parse().ok()?),
        ("invites", []) => Here::Invites,
        ("revoke-invite", [number]) => Here::RevokeInvite(number.parse().ok()?),
        ("update-key", []) => Here::UpdateKey,
        ("reset", []) => Here::Reset,
        ("suite", ["hybrid"]) => Here::Suite(Suite::Hybrid),
        ("suite", ["classic"]) => Here::Suite(Suite::Classic),
        _ => return None,
    })
}

fn parse_role(word: &str) -> Option<Role> {
    Some(match word {
        "owner" => Role::Owner,
        "admin" => Role::Admin,
        "member" => Role::Member,
        "read-only" | "readonly" | "reader" => Role::ReadOnly,
        _ => return None,
    })
}

fn parse_hours(word: &str) -> Option<u32> {
    word.parse().ok().filter(|hours| (1..=MAX_INVITE_HOURS).contains(hours))
}

/// The lines of `/help`.
pub(crate) fn help() -> Vec<String> {
    let mut lines: Vec<String> = COMMANDS.iter().map(|(_, form, meaning)| format!("{form:<25} {meaning}")).collect();
    lines.push("Any other line is a message. A message that begins with / is typed with //.".to_owned());
    lines
}

/// A name without the mark that some type before it, as the prompt does.
fn plain(name: &str) -> String {
    name.strip_prefix(['@', '#']).unwrap_or(name).to_owned()
}

fn all_plain(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| plain(name)).collect()
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

    fn said(line: &str) -> Result<Command, Slip> {
        Ok(Command::Here(Here::Say(line.to_owned())))
    }

    #[test]
    fn lines_are_messages_unless_they_begin_with_a_slash() {
        assert_eq!(parse("hello bob"), said("hello bob"));
        assert_eq!(parse("  a /dm b "), said("a /dm b"));
        assert_eq!(parse("//etc/hosts"), said("/etc/hosts"));
        assert_eq!(parse(" \t"), Ok(Command::Nothing));
    }

    #[test]
    fn commands_have_the_spellings_people_try() {
        for line in ["/dm bob", "/dm @bob", " /dm   bob "] {
            assert_eq!(parse(line), Ok(Command::Dm("bob".into())), "{line}");
        }
        for line in ["/create club bob carol", "/new club @bob  carol", "/group club bob @carol"] {
            assert_eq!(parse(line), Ok(Command::Create("club".into(), vec!["bob".into(), "carol".into()])), "{line}");
        }
        assert_eq!(parse("/s @bob"), Ok(Command::Switch("bob".into())));
        assert_eq!(parse("/ls"), Ok(Command::List));
        assert_eq!(parse("/whoami"), Ok(Command::Whoami));
        assert_eq!(parse("/help dm"), Ok(Command::Help));
        assert_eq!(parse("/quit"), Ok(Command::Quit));
        assert_eq!(parse("/leave"), Ok(Command::Leave(None)));
        assert_eq!(parse("/link ABCDE fghij-00000"), Ok(Command::Link("ABCDE fghij-00000".into())));
        let here = |line: &str| match parse(line) {
            Ok(Command::Here(here)) => here,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(here("/hist 5"), Here::History(5));
        assert_eq!(here("/history"), Here::History(20));
        assert_eq!(here("/rotate-keys"), Here::UpdateKey);
        assert_eq!(here("/kick @bob"), Here::Remove("bob".into()));
        for word in ["read-only", "readonly", "reader"] {
            assert_eq!(here(&format!("/role @bob {word}")), Here::Role("bob".into(), Role::ReadOnly), "{word}");
        }
        assert_eq!(here("/suite classic"), Here::Suite(Suite::Classic));
    }

    #[test]
    fn a_name_may_have_blanks_where_it_is_the_last_word() {
        assert_eq!(parse("/switch #Book  club"), Ok(Command::Switch("Book club".into())));
        assert_eq!(parse("/leave Book club"), Ok(Command::Leave(Some("Book club".into()))));
        assert_eq!(parse("/name-device 2 old laptop"), Ok(Command::NameDevice(2, "old laptop".into())));
        assert_eq!(parse("/rename Book club"), Ok(Command::Here(Here::Rename("Book club".into()))));
        assert_eq!(parse("/petname Book club"), Ok(Command::Here(Here::Petname("Book club".into()))));
        assert_eq!(parse("/petname"), Ok(Command::Here(Here::Petname(String::new()))));
    }

    #[test]
    fn an_invite_is_good_for_a_week_unless_something_else_is_said() {
        assert_eq!(parse("/invite"), Ok(Command::Here(Here::Invite(168, 0))));
        assert_eq!(parse("/invite 2"), Ok(Command::Here(Here::Invite(2, 0))));
        assert_eq!(parse("/invite 2 1"), Ok(Command::Here(Here::Invite(2, 1))));
        for line in ["/invite 0", "/invite 8785", "/invite bob", "/invite 1 -1", "/invite 1 1 1"] {
            assert!(matches!(parse(line), Err(Slip::Usage(form)) if form.starts_with("/invite ")), "{line}");
        }
    }

    #[test]
    fn a_slip_is_never_a_message() {
        assert_eq!(parse("/hlep"), Err(Slip::Near { given: "hlep".into(), nearest: "help" }));
        assert_eq!(parse("/histroy 3"), Err(Slip::Near { given: "histroy".into(), nearest: "history" }));
        assert_eq!(parse("/frobnicate"), Err(Slip::Unknown("frobnicate".into())));
        for line in [
            "/",
            "/ dm bob",
            "/DM bob",
            "/dm",
            "/dm a b",
            "/history x",
            "/history -1",
            "/quit now",
            "/list all",
            "/create",
            "/add",
            "/remove",
            "/remove bob carol",
            "/role bob",
            "/role bob king",
            "/rename",
            "/join",
            "/join a b",
            "/suite",
            "/suite quantum",
            "/revoke-invite",
            "/revoke-device x",
            "/name-device 1",
            "/name-device phone x",
            "/link",
            "/notes hello",
            "/read all",
            "/reset now",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_table_is_understood() {
        for (names, form, _) in COMMANDS {
            let example = form.replace("NUMBER", "1").replace("[N]", "1").replace("[HOURS] [USES]", "1 1");
            let example = example.replace("ROLE", "admin").replace("SUITE", "hybrid").replace(['[', ']'], "");
            assert!(parse(&example).is_ok(), "{example}");
            for name in *names {
                let example = example.replacen(names[0], name, 1);
                assert_eq!(parse(&example), parse(&form_with(names[0], &example)), "{example}");
            }
        }
    }

    /// The line with the first spelling of its command.
    fn form_with(name: &str, line: &str) -> String {
        line.split_once(' ').map_or_else(|| format!("/{name}"), |(_, rest)| format!("/{name} {rest}"))
    }

    #[test]
    fn help_names_every_command() {
        let help = help().join("\n");
        for (names, ..) in COMMANDS {
            assert!(help.contains(&format!("/{}", names[0])));
        }
    }
}
