//! `qpc search`, `/search`: messages with a text.

use clap::Args;
use qpc_sdk::Message;

use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records, show,
};

/// Messages that are looked through, of each conversation.
const MAX_LOOKED: u32 = 10_000;
/// Messages that are shown, if nothing else is said.
const COUNT: usize = 50;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "search",
        about: "Find messages with a text, in all conversations of this device's own store",
        after: "Examples:\n  qpc search bread\n  qpc search bread --in \"#Book club\" -n 5 --json",
        args: args::<Search>,
        run: Run::Act(act::<Search>),
        aliases: &[],
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["search", "find"],
            form: "/search TEXT",
            about: "messages of this conversation with TEXT, in whatever case",
            parse: |words| found(words, Some(Target::Open)),
        },
        Slash {
            names: &["search-all", "grep"],
            form: "/search-all TEXT",
            about: "messages of all conversations with TEXT",
            parse: |words| found(words, None),
        },
    ],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Search {
    /// What to look for, in whatever case
    text: String,
    /// Only in this conversation: #name, @user, title or id
    #[arg(long = "in", value_name = "TARGET")]
    within: Option<Target>,
    /// The last so many
    #[arg(short = 'n', long, default_value_t = COUNT)]
    count: usize,
}

fn found(words: &[&str], within: Option<Target>) -> Option<Said> {
    if words.is_empty() { None } else { Said::act(Search { text: words.join(" "), within, count: COUNT }) }
}

impl Act for Search {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let conversations = match &self.within {
            Some(target) => vec![target.find(on).await?],
            None => on.client.conversations().await?,
        };
        let text = self.text.to_lowercase();
        let mut found: Vec<(Message, String)> = Vec::new();
        for info in &conversations {
            let messages = on.client.history(info.id, MAX_LOOKED).await?;
            let fitting = messages.into_iter().filter(|message| message.text.to_lowercase().contains(&text));
            for message in fitting {
                let line = show::history_line(&message, info.kind);
                let elsewhere = self.within.is_none();
                let line = if elsewhere { format!("{} · {line}", show::title(info)) } else { line };
                found.push((message, line));
            }
        }
        found.sort_by_key(|(message, _)| message.sent_at_ms);
        let found = found.split_off(found.len().saturating_sub(self.count));
        let shown = found.iter().map(|(message, _)| (message.conversation, message.reference())).collect();
        let items = found.iter().map(|(message, line)| records::message(on, message, line.as_str()));
        let outcome = items.collect::<Outcome>().then(Effect::Messages(shown));
        Ok(if found.is_empty() {
            outcome.note(format!("nothing with {}", crate::text::short(&self.text)))
        } else {
            outcome
        })
    }
}
