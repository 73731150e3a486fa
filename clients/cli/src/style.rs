//! Colours, where they are wanted.

use std::io::{self, IsTerminal as _};

use nu_ansi_term::{Color, Style};

/// Colours of the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Theme {
    /// For dark backgrounds.
    #[default]
    Dark,
    /// For light ones.
    Light,
    /// None.
    Plain,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Where lines go to.
    Prompt,
    /// Whoever wrote something.
    Name,
    /// What happened besides.
    Aside,
    /// What a person should look into.
    Warning,
}

/// Names of the themes.
pub(crate) const THEMES: [(&str, Theme); 3] = [("dark", Theme::Dark), ("light", Theme::Light), ("plain", Theme::Plain)];

impl Theme {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        THEMES.iter().find(|(name, _)| *name == word).map(|(_, theme)| *theme)
    }

    pub(crate) fn style(self, role: Role) -> Style {
        let plain = Style::new();
        match (self, role) {
            (Self::Plain, _) => plain,
            (Self::Dark, Role::Prompt) => plain.fg(Color::LightGreen),
            (Self::Light, Role::Prompt) => plain.fg(Color::Green),
            (Self::Dark, Role::Name) => plain.fg(Color::LightCyan),
            (Self::Light, Role::Name) => plain.fg(Color::Blue),
            (_, Role::Aside) => plain.dimmed(),
            (Self::Dark, Role::Warning) => plain.fg(Color::LightYellow),
            (Self::Light, Role::Warning) => plain.fg(Color::Red),
        }
    }

    /// The text in the colour of its role.
    pub(crate) fn paint(self, role: Role, text: &str) -> String {
        if self == Self::Plain { text.to_owned() } else { self.style(role).paint(text).to_string() }
    }
}

pub(crate) fn is_theme(word: &str) -> bool {
    Theme::parse(word).is_some()
}

/// Whether standard output is to have colours. <https://no-color.org>, <https://bixense.com/clicolors>.
pub(crate) fn wanted(color: Option<crate::args::ColorArg>, no_color: bool, force: bool) -> bool {
    use crate::args::ColorArg::{Always, Auto, Never};
    match color {
        Some(Always) => true,
        Some(Never) => false,
        Some(Auto) | None if no_color => false,
        Some(Auto) | None => force || io::stdout().is_terminal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ColorArg;

    #[test]
    fn who_says_no_is_heard_first() {
        assert!(!wanted(None, true, true));
        assert!(wanted(None, false, true));
        assert!(wanted(Some(ColorArg::Always), true, false));
        assert!(!wanted(Some(ColorArg::Never), false, true));
    }

    #[test]
    fn plain_is_without_a_single_escape() {
        assert_eq!(Theme::Plain.paint(Role::Warning, "x"), "x");
        assert!(Theme::Dark.paint(Role::Warning, "x").starts_with('\u{1b}'));
    }
}
