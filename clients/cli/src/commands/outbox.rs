//! `qpc outbox`, `/outbox`: what this device has written and the server has not accepted.

use clap::{Args, Subcommand};
use qpc_sdk::MessageState;

use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, act, args},
    records, show,
};

/// Messages of a conversation that are looked through; those that are not accepted come last.
const MAX_LOOKED: u32 = 10_000;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "outbox",
        about: "List what you have written and the server has not accepted, or has refused",
        after: "Example:\n  qpc outbox --json\n\nIt is sent by itself, in order, whenever there is a connection.",
        args: args::<Outbox>,
        run: Run::Act(act::<Outbox>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["outbox"],
        form: "/outbox",
        about: "what you have written and the server has not accepted",
        parse: |words| words.is_empty().then(|| Said::act(Outbox { action: None })).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Outbox {
    #[command(subcommand)]
    action: Option<OutboxAction>,
}

/// What to do with it.
#[derive(Subcommand, Debug)]
enum OutboxAction {
    /// List it; what happens without a command
    List,
}

impl Act for Outbox {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let mut items = Vec::new();
        for info in on.client.conversations().await? {
            for message in on.client.history(info.id, MAX_LOOKED).await? {
                let waits = matches!(
                    message.state,
                    MessageState::Queued | MessageState::Sent | MessageState::Failed | MessageState::ReceiptRefused
                );
                if waits {
                    let line = format!("{} · {}", show::title(&info), show::history_line(&message, info.kind));
                    items.push(records::message(on, &message, line));
                }
            }
        }
        let outcome: Outcome = items.into_iter().collect();
        Ok(if outcome.items.is_empty() { outcome.note("nothing waits") } else { outcome })
    }
}
