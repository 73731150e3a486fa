//! `qpc info`, `/info`: what is known about a message.

use clap::Args;
use qpc_sdk::{ConversationInfo, Message, MessageId};

use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    exit::Usage,
    records, show, text,
};

/// Messages among which one is looked for by its id.
pub(crate) const MAX_LOOKED: u32 = 10_000;
/// Shortest beginning of an id that names a message.
const MIN_ID: usize = 4;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "info",
        about: "Say what is known about a message",
        after: "Example:\n  qpc info @bob 3f2a",
        args: args::<Info>,
        run: Run::Act(act::<Info>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["info"],
        form: "/info [N]",
        about: "what is known about message N, or the last one",
        parse: |words| match words {
            [] => Said::act(Info { target: Target::Open, message: None }),
            [number] => {
                number.trim_matches(['[', ']']).parse::<u64>().ok()?;
                Said::act(Info { target: Target::Open, message: Some((*number).to_owned()) })
            }
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Info {
    /// The conversation: #name, @user, title or id
    target: Target,
    /// Beginning of the message's id [default: the last one]
    message: Option<String>,
}

/// A message as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted(Option<String>);

impl Wanted {
    /// The last one.
    pub(crate) fn last() -> Self {
        Self(None)
    }

    /// The one of a number in a chat.
    pub(crate) fn number(word: &str) -> Option<Self> {
        word.trim_matches(['[', ']']).parse::<u64>().ok()?;
        Some(Self(Some(word.to_owned())))
    }

    pub(crate) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// On the command line: the beginning of an id, or `-`.
#[allow(clippy::unnecessary_wraps, reason = "the form of clap's parsers")]
pub(crate) fn wanted(word: &str) -> Result<Wanted, std::convert::Infallible> {
    Ok(Wanted(Some(word.to_owned()).filter(|word| word != "-")))
}

/// In a chat: the number with which words begin, if they do, and the other words.
pub(crate) fn split_number<'a, 'w>(words: &'a [&'w str]) -> (Wanted, &'a [&'w str]) {
    match words {
        [first, rest @ ..] => match Wanted::number(first) {
            Some(wanted) => (wanted, rest),
            None => (Wanted::last(), words),
        },
        [] => (Wanted::last(), words),
    }
}

impl Act for Info {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, message) = find(on, &self.target, self.message.as_deref()).await?;
        Ok(records::message(on, &message, describe(&info, &message)).into())
    }
}

/// The message that is meant: in a chat by its number, wherever it is, else by the beginning of its id; without either, the
/// last one.
pub(crate) async fn find(
    on: &On,
    target: &Target,
    wanted: Option<&str>,
) -> anyhow::Result<(ConversationInfo, Message)> {
    let missing = || Usage::NoMessage(wanted.unwrap_or("here yet").to_owned());
    let number = wanted.and_then(|wanted| wanted.trim_matches(['[', ']']).parse().ok());
    if let (Target::Open, Some(number)) = (target, number) {
        let (conversation, message) = on.listed.messages.find(number).ok_or_else(missing)?;
        let found = on.client.message(conversation, message).await?.ok_or_else(missing)?;
        return Ok((on.client.conversation(conversation).await?, found));
    }
    let conversation = target.find(on).await?;
    let messages = on.client.history(conversation.id, MAX_LOOKED).await?;
    let begins = |id: MessageId, text: &str| text.len() >= MIN_ID && id.to_string().starts_with(&text.to_lowercase());
    let found = match wanted {
        Some(text) => messages.into_iter().rev().find(|message| begins(message.id, text)),
        None => messages.into_iter().next_back(),
    };
    Ok((conversation, found.ok_or_else(missing)?))
}

fn describe(info: &ConversationInfo, message: &Message) -> String {
    let mut lines = vec![
        format!("message   {}", message.id),
        format!("in        {}", show::title(info)),
        format!("from      {} · device {}", show::sender(message), message.device),
        format!("written   {}", text::time(message.sent_at_ms)),
        format!("state     {} · epoch {}", records::state(message.state), message.epoch),
    ];
    if message.delivered_to + message.read_by > 0 {
        lines.push(format!("others    {} have it, {} have read it", message.delivered_to, message.read_by));
    }
    lines.push(format!("text      {}", show::body(message)));
    lines.join("\n")
}
