//! One table of keys: what is done when one is pressed, what the footer and the help say, and the table in the guide.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// How keys are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keymap {
    /// What is typed is text
    Plain,
    /// With modes, as in vi
    Vim,
}

/// Where a key is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Wherever nothing else is meant by it.
    Anywhere,
    /// In the text that is being written.
    Composer,
    /// The same, between commands of the vim keymap.
    Normal,
    /// On a message.
    Messages,
    /// In the list of conversations.
    List,
}

impl Place {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Anywhere => "Anywhere",
            Self::Composer => "Writing",
            Self::Normal => "Writing, vim's normal mode",
            Self::Messages => "On a message",
            Self::List => "In the list",
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Quit,
    Suspend,
    /// Lends the terminal to an editor, with what is being written.
    Editor,
    Redraw,
    Help,
    Switcher,
    Command,
    Search,
    FoundNext,
    FoundBefore,
    DayBefore,
    DayAfter,
    NextConversation,
    PreviousConversation,
    NextUnread,
    Back,
    ToMessages,
    ToList,
    ToComposer,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    Open,
    Reply,
    Edit,
    Delete,
    React,
    Copy,
    Info,
    /// Chooses a file to send.
    Files,
    /// Takes the files of a message.
    Save,
    /// Gives the links of a message to a program.
    Links,
    Jump,
    Send,
    Newline,
    Complete,
    Write(Write),
    /// Said in the table, done by [`super::vim`].
    Vim,
}

/// What is done to the text that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Left,
    Right,
    Up,
    Down,
    WordLeft,
    WordRight,
    LineStart,
    LineEnd,
    Backspace,
    Delete,
    DeleteWord,
    DeleteToStart,
    Undo,
}

/// A row of the table.
pub(crate) struct Binding {
    pub(crate) place: Place,
    keys: &'static [(KeyModifiers, KeyCode)],
    /// The keys as they are written.
    pub(crate) shown: &'static str,
    pub(crate) action: Action,
    pub(crate) about: &'static str,
    /// The word in the footer, for the few that stand there.
    pub(crate) footer: Option<&'static str>,
}

const NO: KeyModifiers = KeyModifiers::NONE;
const CTRL: KeyModifiers = KeyModifiers::CONTROL;
const ALT: KeyModifiers = KeyModifiers::ALT;
const SHIFT: KeyModifiers = KeyModifiers::SHIFT;

const fn key(character: char) -> (KeyModifiers, KeyCode) {
    (NO, KeyCode::Char(character))
}

const fn ctrl(character: char) -> (KeyModifiers, KeyCode) {
    (CTRL, KeyCode::Char(character))
}

const fn alt(character: char) -> (KeyModifiers, KeyCode) {
    (ALT, KeyCode::Char(character))
}

const fn row(
    place: Place,
    keys: &'static [(KeyModifiers, KeyCode)],
    shown: &'static str,
    action: Action,
    about: &'static str,
) -> Binding {
    Binding { place, keys, shown, action, about, footer: None }
}

impl Binding {
    const fn foot(mut self, word: &'static str) -> Self {
        self.footer = Some(word);
        self
    }
}

use Action as A;
use Place::{Anywhere, Composer, List, Messages, Normal};

