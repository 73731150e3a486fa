//! Colours, from the sixteen that every terminal has and its user has chosen. Without them nothing is lost: what a colour says
//! a sign or a word says too.

use ratatui::style::{Color, Modifier, Style};

/// A set of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Theme {
    /// For dark backgrounds
    Dark,
    /// For light ones
    Light,
    /// No colours
    None,
}

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// What was written.
    Text,
    /// What matters less: times, rules, hints.
    Faint,
    /// Titles.
    Strong,
    /// This account's name.
    Own,
    /// Another name, by the first byte of its account.
    Name(u8),
    /// What is new, or names this account.
    New,
    /// What has been read by all.
    Read,
    /// What has failed.
    Bad,
    /// A key that can be pressed.
    Key,
    /// What is chosen.
    Chosen,
    /// What a search has found.
    Hit,
}

/// Names have one of these.
const NAMES: [Color; 5] = [Color::Cyan, Color::Magenta, Color::Yellow, Color::Blue, Color::Red];

impl Theme {
    pub(crate) fn style(self, role: Role) -> Style {
        let plain = Style::new();
        let coloured = |color: Color| if self == Self::None { plain } else { plain.fg(color) };
        // Bright ones cannot be read on white, and most others not on black.
        let bright = |dark: Color, light: Color| coloured(if self == Self::Light { light } else { dark });
        match role {
            Role::Text => plain,
            Role::Faint if self == Self::None => plain.add_modifier(Modifier::DIM),
            Role::Faint => coloured(Color::DarkGray),
            Role::Strong => plain.add_modifier(Modifier::BOLD),
            Role::Own => bright(Color::LightGreen, Color::Green).add_modifier(Modifier::BOLD),
            Role::Name(byte) => {
                let color = NAMES[usize::from(byte) % NAMES.len()];
                let on_white = if color == Color::Yellow { Color::Green } else { color };
                bright(color, on_white).add_modifier(Modifier::BOLD)
            }
            Role::New => bright(Color::LightYellow, Color::Red).add_modifier(Modifier::BOLD),
            Role::Read => bright(Color::LightCyan, Color::Blue).add_modifier(Modifier::BOLD),
            Role::Bad => bright(Color::LightRed, Color::Red).add_modifier(Modifier::BOLD),
            Role::Key => plain.add_modifier(Modifier::BOLD),
            Role::Chosen => plain.add_modifier(Modifier::REVERSED),
            Role::Hit => bright(Color::LightYellow, Color::Red).add_modifier(Modifier::UNDERLINED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_no_colours_gets_none() {
        let roles = [Role::Text, Role::Faint, Role::Strong, Role::Own, Role::Name(3), Role::New, Role::Read, Role::Bad];
        for role in roles.into_iter().chain([Role::Key, Role::Chosen, Role::Hit]) {
            let style = Theme::None.style(role);
            assert_eq!((style.fg, style.bg), (None, None), "{role:?}");
        }
    }
}
