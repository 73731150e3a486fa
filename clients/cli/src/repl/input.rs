//! Lines of a person or a script. They are read by a thread of their own, one for each time that one is asked for, so that
//! what a command prints stands before the next prompt.

use std::{
    borrow::Cow,
    io::{self, BufRead as _, IsTerminal as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc as threads,
    },
    thread,
    time::Duration,
};

use reedline::{
    ExternalPrinter, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline, Signal,
};
use tokio::sync::mpsc;

use super::screen::Screen;

/// Lines that wait to be shown above the prompt.
const PRINTER_QUEUE: usize = 1_000;
/// Time between two looks of the editor for such lines.
const POLL: Duration = Duration::from_millis(100);

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line.
    Text(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// The reading side of a session.
pub(crate) struct Input {
    prompts: threads::SyncSender<String>,
    lines: mpsc::Receiver<Line>,
    interactive: bool,
    stop: Arc<AtomicBool>,
}

impl Input {
    /// Starts the thread. On a terminal, an editor takes over the screen.
    pub(crate) fn start(screen: &Screen) -> Self {
        let (prompts, asked) = threads::sync_channel(1);
        let (sender, lines) = mpsc::channel(1);
        let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        let stop = Arc::new(AtomicBool::new(false));
        if interactive {
            let printer = ExternalPrinter::new(PRINTER_QUEUE);
            screen.hand_over(printer.sender());
            let editor = Reedline::create()
                .with_external_printer(printer)
                .with_poll_interval(POLL)
                .with_break_signal(stop.clone());
            thread::spawn(move || edit(editor, &asked, &sender));
        } else {
            thread::spawn(move || read(&asked, &sender));
        }
        Self { prompts, lines, interactive, stop }
    }

    /// Whether a person is there.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Asks for a line; [`Self::line`] brings it.
    pub(crate) fn ask(&self, prompt: String) {
        // A thread that has ended has sent its last line.
        let _ = self.prompts.try_send(prompt);
    }

    /// The line that was asked for. Can be dropped while it waits.
    pub(crate) async fn line(&mut self) -> Line {
        self.lines.recv().await.unwrap_or(Line::End)
    }

    /// Takes the terminal back from an editor that is waiting for a line.
    pub(crate) async fn stop(mut self) {
        if self.interactive {
            self.stop.store(true, Ordering::Relaxed);
            // Within one look of the editor; it restores the terminal before it answers.
            let _ = tokio::time::timeout(POLL * 5, self.lines.recv()).await;
        }
    }
}

fn edit(mut editor: Reedline, asked: &threads::Receiver<String>, lines: &mpsc::Sender<Line>) {
    while let Ok(prompt) = asked.recv() {
        let line = match editor.read_line(&Plain(prompt)) {
            Ok(Signal::Success(line)) => Line::Text(line),
            Ok(Signal::CtrlC) => Line::Interrupt,
            Ok(_) => Line::End,
            Err(error) => {
                tracing::error!(%error, "terminal");
                Line::End
            }
        };
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

fn read(asked: &threads::Receiver<String>, lines: &mpsc::Sender<Line>) {
    let mut stdin = io::stdin().lock();
    while asked.recv().is_ok() {
        let mut text = String::new();
        let line = match stdin.read_line(&mut text) {
            Ok(1..) => Line::Text(text),
            Ok(0) => Line::End,
            Err(error) => {
                tracing::error!(%error, "standard input");
                Line::End
            }
        };
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

/// A prompt that is its text.
struct Plain(String);

impl Prompt for Plain {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(" ▸ ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("    ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failed = matches!(search.status, PromptHistorySearchStatus::Failing);
        Cow::Owned(format!("({}search {}) ", if failed { "failing " } else { "" }, search.term))
    }
}
