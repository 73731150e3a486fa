//! Group commit: messages that arrive while a transaction runs share the next one.
//!
//! No timer: an idle service commits one message at once, a busy one as many as have gathered. Messages of one group go
//! to one committer of a replica, so they keep the order in which they came.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use prost::Message;
use qpc_chassis::{
    Runtime,
    db::{BatchClaim, DbError, IdempotentCall, claim_all, release},
    metrics::Metrics,
    push::Push,
    rpc::Identity,
};
use qpc_crypto::{ReceiptKey, receipt};
use qpc_wire::{CorrelationId, DeviceId, GroupId, Status, v1};
use rand::RngCore;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Level, Span};

use crate::{
    domain::mailbox::{Payload, Recipient, payload_id},
    error::Error,
    events,
    store::{Roster, Store, append},
};

/// Messages that wait for one committer; callers beyond that wait in line.
const QUEUE: usize = 1024;
/// Times that a batch is tried when the database gives it up.
const TRIES: usize = 3;
/// Epochs that a message may be behind its group when it is accepted. Members keep the keys of five past epochs; a reader
/// can be ahead of what is accepted here by a commit of its own, merged before it reads its mailbox, and by one that
/// commits between the reading of the epoch and the locking of the mailboxes.
const PAST_EPOCHS: u64 = 3;

/// An application message that passed the checks of its call.
#[derive(Debug)]
pub struct NewMessage {
    /// Its key.
    pub call: IdempotentCall,
    /// Who sends it.
    pub sender: Identity,
    /// To which group.
    pub group: GroupId,
    /// Under which epoch.
    pub epoch: u64,
    /// The MLSMessage.
    pub body: Bytes,
    /// Stands in the log lines of the transaction that it shares with others.
    pub correlation: CorrelationId,
}

struct Job {
    message: NewMessage,
    answer: oneshot::Sender<Result<v1::EnqueueResponse, Error>>,
}

/// The entrance. Committers end when it is dropped.
pub struct Committers {
    queues: Vec<mpsc::Sender<Job>>,
}

impl Committers {
    /// Starts `count` committers.
    pub fn start(count: usize, batch: usize, worker: Worker) -> Self {
        let worker = Arc::new(worker);
        let queues = (0..count.max(1))
            .map(|_| {
                let (sender, receiver) = mpsc::channel(QUEUE);
                worker.runtime.spawn(run(worker.clone(), receiver, batch.max(1)));
                sender
            })
            .collect();
        Self { queues }
    }

    /// Makes `message` durable for every recipient; returns when it is.
    pub async fn enqueue(&self, message: NewMessage) -> Result<v1::EnqueueResponse, Error> {
        let shard = usize::from(message.group.0[0]) % self.queues.len().max(1);
        let (answer, answered) = oneshot::channel();
        self.queues[shard].send(Job { message, answer }).await.map_err(|_| Error::Stopping)?;
        answered.await.map_err(|_| Error::Stopping)?
    }
}

/// What a committer works with.
pub struct Worker {
    runtime: Runtime,
    store: Store,
    push: Push,
    receipt_key: Arc<ReceiptKey>,
    kept_ms: u64,
    batch_sizes: Histogram,
    accepted: Counter,
}

impl Worker {
    /// `kept_ms`: how long an undelivered message is kept.
    pub fn new(
        runtime: Runtime,
        store: Store,
        push: Push,
        receipt_key: Arc<ReceiptKey>,
        kept_ms: u64,
        metrics: &Metrics,
    ) -> Self {
        Self {
            runtime,
            store,
            push,
            receipt_key,
            kept_ms,
            batch_sizes: metrics.sizes("delivery_commit_batch", "Messages of one transaction"),
            accepted: metrics.counter("delivery_accepted", "Messages made durable"),
        }
    }
}

async fn run(worker: Arc<Worker>, mut jobs: mpsc::Receiver<Job>, batch: usize) {
    let mut gathered = Vec::with_capacity(batch);
    while jobs.recv_many(&mut gathered, batch).await > 0 {
        let (messages, answers): (Vec<_>, Vec<_>) = gathered.drain(..).map(|job| (job.message, job.answer)).unzip();
        worker.batch_sizes.observe(messages.len() as f64);
        let results = match worker.commit(&messages).instrument(batch_span(&messages)).await {
            Ok(results) => results,
            Err(error) => {
                let correlation = messages.iter().map(|message| message.correlation).collect::<Vec<_>>();
                tracing::error!(%error, ?correlation, "batch failed");
                let status = Status::from(error);
                messages.iter().map(|_| Err(Error::Refused(status.clone()))).collect()
            }
        };
        for (answer, result) in answers.into_iter().zip(results) {
            // A caller that gave up will ask again with the same key.
            let _ = answer.send(result);
        }
    }
}

