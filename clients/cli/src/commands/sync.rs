//! `qpc sync`, `/sync`: a look into the mailbox now.

use clap::Args;
use serde_json::json;

use crate::engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, act, args};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "sync",
        about: "Look into the mailbox now, and send what waits",
        after: "Example:\n  qpc sync && qpc unread",
        args: args::<Sync>,
        run: Run::Act(act::<Sync>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["sync"],
        form: "/sync",
        about: "look into the mailbox now; it happens by itself, too",
        parse: |words| words.is_empty().then(|| Said::act(Sync {})).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Sync {}

impl Act for Sync {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        on.client.sync().await?;
        on.client.flush(super::FLUSH).await;
        let stats = on.client.stats().await?;
        let unread: u64 = on.client.conversations().await?.iter().map(|info| info.unread).sum();
        let fields = json!({"cursor": stats.cursor, "unread": unread, "outbox": stats.outbox});
        let line =
            format!("mailbox read up to {} · {unread} unread · {} waiting to be sent", stats.cursor, stats.outbox);
        Ok(Outcome::item("qpc.sync/1", &fields, line))
    }
}
