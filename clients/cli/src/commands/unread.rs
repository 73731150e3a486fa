//! `qpc unread`, `/unread`: what nobody has read here yet.

use clap::Args;

use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, act, args},
    records, show,
};

/// Messages that are shown at a time.
const MAX_SHOWN: u32 = 200;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "unread",
        about: "Show what nobody has read here yet, and leave it unread",
        after: "Examples:\n  qpc unread --json\n\nTo look and mark as read at once: qpc recv. To look into the mailbox first: qpc sync.",
        args: args::<Unread>,
        run: Run::Act(act::<Unread>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["unread"],
        form: "/unread",
        about: "what nobody has read here yet, of all conversations",
        parse: |words| words.is_empty().then(|| Said::act(Unread {})).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Unread {}

impl Act for Unread {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let messages = on.client.unread(MAX_SHOWN).await?;
        let mut items = Vec::with_capacity(messages.len());
        for message in &messages {
            let info = on.client.conversation(message.conversation).await?;
            let line = format!("{} · {}", show::title(&info), show::history_line(message, info.kind));
            items.push(records::message(on, message, line));
        }
        let shown = messages.iter().map(|message| (message.conversation, message.reference())).collect();
        let outcome = items.into_iter().collect::<Outcome>().then(Effect::Messages(shown));
        Ok(match messages.len() {
            0 => outcome.note("nothing is unread"),
            len if len == MAX_SHOWN as usize => outcome.note("there may be more"),
            _ => outcome,
        })
    }
}
