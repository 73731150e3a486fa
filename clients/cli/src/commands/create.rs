//! `qpc create-group`, `/create`: a group.

use clap::Args;

use super::invite::People;
use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, act, args},
    records, show,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "create-group",
        aliases: &["create"],
        about: "Found a group, as its owner",
        after: "Examples:\n  qpc create-group \"Book club\" --member bob --member carol\n  \
            qpc create-group club -m bob,carol --suite classic\n\n\
            Only members see the name. Exit code 10 if somebody could not be reached; the group is there then.",
        args: args::<Create>,
        run: Run::Act(act::<Create>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["create", "create-group", "cg", "new", "group"],
        form: "/create NAME [USER]...",
        about: "found a group; NAME is one word, /rename takes more",
        parse: |words| match words {
            [name, members @ ..] => {
                let members = members.iter().map(|user| (*user).to_owned()).collect();
                Said::act(Create { name: (*name).to_owned(), members })
            }
            [] => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Create {
    /// What the group is called
    name: String,
    /// Somebody who is in it from the beginning; more with commas, or again
    #[arg(short, long = "member", value_name = "USER", value_delimiter = ',')]
    members: Vec<String>,
}

impl Act for Create {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let mut people = People::new(&self.members);
        let id = loop {
            match on.client.create_group(&self.name, &people.wanted).await {
                Ok(id) => break id,
                Err(error) => people.without(error)?,
            }
        };
        let missed = people.missed;
        let info = on.client.conversation(id).await?;
        let members = on.client.members(id).await?.len();
        let item = records::conversation_as(&info, show::heading(&info, Some(members), 0));
        let outcome = Outcome::from(item).then(Effect::Enter(id));
        Ok(missed.into_iter().fold(outcome, |outcome, why| outcome.note(why).partly()))
    }
}
