//! `qpc edit`, `/edit`, `qpc delete`, `/delete`: another text for a message, or none.

use clap::Args;
use qpc_sdk::{Message, MessageKind};
use serde_json::json;

use super::info::{MAX_LOOKED, Wanted, find, split_number, wanted};
use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    exit::Usage,
    show, text,
};

pub(crate) const EDIT: Row = Row {
    cli: Some(Cli {
        name: "edit",
        aliases: &[],
        about: "Give a message of yours another text, for everybody",
        after: "Example:\n  qpc edit @bob - \"at seven\"        the last one that you wrote\n\n\
            Others see that it was edited.",
        args: args::<Edit>,
        run: Run::Act(act::<Edit>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["edit"],
        form: "/edit [N] TEXT",
        about: "give message N, or the last one of yours, another text",
        parse: |words| {
            let (message, text) = split_number(words);
            (!text.is_empty())
                .then(|| Said::act(Edit { target: Target::Open, message, text: text.join(" ") }))
                .flatten()
        },
    }],
};

pub(crate) const DELETE: Row = Row {
    cli: Some(Cli {
        name: "delete",
        aliases: &[],
        about: "Delete a message for everybody",
        after: "Example:\n  qpc delete @bob 3f2a\n\n\
            Your own messages; as an admin of a group also those of members and admins. Others' clients comply; nothing\n\
            can make them, nor make anybody forget.",
        args: args::<Delete>,
        run: Run::Act(act::<Delete>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["delete", "undo"],
        form: "/delete [N]",
        about: "delete message N, or the last one of yours, for everybody",
        parse: |words| {
            let message = match words {
                [] => Wanted::last(),
                [number] => Wanted::number(number)?,
                _ => return None,
            };
            Said::act(Delete { target: Target::Open, message })
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Edit {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// Beginning of the message's id; - for the last one that you wrote
    #[arg(value_parser = wanted)]
    message: Wanted,
    /// Its text from now on
    text: String,
}

/// Its arguments.
#[derive(Args, Debug)]
struct Delete {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// Beginning of the message's id; - for the last one that you wrote
    #[arg(value_parser = wanted)]
    message: Wanted,
}

impl Act for Edit {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let message = meant(on, &self.target, &self.message).await?;
        let draft = on.client.draft(message.conversation, &self.text).await?;
        on.client.edit(message.conversation, message.reference(), draft).await?;
        let fields = json!({"conversation": message.conversation.to_string(), "message": message.id.to_string(), "text": self.text});
        let line = format!("edited: {}", text::short(&self.text));
        Ok(Outcome::item("qpc.edit/1", &fields, line).then(Effect::None))
    }
}

impl Act for Delete {
    const NEEDS: Needs = Needs::Connection;

    fn asks(&self) -> Option<&'static str> {
        Some("Delete it for everybody?")
    }

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let message = meant(on, &self.target, &self.message).await?;
        on.client.delete(message.conversation, message.reference()).await?;
        let fields = json!({"conversation": message.conversation.to_string(), "message": message.id.to_string()});
        let line = format!("deleted: {}", text::short(&show::body(&message)));
        Ok(Outcome::item("qpc.delete/1", &fields, line).then(Effect::None))
    }
}

/// The message that is named, or the last one of this account.
async fn meant(on: &On, target: &Target, wanted: &Wanted) -> anyhow::Result<Message> {
    if wanted.as_deref().is_some() {
        return Ok(find(on, target, wanted.as_deref()).await?.1);
    }
    let conversation = target.find(on).await?.id;
    let messages = on.client.history(conversation, MAX_LOOKED).await?;
    let own = |message: &Message| message.sender == on.who.account && message.kind == MessageKind::Text;
    let found = messages.into_iter().rev().find(own);
    Ok(found.ok_or_else(|| Usage::NoMessage("of yours".to_owned()))?)
}
