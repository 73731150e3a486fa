//! `qpc suite`, `qpc reset`, `/suite`, `/reset`: another group for the same conversation.

use clap::Args;
use qpc_sdk::{AccountId, ConversationId, Suite};
use serde_json::json;

use crate::{
    args::SuiteArg,
    engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, Target, act, args},
};

pub(crate) const SUITE: Row = Row {
    cli: Some(Cli {
        name: "suite",
        about: "Carry a conversation on with another cipher suite",
        after: "Example:\n  qpc suite club hybrid\n\nExit code 10 if somebody could not be reached, and is not in it.",
        args: args::<Change>,
        run: Run::Act(act::<Change>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["suite"],
        form: "/suite SUITE",
        about: "carry this conversation on with another suite: hybrid or classic",
        parse: |words| match words {
            ["hybrid"] => Said::act(Change { target: Target::Open, to: SuiteArg::Hybrid }),
            ["classic"] => Said::act(Change { target: Target::Open, to: SuiteArg::Classic }),
            _ => None,
        },
    }],
};

pub(crate) const RESET: Row = Row {
    cli: Some(Cli {
        name: "reset",
        about: "Carry a conversation on in a new group, if it does not heal by itself",
        after: "Example:\n  qpc reset club\n\nExit code 10 if somebody could not be reached, and is not in it.",
        args: args::<Reset>,
        run: Run::Act(act::<Reset>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["reset"],
        form: "/reset",
        about: "carry this conversation on in a new group, if it does not heal by itself",
        parse: |words| words.is_empty().then(|| Said::act(Reset { target: Target::Open })).flatten(),
    }],
};

/// Arguments of `suite`.
#[derive(Args, Debug)]
struct Change {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// The suite
    #[arg(value_enum)]
    to: SuiteArg,
}

/// Arguments of `reset`.
#[derive(Args, Debug)]
struct Reset {
    /// The conversation: #name, @user, title or id
    target: Target,
}

impl Act for Change {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let info = self.target.find(on).await?;
        let suite = match self.to {
            SuiteArg::Hybrid => Suite::Hybrid,
            SuiteArg::Classic => Suite::Classic,
        };
        if info.suite == suite {
            let fields = json!({"conversation": info.id.to_string(), "suite": suite.to_string(), "epoch": info.epoch});
            return Ok(Outcome::item("qpc.replaced/1", &fields, format!("this conversation has {suite} already")));
        }
        let lost = on.client.change_suite(info.id, suite).await?;
        carried_on(on, info.id, &lost).await
    }
}

impl Act for Reset {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        let lost = on.client.reset(id).await?;
        carried_on(on, id, &lost).await
    }
}

/// The event says that another group carries the conversation on; here is who is not in it.
async fn carried_on(on: &On, id: ConversationId, lost: &[AccountId]) -> anyhow::Result<Outcome> {
    let info = on.client.conversation(id).await?;
    let lost_ids: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let suite = info.suite.to_string();
    let fields = json!({"conversation": id.to_string(), "suite": suite, "epoch": info.epoch, "lost": lost_ids});
    let line = format!("a new group carries this on: {suite} · epoch {}", info.epoch);
    let outcome = Outcome::item("qpc.replaced/1", &fields, line);
    if lost.is_empty() {
        return Ok(outcome);
    }
    let names = on.names(lost).await;
    Ok(outcome.note(format!("⚠ could not be reached, and are not in it: {names}")).partly())
}
