//! The terminal: taken over, drawn on, and given back as it was, whatever happens.

use std::{
    io::{self, IsTerminal as _, Stdout, Write as _},
    panic,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crossterm::{
    cursor::Show,
    event::{
        DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste, EnableFocusChange,
        EnableMouseCapture,
    },
    execute, queue,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use ratatui::{Terminal, backend::CrosstermBackend};
use rustix::process::{Signal, getpid, kill_process};

use super::{glyph, model::Model, view};

/// Longest text for the clipboard, bytes; terminals take no more than some 100 kB of base64.
const MAX_COPIED: usize = 64 << 10;

/// See the module.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
}

/// Whether there is a terminal to draw on.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn enter(mouse: bool) -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Before what it has to say, so that it can be read.
            give_back();
            before(info);
        }));
        take(mouse)?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?, mouse })
    }

    /// Draws what has changed. The model learns how large the screen is.
    pub(crate) fn draw(&mut self, model: &mut Model) -> io::Result<()> {
        self.terminal.autoresize()?;
        let size = self.terminal.size()?;
        model.size = (size.width, size.height);
        self.terminal.draw(|frame| {
            let cursor = view::draw(model, frame.buffer_mut());
            if let Some(cursor) = cursor {
                frame.set_cursor_position(cursor);
            }
        })?;
        Ok(())
    }

    /// Draws everything the next time, whatever others have written on the screen. The library's own clearing asks the terminal
    /// where its cursor is, and fails when it does not answer at once.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Asks the terminal to put a text on the clipboard (OSC 52), which works over SSH.
    pub(crate) fn copy(&mut self, text: &str) -> io::Result<()> {
        let end = (0..=MAX_COPIED.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let mut out = io::stdout();
        write!(out, "\x1b]52;c;{}\x07", STANDARD.encode(&text[..end]))?;
        out.flush()
    }

    /// Rings, and asks the terminal for a notification (OSC 9).
    pub(crate) fn ring(&mut self, line: &str) -> io::Result<()> {
        let mut out = io::stdout();
        write!(out, "\x07\x1b]9;{}\x07", glyph::plain(line))?;
        out.flush()
    }

    /// Gives the terminal back to somebody else, until [`Self::resume`].
    pub(crate) fn lend(&self) {
        give_back();
    }

    pub(crate) fn resume(&mut self) -> io::Result<()> {
        take(self.mouse)?;
        self.forget()
    }

    /// Gives the terminal back and stops the program, until it is told to go on.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        kill_process(getpid(), Signal::TSTP)?;
        self.resume()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    let mut out = io::stdout();
    queue!(out, EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange)?;
    if mouse {
        queue!(out, EnableMouseCapture)?;
    }
    out.flush()
}

/// Twice does no harm, and neither does a terminal that is gone.
fn give_back() {
    let mut out = io::stdout();
    let _ = execute!(out, DisableMouseCapture, DisableFocusChange, DisableBracketedPaste, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
