//! Group commit: messages that arrive while a transaction runs share the next one.
//!
//! No timer: an idle service commits one message at once, a busy one as many as have gathered. Messages of one group go
//! to one committer of a replica, so they keep the order in which they came. Their receipts are links of the group's chain,
//! whose head is locked from reading to writing; a batch that holds repetitions is therefore begun again without them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use prost::Message;
use qpc_chassis::{
    Runtime,
    db::{BatchClaim, DbError, IdempotentCall, Tx, claim_all, release},
    limits::Rate,
    metrics::Metrics,
    push::Push,
    rpc::Identity,
    runtime::planted::{Mistake, planted},
    trace::{self, Place},
};
use qpc_crypto::{
    FrankingKey, ReceiptKey,
    franking::{Commitment, Franked},
    mls::Role,
    receipt::{self, Accepted, Link},
};
use qpc_wire::{CorrelationId, DeviceId, GroupId, Status, v1};
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Level, Span};

use crate::{
    domain::{
        inbound::{Inbound, Over},
        mailbox::{PAST_EPOCHS, Payload, Recipient, payload_id},
        permit::Permit,
    },
    error::Error,
    events,
    store::{Fit, Mark, Roster, Store, append_within},
};

/// Messages that wait for one committer; callers beyond that wait in line.
const QUEUE: usize = 1024;
/// Times that a batch is tried when the database gives it up.
const TRIES: usize = 3;

/// An application message that passed the checks of its call.
#[derive(Debug)]
pub struct NewMessage {
    /// Its key.
    pub call: IdempotentCall,
    /// The same as it stands in the request.
    pub key: Bytes,
    /// By what right it is sent.
    pub permit: Permit,
    /// To which group.
    pub group: GroupId,
    /// Under which epoch.
    pub epoch: u64,
    /// The sender's tag of that epoch.
    pub tag: Option<[u8; 16]>,
    /// The MLSMessage.
    pub body: Bytes,
    /// The sender's commitment to its content.
    pub commitment: Option<Commitment>,
    /// Time that it is kept for a device, milliseconds, if that is less than for others.
    pub keep_ms: Option<u64>,
    /// Stands in the log lines of the transaction that it shares with others.
    pub correlation: CorrelationId,
    /// The span of its call, below which the transaction is traced.
    pub trace: Option<Place>,
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
    franking_key: FrankingKey,
    terms: Terms,
    batch_sizes: Histogram,
    accepted: Counter,
}

/// How mailboxes keep what comes in.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long an undelivered message is kept, milliseconds.
    pub kept_ms: u64,
    /// Bytes that a mailbox takes.
    pub inbound: Rate,
}