/// See the module. Of two rows for a key in one place the first counts.
#[rustfmt::skip]
pub(crate) const TABLE: &[Binding] = &[
    row(Composer, &[(NO, KeyCode::Enter)], "Enter", A::Send, "send; a line that begins with / is a command, // sends one").foot("send"),
    row(Composer, &[(ALT, KeyCode::Enter), (SHIFT, KeyCode::Enter), ctrl('j')], "Alt-Enter Ctrl-J", A::Newline, "a new line").foot("line"),
    row(Composer, &[(NO, KeyCode::Tab)], "Tab", A::Complete, "complete @name, :emoji: or /command; otherwise go to the messages").foot("messages"),
    row(Composer, &[(SHIFT, KeyCode::BackTab), (NO, KeyCode::BackTab)], "Shift-Tab", A::ToList, "go to the list"),
    row(Composer, &[ctrl('o')], "Ctrl-O", A::Files, "send a file"),
    row(Composer, &[ctrl('x')], "Ctrl-X", A::Editor, "go on writing in an editor (VISUAL, EDITOR)"),
    row(Composer, &[(NO, KeyCode::Up)], "Up", A::Write(Write::Up), "a row up; where nothing is written, edit the last own message"),
    row(Composer, &[(NO, KeyCode::Down)], "Down", A::Write(Write::Down), "a row down"),
    row(Composer, &[(NO, KeyCode::Left), ctrl('b')], "Left Ctrl-B", A::Write(Write::Left), "back"),
    row(Composer, &[(NO, KeyCode::Right)], "Right", A::Write(Write::Right), "forward"),
    row(Composer, &[(CTRL, KeyCode::Left), (ALT, KeyCode::Left), alt('b')], "Ctrl-Left Alt-B", A::Write(Write::WordLeft), "a word back"),
    row(Composer, &[(CTRL, KeyCode::Right), (ALT, KeyCode::Right), alt('f')], "Ctrl-Right Alt-F", A::Write(Write::WordRight), "a word forward"),
    row(Composer, &[ctrl('a')], "Ctrl-A", A::Write(Write::LineStart), "begin of the line"),
    row(Composer, &[ctrl('e')], "Ctrl-E", A::Write(Write::LineEnd), "end of the line"),
    row(Composer, &[(NO, KeyCode::Backspace), ctrl('h')], "Backspace", A::Write(Write::Backspace), "delete what is before"),
    row(Composer, &[(NO, KeyCode::Delete), ctrl('d')], "Delete Ctrl-D", A::Write(Write::Delete), "delete what comes"),
    row(Composer, &[ctrl('w'), (ALT, KeyCode::Backspace)], "Ctrl-W Alt-Backspace", A::Write(Write::DeleteWord), "delete the word before"),
    row(Composer, &[ctrl('u')], "Ctrl-U", A::Write(Write::DeleteToStart), "delete to the begin of the line"),
    row(Composer, &[ctrl('_'), ctrl('7')], "Ctrl-_", A::Write(Write::Undo), "undo"),

    row(Normal, &[], "i a I A o O", A::Vim, "write: here, behind, at the begin or end of the line, in a new one"),
    row(Normal, &[], "h l w b e 0 $", A::Vim, "move, after a count so often"),
    row(Normal, &[], "j k", A::Vim, "a row down or up; from the first row to the messages").foot("messages"),
    row(Normal, &[], "x X D C s r", A::Vim, "delete or change characters"),
    row(Normal, &[], "dd cc yy dw cw de db d$ ciw diw", A::Vim, "delete, change or copy lines and words"),
    row(Normal, &[], "p P u", A::Vim, "put what was deleted; undo"),
    row(Normal, &[], "gg G", A::Vim, "oldest message here, newest message"),
    row(Normal, &[(NO, KeyCode::Enter)], "Enter", A::Send, "send").foot("send"),
    row(Normal, &[(NO, KeyCode::Tab)], "Tab", A::ToMessages, "go to the messages"),
    row(Normal, &[key(':')], ":", A::Command, "a command").foot("command"),
    row(Normal, &[key('/')], "/", A::Search, "search in this conversation").foot("search"),
    row(Normal, &[key('n')], "n", A::FoundNext, "what was found before (older)"),
    row(Normal, &[key('N')], "N", A::FoundBefore, "what was found after (newer)"),
    row(Normal, &[key('?')], "?", A::Help, "all keys").foot("help"),
    row(Normal, &[ctrl('o')], "Ctrl-O", A::Files, "send a file"),
    row(Normal, &[ctrl('x'), key('v')], "v Ctrl-X", A::Editor, "go on writing in an editor (VISUAL, EDITOR)"),
    row(Normal, &[ctrl('u')], "Ctrl-U", A::PageUp, "older messages"),
    row(Normal, &[ctrl('d')], "Ctrl-D", A::PageDown, "newer messages"),

    row(Messages, &[(NO, KeyCode::Up), key('k')], "Up k", A::Up, "the message above, after a count so many"),
    row(Messages, &[(NO, KeyCode::Down), key('j')], "Down j", A::Down, "the message below; below the last one, write"),
    row(Messages, &[key('r')], "r", A::Reply, "reply; one that was not sent, send again").foot("reply"),
    row(Messages, &[key('+')], "+", A::React, "put an emoji under it, or take it away").foot("react"),
    row(Messages, &[key('e')], "e", A::Edit, "edit, if it is your own").foot("edit"),
    row(Messages, &[key('d')], "d", A::Delete, "delete for all, after a question").foot("delete"),
    row(Messages, &[key('y')], "y", A::Copy, "copy the text to the clipboard (OSC 52)"),
    row(Messages, &[key('i'), key('K')], "i K", A::Info, "times, state, who reacted (vim: K)"),
    row(Messages, &[key('s')], "s", A::Save, "save its files in the folder where qpc was started"),
    row(Messages, &[key('o')], "o", A::Links, "open a link in it, after it was shown"),
    row(Messages, &[(NO, KeyCode::Enter)], "Enter", A::Jump, "go to the message that it answers"),
    row(Messages, &[key('g'), (NO, KeyCode::Home)], "g Home", A::Top, "oldest message here (vim: gg)"),
    row(Messages, &[key('G'), (NO, KeyCode::End)], "G End", A::Bottom, "newest message"),
    row(Messages, &[key('/')], "/", A::Search, "search in this conversation").foot("search"),
    row(Messages, &[key('n')], "n", A::FoundNext, "what was found before (older)"),
    row(Messages, &[key('N')], "N", A::FoundBefore, "what was found after (newer)"),
    row(Messages, &[key('[')], "[", A::DayBefore, "the day before"),
    row(Messages, &[key(']')], "]", A::DayAfter, "the day after"),
    row(Messages, &[key(':')], ":", A::Command, "a command"),
    row(Messages, &[key('?')], "?", A::Help, "all keys").foot("help"),
    row(Messages, &[ctrl('u')], "Ctrl-U", A::PageUp, "older messages"),
    row(Messages, &[ctrl('d')], "Ctrl-D", A::PageDown, "newer messages"),
    row(Messages, &[(NO, KeyCode::Tab)], "Tab", A::ToList, "go to the list"),
    row(Messages, &[(SHIFT, KeyCode::BackTab), (NO, KeyCode::BackTab), key('q')], "Shift-Tab q", A::ToComposer, "write"),

    row(List, &[(NO, KeyCode::Up), key('k')], "Up k", A::Up, "up"),
    row(List, &[(NO, KeyCode::Down), key('j')], "Down j", A::Down, "down"),
    row(List, &[key('g'), (NO, KeyCode::Home)], "g Home", A::Top, "first"),
    row(List, &[key('G'), (NO, KeyCode::End)], "G End", A::Bottom, "last"),
    row(List, &[(NO, KeyCode::Enter), (NO, KeyCode::Right), key('l')], "Enter", A::Open, "open").foot("open"),
    row(List, &[key(':')], ":", A::Command, "a command").foot("command"),
    row(List, &[key('?')], "?", A::Help, "all keys").foot("help"),
    row(List, &[(NO, KeyCode::Tab), key('q')], "Tab q", A::ToComposer, "write").foot("write"),
    row(List, &[(SHIFT, KeyCode::BackTab), (NO, KeyCode::BackTab)], "Shift-Tab", A::ToMessages, "go to the messages"),

    row(Anywhere, &[(NO, KeyCode::Esc)], "Esc", A::Back, "back out of what was begun"),
    row(Anywhere, &[ctrl('k')], "Ctrl-K", A::Switcher, "go to a conversation by some letters of its name").foot("switch"),
    row(Anywhere, &[(ALT, KeyCode::Down), ctrl('n')], "Alt-Down Ctrl-N", A::NextConversation, "the conversation below"),
    row(Anywhere, &[(ALT, KeyCode::Up), ctrl('p')], "Alt-Up Ctrl-P", A::PreviousConversation, "the conversation above"),
    row(Anywhere, &[alt('a')], "Alt-A", A::NextUnread, "a conversation with something unread, those that name you first"),
    row(Anywhere, &[(NO, KeyCode::PageUp)], "PgUp", A::PageUp, "older messages"),
    row(Anywhere, &[(NO, KeyCode::PageDown)], "PgDn", A::PageDown, "newer messages"),
    row(Anywhere, &[(NO, KeyCode::Home)], "Home", A::Top, "begin of the line, or oldest message where nothing is written"),
    row(Anywhere, &[(NO, KeyCode::End)], "End", A::Bottom, "end of the line, or newest message where nothing is written"),
    row(Anywhere, &[ctrl('f')], "Ctrl-F", A::Search, "search in this conversation"),
    row(Anywhere, &[alt('x')], "Alt-X", A::Command, "a command"),
    row(Anywhere, &[(NO, KeyCode::F(1))], "F1", A::Help, "all keys").foot("help"),
    row(Anywhere, &[ctrl('l')], "Ctrl-L", A::Redraw, "draw everything again"),
    row(Anywhere, &[ctrl('z')], "Ctrl-Z", A::Suspend, "back to the shell; fg returns"),
    row(Anywhere, &[ctrl('c'), ctrl('q')], "Ctrl-C Ctrl-Q", A::Quit, "quit; what was begun is kept").foot("quit"),
];

