//! `qpc read`, `/read`: all of a conversation is read.

use clap::Args;
use serde_json::json;

use crate::engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, Target, act, args};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "read",
        about: "Mark a conversation as read, and tell who wrote that you have read it",
        after: "Example:\n  qpc read @bob",
        args: args::<Read>,
        run: Run::Act(act::<Read>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["read"],
        form: "/read [NAME]",
        about: "mark this conversation, or NAME, as read; looking at it does so too",
        parse: |words| match words {
            [] => Said::act(Read { target: Target::Open }),
            words => Said::act(Read { target: words.join(" ").parse().ok()? }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Read {
    /// The conversation: #name, @user, title or id
    target: Target,
}

impl Act for Read {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        let count = on.client.mark_read(id).await?;
        let line = match count {
            0 => "nothing was unread".to_owned(),
            1 => "1 message marked as read".to_owned(),
            count => format!("{count} messages marked as read"),
        };
        Ok(Outcome::item("qpc.read/1", &json!({"conversation": id.to_string(), "messages": count}), line))
    }
}
