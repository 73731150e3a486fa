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
    ColumnarMenu, DefaultHinter, EditMode, Emacs, ExternalPrinter, KeyCode, KeyModifiers, Keybindings,
    MenuBuilder as _, Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline, ReedlineEvent,
    ReedlineMenu, Signal, Vi, default_emacs_keybindings, default_vi_insert_keybindings, default_vi_normal_keybindings,
    default_vi_visual_keybindings,
};
use tokio::sync::mpsc;

use super::{
    complete::{Hints, Vocabulary},
    past::Lines,
    screen::Screen,
};
use crate::style::{Role, Theme};

/// Lines that wait to be shown above the prompt.
const PRINTER_QUEUE: usize = 1_000;
/// Time between two looks of the editor for such lines.
const POLL: Duration = Duration::from_millis(100);
/// What the editor calls its list of completions.
const MENU: &str = "completions";

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

/// What the editor of a terminal is made with.
pub(crate) struct Editor {
    pub(crate) past: Vec<String>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) vi: bool,
    pub(crate) theme: Theme,
}

/// The reading side of a session.
pub(crate) struct Input {
    prompts: threads::SyncSender<Plain>,
    lines: mpsc::Receiver<Line>,
    interactive: bool,
    stop: Arc<AtomicBool>,
}

impl Input {
    /// Starts the thread. On a terminal, an editor takes over the screen.
    pub(crate) fn start(screen: &Screen, editor: Editor) -> anyhow::Result<Self> {
        let (prompts, asked) = threads::sync_channel(1);
        let (sender, lines) = mpsc::channel(1);
        let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        let stop = Arc::new(AtomicBool::new(false));
        if interactive {
            let printer = ExternalPrinter::new(PRINTER_QUEUE);
            let show = printer.sender();
            let editor = build(editor, printer, stop.clone())?;
            screen.hand_over(show);
            thread::spawn(move || edit(editor, &asked, &sender));
        } else {
            thread::spawn(move || read(&asked, &sender));
        }
        Ok(Self { prompts, lines, interactive, stop })
    }

    /// Whether a person is there.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Asks for a line; [`Self::line`] brings it.
    pub(crate) fn ask(&self, prompt: String, theme: Theme) {
        // A thread that has ended has sent its last line.
        let _ = self.prompts.try_send(Plain { text: prompt, theme });
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

fn build(editor: Editor, printer: ExternalPrinter<String>, stop: Arc<AtomicBool>) -> anyhow::Result<Reedline> {
    let Editor { past, vocabulary, vi, theme } = editor;
    let complete = |mut keys: Keybindings| {
        let events = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
        keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(events));
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
        keys
    };
    let mode: Box<dyn EditMode> = if vi {
        Box::new(Vi::new(
            complete(default_vi_insert_keybindings()),
            default_vi_normal_keybindings(),
            default_vi_visual_keybindings(),
        ))
    } else {
        Box::new(Emacs::new(complete(default_emacs_keybindings())))
    };
    let hints = Hints(DefaultHinter::default().with_style(theme.style(Role::Aside)).with_min_chars(2));
    Ok(Reedline::create()
        .with_history(Box::new(Lines::new(&past)?))
        .with_completer(Box::new(vocabulary))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU))))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_hinter(Box::new(hints))
        .with_edit_mode(mode)
        .with_ansi_colors(theme != Theme::Plain)
        .use_bracketed_paste(true)
        .with_external_printer(printer)
        .with_poll_interval(POLL)
        .with_break_signal(stop))
}

fn edit(mut editor: Reedline, asked: &threads::Receiver<Plain>, lines: &mpsc::Sender<Line>) {
    while let Ok(prompt) = asked.recv() {
        let line = match editor.read_line(&prompt) {
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

fn read(asked: &threads::Receiver<Plain>, lines: &mpsc::Sender<Line>) {
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
struct Plain {
    text: String,
    theme: Theme,
}

impl Prompt for Plain {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Owned(self.theme.paint(Role::Prompt, &self.text))
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
