//! `qpc members`, `/members`: who is in a conversation.

use clap::Args;

use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "members",
        about: "List who is in a conversation, owners first",
        after: "Example:\n  qpc members club --json",
        args: args::<Members>,
        run: Run::Act(act::<Members>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["members", "who"],
        form: "/members",
        about: "who is in this conversation",
        parse: |words| words.is_empty().then(|| Said::act(Members { target: Target::Open })).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Members {
    /// The conversation: #name, @user, title or id
    target: Target,
}

impl Act for Members {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        let members = on.client.members(id).await?;
        Ok(members.iter().map(|member| records::member(on, member)).collect())
    }
}
