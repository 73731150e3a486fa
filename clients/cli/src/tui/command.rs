//! Commands of the command line, for what has no key.

use std::time::Duration;

use qpc_sdk::Role;

use super::{keys::Keymap, theme::Theme};
use crate::{
    commands,
    engine::{Action, Said, Slash},
    text,
};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Dm(String),
    Create(String, Vec<String>),
    Notes,
    Join(String),
    Switch(String),
    Search(String),
    /// A day, counted from that of time 0.
    Date(u64),
    Help,
    Quit,
    Theme(Theme),
    Keymap(Keymap),
    Bell(bool),
    /// Whether small pictures of files are shown.
    Pictures(bool),
    Editor,
    /// Whether others are told that this account is writing.
    Typing(bool),
    /// Whether others are told what was read.
    Receipts(bool),
    /// Of the open conversation.
    Here(Here),
    /// A line of the table that the repl and the command line have too.
    Shared(String),
}

/// What is done in the open conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Here {
    Add(Vec<String>),
    Remove(String),
    Role(String, Role),
    Rename(String),
    Name(String),
    Invite,
    UpdateKeys,
    Timer(Option<Duration>),
    Accept,
    Decline,
    /// Somebody by name, or the other one of a direct conversation.
    Block(Option<String>, bool),
    /// Of the chosen message, with a note.
    Report(String),
    Info,
}

/// A command: its names, the proper one first, how it is typed, what it does.
pub(crate) struct Form {
    pub(crate) names: &'static [&'static str],
    pub(crate) form: &'static str,
    pub(crate) about: &'static str,
    parse: fn(&[&str]) -> Option<Command>,
}

const fn form(
    names: &'static [&'static str],
    form: &'static str,
    about: &'static str,
    parse: fn(&[&str]) -> Option<Command>,
) -> Form {
    Form { names, form, about, parse }
}

/// All of them.
#[rustfmt::skip]
pub(crate) const FORMS: &[Form] = &[
    form(&["dm"], "dm USER", "open the direct conversation with somebody", |words| one(words).map(Command::Dm)),
    form(&["create-group", "cg"], "create-group NAME [USER]...", "found a group", create),
    form(&["notes"], "notes", "open the notes, which stay on this device", |words| none(words, Command::Notes)),
    form(&["join"], "join LINK", "join a group by an invite", |words| one(words).map(Command::Join)),
    form(&["switch", "s"], "switch NAME", "open a conversation", |words| some(words).map(Command::Switch)),
    form(&["search"], "search TEXT", "search in this conversation", |words| some(words).map(Command::Search)),
    form(&["date"], "date YYYY-MM-DD", "go to what was written on a day, or next after it", |words| text::day(one(words)?.as_str()).map(Command::Date)),
    form(&["add"], "add USER...", "add people to this group", |words| (!words.is_empty()).then(|| here(Here::Add(owned(words))))),
    form(&["remove"], "remove USER", "remove somebody from this group", |words| one(words).map(Here::Remove).map(here)),
    form(&["role"], "role USER owner|admin|member|read-only", "give somebody another role", role),
    form(&["rename"], "rename NAME", "give this group another name", |words| some(words).map(Here::Rename).map(here)),
    form(&["name"], "name [NAME]", "call this conversation something that only you see", |words| Some(here(Here::Name(words.join(" "))))),
    form(&["invite"], "invite", "a link for one to join, good for a day", |words| none(words, here(Here::Invite))),
    form(&["rotate-keys"], "rotate-keys", "replace this device's secrets here", |words| none(words, here(Here::UpdateKeys))),
    form(&["disappear", "timer"], "disappear 30s|5m|1h|1d|1w|off", "how long what is written stays after it was read", timer),
    form(&["accept"], "accept", "take part in a conversation that a stranger has begun", |words| none(words, here(Here::Accept))),
    form(&["decline"], "decline", "do not", |words| none(words, here(Here::Decline))),
    form(&["block"], "block [USER]", "keep nothing of what somebody writes from now on; they are not told", |words| block(words, true)),
    form(&["unblock"], "unblock [USER]", "take that back", |words| block(words, false)),
    form(&["report"], "report [NOTE]", "show the chosen message to those who run the server", |words| Some(here(Here::Report(words.join(" "))))),
    form(&["info"], "info", "what this conversation is", |words| none(words, here(Here::Info))),
    form(&["typing"], "typing on|off", "tell others that you are writing, and see it of them", |words| switch(words).map(Command::Typing)),
    form(&["receipts"], "receipts on|off", "tell others what you have read", |words| switch(words).map(Command::Receipts)),
    form(&["theme"], "theme dark|light|none", "colours, for this sitting", |words| value(words).map(Command::Theme)),
    form(&["keymap"], "keymap plain|vim", "keys, for this sitting", |words| value(words).map(Command::Keymap)),
    form(&["bell"], "bell on|off", "ring when something comes while you are elsewhere, for this sitting", |words| switch(words).map(Command::Bell)),
    form(&["pictures"], "pictures on|off", "show pictures that were sent, for this sitting", |words| switch(words).map(Command::Pictures)),
    form(&["compose"], "compose", "go on writing in an editor (VISUAL, EDITOR)", |words| none(words, Command::Editor)),
    form(&["help", "h"], "help", "all keys and commands", |words| none(words, Command::Help)),
    form(&["quit", "q"], "quit", "quit", |words| none(words, Command::Quit)),
];