/// What a key does in a place.
pub(crate) fn find(place: Place, event: &KeyEvent) -> Option<Action> {
    let modifiers = match event.code {
        // The character is the shifted one already.
        KeyCode::Char(_) => event.modifiers - SHIFT,
        _ => event.modifiers,
    };
    let code = match event.code {
        KeyCode::Char(character) if modifiers.contains(CTRL) => KeyCode::Char(character.to_ascii_lowercase()),
        code => code,
    };
    let bound = |at: Place| TABLE.iter().find(|row| row.place == at && row.keys.contains(&(modifiers, code)));
    bound(place).or_else(|| bound(Anywhere)).map(|row| row.action)
}

/// What the footer says in a place: the keys and the words.
pub(crate) fn footer(place: Place) -> impl Iterator<Item = (&'static str, &'static str)> {
    let here = move |row: &&Binding| row.place == place || row.place == Anywhere && !has_help(row, place);
    TABLE.iter().filter(here).filter_map(|row| Some((row.shown.split(' ').next()?, row.footer?)))
}

/// Whether a place has its own key for help.
fn has_help(row: &Binding, place: Place) -> bool {
    row.action == A::Help && TABLE.iter().any(|other| other.place == place && other.action == A::Help)
}

/// The places, in the order of the help.
pub(crate) const PLACES: [Place; 5] = [Anywhere, Composer, Messages, List, Normal];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_a_place() {
        for place in PLACES {
            let keys: Vec<_> = TABLE.iter().filter(|row| row.place == place).flat_map(|row| row.keys).collect();
            for (index, key) in keys.iter().enumerate() {
                assert!(!keys[..index].contains(key), "{place:?}: {key:?}");
            }
        }
    }

    #[test]
    fn keys_are_found_where_they_are_pressed() {
        let press = |modifiers, code| KeyEvent::new(code, modifiers);
        assert_eq!(find(Messages, &press(NO, KeyCode::Char('r'))), Some(A::Reply));
        assert_eq!(find(Composer, &press(NO, KeyCode::Char('r'))), None);
        assert_eq!(find(Messages, &press(SHIFT, KeyCode::Char('G'))), Some(A::Bottom));
        assert_eq!(find(Composer, &press(CTRL, KeyCode::Char('K'))), Some(A::Switcher));
        assert_eq!(find(Composer, &press(ALT, KeyCode::Enter)), Some(A::Newline));
    }

    #[test]
    fn every_footer_fits_eighty_columns_and_tells_of_the_help() {
        for place in PLACES {
            let footer: Vec<_> = footer(place).map(|(key, word)| format!("{key} {word}")).collect();
            assert!(footer.iter().any(|part| part.ends_with("help")), "{footer:?}");
            assert!(footer.join("  ").len() <= 80, "{footer:?}");
        }
    }
}
