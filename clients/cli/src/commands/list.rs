//! `qpc list`, `/list`: the conversations.

use clap::Args;

use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, act, args},
    records,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "list",
        aliases: &["ls"],
        about: "List the conversations, the liveliest first",
        after: "Examples:\n  qpc list\n  qpc list --unread --json --fields id,title,unread",
        args: args::<List>,
        run: Run::Act(act::<List>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["list", "ls"],
        form: "/list [unread]",
        about: "all conversations, or those with something unread",
        parse: |words| match words {
            [] => Said::act(List { unread: false }),
            ["unread"] => Said::act(List { unread: true }),
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct List {
    /// Only those with something unread
    #[arg(long)]
    unread: bool,
}

impl Act for List {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let mut all = on.client.conversations().await?;
        let none = all.is_empty();
        all.retain(|info| !self.unread || info.unread > 0);
        let ids = all.iter().map(|info| info.id).collect();
        let outcome = all.iter().map(records::conversation).collect::<Outcome>().then(Effect::Conversations(ids));
        Ok(match all.as_slice() {
            [] if none => outcome.note("no conversations yet: /dm USER (qpc dm USER) begins one, /create NAME a group"),
            [] => outcome.note("nothing is unread"),
            _ => outcome,
        })
    }
}