/// Understands a line without its `/` or `:`; the error says what is wrong with it.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((name, rest)) = words.split_first() else { return Err("a command is missing".to_owned()) };
    let Some(form) = FORMS.iter().find(|form| form.names.contains(name)) else {
        if let Some(slash) = shared().find(|slash| slash.names.contains(name)) {
            return match action(line) {
                Some(_) => Ok(Command::Shared(line.trim().to_owned())),
                None => Err(format!("it is: {}", slash.form)),
            };
        }
        return Err(format!("no command /{name}; nothing was sent (//{name} sends it as text)"));
    };
    (form.parse)(rest).ok_or_else(|| format!("it is: /{}", form.form))
}

/// What the repl and the command line can do as well, beyond [`FORMS`].
pub(crate) fn shared() -> impl Iterator<Item = &'static Slash> {
    let own = |slash: &&Slash| FORMS.iter().any(|form| slash.names.iter().any(|name| form.names.contains(name)));
    commands::slashes().filter(move |slash| !own(slash))
}

/// What a line of [`shared`] does.
pub(crate) fn action(line: &str) -> Option<Box<dyn Action>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, rest) = words.split_first()?;
    let slash = shared().find(|slash| slash.names.contains(name))?;
    match (slash.parse)(rest)? {
        Said::Act(action) => Some(action),
        Said::Sitting(_) => None,
    }
}

fn here(here: Here) -> Command {
    Command::Here(here)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| user(word)).collect()
}

fn user(word: &str) -> String {
    word.strip_prefix('@').unwrap_or(word).to_owned()
}

fn none(words: &[&str], command: Command) -> Option<Command> {
    words.is_empty().then_some(command)
}

fn one(words: &[&str]) -> Option<String> {
    let [word] = words else { return None };
    Some(user(word))
}

fn some(words: &[&str]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
}

fn create(words: &[&str]) -> Option<Command> {
    let (name, people) = words.split_first()?;
    Some(Command::Create((*name).to_owned(), owned(people)))
}

fn block(words: &[&str], blocked: bool) -> Option<Command> {
    match words {
        [] => Some(here(Here::Block(None, blocked))),
        [name] => Some(here(Here::Block(Some(user(name)), blocked))),
        _ => None,
    }
}

fn role(words: &[&str]) -> Option<Command> {
    let [name, role] = words else { return None };
    let role = match *role {
        "owner" => Role::Owner,
        "admin" => Role::Admin,
        "member" => Role::Member,
        "read-only" => Role::ReadOnly,
        _ => return None,
    };
    Some(here(Here::Role(user(name), role)))
}

fn switch(words: &[&str]) -> Option<bool> {
    match words {
        ["on"] => Some(true),
        ["off"] => Some(false),
        _ => None,
    }
}

fn value<T: clap::ValueEnum>(words: &[&str]) -> Option<T> {
    let [word] = words else { return None };
    T::from_str(word, true).ok()
}

fn timer(words: &[&str]) -> Option<Command> {
    let [word] = words else { return None };
    if *word == "off" {
        return Some(here(Here::Timer(None)));
    }
    let unit = word.chars().next_back()?;
    let number: u64 = word.strip_suffix(unit)?.parse().ok().filter(|number| (1..=1_000_000).contains(number))?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return None,
    };
    Some(here(Here::Timer(Some(Duration::from_secs(number * seconds)))))
}

/// How long something stays, as it is typed.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let units = [(604_800, 'w'), (86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let fit = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    fit.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_and_slips_are_told() {
        assert_eq!(parse("dm @bob"), Ok(Command::Dm("bob".into())));
        assert_eq!(parse("cg team bob carol"), Ok(Command::Create("team".into(), vec!["bob".into(), "carol".into()])));
        assert_eq!(parse("disappear 5m"), Ok(here(Here::Timer(Some(Duration::from_secs(300))))));
        assert_eq!(parse("timer off"), Ok(here(Here::Timer(None))));
        assert_eq!(parse("date 1970-01-02"), Ok(Command::Date(1)));
        assert_eq!(parse("theme light"), Ok(Command::Theme(Theme::Light)));
        assert_eq!(parse("role bob admin"), Ok(here(Here::Role("bob".into(), Role::Admin))));
        for slip in
            ["", "dm", "dm a b", "disappear soon", "disappear 5é", "theme pink", "quit now", "date today", "hsitory"]
        {
            assert!(parse(slip).is_err(), "{slip}");
        }
        assert!(parse("hsitory").unwrap_err().contains("nothing was sent"));
        assert_eq!(
            (duration(300_000), duration(90_000), duration(604_800_000)),
            ("5m".into(), "90s".into(), "1w".into())
        );
    }

    #[test]
    fn what_the_repl_can_do_is_understood_too() {
        assert_eq!(parse("whoami"), Ok(Command::Shared("whoami".into())));
        assert!(action("leave").unwrap().asks().is_some());
        assert!(parse("whoami now and then").unwrap_err().starts_with("it is: /whoami"));
        assert!(shared().count() > 10);
    }

    #[test]
    fn every_name_stands_for_one_command() {
        let names: Vec<_> = FORMS.iter().flat_map(|form| form.names).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
        }
        for form in FORMS {
            assert_eq!(form.form.split(' ').next(), form.names.first().copied());
        }
    }
}
