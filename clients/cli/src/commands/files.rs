//! `qpc files`, `/files`: the files of a conversation.

use clap::Args;
use qpc_sdk::{Attachment, Message};
use serde_json::json;

use crate::{
    engine::{Act, Cli, Effect, Item, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    show, text,
};

/// Files that are listed, if nothing else is said.
const COUNT: usize = 50;
/// Messages among which files are looked for: the last ones.
pub(super) const MAX_LOOKED: u32 = 10_000;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "files",
        about: "List the files of a conversation",
        after: "Examples:\n  qpc files @bob\n  qpc files \"#Book club\" -n 5 --json\n\n\
            qpc get-file takes one of them, by the beginning of its message's id.",
        args: args::<Files>,
        run: Run::Act(act::<Files>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["files"],
        form: "/files [N]",
        about: "the last N files here (50); /save takes one",
        parse: |words| {
            let count = match words {
                [] => COUNT,
                [count] => count.parse().ok()?,
                _ => return None,
            };
            Said::act(Files { target: Target::Open, count })
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Files {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// How many: the last ones
    #[arg(short = 'n', long, default_value_t = COUNT)]
    count: usize,
}

impl Act for Files {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        let messages = on.client.history(id, MAX_LOOKED).await?;
        let mut listed: Vec<_> = messages.iter().flat_map(of).collect();
        let listed = listed.split_off(listed.len().saturating_sub(self.count));
        let spots = listed.iter().map(|(message, ..)| (message.conversation, message.reference())).collect();
        let items = listed.iter().map(|(message, number, file)| item(message, *number, file));
        let outcome = items.collect::<Outcome>().then(Effect::Messages(spots));
        Ok(if listed.is_empty() { outcome.note("no files here") } else { outcome })
    }
}

/// The files of a message with their numbers in it. What cannot be a file is none.
pub(super) fn of(message: &Message) -> impl Iterator<Item = (&Message, usize, Attachment)> {
    let files = (1..).zip(&message.attachments);
    files.filter_map(move |(number, said)| Some((message, number, Attachment::try_from(said.clone()).ok()?)))
}

fn item(message: &Message, number: usize, file: &Attachment) -> Item {
    let blob = show::hex(&file.blob_id);
    let fields = json!({
        "message": message.id.to_string(), "conversation": message.conversation.to_string(), "number": number,
        "sender": message.sender.to_string(), "sender_name": message.sender_name, "sent_at_ms": message.sent_at_ms,
        "name": file.name, "media_type": file.media_type, "size": file.size, "blob": blob,
    });
    let id = message.id.to_string();
    let which = if message.attachments.len() > 1 { format!(" --n {number}") } else { String::new() };
    let line = format!(
        "{} {}: {} · {} · {} · {}{which}",
        text::time(message.sent_at_ms),
        show::sender(message),
        text::label(&file.name),
        file.media_type,
        text::size(file.size),
        id.get(..8).unwrap_or(&id)
    );
    Item::new("qpc.file/1", &fields, line)
}
