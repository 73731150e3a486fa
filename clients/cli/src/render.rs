//! Outcomes on the command line: lines of text or of JSON on standard output, notes on standard error.

use std::io::{self, Write as _};

use crate::{
    console::{complain, say},
    engine::{Item, Outcome},
    settings::Settings,
};

/// How this call prints.
#[derive(Clone, Debug)]
pub(crate) struct Render {
    json: Option<Option<Vec<String>>>,
    quiet: bool,
}

impl Render {
    pub(crate) fn new(settings: &Settings) -> Self {
        let json = settings.json().map(|fields| fields.map(<[String]>::to_vec));
        Self { json, quiet: settings.globals.quiet }
    }

    /// Whether standard output is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    pub(crate) fn outcome(&self, outcome: &Outcome) {
        outcome.items.iter().for_each(|item| self.item(item));
        outcome.notes.iter().for_each(|note| self.note(note));
    }

    /// Prints and flushes a piece of data. What has no text is for programs alone.
    pub(crate) fn item(&self, item: &Item) {
        match &self.json {
            Some(fields) => say(item.json(fields.as_deref())),
            None if item.text.is_empty() => {}
            None => say(&item.text),
        }
    }

    /// The same for data that is gone when it was not written: a reader that went away is an error.
    pub(crate) fn try_item(&self, item: &Item) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match &self.json {
            Some(fields) => writeln!(out, "{}", item.json(fields.as_deref()))?,
            None => writeln!(out, "{}", item.text)?,
        }
        out.flush()
    }

    /// A word to a person.
    pub(crate) fn note(&self, note: impl std::fmt::Display) {
        if !self.quiet {
            complain(note);
        }
    }
}
