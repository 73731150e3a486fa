//! Messages: how many are accepted, and how long people wait.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::future::try_join_all;
use qpc_crypto::{Conversation, Incoming};
use qpc_sdk::transport::{Connection, Push};
use qpc_wire::{
    methods::{Ack, Enqueue, Fetch, SealedEnqueue},
    v1::{
        AckRequest, EnqueueRequest, Entry, FetchRequest, SealedEnqueueRequest, entry::Body,
        sealed_enqueue_request::Permit,
    },
};
use tokio::time::Instant;

use crate::{
    PAIRS, SENDERS, Scale,
    report::Report,
    user::{User, World, task},
};

/// Bytes of a text; 1024 with the marker of the padding.
const TEXT: usize = 1023;
/// Entries that a recipient reads before it acknowledges.
const ACK_EVERY: u64 = 32;

/// How messages are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// By a device that says so.
    Named,
    /// Sealed, with the delivery key of the group.
    Key,
    /// Sealed, each with a token.
    Token,
}

/// A request, and what is shown beside it where it is sealed.
type Prepared = (EnqueueRequest, Option<Permit>);

/// Messages a second that 64 closed-loop senders get receipts for; the recipients are away.
pub(crate) async fn accepted(world: &mut World, scale: Scale, manner: Manner) -> Result<f64> {
    let mut senders = Vec::with_capacity(SENDERS);
    for _ in 0..SENDERS {
        let (sender, recipient, mut conversation, _) = world.pair().await?;
        recipient.connection.close();
        let mut tokens = match manner {
            Manner::Token => sender.tokens(scale.prepared).await?,
            Manner::Named | Manner::Key => Vec::new(),
        };
        let key = Bytes::copy_from_slice(&*conversation.delivery_key(&sender.provider)?);
        let requests = (0..scale.prepared)
            .map(|_| {
                let permit = match manner {
                    Manner::Named => None,
                    Manner::Key => Some(Permit::DeliveryKey(key.clone())),
                    Manner::Token => Some(Permit::Token(tokens.pop().context("too few tokens")?)),
                };
                Ok((request(&sender, &mut conversation, &[7; TEXT])?, permit))
            })
            .collect::<Result<VecDeque<Prepared>>>()?;
        let connection = match manner {
            Manner::Named => sender.connection.clone(),
            Manner::Key | Manner::Token => {
                sender.connection.close();
                world.unnamed().await?
            }
        };
        senders.push((connection, requests));
    }
    let started = Instant::now();
    let until = started + scale.phase;
    let counts = try_join_all(senders.into_iter().map(|(connection, mut requests)| {
        task(async move {
            let mut count = 0u32;
            while let Some(prepared) = requests.pop_front().filter(|_| Instant::now() < until) {
                post(&connection, prepared).await?;
                count += 1;
            }
            connection.close();
            // A sender that ran out would only wait while the clock runs.
            anyhow::Ok((count, started.elapsed().as_secs_f64()))
        })
    }))
    .await?;
    let mut rate = 0.0;
    for count in counts {
        let (count, seconds) = count?;
        rate += f64::from(count) / seconds;
    }
    Ok(rate)
}

async fn post(connection: &Connection, (request, permit): Prepared) -> Result<()> {
    if permit.is_none() {
        connection.call::<Enqueue>(&request).await?;
        return Ok(());
    }
    let EnqueueRequest { idempotency_key, group_id, epoch, payload, epoch_tag, commitment, keep_ms } = request;
    let request =
        SealedEnqueueRequest { idempotency_key, group_id, epoch, payload, epoch_tag, permit, commitment, keep_ms };
    connection.call::<SealedEnqueue>(&request).await?;
    Ok(())
}

/// Milliseconds that 16 pairs waited.
pub(crate) struct Latencies {
    receipt: Vec<f64>,
    screen: Vec<f64>,
}

impl Latencies {
    pub(crate) fn report(mut self, shape: &str, report: &mut Report) {
        for (what, values) in [("receipt", &mut self.receipt), ("screen", &mut self.screen)] {
            values.sort_by(f64::total_cmp);
            for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                let index = ((values.len() as f64 * quantile) as usize).min(values.len().saturating_sub(1));
                let value = values.get(index).copied().unwrap_or(f64::NAN);
                report.figure(format!("{shape} send to {what} {name}"), "ms", value);
            }
        }
    }
}

