//! `qpc leave`, `/leave`: out of a conversation.

use clap::Args;
use serde_json::json;

use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    show,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "leave",
        about: "Leave a conversation with all your devices; what was written stays here",
        after: "Example:\n  qpc leave \"#Book club\"",
        args: args::<Leave>,
        run: Run::Act(act::<Leave>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["leave", "part"],
        form: "/leave [NAME]",
        about: "leave this conversation, or NAME; what was written stays here",
        parse: |words| {
            let words = words.join(" ");
            let target = if words.is_empty() { Target::Open } else { words.parse().ok()? };
            Said::act(Leave { target })
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Leave {
    /// The conversation: #name, @user, title or id
    target: Target,
}

impl Act for Leave {
    fn asks(&self) -> Option<&'static str> {
        Some("Leave the conversation, with all your devices?")
    }

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let info = self.target.find(on).await?;
        let title = show::title(&info);
        on.client.leave(info.id).await?;
        let line = format!("you have left {title}, with all your devices; what was written stays here");
        let fields = json!({"conversation": info.id.to_string(), "title": title, "left": true});
        Ok(Outcome::item("qpc.left/1", &fields, line).then(Effect::Gone(info.id)))
    }
}
