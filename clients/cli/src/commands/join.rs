//! `qpc join`, `/join`: into a group by a link.

use clap::Args;
use qpc_sdk::InviteLink;

use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, act, args},
    records, show,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "join",
        about: "Come into a group by a link",
        after: "Example:\n  qpc join qpc:join/...\n\nWhoever was invited by name is in the group already: qpc list.",
        args: args::<Join>,
        run: Run::Act(act::<Join>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["join"],
        form: "/join LINK",
        about: "come into a group by an invite",
        parse: |words| match words {
            [link] => Said::act(Join { link: (*link).to_owned() }),
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Join {
    /// What qpc invite --link or /invite shows
    link: String,
}

impl Act for Join {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let link: InviteLink = self.link.parse().map_err(qpc_sdk::Error::from)?;
        let id = on.client.join(&link).await?;
        let info = on.client.conversation(id).await?;
        let members = on.client.members(id).await.ok().map(|members| members.len());
        let item = records::conversation_as(&info, show::heading(&info, members, info.unread));
        Ok(Outcome::from(item).then(Effect::Enter(id)))
    }
}
