//! One of the two: a client and what happens to it.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use qpc_sdk::{Client, ClientOptions, ConversationId, Event, EventStream, Message, MessageId, transport::Trust};

/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Someone who is online.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    events: EventStream,
}

/// What the server said about a message.
pub(crate) struct Accepted {
    /// Devices for which it is durable.
    pub(crate) recipients: u32,
    /// Unix milliseconds.
    pub(crate) at_ms: u64,
}

impl Person {
    /// Opens the store of `name` in `folder`, making it at the first time, and comes online.
    pub(crate) async fn arrive(
        name: &'static str,
        folder: &Path,
        server: &str,
        certificate: &Path,
    ) -> anyhow::Result<Self> {
        let trust = Trust::PemFile(certificate.to_owned());
        let options = ClientOptions::new(folder.join(name), name, format!("the password of {name}"), server, trust);
        let client = Client::open(options).await?;
        let events = client.events();
        client.connect().await.with_context(|| format!("{name} cannot come online"))?;
        Ok(Self { name, client, events })
    }

    pub(crate) async fn leave(self) {
        self.client.close().await;
    }

    /// Waits for the server's word about a message. A receipt that does not hold is an error.
    pub(crate) async fn accepted(&mut self, id: MessageId) -> anyhow::Result<Accepted> {
        self.until("the receipt", |event| match event {
            Event::Accepted { message, receipt, .. } if message == id => {
                Some(Ok(Accepted { recipients: receipt.recipients, at_ms: receipt.accepted_at_ms }))
            }
            Event::ReceiptRefused { message, error, .. } if message == Some(id) => {
                Some(Err(anyhow::anyhow!("the receipt does not hold: {error}")))
            }
            Event::SendFailed { message, error, .. } if message == id => {
                Some(Err(anyhow::anyhow!("the server refuses the message: {error}")))
            }
            _ => None,
        })
        .await?
    }

    /// Waits for the next message.
    pub(crate) async fn received(&mut self) -> anyhow::Result<Message> {
        self.until("a message", |event| match event {
            Event::MessageReceived(message) => Some(Ok(message)),
            Event::Undecryptable { error, .. } => Some(Err(anyhow::anyhow!("a message cannot be read: {error}"))),
            _ => None,
        })
        .await?
    }

    /// Waits until the group is in `wanted` or a later epoch.
    pub(crate) async fn follows_to(&mut self, conversation: ConversationId, wanted: u64) -> anyhow::Result<()> {
        if self.client.conversation(conversation).await?.epoch >= wanted {
            return Ok(());
        }
        self.until("the new epoch", |event| match event {
            Event::EpochChanged { epoch, .. } if epoch >= wanted => Some(()),
            _ => None,
        })
        .await
    }

    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> anyhow::Result<T> {
        let search = async {
            loop {
                match self.events.next().await {
                    Some(event) => {
                        if let Some(found) = pick(event) {
                            return Ok(found);
                        }
                    }
                    None => bail!("{} has gone", self.name),
                }
            }
        };
        tokio::time::timeout(PATIENCE, search)
            .await
            .with_context(|| format!("{} waits in vain for {what}", self.name))?
    }
}