/// Names every call of the batch, when anyone is listening.
fn batch_span(messages: &[NewMessage]) -> Span {
    if !tracing::enabled!(Level::DEBUG) {
        return Span::none();
    }
    let correlations: Vec<String> = messages.iter().map(|message| message.correlation.to_string()).collect();
    tracing::debug_span!("batch", service = crate::SERVICE, correlation = correlations.join(" "))
}

type Results = Vec<Result<v1::EnqueueResponse, Error>>;

impl Worker {
    async fn commit(&self, messages: &[NewMessage]) -> Result<Results, Error> {
        for _ in 1..TRIES {
            match self.try_commit(messages).await {
                Err(Error::Db(DbError::Unavailable(error))) => tracing::warn!(%error, "batch is tried again"),
                other => return other,
            }
        }
        self.try_commit(messages).await
    }

    async fn try_commit(&self, messages: &[NewMessage]) -> Result<Results, Error> {
        let now_ms = self.runtime.now_ms();
        let mut tx = self.store.db.begin().await?;
        let groups: BTreeSet<GroupId> = messages.iter().map(|message| message.group).collect();
        let rosters = Store::rosters(&mut tx, &groups).await?;

        // The receipt is known before the rows are written, so that key and answer are one insert. It leaves this process
        // only after the commit (G1). Keys are taken before epochs and members count: what was accepted once is accepted
        // however far its group has moved on since.
        let checked: Vec<_> = messages.iter().map(|message| self.check(message, &rosters, now_ms)).collect();
        let calls: Vec<_> = messages
            .iter()
            .zip(&checked)
            .map(|(message, checked)| {
                let response = checked.as_ref().map(|(_, response)| response.encode_to_vec()).unwrap_or_default();
                (message.call, Bytes::from(response))
            })
            .collect();
        let claims = claim_all(&mut tx, &calls).await?;
        let (mut results, mut payloads, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for ((claim, checked), message) in claims.into_iter().zip(checked).zip(messages) {
            results.push(match (claim, checked) {
                (BatchClaim::Fresh, Ok((devices, response))) => {
                    // What nobody gets, nobody would ever remove.
                    if !devices.is_empty() {
                        payloads.push(self.payload(message, devices, now_ms));
                    }
                    Ok(response)
                }
                (BatchClaim::Fresh, Err(error)) => {
                    refused.push(message.call);
                    Err(error)
                }
                (BatchClaim::Done(first), Err(error)) if first.is_empty() => Err(error),
                (BatchClaim::Done(first), _) => v1::EnqueueResponse::decode(first.as_slice())
                    .map_err(|_| Error::Db(DbError::Damaged("idempotent response"))),
                (BatchClaim::Reused, _) => Err(Error::Db(DbError::KeyReused)),
            });
        }
        release(&mut tx, &refused).await?;
        let placed = append(&mut tx, &payloads, now_ms + self.kept_ms).await?;
        tx.commit().await?;
        self.accepted.inc_by(payloads.len() as u64);

        let doorbells = events::mailbox(&payloads, &placed);
        let push = self.push.clone();
        // Receipts need not wait for the doorbells; the next batch need not either.
        self.runtime.spawn(async move { push.ring(doorbells).await });
        Ok(results)
    }

    /// Who gets the message, and its receipt.
    fn check(
        &self,
        message: &NewMessage,
        rosters: &HashMap<GroupId, Roster>,
        now_ms: u64,
    ) -> Result<(Vec<DeviceId>, v1::EnqueueResponse), Error> {
        let (epoch, devices) = recipients(message, rosters)?;
        let receipt = receipt::build(&self.receipt_key, message.group, epoch, &message.body, &devices, now_ms);
        Ok((devices, v1::EnqueueResponse { receipt: Some(receipt) }))
    }

    fn payload(&self, message: &NewMessage, devices: Vec<DeviceId>, now_ms: u64) -> Payload {
        let mut random = [0; 10];
        self.runtime.rng().fill_bytes(&mut random);
        Payload {
            id: payload_id(now_ms, random),
            group: message.group,
            kind: v1::EnvelopeKind::Application,
            epoch: message.epoch,
            accepted_ms: now_ms,
            body: message.body.clone(),
            recipients: devices.into_iter().map(Recipient::plain).collect(),
        }
    }
}

/// The group's epoch and every member device but the sender.
fn recipients(message: &NewMessage, rosters: &HashMap<GroupId, Roster>) -> Result<(u64, Vec<DeviceId>), Error> {
    let roster = rosters
        .get(&message.group)
        .filter(|roster| roster.members.contains(&message.sender.device))
        .ok_or(Error::NoSuchGroup)?;
    if message.epoch > roster.epoch || message.epoch + PAST_EPOCHS < roster.epoch {
        return Err(Error::WrongEpoch { current: roster.epoch });
    }
    let others = roster.members.iter().copied().filter(|device| *device != message.sender.device);
    Ok((roster.epoch, others.collect()))
}
