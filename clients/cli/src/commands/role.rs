//! `qpc role`, `/role`: what somebody may do in a group.

use clap::Args;
use qpc_sdk::Role;
use serde_json::json;

use crate::{
    engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records::parse_role,
    show,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "role",
        about: "Give somebody in a group a role",
        after: "Example:\n  qpc role club bob admin\n\nA role is owner, admin, member or read-only.",
        args: args::<Give>,
        run: Run::Act(act::<Give>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["role"],
        form: "/role USER ROLE",
        about: "give somebody a role: owner, admin, member or read-only",
        parse: |words| match words {
            [user, role] => {
                Said::act(Give { group: Target::Open, user: (*user).to_owned(), role: parse_role(role).ok()? })
            }
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Give {
    /// The group: #name, title or id
    group: Target,
    /// Who gets it
    user: String,
    /// owner, admin, member or read-only
    #[arg(value_parser = parse_role)]
    role: Role,
}

impl Act for Give {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, user) = (self.group.find(on).await?, self.user.strip_prefix('@').unwrap_or(&self.user));
        let epoch = on.client.set_role(info.id, user, self.role).await?;
        let role = show::role(self.role);
        let fields = json!({"conversation": info.id.to_string(), "user": user, "role": role, "epoch": epoch});
        Ok(Outcome::item("qpc.role/1", &fields, format!("{user} is {role} now (epoch {epoch})")))
    }
}
