//! Where lines appear: above the line that is being edited, or simply one after the other.

use std::{
    fmt,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
};

use crate::console::say;

/// The output of a session. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    editor: Option<SyncSender<String>>,
    dropped: usize,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// From now on an editor prints the lines.
    pub(crate) fn hand_over(&self, editor: SyncSender<String>) {
        self.lock().editor = Some(editor);
    }

    /// From now on there is no editor.
    pub(crate) fn direct(&self) {
        self.lock().editor = None;
    }

    /// Whether an editor prints the lines.
    pub(crate) fn has_editor(&self) -> bool {
        self.lock().editor.is_some()
    }

    /// Prints a line. Never waits: an editor that does not keep up is told later how many lines it has missed.
    pub(crate) fn print(&self, line: impl fmt::Display) {
        let mut state = self.lock();
        let Some(editor) = state.editor.clone() else { return say(line) };
        state.catch_up(&editor);
        if state.dropped > 0 || editor.try_send(line.to_string()).is_err() {
            state.dropped += 1;
        }
    }

    /// Says how many lines were missed, if the editor can take that by now.
    pub(crate) fn catch_up(&self) {
        let mut state = self.lock();
        if let Some(editor) = state.editor.clone() {
            state.catch_up(&editor);
        }
    }

    /// Writes what is no line: a bell, an empty screen. Nothing where no terminal is.
    pub(crate) fn control(&self, sequence: &str) {
        if self.has_editor() {
            let mut out = io::stdout().lock();
            let _ = out.write_all(sequence.as_bytes()).and_then(|()| out.flush());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn catch_up(&mut self, editor: &SyncSender<String>) {
        if self.dropped > 0 && editor.try_send(format!("({} more lines; /history has them)", self.dropped)).is_ok() {
            self.dropped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn an_editor_that_is_behind_stops_nobody_and_learns_what_it_missed() {
        let (editor, lines) = sync_channel(2);
        let screen = Screen::new();
        screen.hand_over(editor);
        for number in 0..5 {
            screen.print(number);
        }
        let next = || lines.try_recv().ok();
        assert_eq!((next().as_deref(), next().as_deref(), next()), (Some("0"), Some("1"), None));
        screen.catch_up();
        screen.print(5);
        assert_eq!((next().as_deref(), next().as_deref()), (Some("(3 more lines; /history has them)"), Some("5")));
    }
}