impl Worker {
    /// A worker that signs with these keys.
    pub fn new(
        runtime: Runtime,
        store: Store,
        push: Push,
        receipt_key: Arc<ReceiptKey>,
        franking_key: FrankingKey,
        terms: Terms,
        metrics: &Metrics,
    ) -> Self {
        Self {
            runtime,
            store,
            push,
            receipt_key,
            franking_key,
            terms,
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
        let traced = trace::joined(messages.iter().filter_map(|message| message.trace), crate::SERVICE, "batch");
        let results = match worker.commit(&messages).instrument(traced).instrument(batch_span(&messages)).await {
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

type Answer = Result<v1::EnqueueResponse, Error>;

/// How a transaction ended.
enum Round {
    /// Everything in it is durable, or refused.
    Committed(Vec<Answer>),
    /// These were answered before, are too much for a mailbox, or were paid for with tokens that others have spent, so their
    /// places in the chains belong to others. Nothing was written.
    Known(Vec<(usize, Answer)>),
}

impl Worker {
    async fn commit(&self, messages: &[NewMessage]) -> Result<Vec<Answer>, Error> {
        for _ in 1..TRIES {
            match self.try_commit(messages).await {
                Err(Error::Db(DbError::Unavailable(error))) => tracing::warn!(%error, "batch is tried again"),
                other => return other,
            }
        }
        self.try_commit(messages).await
    }

    async fn try_commit(&self, messages: &[NewMessage]) -> Result<Vec<Answer>, Error> {
        let twin_of = twins(messages);
        let mut answers: Vec<Option<Answer>> = messages.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..messages.len()).filter(|index| twin_of[*index].is_none()).collect();
        // Each round answers one at least.
        while !open.is_empty() {
            let batch: Vec<&NewMessage> = open.iter().map(|index| &messages[*index]).collect();
            match self.round(&batch).await? {
                Round::Committed(results) => {
                    for (index, answer) in open.drain(..).zip(results) {
                        answers[index] = Some(answer);
                    }
                }
                Round::Known(known) => {
                    for (place, answer) in known {
                        answers[open[place]] = Some(answer);
                    }
                    open.retain(|index| answers[*index].is_none());
                }
            }
        }
        for (index, first) in twin_of.iter().enumerate() {
            if let Some(first) = first {
                answers[index] = Some(repeated(messages, &mut answers, *first, index));
            }
        }
        Ok(answers.into_iter().map(|answer| answer.unwrap_or(Err(Error::Stopping))).collect())
    }

    async fn round(&self, messages: &[&NewMessage]) -> Result<Round, Error> {
        let now_ms = self.runtime.now_ms();
        let mut tx = self.store.db.begin().await?;
        let groups: BTreeSet<GroupId> = messages.iter().map(|message| message.group).collect();
        let mut rosters = Store::rosters(&mut tx, &groups).await?;

        // The receipt is known before the rows are written, so that key and answer are one insert. It leaves this process
        // only after the commit (G1). Keys are taken before epochs and members count: what was accepted once is accepted
        // however far its group has moved on since.
        let mut checked = Vec::with_capacity(messages.len());
        for message in messages {
            checked.push(self.check(message, &mut rosters, now_ms)?);
        }
        let calls: Vec<_> = messages
            .iter()
            .zip(&checked)
            .map(|(message, checked)| {
                let response = checked.as_ref().map(|(_, response)| response.encode_to_vec()).unwrap_or_default();
                (message.call, Bytes::from(response))
            })
            .collect();
        let claims = claim_all(&mut tx, &calls).await?;
        if claims.iter().zip(&checked).any(|(claim, checked)| *claim != BatchClaim::Fresh && checked.is_ok()) {
            return known(claims).map(Round::Known);
        }
        let spent = spend(&mut tx, messages, &checked).await?;
        if !spent.is_empty() {
            return Ok(Round::Known(spent.into_iter().map(|place| (place, Err(Error::TokenSpent))).collect()));
        }
        let (mut results, mut payloads, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        // Of which message each payload is.
        let mut carried = Vec::new();
        let mut places = BTreeMap::new();
        for ((claim, checked), message) in claims.into_iter().zip(checked).zip(messages) {
            results.push(match (first_answer(claim)?, checked) {
                (Some(first), _) => first,
                (None, Ok((devices, response))) => {
                    places.extend(rosters.get(&message.group).map(|roster| (message.group, roster.head.link)));
                    // What nobody gets, nobody would ever remove.
                    if !devices.is_empty() {
                        carried.push(results.len());
                        payloads.push(self.payload(message, devices, &response, now_ms));
                    }
                    Ok(response)
                }
                (None, Err(error)) => {
                    refused.push(message.call);
                    Err(error)
                }
            });
        }
        release(&mut tx, &refused).await?;
        Store::follow(&mut tx, &places).await?;
        let inbound = Inbound { rate: self.terms.inbound, now_ms };
        let placed = match append_within(&mut tx, &payloads, now_ms + self.terms.kept_ms, &inbound).await? {
            Fit::Placed(placed) => placed,
            Fit::Over(over) => return Ok(Round::Known(full(over, &carried))),
        };
        if planted(Mistake::AnswersBeforeCommit) {
            self.runtime.spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                drop(tx.commit().await);
            });
        } else {
            tx.commit().await?;
        }
        self.accepted.inc_by(payloads.len() as u64);

        let doorbells = events::mailbox(&payloads, &placed);
        let push = self.push.clone();
        // Receipts need not wait for the doorbells; the next batch need not either.
        self.runtime.spawn(async move { push.ring(doorbells).await });
        Ok(Round::Committed(results))
    }

    /// Who gets the message, and its receipt at the next place of the group's chain; or why it is refused.
    fn check(
        &self,
        message: &NewMessage,
        rosters: &mut BTreeMap<GroupId, Roster>,
        now_ms: u64,
    ) -> Result<Result<(Vec<DeviceId>, v1::EnqueueResponse), Error>, Error> {
        let roster = match allowed(message, rosters) {
            Ok(roster) => roster,
            Err(refused) => return Ok(Err(refused)),
        };
        // Who does not say who it is gets it too: whom a receipt leaves out is whom it names.
        let sender = message.permit.device();
        let others = roster.members.iter().filter(|(device, _)| Some(**device) != sender);
        let devices: Vec<DeviceId> = others.clone().map(|(device, _)| *device).collect();
        // A revoked device counts until a commit removes it, and gets nothing.
        let served = others.filter(|(_, role)| **role > 0).map(|(device, _)| *device).collect();
        let accepted = Accepted {
            group: message.group,
            epoch: roster.head.epoch,
            payload: &message.body,
            devices: &devices,
            at_ms: now_ms,
        };
        let receipt = receipt::build(&self.receipt_key, &accepted, &roster.head.link);
        roster.head.link = Link::after(&receipt)?;
        Ok(Ok((served, v1::EnqueueResponse { receipt: Some(receipt) })))
    }

    fn payload(
        &self,
        message: &NewMessage,
        devices: Vec<DeviceId>,
        response: &v1::EnqueueResponse,
        now_ms: u64,
    ) -> Payload {
        Payload {
            id: payload_id(now_ms, self.runtime.random()),
            group: message.group,
            kind: v1::EnvelopeKind::Application,
            epoch: message.epoch,
            accepted_ms: now_ms,
            body: message.body.clone(),
            shared: None,
            receipt: response.receipt.clone(),
            franking: message.commitment.map(|commitment| self.frank(message, commitment, now_ms)),
            disappears_ms: message.keep_ms.map(|ms| now_ms.saturating_add(ms)),
            recipients: devices.into_iter().map(Recipient::plain).collect(),
        }
    }
}

impl Worker {
    fn frank(&self, message: &NewMessage, commitment: Commitment, at_ms: u64) -> v1::Franking {
        let franked = |account, device| Franked { group: message.group, account, device, at_ms, commitment };
        let (franked, anonymous) = match message.permit {
            Permit::Device(Identity { account, device }) => (franked(account, device), false),
            // That it was said here, and not by whom: members then want a signature by whoever says it.
            Permit::Key(_) | Permit::Token { .. } => (Franked::by_nobody(message.group, at_ms, commitment), true),
        };
        let tag = self.franking_key.tag(&franked);
        v1::Franking { commitment: Bytes::copy_from_slice(&commitment), tag: Bytes::copy_from_slice(&tag), anonymous }
    }
}

/// For each message the first one of the batch with the same key, if that is another: they share an answer.
fn twins(messages: &[NewMessage]) -> Vec<Option<usize>> {
    let mut first: HashMap<(Option<DeviceId>, &Bytes), usize> = HashMap::with_capacity(messages.len());
    messages
        .iter()
        .enumerate()
        .map(|(index, message)| {
            let first = *first.entry((message.permit.device(), &message.key)).or_insert(index);
            (first != index).then_some(first)
        })
        .collect()
}

/// The answer of a message whose key the `first` one had.
fn repeated(messages: &[NewMessage], answers: &mut [Option<Answer>], first: usize, index: usize) -> Answer {
    let content = |message: &NewMessage| {
        let NewMessage { permit, group, epoch, tag, body, commitment, keep_ms, .. } = message;
        (*permit, *group, *epoch, *tag, body.clone(), *commitment, *keep_ms)
    };
    if content(&messages[first]) != content(&messages[index]) {
        return Err(Error::Db(DbError::KeyReused));
    }
    match answers[first].take() {
        Some(Ok(response)) => {
            answers[first] = Some(Ok(response.clone()));
            Ok(response)
        }
        Some(Err(error)) => {
            let status = Status::from(error);
            answers[first] = Some(Err(Error::Refused(status.clone())));
            Err(Error::Refused(status))
        }
        None => Err(Error::Stopping),
    }
}

/// The refusals of those that are too much for a mailbox.
fn full(over: Vec<Over>, carried: &[usize]) -> Vec<(usize, Answer)> {
    over.into_iter()
        .filter_map(|over| {
            Some((*carried.get(over.payload)?, Err(Error::MailboxFull { retry_after_ms: over.retry_after_ms })))
        })
        .collect()
}

/// The answers of those that were made before.
fn known(claims: Vec<BatchClaim>) -> Result<Vec<(usize, Answer)>, Error> {
    let mut known = Vec::new();
    for (place, claim) in claims.into_iter().enumerate() {
        if let Some(answer) = first_answer(claim)? {
            known.push((place, answer));
        }
    }
    Ok(known)
}

/// What was answered under a key that is not new.
fn first_answer(claim: BatchClaim) -> Result<Option<Answer>, Error> {
    match claim {
        BatchClaim::Fresh => Ok(None),
        BatchClaim::Done(first) => v1::EnqueueResponse::decode(first.as_slice())
            .map(|response| Some(Ok(response)))
            .map_err(|_| Error::Db(DbError::Damaged("idempotent response"))),
        BatchClaim::Reused => Ok(Some(Err(Error::Db(DbError::KeyReused)))),
    }
}

/// The roster of the message's group, if its sender may write there now.
fn allowed<'a>(message: &NewMessage, rosters: &'a mut BTreeMap<GroupId, Roster>) -> Result<&'a mut Roster, Error> {
    let roster = rosters.get_mut(&message.group).ok_or(Error::NoSuchGroup)?;
    let role = match message.permit {
        Permit::Device(sender) => {
            Some(*roster.members.get(&sender.device).filter(|role| **role > 0).ok_or(Error::NoSuchGroup)?)
        }
        // Then the other members are the ones to refuse it.
        Permit::Key(_) | Permit::Token { .. } => None,
    };
    if let Some(successor) = roster.head.successor {
        return Err(Error::Replaced(successor));
    }
    if role.is_some_and(|role| role <= Role::ReadOnly as u8) {
        return Err(Error::ReadOnly);
    }
    let epoch = roster.head.epoch;
    // Of an epoch before a device has come, it could not be read by all who are to get it.
    let oldest = epoch.saturating_sub(PAST_EPOCHS).max(roster.head.joined);
    if !(oldest..=epoch).contains(&message.epoch) {
        return Err(Error::WrongEpoch { current: epoch });
    }
    let mark = roster.marks.get(&message.epoch);
    match (message.tag, mark) {
        (Some(theirs), Some(ours)) if theirs != ours.tag => return Err(Error::Forked(message.group)),
        _ => {}
    }
    match (message.permit, mark) {
        (Permit::Key(hash), Some(Mark { delivery_key: Some(known), .. })) if hash == *known => Ok(roster),
        (Permit::Key(_), _) => Err(Error::DeliveryKey),
        // The tag was compared, so whoever pays knows the group.
        (Permit::Token { .. }, None) => Err(Error::NoPermit),
        (Permit::Device(_) | Permit::Token { .. }, _) => Ok(roster),
    }
}

/// Takes the tokens of messages that are to be accepted. Returns the places of those whose token has paid for another one.
async fn spend(
    tx: &mut Tx,
    messages: &[&NewMessage],
    checked: &[Result<(Vec<DeviceId>, v1::EnqueueResponse), Error>],
) -> Result<Vec<usize>, Error> {
    let (mut tokens, mut places, mut spent) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (place, (message, checked)) in messages.iter().zip(checked).enumerate() {
        if let (Permit::Token { nonce, expires_ms }, Ok(_)) = (message.permit, checked) {
            match tokens.insert(nonce, expires_ms) {
                None => places.push((place, nonce)),
                Some(_) => spent.push(place),
            }
        }
    }
    let fresh = Store::spend(tx, &tokens).await?;
    spent.extend(places.into_iter().filter(|(_, nonce)| !fresh.contains(nonce)).map(|(place, _)| place));
    Ok(spent)
}
