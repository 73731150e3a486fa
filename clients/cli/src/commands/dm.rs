//! `qpc dm`, `/dm`, `/notes`: the conversation with somebody, or with oneself.

use clap::Args;

use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records, show,
};

pub(crate) const DM: Row = Row {
    cli: Some(Cli {
        name: "dm",
        about: "Begin the conversation with a user, or say which it is",
        after: "Examples:\n  qpc dm bob\n  qpc dm self      notes to yourself, which stay on this device",
        args: args::<Dm>,
        run: Run::Act(act::<Dm>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["dm"],
        form: "/dm USER",
        about: "open the conversation with USER, or begin it; with self, your notes",
        parse: |words| match words {
            [user] => Said::act(Dm { user: (*user).to_owned() }),
            _ => None,
        },
    }],
};

pub(crate) const NOTES: Row = Row {
    cli: None,
    slash: &[Slash {
        names: &["notes", "note"],
        form: "/notes",
        about: "notes to yourself; they stay on this device",
        parse: |words| words.is_empty().then(|| Said::act(Dm { user: "self".to_owned() })).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Dm {
    /// Name of the other, or self
    user: String,
}

impl Act for Dm {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let user = self.user.strip_prefix('@').unwrap_or(&self.user);
        let info = Target::User(user.to_owned()).reach(on).await?;
        let members = on.client.members(info.id).await.ok().map(|members| members.len());
        let item = records::conversation_as(&info, show::heading(&info, members, info.unread));
        Ok(Outcome::from(item).then(Effect::Enter(info.id)))
    }
}
