//! What the Tab key offers, and the hint behind the cursor: commands, users, conversations, files, emoji by their
//! shortcodes, and what arguments a command takes.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use reedline::{Completer, CompletionResult, DefaultHinter, Hinter, History, Span, Suggestion};

use super::command::{find, slashes};
use crate::{config::KEYS, style::THEMES};

/// Suggestions of one kind.
const MAX_SUGGESTED: usize = 100;
/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Names that may be typed, as the session knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) users: Vec<String>,
    pub(crate) conversations: Vec<String>,
    /// Aliases of commands.
    pub(crate) aliases: Vec<String>,
}

/// The session writes them, the editor's thread reads them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vocabulary(Arc<Mutex<Names>>);

impl Vocabulary {
    pub(crate) fn replace(&self, names: Names) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    fn names(&self) -> Names {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Completer for Vocabulary {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let before = line.get(..pos).unwrap_or(line);
        CompletionResult::fresh(suggest(before, &self.names()))
    }
}

/// What could stand at the end of a line.
fn suggest(before: &str, names: &Names) -> Vec<Suggestion> {
    let start =
        before.rfind(char::is_whitespace).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let (word, span) = (&before[start..], Span::new(start, before.len()));
    let offer = |value: String, about: Option<String>, space: bool| Suggestion {
        value,
        description: about,
        span,
        append_whitespace: space,
        ..Suggestion::default()
    };
    let command = before.strip_prefix('/').filter(|rest| !rest.starts_with('/'));
    let found: Vec<Suggestion> = match command {
        Some(name) if !name.contains(char::is_whitespace) => {
            let proper = slashes().filter(|slash| slash.names[0].starts_with(name));
            let own = names.aliases.iter().filter(|alias| alias.starts_with(name));
            let own = own.map(|alias| offer(format!("/{alias}"), Some("alias".to_owned()), true));
            proper
                .map(|slash| {
                    offer(format!("/{}", slash.names[0]), Some(slash.about.to_owned()), slash.form.contains(' '))
                })
                .chain(own)
                .collect()
        }
        Some(typed) => {
            // A name that a conversation has may be of several words.
            let arguments = typed.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
            let start = before.len() - arguments.len();
            match expected(typed) {
                Some("NAME") if find(first(typed)).is_some_and(|slash| takes_conversation(slash.form)) => {
                    let (mark, wanted) = split_mark(arguments);
                    let fitting = names.conversations.iter().filter(|name| begins(name, wanted));
                    let span = Span::new(start, before.len());
                    fitting.map(|name| Suggestion { span, ..offer(format!("{mark}{name}"), None, false) }).collect()
                }
                Some("USER") => {
                    let (mark, wanted) = split_mark(word);
                    let fitting = names.users.iter().filter(|name| begins(name, wanted));
                    fitting.map(|name| offer(format!("{mark}{name}"), None, true)).collect()
                }
                Some("FILE") => paths(arguments)
                    .into_iter()
                    .map(|path| Suggestion { span: Span::new(start, before.len()), ..offer(path, None, false) })
                    .collect(),
                Some(kind) => words(kind)
                    .into_iter()
                    .filter(|one| one.starts_with(word))
                    .map(|one| offer(one, None, true))
                    .collect(),
                None => Vec::new(),
            }
        }
        None => match (word.strip_prefix(':'), word.strip_prefix('@')) {
            (Some(code), _) if code.len() >= 2 => emoji(code)
                .map(|(code, emoji)| Suggestion {
                    display_override: Some(format!("{emoji} :{code}:")),
                    ..offer(emoji.to_owned(), None, true)
                })
                .collect(),
            (_, Some(user)) => names
                .users
                .iter()
                .filter(|name| begins(name, user))
                .map(|name| offer(format!("@{name}"), None, true))
                .collect(),
            _ => Vec::new(),
        },
    };
    found.into_iter().take(MAX_SUGGESTED).collect()
}

/// Emoji whose shortcode begins so.
fn emoji(code: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let code = code.trim_end_matches(':').to_lowercase();
    emojis::iter()
        .flat_map(|emoji| emoji.shortcodes().map(move |code| (code, emoji.as_str())))
        .filter(move |(one, _)| one.starts_with(&code))
}

fn first(typed: &str) -> &str {
    typed.split_whitespace().next().unwrap_or_default()
}

/// Those commands whose NAME is that of a conversation, and not a new one.
fn takes_conversation(form: &str) -> bool {
    ["/switch ", "/leave ", "/read ", "/mute ", "/unmute "].iter().any(|command| form.starts_with(command))
}

/// The word of a command's form that stands where the cursor is: `USER`, `NAME`.
fn expected(typed: &str) -> Option<&'static str> {
    let slash = find(first(typed))?;
    let mut done = typed.split_whitespace().count().saturating_sub(1);
    if !typed.ends_with(char::is_whitespace) {
        done = done.saturating_sub(1);
    }
    let kinds: Vec<&str> = slash.form.split_whitespace().skip(1).take_while(|word| *word != "|").collect();
    let last =
        kinds.last().filter(|last| last.ends_with("...") || ["NAME", "[NAME]", "FILE", "[WORD]"].contains(*last));
    let kind = kinds.get(done).or(last)?;
    Some(kind.trim_end_matches("...").trim_matches(['[', ']']))
}

