//! `qpc history`, `/history`: the messages of a conversation.

use clap::Args;

use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records, show,
};

/// Messages that are shown, if nothing else is said.
const COUNT: u32 = 20;
/// Messages that are looked through.
const MAX_LOOKED: u32 = 10_000;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "history",
        about: "Show the last messages of a conversation, from this device's own store",
        after: "Examples:\n  qpc history @bob\n  qpc history club -n 100 --json\n  qpc history @bob --ids            # then qpc react @bob 5e63fc29 👍\n  qpc history club --search bread",
        args: args::<History>,
        run: Run::Act(act::<History>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["history", "hist"],
        form: "/history [N]",
        about: "the last N messages (20), and what became of yours",
        parse: |words| {
            let count = match words {
                [] => COUNT,
                [count] => count.parse().ok()?,
                _ => return None,
            };
            Said::act(History { target: Target::Open, count, before: None, search: None, ids: false })
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct History {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// How many
    #[arg(short = 'n', long, default_value_t = COUNT)]
    count: u32,
    /// Only those before this message: the beginning of its id
    #[arg(long, value_name = "ID")]
    before: Option<String>,
    /// Only those with this text, in whatever case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// With the beginning of each id, by which other commands name a message
    #[arg(short, long)]
    ids: bool,
}

impl Act for History {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let info = self.target.find(on).await?;
        let plain = self.before.is_none() && self.search.is_none();
        let mut messages = on.client.history(info.id, if plain { self.count } else { MAX_LOOKED }).await?;
        if let Some(before) = &self.before {
            let at = messages.iter().position(|message| message.id.to_string().starts_with(before.as_str()));
            messages.truncate(at.ok_or_else(|| crate::exit::Usage::NoMessage(before.clone()))?);
        }
        if let Some(text) = &self.search {
            let text = text.to_lowercase();
            messages.retain(|message| message.text.to_lowercase().contains(&text));
        }
        let messages = messages.split_off(messages.len().saturating_sub(self.count as usize));
        let shown = messages.iter().map(|message| (message.conversation, message.reference())).collect();
        let items = messages.iter().map(|message| {
            let line = show::history_line(message, info.kind);
            let line = if self.ids { format!("{:.8} {line}", message.id.to_string()) } else { line };
            records::message(on, message, line)
        });
        let outcome = items.collect::<Outcome>().then(Effect::Messages(shown));
        Ok(if info.missing > 0 { outcome.note(show::missing(info.missing)) } else { outcome })
    }
}
