//! Colours, from the sixteen that every terminal has and its user has chosen. Without them nothing is lost: what a colour says
//! a sign or a word says too.

use std::ffi::OsStr;

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

/// Which colours a terminal has beside the sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// None, whatever the theme: with `NO_COLOR` the library leaves out all that it is given.
    None,
    /// All of them.
    Full,
    /// The 256 of xterm: a cube of six steps a side, and 24 greys.
    Palette,
}

impl Depth {
    /// By what a terminal says of itself in `COLORTERM`, if nobody says `NO_COLOR`.
    pub(crate) fn said(colorterm: Option<&OsStr>, no_color: Option<&OsStr>) -> Self {
        if no_color.is_some_and(|said| !said.is_empty()) {
            return Self::None;
        }
        let full = colorterm.is_some_and(|said| said == "truecolor" || said == "24bit");
        if full { Self::Full } else { Self::Palette }
    }

    /// The nearest colour that there is.
    pub(crate) fn color(self, [red, green, blue]: [u8; 3]) -> Color {
        match self {
            Self::None => Color::Reset,
            Self::Full => Color::Rgb(red, green, blue),
            Self::Palette => Color::Indexed(nearest([red, green, blue])),
        }
    }
}

/// Steps of the cube.
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
/// Number of the first colour of the cube, and of the first grey.
const CUBE: u8 = 16;
const GREYS: u8 = 232;

/// The colour of a number from [`CUBE`] on.
fn palette(number: u8) -> [u8; 3] {
    match number.checked_sub(GREYS) {
        Some(grey) => [8 + 10 * grey; 3],
        None => {
            let at = number - CUBE;
            [at / 36, at / 6 % 6, at % 6].map(|step| STEPS[usize::from(step)])
        }
    }
}

fn nearest(wanted: [u8; 3]) -> u8 {
    let far = |number: &u8| -> u32 {
        palette(*number).into_iter().zip(wanted).map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum()
    };
    (CUBE..=u8::MAX).min_by_key(far).unwrap_or(CUBE)
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
    fn the_nearest_of_the_256_colours_is_taken() {
        let [truecolor, no, empty] = ["truecolor", "1", ""].map(|said| Some(OsStr::new(said)));
        assert_eq!((Depth::said(truecolor, empty), Depth::said(None, None)), (Depth::Full, Depth::Palette));
        assert_eq!(Depth::said(truecolor, no), Depth::None);
        assert_eq!(Depth::Full.color([1, 2, 3]), Color::Rgb(1, 2, 3));
        for (wanted, number) in
            [([0, 0, 0], 16), ([255; 3], 231), ([250, 10, 5], 196), ([90, 90, 90], 240), ([95, 135, 175], 67)]
        {
            assert_eq!(Depth::Palette.color(wanted), Color::Indexed(number), "{wanted:?}");
        }
    }

    #[test]
    fn who_wants_no_colours_gets_none() {
        let roles = [Role::Text, Role::Faint, Role::Strong, Role::Own, Role::Name(3), Role::New, Role::Read, Role::Bad];
        for role in roles.into_iter().chain([Role::Key, Role::Chosen, Role::Hit]) {
            let style = Theme::None.style(role);
            assert_eq!((style.fg, style.bg), (None, None), "{role:?}");
        }
    }
}
