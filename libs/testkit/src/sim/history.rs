//! What has happened, and the one checker of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use qpc_sdk::{
    ConversationId, DeviceId, Event, Message, MessageId, MessageKind, MessageState, Reaction, ReceiptFile,
    verify_receipts,
};
use tokio::time::Instant;

/// Lines of the log that a failure shows.
const LOG: usize = 400;
/// Things that are told of one failure.
const BROKEN: usize = 20;

/// A message as its writer knows it.
struct Written {
    conversation: ConversationId,
    id: MessageId,
    by: DeviceId,
    /// In which epoch its writer was.
    epoch: u64,
}

/// See the module. All that the clients were told, in virtual time.
pub(super) struct History {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they were written.
    written: Vec<Written>,
    /// The same of changes of messages, with the message of each.
    changed: Vec<(Written, MessageId)>,
    /// And in which epoch of the group.
    accepted: BTreeMap<MessageId, u64>,
    /// Devices of a group in the epochs in which somebody has looked.
    rosters: BTreeMap<(ConversationId, u64), BTreeSet<DeviceId>>,
    shown: BTreeMap<(DeviceId, MessageId), u32>,
    /// Whose commit began an epoch.
    commits: BTreeMap<(ConversationId, u64), DeviceId>,
    /// Devices that were removed from a conversation, or have left it.
    gone: BTreeSet<(DeviceId, ConversationId)>,
    /// Devices of which nothing is asked any more, and those of them that are revoked for certain.
    doomed: BTreeSet<DeviceId>,
    revoked: BTreeSet<DeviceId>,
    /// Accounts of direct conversations.
    pairs: BTreeMap<[String; 2], ConversationId>,
    broken: Vec<String>,
    log: VecDeque<String>,
    trace: u64,
}

/// A device at the end.
pub(super) struct Final {
    pub(super) device: DeviceId,
    pub(super) undecryptable: u64,
    pub(super) conversations: BTreeMap<ConversationId, Held>,
    /// What its user would compare with others.
    pub(super) receipts: ReceiptFile,
}

/// A conversation as a device has it.
pub(super) struct Held {
    /// Whether the device is still in it, and with whom.
    pub(super) active: bool,
    pub(super) devices: BTreeSet<DeviceId>,
    pub(super) epoch: u64,
    pub(super) authenticator: Vec<u8>,
    pub(super) messages: Vec<Message>,
}

/// Numbers of a history.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Messages written.
    pub written: usize,
    /// Messages with a receipt that holds.
    pub accepted: usize,
    /// Times that a message was shown to a user.
    pub shown: usize,
    /// Epochs of groups in which somebody has looked around.
    pub epochs: usize,
}

