//! `qpc rename`, `/rename`: another name of a group, for everybody.

use clap::Args;
use serde_json::json;

use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "rename",
        about: "Give a group another name, which only members see",
        after: "Example:\n  qpc rename club \"Book club\"",
        args: args::<Rename>,
        run: Run::Act(act::<Rename>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["rename"],
        form: "/rename NAME",
        about: "give this group another name",
        parse: |words| match words {
            [] => None,
            words => Said::act(Rename { group: Target::Open, name: words.join(" ") }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Rename {
    /// The group: #name, title or id
    group: Target,
    /// What it is to be called
    name: String,
}

impl Act for Rename {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.group.find(on).await?.id;
        on.client.rename(id, &self.name).await?;
        let fields = json!({"conversation": id.to_string(), "name": self.name});
        let line = format!("this group is called {} now", text::label(&self.name));
        Ok(Outcome::item("qpc.renamed/1", &fields, line).then(Effect::Retitle))
    }
}
