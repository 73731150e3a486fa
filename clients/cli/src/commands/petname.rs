//! `qpc petname`, `/petname`: a name of a conversation for this account alone.

use clap::Args;
use serde_json::json;

use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "petname",
        about: "Call a conversation something that only your devices see; without a name, take that away",
        after: "Example:\n  qpc petname @margaret Mum",
        args: args::<Petname>,
        run: Run::Act(act::<Petname>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["petname", "nickname", "nick"],
        form: "/petname [NAME]",
        about: "call this conversation NAME on your devices alone",
        parse: |words| Said::act(Petname { target: Target::Open, name: words.join(" ") }),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Petname {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// What you call it
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
}

impl Act for Petname {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        on.client.set_petname(id, &self.name).await?;
        let line = match self.name.as_str() {
            "" => format!("this is called {} again", on.title(id).await),
            name => format!("you call this {} now; nobody else does", text::label(name)),
        };
        let fields = json!({"conversation": id.to_string(), "petname": self.name});
        Ok(Outcome::item("qpc.petname/1", &fields, line).then(Effect::Retitle))
    }
}