/// Both sides online: from before encryption to the receipt, and to the decrypted text at the other side.
pub(crate) async fn latencies(world: &mut World, scale: Scale) -> Result<Latencies> {
    let mut pairs = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        pairs.push(world.pair().await?);
    }
    let origin = Instant::now();
    let until = origin + scale.phase;
    let runs = pairs.into_iter().map(|(sender, recipient, ours, theirs)| {
        let sending = task(send(sender, ours, origin, until));
        let receiving = task(receive(recipient, theirs, origin));
        async move { anyhow::Ok((sending.await??, receiving.await??)) }
    });
    let mut latencies = Latencies { receipt: Vec::new(), screen: Vec::new() };
    for (receipt, screen) in try_join_all(runs).await? {
        latencies.receipt.extend(receipt);
        latencies.screen.extend(screen);
    }
    Ok(latencies)
}

async fn send(sender: User, mut conversation: Conversation, origin: Instant, until: Instant) -> Result<Vec<f64>> {
    let mut waited = Vec::new();
    loop {
        let last = Instant::now() >= until;
        let begun = origin.elapsed();
        let mut text = [0; TEXT];
        text[..8].copy_from_slice(&(begun.as_nanos() as u64).to_be_bytes());
        text[8] = last.into();
        sender.connection.call::<Enqueue>(&request(&sender, &mut conversation, &text)?).await?;
        waited.push((origin.elapsed() - begun).as_secs_f64() * 1000.0);
        if last {
            sender.connection.close();
            return Ok(waited);
        }
    }
}

fn request(sender: &User, conversation: &mut Conversation, text: &[u8]) -> Result<EnqueueRequest> {
    Ok(EnqueueRequest {
        idempotency_key: sender.random_key(),
        group_id: conversation.group_id().to_bytes(),
        epoch: conversation.epoch(),
        payload: Bytes::from(conversation.encrypt(&sender.provider, &sender.key, text)?),
        epoch_tag: Bytes::copy_from_slice(&conversation.epoch_tag()?),
        ..EnqueueRequest::default()
    })
}

async fn receive(mut user: User, mut conversation: Conversation, origin: Instant) -> Result<Vec<f64>> {
    let mut waited = Vec::new();
    // The Welcome, which was handed over directly.
    let mut cursor = 1;
    let mut acked = 0;
    let mut acking = None;
    loop {
        let entries = match user.pushes.recv().await.context("the recipient lost its connection")? {
            Push::Mailbox(event) if event.entries.first().is_some_and(|entry| entry.seq <= cursor + 1) => event.entries,
            _ => user.connection.call::<Fetch>(&FetchRequest { after: cursor, limit: 0 }).await?.entries,
        };
        for entry in entries.into_iter().filter(|entry| entry.seq > 1) {
            if entry.seq <= cursor {
                continue;
            }
            cursor = entry.seq;
            let (begun, last) = read(&user, &mut conversation, entry)?;
            waited.push((origin.elapsed().as_nanos() as f64 - begun as f64) / 1e6);
            if last {
                if let Some(before) = acking.take() {
                    before.await??;
                }
                user.connection.close();
                return Ok(waited);
            }
        }
        if cursor >= acked + ACK_EVERY {
            // Beside the reading, as in the SDK; one at a time.
            if let Some(before) = acking.take() {
                before.await??;
            }
            let connection = user.connection.clone();
            acking = Some(task(async move {
                connection.call::<Ack>(&AckRequest { seq: cursor, ..AckRequest::default() }).await
            }));
            acked = cursor;
        }
    }
}

fn read(user: &User, conversation: &mut Conversation, entry: Entry) -> Result<(u64, bool)> {
    let Some(Body::Envelope(envelope)) = entry.body else { bail!("a gap in the mailbox") };
    let Incoming::Message { plaintext, .. } = conversation.process(&user.provider, &envelope.payload)? else {
        bail!("not a message")
    };
    let (begun, rest) = plaintext.split_first_chunk::<8>().context("short text")?;
    Ok((u64::from_be_bytes(*begun), rest[0] == 1))
}
