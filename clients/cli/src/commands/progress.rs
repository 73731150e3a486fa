//! How far something is that takes a while: a bar on the terminal of a subcommand, a line now and then in a chat, where a bar
//! would be written over the prompt.

use std::{
    future::Future,
    io::{self, IsTerminal as _},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressFinish, ProgressStyle};
use qpc_sdk::{ArchiveProgress, Client, Error, Event, Progress};
use tokio::time::{Instant, sleep_until};

use crate::{console::complain, settings::Settings, text};

/// Parts of the way at each of which a chat is told.
const STEPS: u64 = 4;
/// The bar of a proof of work, and what stands before it.
const WORK: &str = "{prefix} {wide_bar} {percent} %";
/// What this device is doing when it looks for a proof of work.
pub(crate) const WORKING: &str = "the server wants a proof of work for a new account; this takes a while";
/// A chat is not told of files that are there at once, bytes.
const MIN_TOLD: u64 = 4 << 20;

/// Who hears how far a file is.
pub(super) type Tell = Box<dyn Fn(Progress) + Send + Sync>;

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// On the terminal behind standard error.
    Bar,
    /// In a chat.
    Steps,
    /// Nowhere.
    Nothing,
}

impl Shown {
    /// What a subcommand shows.
    pub(super) fn by(settings: &Settings) -> Self {
        let wanted = !settings.globals.quiet && settings.json().is_none();
        if wanted && io::stderr().is_terminal() { Self::Bar } else { Self::Nothing }
    }

    /// For a file of that name.
    pub(super) fn file(self, name: &str) -> Tell {
        let name = text::label(name);
        match self {
            Self::Nothing => Box::new(|_| {}),
            Self::Steps => {
                let told = AtomicU64::new(0);
                Box::new(move |progress| {
                    if let Some(line) = step(&told, &name, progress) {
                        complain(line);
                    }
                })
            }
            Self::Bar => {
                let bar = bar("{prefix} {wide_bar} {bytes} of {total_bytes}{msg}", name);
                Box::new(move |progress| {
                    bar.set_length(progress.total);
                    bar.set_message(pace(progress));
                    bar.set_position(progress.bytes);
                    if progress.bytes == progress.total {
                        bar.finish_and_clear();
                    }
                })
            }
        }
    }

    /// For the messages of a transcript or backup.
    pub(super) fn messages(self) -> impl FnMut(ArchiveProgress) + Send + 'static {
        let bar = (self == Self::Bar).then(|| bar("{prefix} {wide_bar} {pos} of {len} messages", String::new()));
        move |progress| {
            let Some(bar) = &bar else { return };
            bar.set_length(progress.total);
            bar.set_position(progress.done);
            if progress.done >= progress.total {
                bar.finish_and_clear();
            }
        }
    }

    /// For a proof of work, of tries and of those that it takes on average.
    pub(super) fn work(self) -> impl FnMut(u64, u64) {
        let mut at = None;
        move |done, expected| {
            if self == Self::Bar {
                let new = || bar(WORK, WORKING.to_owned()).with_finish(ProgressFinish::AndClear);
                let at = at.get_or_insert_with(new);
                at.set_length(expected.max(done));
                at.set_position(done);
            }
        }
    }
}

/// Connects, which may take a proof of work first: `tell` hears how far that is. None if anything else takes longer than `patience`.
pub(crate) async fn connect(
    client: &Client,
    patience: Option<Duration>,
    mut tell: impl FnMut(u64, u64),
) -> Option<Result<(), Error>> {
    let mut events = client.events();
    let mut connecting = pin!(client.connect());
    let late = || Instant::now() + patience.unwrap_or_default();
    let mut until = late();
    loop {
        tokio::select! {
            biased;
            done = &mut connecting => return Some(done),
            Some(event) = events.next() => if let Event::Working { done, expected } = event {
                tell(done, expected);
                until = late();
            },
            () = sleep_until(until), if patience.is_some() => return None,
        }
    }
}

fn bar(template: &str, name: String) -> ProgressBar {
    // A template of ours that does not parse would be seen by the test below.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("━╸ ")).with_prefix(name)
}

/// How fast, and how long it will take.
fn pace(progress: Progress) -> String {
    let rate = if progress.rate > 0 { format!(" · {}/s", HumanBytes(progress.rate)) } else { String::new() };
    let left = progress.left.filter(|left| !left.is_zero());
    left.map_or_else(|| rate.clone(), |left| format!("{rate} · {} left", HumanDuration(left)))
}

/// The line about a step that was just reached.
fn step(told: &AtomicU64, name: &str, progress: Progress) -> Option<String> {
    if progress.total < MIN_TOLD || progress.bytes >= progress.total {
        return None;
    }
    let reached = progress.bytes * STEPS / progress.total;
    if told.fetch_max(reached, Ordering::Relaxed) >= reached {
        return None;
    }
    let percent = reached * 100 / STEPS;
    Some(format!("… {name}: {percent} % of {}{}", HumanBytes(progress.total), pace(progress)))
}

/// Does something until Ctrl-C; then what it has begun is put away before the program ends.
pub(super) async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: u64) -> Progress {
        Progress { bytes, total: 8 << 20, rate: 1 << 20, left: Some(Duration::from_secs(6)) }
    }

    #[test]
    fn a_chat_is_told_of_each_step_once() {
        let told = AtomicU64::new(0);
        let line = |bytes| step(&told, "a.bin", at(bytes));
        assert_eq!(line(1 << 20), None);
        assert_eq!(line(2 << 20).unwrap(), "… a.bin: 25 % of 8.00 MiB · 1.00 MiB/s · 6 seconds left");
        assert_eq!(line(3 << 20), None);
        assert!(line(7 << 20).unwrap().contains("75 %"));
        assert_eq!(line(2 << 20), None, "a part that is lost is not told again");
        assert_eq!(line(8 << 20), None, "what follows says that it is there");
        assert_eq!(step(&told, "small", Progress { bytes: 9, total: 10, rate: 0, left: None }), None);
    }

    #[test]
    fn the_bars_are_drawn() {
        for template in
            ["{prefix} {wide_bar} {bytes} of {total_bytes}{msg}", "{prefix} {wide_bar} {pos} of {len} messages", WORK]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(pace(Progress { bytes: 0, total: 1, rate: 0, left: None }), "");
    }
}
