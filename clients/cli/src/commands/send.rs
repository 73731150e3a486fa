//! `qpc send`, `/tell`, `/me`: a message.

use std::{
    fs,
    io::{IsTerminal as _, Read as _},
    process::Command,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use qpc_sdk::{
    Client, ConversationId, ConversationKind, Error, Event, EventStream, Message, MessageId, MessageRef, MessageState,
    PeerTrust,
};

use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, args},
    exit::Usage,
    records, show, text,
};

/// Longest text that is read from a pipe, bytes: more than the longest message, so that its refusal says how long it is.
const MAX_PIPED: u64 = 1 << 20;

pub(crate) const SEND: Row = Row {
    cli: Some(Cli {
        name: "send",
        about: "Write a message: the text given, that of a pipe, or that of an editor",
        after: "Examples:\n  qpc send @bob \"see you at six\"\n  make 2>&1 | tail | qpc send \"#Book club\"\n  \
            qpc send @bob -e\n  qpc send @bob hello --wait read --timeout 600\n  \
            qpc send \"#ops\" \"build 71 is broken\" --key build-71\n\n\
            Once it is written it is kept, and sent whenever there is a connection. --wait says what this call waits for:\n\
            queued, nothing; sent, a signed receipt of the server that it is stored for everybody; delivered, a device of\n\
            everybody has it; read, everybody has read it. Exit code 4 if that does not happen within --timeout.\n\n\
            A script that may run twice gives a --key: the same text under the same key is one message, whichever call comes\n\
            first, and one that was refused is sent again. Another text under it is refused, with exit code 6.",
        args: args::<Send>,
        run: Run::Act(|matches| {
            let mut send = <Send as clap::FromArgMatches>::from_arg_matches(matches)?;
            send.editor =
                matches.get_one::<std::ffi::OsString>("visual").or_else(|| matches.get_one("editor")).cloned();
            Ok(Box::new(send))
        }),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

pub(crate) const TELL: Row = Row {
    cli: None,
    slash: &[Slash {
        names: &["tell", "msg"],
        form: "/tell USER TEXT",
        about: "write to USER, and stay in this conversation",
        parse: |words| match words {
            [user, text @ ..] if !text.is_empty() => {
                let user = user.strip_prefix('@').unwrap_or(user);
                Said::act(Send::queued(Target::User(user.to_owned()), text.join(" ")))
            }
            _ => None,
        },
    }],
};

pub(crate) const ME: Row = Row {
    cli: None,
    slash: &[Slash {
        names: &["me"],
        form: "/me TEXT",
        about: "write what you do, as others would say it of you",
        parse: |words| match words {
            [] => None,
            words => Said::act(Send { deed: true, ..Send::queued(Target::Open, words.join(" ")) }),
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
pub(crate) struct Send {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// What to write [default: standard input]
    text: Option<String>,
    /// Write it in an editor (VISUAL, EDITOR)
    #[arg(short, long, conflicts_with = "text")]
    edit: bool,
    /// What to wait for
    #[arg(long, value_enum, default_value = "sent")]
    wait: Wait,
    /// Write it once for this key, in this conversation, on this device
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key: Option<String>,
    #[arg(skip)]
    editor: Option<std::ffi::OsString>,
    /// Whether it is about its writer.
    #[arg(skip)]
    deed: bool,
}

/// How far a message is to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Wait {
    /// It is kept
    Queued,
    /// The server has signed for it
    Sent,
    /// A device of everybody has it
    Delivered,
    /// Everybody has read it
    Read,
}

impl Send {
    /// What a chat does: events say the rest.
    pub(crate) fn queued(target: Target, text: String) -> Self {
        Self { target, text: Some(text), edit: false, wait: Wait::Queued, key: None, editor: None, deed: false }
    }

    fn text(&self, on: &On) -> anyhow::Result<String> {
        let text = match &self.text {
            Some(text) => text.clone(),
            None if self.edit => compose(self.editor.as_deref(), "")?,
            None => piped()?,
        };
        Ok(if self.deed { format!("* {} {text}", on.who.username) } else { text })
    }
}

impl Act for Send {
    // It connects by itself: a message is kept without a connection.
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let text = self.text(on)?;
        let connected = match self.wait {
            Wait::Queued if self.target.find(on).await.is_ok_and(|info| info.active) => Ok(()),
            _ => on.client.connect().await,
        };
        let info = match self.target.reach(on).await {
            Ok(info) => info,
            // Why there is no connection says more than that there is none.
            Err(error) if matches!(error.downcast_ref(), Some(Error::Offline)) => {
                return Err(connected.err().map_or(error, Into::into));
            }
            Err(error) => return Err(error),
        };
        // It would wait for a decision, and this call for it.
        if info.trust == PeerTrust::Changed && self.wait != Wait::Queued {
            return Err(Error::IdentityChanged(info.peer_name.unwrap_or_else(|| info.id.to_string())).into());
        }
        let mut events = on.client.events();
        let draft = on.client.draft(info.id, &text).await?;
        let (id, repeated) = match &self.key {
            Some(key) => on.client.send_once(info.id, draft, key).await?,
            None => (on.client.send(info.id, draft).await?, false),
        };
        if repeated && on.client.message(info.id, MessageRef { author: on.who.account, id }).await?.is_none() {
            return Ok(Outcome::default().note("written before under this key, and it has disappeared since"));
        }
        let message = match (&connected, info.kind) {
            (Ok(()), kind) if kind != ConversationKind::Notes => {
                reach(&on.client, &mut events, info.id, id, self.wait).await?
            }
            _ => own(&on.client, info.id, MessageRef { author: on.who.account, id }).await?,
        };
        let short = text::short(&text);
        let line = match message.state {
            MessageState::Local => format!("✓ {short}   (kept here)"),
            MessageState::Queued | MessageState::Sent => format!("… queued: {short}"),
            _ => show::history_line(&message, info.kind),
        };
        let mut item = records::message(on, &message, line);
        let mut outcome = Outcome::default();
        if self.key.is_some() {
            item.fields.insert("repeated".to_owned(), repeated.into());
            outcome.notes.extend(repeated.then(|| "written before under this key, and not again".to_owned()));
        }
        outcome.items.push(item);
        let outcome = outcome.then(Effect::Sent(id, short));
        let outcome = match message.state {
            MessageState::ReceiptRefused => Outcome { code: crate::exit::VERIFICATION, ..outcome },
            _ => outcome,
        };
        match connected {
            Err(error) if self.wait != Wait::Queued => {
                let code = crate::exit::of_sdk(&error);
                let outcome = outcome.note(format!("not connected ({error}); it is kept and sent later"));
                Ok(Outcome { code, ..outcome })
            }
            _ => Ok(outcome),
        }
    }
}

/// Waits until a message has come so far. Whoever calls this bounds the time.
async fn reach(
    client: &Client,
    events: &mut EventStream,
    conversation: ConversationId,
    id: MessageId,
    wait: Wait,
) -> anyhow::Result<Message> {
    let written = MessageRef { author: client.whoami().await?.account, id };
    loop {
        let message = own(client, conversation, written).await?;
        let reached = match message.state {
            MessageState::Local | MessageState::Read | MessageState::Received | MessageState::ReceiptRefused => true,
            MessageState::Queued | MessageState::Sent | MessageState::Failed => wait == Wait::Queued,
            MessageState::Accepted => wait <= Wait::Sent,
            MessageState::Delivered => wait <= Wait::Delivered,
        };
        if reached {
            return Ok(message);
        }
        match events.next().await {
            Some(Event::SendFailed { message, error, .. }) if message == id => return Err(Error::Failed(error).into()),
            Some(Event::ReceiptRefused { message, error, .. }) if message == Some(id) => {
                return Err(Error::Failed(error).into());
            }
            Some(Event::LoginRefused(error)) => return Err(Error::Failed(error).into()),
            Some(_) => {}
            None => return Err(Error::Interrupted.into()),
        }
    }
}

/// Waits until the server has accepted a message.
pub(crate) async fn accepted(
    client: &Client,
    events: &mut EventStream,
    conversation: ConversationId,
    id: MessageId,
) -> anyhow::Result<Message> {
    reach(client, events, conversation, id, Wait::Sent).await
}

async fn own(client: &Client, conversation: ConversationId, written: MessageRef) -> anyhow::Result<Message> {
    let found = client.message(conversation, written).await?;
    Ok(found.ok_or_else(|| Usage::NoMessage(written.id.to_string()))?)
}

/// The text of a pipe, without the line break at its end.
fn piped() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        crate::console::complain("Write, then end with Ctrl-D on a line of its own:");
    }
    let mut text = String::new();
    stdin.lock().take(MAX_PIPED).read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What a person makes of a text in an editor. Its file is readable for the person alone, and deleted.
pub(crate) fn compose(editor: Option<&std::ffi::OsStr>, text: &str) -> anyhow::Result<String> {
    let editor = editor.filter(|editor| !editor.is_empty()).ok_or(Usage::NoEditor)?;
    // Its directory is readable for its owner alone.
    let folder = tempfile::Builder::new().prefix("qpc-").tempdir().context("no temporary folder")?;
    let path = folder.path().join("message.txt");
    // Editors want whole lines.
    fs::write(&path, if text.is_empty() { String::new() } else { format!("{text}\n") })?;
    run_editor(editor, &path)?;
    Ok(fs::read_to_string(&path)?.trim_end().to_owned())
}

/// An editor with arguments of its own, as in `VISUAL="code --wait"`.
pub(crate) fn run_editor(editor: &std::ffi::OsStr, path: &std::path::Path) -> anyhow::Result<()> {
    let status = Command::new("sh").arg("-c").arg(r#"$0 "$1""#).arg(editor).arg(path).status().context("no shell")?;
    anyhow::ensure!(status.success(), "the editor ended with {status}");
    Ok(())
}
