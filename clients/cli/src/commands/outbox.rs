//! `qpc outbox`, `/outbox`, `/retry`, `/cancel`: what this device has written and the server has not accepted.

use clap::{Args, FromArgMatches as _, Subcommand};
use qpc_sdk::{ConversationInfo, Error, Message, MessageState, PeerTrust};
use serde_json::json;

use super::{info, send};
use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, args},
    exit::{Usage, VERIFICATION},
    records, show, text,
};

/// Messages of a conversation that are looked through; those that are not accepted come last.
const MAX_LOOKED: u32 = 10_000;
/// Shortest beginning of an id that names a message.
const MIN_ID: usize = 4;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "outbox",
        about: "List what you have written and the server has not accepted, or has refused; send it again, or take it back",
        after: "Examples:\n  qpc outbox --json\n  qpc outbox retry\n  qpc outbox retry 3f2a\n  qpc outbox cancel 3f2a\n\n\
            It is sent by itself, in order, whenever there is a connection. What the server has refused is sent again by retry.\n\
            What may have reached the server cannot be taken back, but deleted (qpc delete): exit code 6.",
        args: args::<Outbox>,
        run: Run::Act(|matches| {
            Ok(match Outbox::from_arg_matches(matches)?.action {
                None | Some(OutboxAction::List) => Box::new(List),
                Some(OutboxAction::Retry { id }) => Box::new(Retry { id, wait: true }),
                Some(OutboxAction::Cancel { id }) => Box::new(Cancel { id }),
            })
        }),
        aliases: &[],
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["outbox"],
            form: "/outbox",
            about: "what you have written and the server has not accepted, with numbers for /retry and /cancel",
            parse: |words| words.is_empty().then(|| Said::act(List)).flatten(),
        },
        Slash {
            names: &["retry"],
            form: "/retry [N]",
            about: "send message N again that was refused, or all of them",
            parse: |words| match words {
                [] => Said::act(Retry { id: None, wait: false }),
                [number] => Said::act(Retry { id: Some(self::number(number)?), wait: false }),
                _ => None,
            },
        },
        Slash {
            names: &["cancel"],
            form: "/cancel N",
            about: "take message N back, which was not sent",
            parse: |words| match words {
                [number] => Said::act(Cancel { id: self::number(number)? }),
                _ => None,
            },
        },
    ],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Outbox {
    #[command(subcommand)]
    action: Option<OutboxAction>,
}

/// What to do with it.
#[derive(Subcommand, Debug)]
enum OutboxAction {
    /// List it; what happens without a command
    List,
    /// Send again what was refused, and wait until it is accepted
    Retry {
        /// Beginning of the message's id [default: all]
        id: Option<String>,
    },
    /// Take a message back that has not left this device, or was refused
    Cancel {
        /// Beginning of the message's id
        id: String,
    },
}

/// What waits or was refused.
#[derive(Debug)]
struct List;

/// Sends again.
#[derive(Debug)]
struct Retry {
    id: Option<String>,
    /// Until it is accepted; a chat is told by events.
    wait: bool,
}

/// Takes back.
#[derive(Debug)]
struct Cancel {
    id: String,
}

fn number(word: &str) -> Option<String> {
    info::Wanted::number(word)?.as_deref().map(str::to_owned)
}

/// What waits or was refused, the oldest of each conversation first.
async fn waiting(on: &On) -> anyhow::Result<Vec<(ConversationInfo, Message)>> {
    let mut found = Vec::new();
    for info in on.client.conversations().await? {
        for message in on.client.history(info.id, MAX_LOOKED).await? {
            let waits = matches!(
                message.state,
                MessageState::Queued | MessageState::Sent | MessageState::Failed | MessageState::ReceiptRefused
            );
            if waits {
                found.push((info.clone(), message));
            }
        }
    }
    Ok(found)
}

