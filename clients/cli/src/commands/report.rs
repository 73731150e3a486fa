//! `qpc report`, `/report`: showing the server what somebody said.

use clap::Args;
use serde_json::json;

use super::info::{Wanted, find, split_number, wanted};
use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    show, text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "report",
        aliases: &[],
        about: "Show the server's moderators a message, with proof of who sent it",
        after: "Example:\n  qpc report @mallory 3f2a --note \"does not stop\"\n\n\
            They see this message, its edits and your note, who you are, and nothing else. What is deleted here cannot be\n\
            reported.",
        args: args::<Report>,
        run: Run::Act(act::<Report>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["report"],
        form: "/report [N] [NOTE]",
        about: "show the server's moderators message N, or the last one, with proof of who sent it",
        parse: |words| {
            let (message, note) = split_number(words);
            Said::act(Report { target: Target::Open, message, note: note.join(" ") })
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Report {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// Beginning of the message's id; - for the last one
    #[arg(value_parser = wanted)]
    message: Wanted,
    /// What the moderators should know
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

impl Act for Report {
    const NEEDS: Needs = Needs::Connection;

    fn asks(&self) -> Option<&'static str> {
        Some("Show this message to the server's moderators?")
    }

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, message) = find(on, &self.target, self.message.as_deref()).await?;
        let id = on.client.report(info.id, &[message.reference()], &self.note).await?;
        let fields = json!({"report": show::hex(&id), "message": message.id.to_string()});
        let line = format!("reported: {}", text::short(&show::body(&message)));
        Ok(Outcome::item("qpc.report/1", &fields, line))
    }
}
