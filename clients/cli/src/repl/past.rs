//! Lines that were typed before, for the arrow keys and Ctrl-R. They are messages: between sittings they are kept in the
//! encrypted store, and nowhere else. Secrets are not kept at all.

use qpc_sdk::Client;
use reedline::{FileBackedHistory, History, HistoryItem, HistoryItemId, HistorySessionId, Result, SearchQuery};

/// Lines that are kept.
const MAX_LINES: usize = 1_000;
/// Longest line that is kept, bytes.
const MAX_LINE: usize = 1_000;
/// Name under which the store has them.
const NAME: &str = "repl/history";
/// What separates them: no line that is typed has it.
const SEPARATOR: char = '\u{1e}';

/// What begins a line that holds a secret.
const SECRETS: [&str; 5] = ["/link", "/devices add", "/devices push set", "/recovery", "/join"];

/// Whether a line is to be forgotten.
pub(crate) fn is_secret(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let begins = |secret: &str| {
        let secret: Vec<&str> = secret.split(' ').collect();
        words.len() > secret.len() && words.starts_with(&secret)
    };
    SECRETS.into_iter().any(begins) || line.to_lowercase().contains("password")
}

/// The lines, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Past(Vec<String>);

impl Past {
    pub(crate) async fn load(client: &Client) -> Self {
        let kept = client.kept(NAME).await.ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        Self(kept.iter().flat_map(|text| text.split(SEPARATOR)).map(str::to_owned).collect())
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.0
    }

    /// Keeps a line that was typed.
    pub(crate) async fn add(&mut self, client: &Client, line: &str) {
        let line = line.trim();
        let again = self.0.last().is_some_and(|last| last == line);
        if line.is_empty() || line.len() > MAX_LINE || line.contains(SEPARATOR) || again || is_secret(line) {
            return;
        }
        self.0.push(line.to_owned());
        if self.0.len() > MAX_LINES {
            self.0.remove(0);
        }
        if let Err(error) = client.keep(NAME, self.0.join(&SEPARATOR.to_string()).into_bytes()).await {
            tracing::warn!(%error, "the typed line is not kept");
        }
    }
}

/// What the editor looks through: those of before, and those of this sitting but secrets.
pub(crate) struct Lines(FileBackedHistory);

impl Lines {
    pub(crate) fn new(past: &[String]) -> Result<Self> {
        let mut history = FileBackedHistory::new(MAX_LINES)?;
        for line in past {
            history.save(HistoryItem::from_command_line(line))?;
        }
        Ok(Self(history))
    }
}

impl History for Lines {
    fn save(&mut self, item: HistoryItem) -> Result<HistoryItem> {
        if is_secret(&item.command_line) { Ok(item) } else { self.0.save(item) }
    }

    fn load(&self, id: HistoryItemId) -> Result<HistoryItem> {
        self.0.load(id)
    }

    fn count(&self, query: SearchQuery) -> Result<i64> {
        self.0.count(query)
    }

    fn search(&self, query: SearchQuery) -> Result<Vec<HistoryItem>> {
        self.0.search(query)
    }

    fn update(&mut self, id: HistoryItemId, updater: &dyn Fn(HistoryItem) -> HistoryItem) -> Result<()> {
        self.0.update(id, updater)
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn delete(&mut self, id: HistoryItemId) -> Result<()> {
        self.0.delete(id)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.0.sync()
    }

    fn session(&self) -> Option<HistorySessionId> {
        self.0.session()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_only_looks_so() {
        for line in [
            "/link ABCDE-FGHIJ",
            " /devices  add ABCDE",
            "/devices push set https://x",
            "/recovery restore x",
            "my Password is x",
            "/join qpc:join/x",
        ] {
            assert!(is_secret(line), "{line}");
        }
        for line in ["/link", "/links a", "hello", "/devices", "/devices push off", "/dm bob", "say /link x"] {
            assert!(!is_secret(line), "{line}");
        }
    }

    #[test]
    fn the_editor_finds_lines_of_before_and_no_secrets() {
        let mut lines = Lines::new(&["hello bob".to_owned(), "/dm bob".to_owned()]).unwrap();
        lines.save(HistoryItem::from_command_line("/link ABCDE")).unwrap();
        let found = |text: &str| {
            let search = SearchQuery::all_that_contain_rev(text.to_owned());
            lines.search(search).unwrap().into_iter().map(|item| item.command_line).collect::<Vec<_>>()
        };
        assert_eq!(found("bob"), ["/dm bob", "hello bob"]);
        assert!(found("ABCDE").is_empty());
    }
}
