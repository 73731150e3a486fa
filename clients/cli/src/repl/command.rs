//! What a line means. A line that looks like a command and is none is never sent: it was a slip.

use super::own::{OWN, Sitting};
use crate::{
    commands,
    engine::{Item, Said, Slash},
};

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

/// All commands of a chat, in the order of the help.
pub(crate) fn slashes() -> impl Iterator<Item = &'static Slash> {
    commands::slashes().chain(OWN)
}

/// The command of a spelling.
pub(crate) fn find(name: &str) -> Option<&'static Slash> {
    slashes().find(|slash| slash.names.contains(&name))
}

/// Understands a line. What `alias` makes of the word of a command goes in its place, once.
pub(crate) fn parse(line: &str, alias: &dyn Fn(&str) -> Option<String>) -> Result<Said, Slip> {
    let line = line.trim();
    let Some(rest) = line.strip_prefix('/') else { return Ok(Said::Sitting(text(line))) };
    if rest.starts_with('/') {
        return Ok(Said::Sitting(text(rest)));
    }
    // A blank after the slash is no command either.
    let (given, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if find(given).is_none()
        && let Some(expansion) = alias(given)
    {
        let expanded = format!("{expansion} {arguments}");
        return parse(&expanded, &|_| None);
    }
    let slash = find(given).ok_or_else(|| unknown(given))?;
    let words: Vec<&str> = arguments.split_whitespace().collect();
    (slash.parse)(&words).ok_or(Slip::Usage(slash.form))
}

fn text(line: &str) -> Sitting {
    if line.is_empty() { Sitting::Nothing } else { Sitting::Say(line.to_owned()) }
}

/// The lines of `/help`, of commands that have to do with a word.
pub(crate) fn help(word: &str) -> Vec<String> {
    let word = word.trim_start_matches('/').to_lowercase();
    let named = |slash: &&Slash| slash.names.contains(&word.as_str());
    if let Some(slash) = slashes().find(named) {
        let also: Vec<String> = slash.names[1..].iter().map(|name| format!("/{name}")).collect();
        let mut lines = vec![slash.form.to_owned(), format!("    {}", slash.about)];
        if !also.is_empty() {
            lines.push(format!("    also {}", also.join(", ")));
        }
        return lines;
    }
    let fits = |slash: &&Slash| slash.about.to_lowercase().contains(&word) || slash.form.to_lowercase().contains(&word);
    let mut lines: Vec<String> = slashes().filter(fits).map(line).collect();
    if lines.is_empty() {
        lines.push(format!("nothing about {word}; /help lists all commands"));
    } else if word.is_empty() {
        lines.push("Any other line is a message. A message that begins with / is typed with //.".to_owned());
    }
    lines
}

fn line(slash: &Slash) -> String {
    format!("{:<25} {}", slash.form, slash.about)
}

/// What `qpc repl --help-commands` prints.
pub(crate) fn items() -> impl Iterator<Item = Item> {
    slashes().map(|slash| {
        let fields = serde_json::json!({"names": slash.names, "form": slash.form, "about": slash.about});
        Item::new("qpc.slash/1", &fields, line(slash))
    })
}

fn unknown(given: &str) -> Slip {
    let names = slashes().flat_map(|slash| slash.names.iter().copied()).filter(|name| name.len() > 2);
    let nearest = names.map(|name| (strsim::osa_distance(given, name), name)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 2 && given.len() > 2 => {
            Slip::Near { given: given.to_owned(), nearest }
        }
        _ => Slip::Unknown(given.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Said, Slip> {
        super::parse(line, &|_| None)
    }

    fn is(line: &str) -> String {
        format!("{:?}", parse(line).unwrap_or_else(|slip| panic!("{line}: {slip}")))
    }

    fn said(line: &str) -> String {
        format!("{:?}", Said::Sitting(Sitting::Say(line.to_owned())))
    }

    #[test]
    fn lines_are_messages_unless_they_begin_with_a_slash() {
        assert_eq!(is("hello bob"), said("hello bob"));
        assert_eq!(is("  a /dm b "), said("a /dm b"));
        assert_eq!(is("//etc/hosts"), said("/etc/hosts"));
        assert_eq!(is(" \t"), format!("{:?}", Said::Sitting(Sitting::Nothing)));
    }

    #[test]
    fn there_are_more_than_forty_commands() {
        assert!(slashes().count() > 40, "{}", slashes().count());
    }

    #[test]
    fn commands_have_the_spellings_people_try() {
        assert_eq!(is(" /dm   bob "), is("/dm bob"));
        for line in ["/new club bob carol", "/group club bob  carol", "/cg club bob carol"] {
            assert_eq!(is(line), is("/create club bob carol"), "{line}");
        }
        assert_eq!(is("/s @bob"), is("/switch @bob"));
        assert_eq!(is("/history"), is("/hist 20"));
        assert_eq!(is("/rotate-keys"), is("/update-key"));
        assert_eq!(is("/role bob read-only"), is("/role bob reader"));
        assert_eq!(is("/devices rm 2"), is("/revoke-device 2"));
        assert_eq!(is("/devices rename 2 old laptop"), is("/name-device 2 old laptop"));
        assert_eq!(is("/devices add ABCDE fghij"), is("/link ABCDE fghij"));
    }

    #[test]
    fn an_invite_is_for_people_or_a_link_for_a_week_unless_something_else_is_said() {
        assert_eq!(is("/invite"), is("/invite 168 0"));
        assert_eq!(is("/invite 2"), is("/invite 2 0"));
        assert_eq!(is("/invite bob carol"), is("/add bob carol"));
        for line in ["/invite 0", "/invite 8785", "/invite 1 -1", "/invite 1 1 1", "/invite bob 7"] {
            assert!(matches!(parse(line), Err(Slip::Usage(form)) if form.starts_with("/invite ")), "{line}");
        }
    }

    #[test]
    fn a_slip_is_never_a_message() {
        let near = |line| parse(line).unwrap_err();
        assert_eq!(near("/hlep"), Slip::Near { given: "hlep".into(), nearest: "help" });
        assert_eq!(near("/histroy 3"), Slip::Near { given: "histroy".into(), nearest: "history" });
        assert_eq!(near("/frobnicate"), Slip::Unknown("frobnicate".into()));
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
            "/reset now",
            "/tell bob",
            "/me",
            "/info x",
            "/theme pink",
            "/set theme",
            "/alias x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_table_is_understood_in_all_its_spellings() {
        for slash in slashes() {
            let form = slash.form.split(" | ").next().unwrap().replace(['[', ']'], "").replace("...", "");
            let fill = [
                ("NUMBER", "1"),
                ("ROLE", "admin"),
                ("SUITE", "hybrid"),
                ("THEME", "dark"),
                ("TIME|off", "1d"),
                ("typing|read|requests", "typing"),
                ("on|off", "on"),
                (" N", " 1"),
            ];
            let example = fill.iter().fold(form, |example, (word, value)| example.replace(word, value));
            for name in slash.names {
                let line = example.replacen(slash.names[0], name, 1);
                assert_eq!(is(&line), is(&example), "{line}");
            }
        }
    }

    #[test]
    fn an_alias_stands_for_its_command_and_never_for_another_alias() {
        let alias = |word: &str| match word {
            "brb" => Some("/me is back soon".to_owned()),
            "t" => Some("/tell bob".to_owned()),
            "loop" => Some("/loop".to_owned()),
            "dm" => Some("/quit".to_owned()),
            _ => None,
        };
        let is_as = |line: &str, other: &str| {
            assert_eq!(format!("{:?}", super::parse(line, &alias)), format!("{:?}", parse(other)), "{line}");
        };
        is_as("/brb", "/me is back soon");
        is_as("/t see you", "/tell bob see you");
        is_as("/loop", "/loop");
        is_as("/dm bob", "/dm bob");
    }

    #[test]
    fn help_names_every_command_and_finds_what_a_word_is_about() {
        let all = help("").join("\n");
        for slash in slashes() {
            assert!(all.contains(slash.form), "{}", slash.form);
        }
        assert!(help("/dm").join("\n").contains("open the conversation with USER"));
        assert!(help("colours").join("\n").contains("/theme"));
        assert_eq!(help("xyzzy").len(), 1);
    }
}
