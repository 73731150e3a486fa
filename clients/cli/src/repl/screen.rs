//! Where lines appear: above the line that is being edited, or simply one after the other.

use std::{
    fmt,
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

    /// Prints a line. Never waits: an editor that does not keep up is told later how many lines it has missed.
    pub(crate) fn print(&self, line: impl fmt::Display) {
        let mut state = self.lock();
        let Some(editor) = state.editor.clone() else { return say(line) };
        if state.dropped > 0 && editor.try_send(format!("({} more lines)", state.dropped)).is_ok() {
            state.dropped = 0;
        }
        if editor.try_send(line.to_string()).is_err() {
            state.dropped += 1;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