/// Values of a kind of argument that has few.
fn words(kind: &str) -> Vec<String> {
    let all = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match kind {
        "ROLE" => all(&["owner", "admin", "member", "read-only"]),
        "SUITE" => all(&["hybrid", "classic"]),
        "THEME" => THEMES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        "KEY" => KEYS
            .iter()
            .filter(|key| super::execute::SETTABLE.contains(&key.name))
            .map(|key| key.name.to_owned())
            .collect(),
        "WORD" => slashes().map(|slash| slash.names[0].to_owned()).collect(),
        "list" => all(&["list", "add", "rm", "rename"]),
        "unread" => all(&["unread"]),
        _ => Vec::new(),
    }
}

/// A name without the mark before it, and the mark.
fn split_mark(word: &str) -> (&str, &str) {
    if word.starts_with(['@', '#']) { word.split_at(1) } else { ("", word) }
}

fn begins(name: &str, wanted: &str) -> bool {
    name.to_lowercase().starts_with(&wanted.to_lowercase())
}

/// Files and folders whose path begins so, folders with their slash.
fn paths(typed: &str) -> Vec<String> {
    let (folder, begin) = typed.rfind('/').map_or(("", typed), |at| typed.split_at(at + 1));
    let entries =
        fs::read_dir(if folder.is_empty() { "." } else { folder }).into_iter().flatten().take(MAX_ENTRIES).flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // What could not be typed is not offered, nor what is hidden unless it is asked for.
            let fits = name.starts_with(begin) && (begin.starts_with('.') || !name.starts_with('.'));
            let safe = !name.chars().any(crate::text::steers);
            let slash = if entry.path().is_dir() { "/" } else { "" };
            (fits && safe).then(|| format!("{folder}{name}{slash}"))
        })
        .collect();
    found.sort();
    found
}

/// The form of a command that is being typed, else the end of a line that was typed before.
pub(crate) struct Hints(pub(crate) DefaultHinter);

impl Hinter for Hints {
    fn handle(&mut self, line: &str, pos: usize, history: &dyn History, ansi: bool, cwd: &str) -> String {
        let before = self.0.handle(line, pos, history, ansi, cwd);
        if !before.is_empty() || pos < line.len() {
            return before;
        }
        let rest = form_left(line).unwrap_or_default();
        if ansi && !rest.is_empty() { nu_ansi_term::Style::new().dimmed().paint(rest).to_string() } else { rest }
    }

    // A form is to be read, not to be taken over.
    fn complete_hint(&self) -> String {
        self.0.complete_hint()
    }

    fn next_hint_token(&self) -> String {
        self.0.next_hint_token()
    }
}

/// What is still to be typed of a command's form.
fn form_left(line: &str) -> Option<String> {
    let typed = line.strip_prefix('/')?;
    if !typed.ends_with(char::is_whitespace) {
        return None;
    }
    let slash = find(first(typed))?;
    let done = typed.split_whitespace().count() - 1;
    if done > 0 && slash.form.contains('|') {
        return None;
    }
    let left: Vec<&str> = slash.form.split_whitespace().skip(1 + done).collect();
    Some(left.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(before: &str) -> Vec<String> {
        let names = Names {
            users: ["bob", "bella", "carol"].map(str::to_owned).to_vec(),
            conversations: ["bob", "Book club"].map(str::to_owned).to_vec(),
            aliases: vec!["brb".to_owned()],
        };
        suggest(before, &names).into_iter().map(|one| format!("{}{}", &before[..one.span.start], one.value)).collect()
    }

    #[test]
    fn the_first_word_is_a_command() {
        assert_eq!(offered("/swi"), ["/switch"]);
        assert_eq!(offered("/br"), ["/brb"]);
        assert!(offered("/re").contains(&"/rename".to_owned()));
        assert!(offered("//sw").is_empty() && offered("hello /sw").is_empty(), "a message");
        assert_eq!(offered("/").len(), slashes().count() + 1);
    }

    #[test]
    fn what_follows_is_what_the_command_takes() {
        assert_eq!(offered("/dm b"), ["/dm bob", "/dm bella"]);
        assert_eq!(offered("/dm @c"), ["/dm @carol"]);
        assert_eq!(offered("/add bob c"), ["/add bob carol"]);
        assert_eq!(offered("/switch bo"), ["/switch bob", "/switch Book club"]);
        assert_eq!(offered("/switch book c"), ["/switch Book club"]);
        assert_eq!(offered("/role bob a"), ["/role bob admin"]);
        assert_eq!(offered("/theme l"), ["/theme light"]);
        assert_eq!(offered("/help sw"), ["/help switch"]);
        assert!(offered("/rename bo").is_empty(), "a new name");
        assert!(offered("/dm bob c").is_empty());
        assert!(offered("/nothing b").is_empty());
    }

    #[test]
    fn messages_have_emoji_and_names() {
        assert!(offered("well :thumbsu").contains(&"well 👍".to_owned()));
        assert_eq!(offered("ask @ca"), ["ask @carol"]);
        assert!(offered("at 12:3").is_empty());
    }

    #[test]
    fn files_are_found_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["sum.txt", ".secret", "bad\u{1b}"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let at = folder.path().display();
        assert_eq!(paths(&format!("{at}/s")), [format!("{at}/sub/"), format!("{at}/sum.txt")]);
        assert_eq!(paths(&format!("{at}/b")), Vec::<String>::new());
        assert_eq!(offered(&format!("/receipts {at}/su")).len(), 2);
    }

    #[test]
    fn the_hint_is_what_is_left_of_the_form() {
        assert_eq!(form_left("/role ").as_deref(), Some("USER ROLE"));
        assert_eq!(form_left("/role bob ").as_deref(), Some("ROLE"));
        assert_eq!(form_left("/role bob admin ").as_deref(), Some(""));
        assert_eq!((form_left("/role"), form_left("role "), form_left("/rloe ")), (None, None, None));
    }
}