impl History {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something for whoever looks into a failure, and for telling two runs apart.
    pub(super) fn note(&self, line: String) {
        let at = self.began.elapsed().as_millis();
        let mut state = self.state();
        let line = format!("{:>8}.{:03} {line}", at / 1000, at % 1000);
        state.trace =
            line.bytes().fold(state.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        if state.log.len() == LOG {
            state.log.pop_front();
        }
        state.log.push_back(line);
    }

    pub(super) fn trace(&self) -> u64 {
        self.state().trace
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.state().log.iter().cloned().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.state();
        Counts {
            written: state.written.len(),
            accepted: state.accepted.len(),
            shown: state.shown.values().map(|times| *times as usize).sum(),
            epochs: state.rosters.len(),
        }
    }

    /// What must never be.
    pub(super) fn broken(&self, what: String) {
        self.note(format!("BROKEN {what}"));
        let mut state = self.state();
        if state.broken.len() < BROKEN {
            state.broken.push(what);
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        !self.state().broken.is_empty()
    }

    pub(super) fn wrote(&self, by: DeviceId, conversation: ConversationId, id: MessageId, epoch: u64) {
        self.state().written.push(Written { conversation, id, by, epoch });
    }

    /// A change of a message was written: its id and that of the message.
    pub(super) fn changed(
        &self,
        by: DeviceId,
        conversation: ConversationId,
        (id, target): (MessageId, MessageId),
        epoch: u64,
    ) {
        self.state().changed.push((Written { conversation, id, by, epoch }, target));
    }

    /// The server said that a commit of `by` began `epoch`.
    pub(super) fn committed(&self, by: DeviceId, conversation: ConversationId, epoch: u64) {
        let other = self.state().commits.insert((conversation, epoch), by);
        if let Some(other) = other {
            self.broken(format!("two commits began epoch {epoch} of {conversation}: by {other} and by {by}"));
        }
    }

    /// A device is about to be revoked: nothing more is asked of it.
    pub(super) fn doom(&self, device: DeviceId) {
        self.state().doomed.insert(device);
    }

    pub(super) fn is_doomed(&self, device: DeviceId) -> bool {
        self.state().doomed.contains(&device)
    }

    /// The server has said that a device is revoked.
    pub(super) fn revoked(&self, device: DeviceId) {
        self.state().revoked.insert(device);
    }

    /// Who is in an epoch of a group, as one of them sees it.
    pub(super) fn roster(&self, conversation: ConversationId, epoch: u64, devices: BTreeSet<DeviceId>) {
        let known = self.state().rosters.entry((conversation, epoch)).or_insert_with(|| devices.clone()).clone();
        if known != devices {
            self.broken(format!("epoch {epoch} of {conversation} has {known:?} for some and {devices:?} for others"));
        }
    }

    /// Two accounts have a direct conversation.
    pub(super) fn paired(&self, one: &str, other: &str, conversation: ConversationId) {
        let mut pair = [one.to_owned(), other.to_owned()];
        pair.sort();
        let known = *self.state().pairs.entry(pair.clone()).or_insert(conversation);
        if known != conversation {
            self.broken(format!("{pair:?} have two conversations: {known} and {conversation}"));
        }
    }

    /// A client was told something.
    pub(super) fn heard(&self, device: DeviceId, event: &Event) {
        if self.is_doomed(device) && !matches!(event, Event::MessageReceived(_) | Event::Accepted { .. }) {
            return;
        }
        match event {
            Event::MessageReceived(message) => {
                let times = {
                    let mut state = self.state();
                    let times = state.shown.entry((device, message.id)).or_default();
                    *times += 1;
                    *times
                };
                if times > 1 {
                    self.broken(format!("{device} was shown {} {times} times", message.id));
                }
            }
            Event::Accepted { message, receipt, .. } => {
                self.state().accepted.insert(*message, receipt.epoch);
            }
            Event::Lost { conversation, count } => {
                self.broken(format!("{device} has lost {count} messages of {conversation}"));
            }
            Event::Stuck(conversation) => self.broken(format!("{device} cannot follow {conversation}")),
            Event::Removed(conversation) | Event::Left(conversation) => {
                self.state().gone.insert((device, *conversation));
            }
            Event::ReceiptRefused { error, .. } => {
                self.broken(format!("a receipt for {device} does not hold: {error}"))
            }
            Event::Undecryptable { seq, error, .. } => {
                self.broken(format!("{device} cannot read {seq} of its mailbox: {error}"));
            }
            Event::Gap { from, to, reason } => self.broken(format!("{device} misses {from} to {to}: {reason:?}")),
            Event::LoginRefused(error) => self.broken(format!("{device} was refused: {error}")),
            Event::Lagged(missed) => self.broken(format!("the listener of {device} missed {missed} events")),
            _ => {}
        }
    }

    /// Everything that is wrong, once all is quiet.
    pub(super) fn check(&self, all: Vec<Final>) -> Vec<String> {
        for one in all.iter().filter(|one| one.undecryptable > 0) {
            self.broken(format!("{} could not read {} entries", one.device, one.undecryptable));
        }
        let conversations: BTreeSet<ConversationId> =
            all.iter().flat_map(|one| one.conversations.keys().copied()).collect();
        for conversation in conversations {
            self.check_end(conversation, &all);
            for one in &all {
                self.check_messages(conversation, one);
            }
            self.check_order(conversation, &all);
            self.check_changes(conversation, &all);
        }
        let receipts: Vec<ReceiptFile> = all.into_iter().map(|one| one.receipts).collect();
        let report = verify_receipts(&receipts);
        for finding in report.findings {
            self.broken(format!("receipts of a server that keeps its word show {finding:?}"));
        }
        // Nothing expires in a simulation, and no store is put back.
        for excused in report.excused {
            self.broken(format!("{excused:?}"));
        }
        self.state().broken.clone()
    }

    /// Everyone who is in it ends in the same epoch with the same authenticator and sees the same members, nobody who
    /// should be in it is not, and no commit was accepted beyond that epoch.
    fn check_end(&self, conversation: ConversationId, all: &[Final]) {
        let mut ends = BTreeMap::new();
        let mut inside = BTreeSet::new();
        for one in all {
            let Some(held) = one.conversations.get(&conversation).filter(|held| held.active) else { continue };
            let end = (held.epoch, held.authenticator.clone(), held.devices.clone());
            ends.entry(end).or_insert_with(Vec::new).push(one.device);
            inside.insert(one.device);
        }
        if ends.len() > 1 {
            let ends: Vec<_> = ends.iter().map(|((epoch, ..), devices)| (epoch, devices)).collect();
            self.broken(format!("members of {conversation} end apart: {ends:?}"));
        }
        let Some((last, _, devices)) = ends.keys().next_back().cloned() else { return };
        let revoked: Vec<_> = self.state().revoked.intersection(&devices).copied().collect();
        if !revoked.is_empty() {
            self.broken(format!("{revoked:?} are revoked, and still in {conversation}"));
        }
        for one in all.iter().filter(|one| devices.contains(&one.device) && !inside.contains(&one.device)) {
            self.broken(format!("{} is in {conversation} for others and not for itself", one.device));
        }
        let beyond = self.state().commits.keys().any(|(of, epoch)| *of == conversation && *epoch > last);
        if beyond {
            self.broken(format!("a commit of {conversation} was accepted and nobody is in its epoch"));
        }
    }

    /// What was accepted is there for every member, once, and what was written was accepted.
    fn check_messages(&self, conversation: ConversationId, one: &Final) {
        let nothing = Vec::new();
        let messages = one.conversations.get(&conversation).map_or(&nothing, |held| &held.messages);
        let mut times: BTreeMap<MessageId, Vec<&Message>> = BTreeMap::new();
        for message in messages {
            times.entry(message.id).or_default().push(message);
        }
        let wrong: Vec<String> = {
            let state = self.state();
            let mut wrong = Vec::new();
            for written in state.written.iter().filter(|written| written.conversation == conversation) {
                let there = times.remove(&written.id).unwrap_or_default();
                let accepted = state.accepted.get(&written.id).copied();
                let good = match &there[..] {
                    [message] if written.by == one.device => {
                        let refused = message.state == MessageState::Failed;
                        is_accepted(message.state) || refused && state.was_gone(one.device, conversation, written.epoch)
                    }
                    [_] => true,
                    [] if written.by == one.device => false,
                    [] => {
                        !accepted.is_some_and(|epoch| state.is_member(one.device, conversation, written.epoch, epoch))
                    }
                    _ => false,
                };
                if !good {
                    let states: Vec<_> = there.iter().map(|message| message.state).collect();
                    let accepted = accepted.map_or("not accepted".to_owned(), |epoch| format!("accepted in {epoch}"));
                    let Written { id, by, epoch, .. } = written;
                    wrong
                        .push(format!("{id} of {by}, written in {epoch}, {accepted}, is {states:?} at {}", one.device));
                }
            }
            wrong.extend(times.keys().map(|id| format!("{} has {id}, which nobody wrote", one.device)));
            wrong
        };
        wrong.into_iter().for_each(|what| self.broken(what));
    }

    /// Mailboxes hold the messages of a conversation in one order, those of one writer in the order of writing, and every
    /// user sees what was accepted in one order.
    fn check_order(&self, conversation: ConversationId, all: &[Final]) {
        let written: BTreeMap<MessageId, (DeviceId, usize)> = {
            let state = self.state();
            state.written.iter().enumerate().map(|(n, one)| (one.id, (one.by, n))).collect()
        };
        let held = || all.iter().filter_map(|one| Some((one.device, one.conversations.get(&conversation)?)));
        let received: Vec<_> = held().map(|(device, held)| (device, received(held))).collect();
        for (device, order) in &received {
            let mut last: BTreeMap<DeviceId, usize> = BTreeMap::new();
            for id in order {
                let Some((by, n)) = written.get(id) else { continue };
                if last.insert(*by, *n).is_some_and(|before| before > *n) {
                    self.broken(format!("{device} has messages of {by} out of their order"));
                }
            }
        }
        self.check_one_order("has in its mailbox", conversation, &received);
        let shown: Vec<_> = held().map(|(device, held)| (device, shown(held))).collect();
        self.check_one_order("shows", conversation, &shown);
    }

    /// Devices that have been there for all changes of a message show it alike.
    fn check_changes(&self, conversation: ConversationId, all: &[Final]) {
        let mut seen: BTreeMap<MessageId, Vec<(DeviceId, Looks)>> = BTreeMap::new();
        for one in all {
            let held = one.conversations.get(&conversation).filter(|held| held.active);
            for message in held.into_iter().flat_map(|held| &held.messages) {
                if self.state().had_all_changes(one.device, conversation, message.id) {
                    seen.entry(message.id).or_default().push((one.device, looks(message)));
                }
            }
        }
        for (id, looks) in seen {
            if let Some(pair) = looks.windows(2).find(|pair| pair[0].1 != pair[1].1) {
                self.broken(format!("{id} of {conversation} does not look alike: {pair:?}"));
            }
        }
    }

    /// What two devices both have is in the same order at both.
    fn check_one_order(&self, how: &str, conversation: ConversationId, orders: &[(DeviceId, Vec<MessageId>)]) {
        let common = |of: &[MessageId], with: &[MessageId]| -> Vec<MessageId> {
            of.iter().filter(|id| with.contains(id)).copied().collect()
        };
        for (n, (one, order)) in orders.iter().enumerate() {
            for (other, theirs) in &orders[n + 1..] {
                if common(order, theirs) != common(theirs, order) {
                    self.broken(format!("{one} {how} {conversation} in another order than {other}"));
                }
            }
        }
    }
}

impl State {
    /// Whether a device was in the group whenever a message was changed, as far as that was accepted.
    fn had_all_changes(&self, device: DeviceId, conversation: ConversationId, message: MessageId) -> bool {
        let changes =
            self.changed.iter().filter(|(written, of)| (written.conversation, *of) == (conversation, message));
        changes.into_iter().all(|(written, _)| match self.accepted.get(&written.id) {
            Some(epoch) => written.by == device || self.is_member(device, conversation, written.epoch, *epoch),
            // Not accepted, or its writer has not heard that it was.
            None => !self.doomed.contains(&written.by),
        })
    }

    /// Whether a device was out of a conversation some time after an epoch.
    fn was_gone(&self, device: DeviceId, conversation: ConversationId, since: u64) -> bool {
        let mut rosters = self.rosters.range((conversation, since)..=(conversation, u64::MAX));
        self.gone.contains(&(device, conversation)) || rosters.any(|(_, roster)| !roster.contains(&device))
    }

    /// Whether a device was in the group in all epochs from one to another, as far as somebody has looked, and in the next
    /// one: who says that it leaves gets nothing more, and the others learn of it when the epoch ends.
    fn is_member(&self, device: DeviceId, conversation: ConversationId, from: u64, to: u64) -> bool {
        let of = |range: std::ops::RangeInclusive<u64>| {
            self.rosters.range((conversation, *range.start())..=(conversation, *range.end())).map(|(_, roster)| roster)
        };
        let before = of(0..=from).next_back();
        let after = of(to.saturating_add(1)..=u64::MAX).next();
        before.into_iter().chain(of(from..=to)).chain(after).all(|roster| roster.contains(&device)) && before.is_some()
    }
}

/// How a message looks: what it is, its text, the signs under it.
type Looks = (MessageKind, String, Vec<Reaction>);

fn looks(message: &Message) -> Looks {
    (message.kind, message.text.clone(), message.reactions.clone())
}

fn is_accepted(state: MessageState) -> bool {
    matches!(state, MessageState::Accepted | MessageState::Delivered | MessageState::Read)
}

/// Messages of others in the order of the mailbox.
fn received(held: &Held) -> Vec<MessageId> {
    let mut messages: Vec<(u64, MessageId)> =
        held.messages.iter().filter_map(|message| Some((message.seq?, message.id))).collect();
    messages.sort_unstable();
    messages.into_iter().map(|(_, id)| id).collect()
}

/// Messages that the server has accepted, in the order in which a user sees them.
fn shown(held: &Held) -> Vec<MessageId> {
    let accepted = held.messages.iter().filter(|message| message.seq.is_some() || is_accepted(message.state));
    accepted.map(|message| message.id).collect()
}
