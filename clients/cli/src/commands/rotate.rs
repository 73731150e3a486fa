//! `qpc rotate-keys`, `/update-key`: new keys of this device.

use clap::Args;
use serde_json::json;

use crate::{
    engine::{Act, Cli, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    show,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "rotate-keys",
        aliases: &["update-key", "rotate-key"],
        about: "Give this device new keys in a conversation, which heals what was stolen before",
        after: "Examples:\n  qpc rotate-keys club\n  qpc rotate-keys --all\n\nExit code 10 if --all failed somewhere.",
        args: args::<Rotate>,
        run: Run::Act(act::<Rotate>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["update-key", "rotate-key", "rotate-keys"],
        form: "/update-key",
        about: "new keys for this conversation",
        parse: |words| words.is_empty().then(|| Said::act(Rotate { target: Some(Target::Open), all: false })).flatten(),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Rotate {
    /// The conversation: #name, @user, title or id
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    target: Option<Target>,
    /// In all conversations
    #[arg(long)]
    all: bool,
}

impl Act for Rotate {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        if let Some(target) = &self.target {
            let info = target.find(on).await?;
            let epoch = on.client.update_keys(info.id).await?;
            let fields = json!({"conversation": info.id.to_string(), "epoch": epoch});
            return Ok(Outcome::item("qpc.keys/1", &fields, format!("new keys: epoch {epoch}")));
        }
        let mut outcome = Outcome::default();
        let has_keys = |info: &qpc_sdk::ConversationInfo| info.active && info.kind != qpc_sdk::ConversationKind::Notes;
        for info in on.client.conversations().await?.into_iter().filter(has_keys) {
            let title = show::title(&info);
            match on.client.update_keys(info.id).await {
                Ok(epoch) => {
                    let fields = json!({"conversation": info.id.to_string(), "epoch": epoch});
                    let line = format!("{title}: new keys: epoch {epoch}");
                    outcome.items.push(crate::engine::Item::new("qpc.keys/1", &fields, line));
                }
                Err(error) => outcome = outcome.note(format!("⚠ {title}: {error}")).partly(),
            }
        }
        Ok(outcome)
    }
}
