//! `qpc reply`, `/reply`: a message that answers another.

use clap::Args;
use qpc_sdk::Draft;

use super::info::{find, split_number};
use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records, show, text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "reply",
        aliases: &[],
        about: "Answer a message",
        after: "Example:\n  qpc reply @bob 3f2a \"at six\"\n\nIt is kept, and sent whenever there is a connection.",
        args: args::<Reply>,
        run: Run::Act(act::<Reply>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["reply", "re"],
        form: "/reply [N] TEXT",
        about: "answer message N, or the last one",
        parse: |words| {
            let (message, text) = split_number(words);
            (!text.is_empty())
                .then(|| Said::act(Reply { target: Target::Open, message, text: text.join(" ") }))
                .flatten()
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Reply {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// Beginning of the message's id; - for the last one
    #[arg(value_parser = super::info::wanted)]
    message: super::info::Wanted,
    /// What to write
    text: String,
}

impl Act for Reply {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, message) = find(on, &self.target, self.message.as_deref()).await?;
        let draft = on.client.draft(info.id, &self.text).await?;
        let draft = Draft { reply_to: Some(message.reference()), ..draft };
        let id = on.client.send(info.id, draft).await?;
        let short = text::short(&self.text);
        let own = qpc_sdk::MessageRef { author: on.who.account, id };
        let line = format!("↪ {short}   (to {}: {})", show::sender(&message), text::short(&show::body(&message)));
        Ok(match on.client.message(info.id, own).await? {
            Some(written) => Outcome::from(records::message(on, &written, line)).then(Effect::Sent(id, short)),
            None => Outcome::default(),
        })
    }
}
