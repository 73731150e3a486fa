//! `qpc send-file`, `/send-file`: files with a message.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use qpc_sdk::{Attachment, Client, ConversationKind, Draft, Error, MessageId, MessageRef};
use serde_json::json;

use super::{
    connect,
    progress::{Shown, unless_interrupted},
};
use crate::{
    engine::{Act, Cli, Effect, Item, Needs, On, Outcome, Row, Run, Said, Slash, Target, args, program},
    records,
    render::Render,
    settings::Settings,
    show, text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "send-file",
        about: "Send files with a message, encrypted here",
        after: "Examples:\n  qpc send-file @bob holiday.jpg\n  qpc send-file \"#Book club\" chapter*.pdf --caption \"for Sunday\"\n\n\
            Up to 16 files go with one message. After Ctrl-C or a lost connection the same command goes on where it was: what\n\
            the server has of a file, which must not have changed, is not sent again.",
        args: args::<SendFile>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["send-file", "sf"],
        form: "/send-file FILE",
        about: "send FILE, encrypted here; after Ctrl-C the same line goes on",
        parse: |words| match words {
            [] => None,
            words => Said::act(SendFile {
                target: Target::Open,
                paths: vec![PathBuf::from(words.join(" "))],
                caption: String::new(),
            }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct SendFile {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// What to send
    #[arg(required = true, num_args = 1..=16, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    paths: Vec<PathBuf>,
    /// A text with it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    caption: String,
}

async fn run(args: SendFile, settings: Settings) -> anyhow::Result<ExitCode> {
    args.look()?;
    let client = Client::open(settings.existing()?).await?;
    let done = unless_interrupted(online(&client, &args, &settings)).await;
    client.close().await;
    let outcome = done?;
    Render::new(&settings).outcome(&outcome);
    Ok(ExitCode::from(outcome.code))
}

async fn online(client: &Client, args: &SendFile, settings: &Settings) -> anyhow::Result<Outcome> {
    connect(client, settings).await?;
    let on = On::new(client.clone(), settings.place()?).await?;
    let sent = args.send(&on, Shown::by(settings)).await?;
    let flushed = client.flush(settings.timeout()).await;
    let outcome = args.tell(&on, &sent).await?;
    Ok(if flushed { outcome } else { outcome.note("not sent yet; kept, and sent when there is a connection") })
}

impl Act for SendFile {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        self.look()?;
        let sent = self.send(on, Shown::Steps).await?;
        self.tell(on, &sent).await
    }
}

/// What was sent.
struct Sent {
    message: (qpc_sdk::ConversationId, MessageId),
    files: Vec<Attachment>,
}

impl SendFile {
    /// Whether everything is there, before the first of it is sent.
    fn look(&self) -> anyhow::Result<()> {
        for path in &self.paths {
            fs::metadata(path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    async fn send(&self, on: &On, shown: Shown) -> anyhow::Result<Sent> {
        let info = self.target.reach(on).await?;
        // Known before everything is brought to the server.
        if !info.active && info.kind != ConversationKind::Notes {
            return Err(Error::NotMember.into());
        }
        let mut files = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            files.push(on.client.upload(path, shown.file(&name(path))).await?);
        }
        let attachments = files.iter().map(Into::into).collect();
        let draft = Draft { attachments, ..on.client.draft(info.id, &self.caption).await? };
        let id = on.client.send(info.id, draft).await?;
        Ok(Sent { message: (info.id, id), files })
    }

    async fn tell(&self, on: &On, sent: &Sent) -> anyhow::Result<Outcome> {
        let (conversation, id) = sent.message;
        let reference = MessageRef { author: on.who.account, id };
        let state = on.client.message(conversation, reference).await?.map(|message| message.state);
        let state = state.map_or("queued", records::state);
        let item = |(path, file): (&PathBuf, &Attachment)| {
            let blob = show::hex(&file.blob_id);
            let fields = json!({
                "message": id.to_string(), "conversation": conversation.to_string(), "state": state, "path": path,
                "name": file.name, "media_type": file.media_type, "size": file.size, "blob": blob,
            });
            let line = format!(
                "{state}: {} · {}\nmessage {id}\nblob    {blob}",
                text::label(&file.name),
                text::size(file.size)
            );
            Item::new("qpc.file_sent/1", &fields, line)
        };
        let names: Vec<&str> = sent.files.iter().map(|file| file.name.as_str()).collect();
        let short = text::short(&names.join(", "));
        Ok(self.paths.iter().zip(&sent.files).map(item).collect::<Outcome>().then(Effect::Sent(id, short)))
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
