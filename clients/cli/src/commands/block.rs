//! `qpc block`, `/block`, `/unblock`: whom nothing is kept of.

use clap::Args;
use serde_json::json;

use crate::engine::{Act, Cli, Item, Needs, On, Outcome, Row, Run, Said, Slash, act, args};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "block",
        aliases: &[],
        about: "Block somebody, take that back, or list who is blocked",
        after: "Examples:\n  qpc block mallory\n  qpc block mallory --remove\n  qpc block\n\n\
            Of what they write from now on nothing is kept on any device of yours, and they are told nothing.",
        args: args::<Block>,
        run: Run::Act(act::<Block>),
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["block"],
            form: "/block [USER]",
            about: "keep nothing of what USER writes from now on, or list who is blocked",
            parse: |words| parse(words, false),
        },
        Slash {
            names: &["unblock"],
            form: "/unblock USER",
            about: "take that back",
            parse: |words| if words.is_empty() { None } else { parse(words, true) },
        },
    ],
};

fn parse(words: &[&str], remove: bool) -> Option<Said> {
    let user = match words {
        [] => None,
        [user] => Some((*user).to_owned()),
        _ => return None,
    };
    Said::act(Block { user, remove })
}

/// Its arguments.
#[derive(Args, Debug)]
struct Block {
    /// Whom [default: list them]
    user: Option<String>,
    /// Let them in again
    #[arg(long, requires = "user")]
    remove: bool,
}

impl Act for Block {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let Some(user) = &self.user else { return list(on).await };
        let user = user.strip_prefix('@').unwrap_or(user);
        let account = on.client.account_of(user).await?;
        let line = if self.remove {
            on.client.unblock(account).await?;
            format!("{user} is not blocked any more")
        } else {
            on.client.block(account).await?;
            format!("{user} is blocked; they are not told")
        };
        let fields = json!({"username": user, "account": account.to_string(), "blocked": !self.remove});
        Ok(Outcome::item("qpc.block/1", &fields, line))
    }
}

async fn list(on: &On) -> anyhow::Result<Outcome> {
    let mut items = Vec::new();
    for account in on.client.blocked().await? {
        let name = on.client.name_of(account).await?;
        let fields = json!({"username": name, "account": account.to_string(), "blocked": true});
        items.push(Item::new("qpc.block/1", &fields, on.name(account).await));
    }
    let outcome: Outcome = items.into_iter().collect();
    Ok(if outcome.items.is_empty() { outcome.note("nobody is blocked") } else { outcome })
}
