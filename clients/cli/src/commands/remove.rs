//! `qpc remove`, `/remove`: somebody out of a group.

use clap::Args;
use serde_json::json;

use crate::engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, Target, act, args};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "remove",
        aliases: &["kick"],
        about: "Remove somebody from a group, with all devices",
        after: "Example:\n  qpc remove club bob",
        args: args::<Remove>,
        run: Run::Act(act::<Remove>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["remove", "kick"],
        form: "/remove USER",
        about: "remove somebody from this group",
        parse: |words| match words {
            [user] => Said::act(Remove { group: Target::Open, user: (*user).to_owned() }),
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Remove {
    /// The group: #name, title or id
    group: Target,
    /// Who is to go
    user: String,
}

impl Act for Remove {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, user) = (self.group.find(on).await?, self.user.strip_prefix('@').unwrap_or(&self.user));
        let epoch = on.client.remove(info.id, user).await?;
        let fields = json!({"conversation": info.id.to_string(), "removed": user, "epoch": epoch});
        Ok(Outcome::item("qpc.removed/1", &fields, format!("{user} was removed (epoch {epoch})")).then(Effect::Told))
    }
}
