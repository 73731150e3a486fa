//! The two output streams. A reader that went away is no error worth a word.

use std::{
    fmt,
    io::{self, Write as _},
};

/// A line of what was asked for.
pub(crate) fn say(line: impl fmt::Display) {
    let mut out = io::stdout().lock();
    // Flushed, as the reader may be a program that waits for this line.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A line about what went wrong.
pub(crate) fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