/// The message that is meant: in a chat by its number, else the one of what waits whose id begins so.
async fn find(on: &On, id: &str) -> anyhow::Result<(ConversationInfo, Message)> {
    let number = id.trim_matches(['[', ']']).parse().ok();
    if let Some((conversation, message)) = number.and_then(|number| on.listed.messages.find(number)) {
        let found = on.client.message(conversation, message).await?.ok_or_else(|| Usage::NoMessage(id.to_owned()))?;
        return Ok((on.client.conversation(conversation).await?, found));
    }
    let begins = |message: &Message| id.len() >= MIN_ID && message.id.to_string().starts_with(&id.to_lowercase());
    let mut found = waiting(on).await?.into_iter().filter(|(_, message)| begins(message));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Usage::NotWaiting(id.to_owned()).into()),
        (Some(_), Some(_)) => Err(Usage::SeveralMessages(id.to_owned()).into()),
    }
}

impl Act for List {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let all = waiting(on).await?;
        let spots = all.iter().map(|(info, message)| (info.id, message.reference())).collect();
        let items = all.iter().map(|(info, message)| {
            let line = format!("{} · {}", show::title(info), show::history_line(message, info.kind));
            records::message(on, message, line)
        });
        let outcome: Outcome = items.collect();
        Ok(if all.is_empty() { outcome.note("nothing waits") } else { outcome.then(Effect::Messages(spots)) })
    }
}

impl Act for Retry {
    // It connects by itself, when it knows what waits: a connection alone sends some of that.
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let wanted = match &self.id {
            Some(id) => vec![find(on, id).await?],
            None => {
                let all = waiting(on).await?;
                all.into_iter().filter(|(_, message)| message.state != MessageState::ReceiptRefused).collect()
            }
        };
        if self.wait && !wanted.is_empty() {
            on.client.connect().await?;
        }
        let mut outcome = Outcome::default();
        for (info, message) in &wanted {
            match self.one(on, info, message).await {
                Ok(done) => {
                    outcome.items.extend(done.items);
                    if wanted.len() == 1 {
                        outcome.effect = done.effect;
                    }
                }
                // The others may have more luck.
                Err(error) if wanted.len() > 1 => {
                    let (title, short) = (show::title(info), text::short(&message.text));
                    outcome = outcome.note(format!("⚠ {title}: {short}: {error:#}")).partly();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if wanted.is_empty() { outcome.note("nothing waits") } else { outcome })
    }
}

impl Retry {
    async fn one(&self, on: &On, info: &ConversationInfo, message: &Message) -> anyhow::Result<Outcome> {
        let mut events = on.client.events();
        match on.client.retry(info.id, message.id).await {
            // The connection has sent it meanwhile.
            Err(Error::AlreadySent(_)) if message.state != MessageState::ReceiptRefused && self.wait => {}
            posted => posted?,
        }
        if info.trust == PeerTrust::Changed {
            let name = show::title(info);
            let outcome = Outcome::from(records::message(on, message, show::history_line(message, info.kind)));
            let outcome = outcome.note(format!("waits until you decide which key {name} has: qpc verify {name}"));
            return Ok(Outcome { code: VERIFICATION, ..outcome });
        }
        let now = match self.wait {
            true => send::accepted(&on.client, &mut events, info.id, message.id).await?,
            false => on.client.message(info.id, message.reference()).await?.unwrap_or_else(|| message.clone()),
        };
        let line = format!("{} · {}", show::title(info), show::history_line(&now, info.kind));
        let effect = Effect::Sent(message.id, text::short(&message.text));
        Ok(Outcome::from(records::message(on, &now, line)).then(effect))
    }
}

impl Act for Cancel {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, message) = find(on, &self.id).await?;
        on.client.cancel(info.id, message.id).await?;
        let fields = json!({
            "id": message.id.to_string(), "conversation": info.id.to_string(), "text": message.text,
        });
        let line = format!("{} · taken back: {}", show::title(&info), text::short(&message.text));
        Ok(Outcome::item("qpc.cancelled/1", &fields, line))
    }
}
