//! Mailboxes: two senders have a message each for both of two devices.
//!
//! Two replicas take the calls, alone or as a batch, and run their transactions beside each other. The devices read by
//! doorbell and by fetch, and acknowledge; a mailbox may expire in between.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::rules;

const DEVICES: usize = 2;
const MESSAGES: usize = 2;
const REPLICAS: usize = 2;
/// The device that hears doorbells and whose mailbox may expire. The other one fetches: it is there for the fan-out, and
/// would only double what can happen to this one.
const LISTENER: usize = 0;

/// What was accepted is with the device, in its mailbox, or named as expired.
pub const G1_NOT_LOST: &str = "G1 an accepted message is not lost";
/// Every sequence that is not acknowledged is an entry or inside a gap, and a reader never meets a hole.
pub const G2_NO_HOLES: &str = "G2 a mailbox has no holes";
/// Nothing is shown twice.
pub const G2_ONCE: &str = "G2 a message is shown once";
/// Whatever happened to doorbells, calls and processes: in the end all is accepted, read and acknowledged.
pub const G3_ARRIVES: &str = "G3 every message arrives";
/// A message has one place in each mailbox.
pub const G10_ONCE: &str = "G10 a repeated call happens once";

rules! {
    /// `services/delivery/src/committer.rs`, `round`: results are returned after `tx.commit()`.
    answers_after_commit keeps G1_NOT_LOST,
    /// `services/delivery/src/committer.rs`, `round`: `push.ring` stands after `tx.commit()`. Else a device follows a
    /// sequence that never was, and drops the message that gets it later.
    rings_after_commit keeps G1_NOT_LOST,
    /// `services/delivery/src/store/append.rs`: heads, payloads and the entries of all devices are written to one `Tx`.
    fans_out_in_one_transaction keeps G1_NOT_LOST,
    /// `services/delivery/src/committer.rs`, `round`: `claim_all` gets the `Tx` of the batch.
    claims_in_the_transaction keeps G1_NOT_LOST,
    /// `libs/chassis/src/db/idempotency.rs`, `claim_all`: a key that is there is `Done`, not work.
    knows_keys keeps G10_ONCE,
    /// `libs/chassis/src/db/idempotency.rs`, `ON CONFLICT (id) DO NOTHING`: inserting a key waits for the transaction that
    /// has inserted it and not ended.
    waits_for_twins keeps G10_ONCE,
    /// `libs/chassis/src/db/idempotency.rs`: keys are rows, not the memory of a replica.
    shares_keys keeps G10_ONCE,
    /// `libs/sdk/src/outbox.rs`, `write`: the key is kept with the message, and `send` takes it from there.
    repeats_with_the_same_key keeps G10_ONCE,
    /// `services/delivery/src/store/append.rs`, `grow_heads`: the sequence is counted in a row that stays locked until the
    /// transaction ends.
    locks_heads keeps G2_NO_HOLES,
    /// `services/delivery/src/store/mailbox.rs`, `expire_device`: `INSERT` of the gap where something is gone.
    leaves_gaps keeps G2_NO_HOLES,
    /// `services/delivery/src/store/mailbox.rs`, `expire_device`: `from.min(…)` over all that is gone.
    gaps_begin_with_the_oldest keeps G2_NO_HOLES,
    /// `services/delivery/src/store/mailbox.rs`, `ack`: `acked < $2`.
    acks_only_forwards keeps G2_NO_HOLES,
    /// `services/delivery/src/store/mailbox.rs`, `ack`: `DELETE … seq <= $2`.
    deletes_up_to_the_ack keeps G1_NOT_LOST,
    /// `services/delivery/src/store/mailbox.rs`, `release`: a payload goes with its last reference.
    counts_references keeps G1_NOT_LOST,
    /// `libs/sdk/src/sync.rs`, `acknowledge`: what is acknowledged is the cursor of the store, not what was received.
    acks_what_is_stored keeps G1_NOT_LOST,
    /// `libs/sdk/src/receive.rs`, `entry`: message and cursor change in one transaction of the client's store.
    stores_message_with_cursor keeps G2_ONCE,
    /// `libs/sdk/src/receive.rs`, `entry`: `entry.seq <= cursor` is dropped.
    drops_what_was_read keeps G2_ONCE,
    /// `libs/sdk/src/sync.rs`, `on_mailbox`: entries of a doorbell are taken in only if they `continues` at the cursor.
    fetches_before_a_hole keeps G1_NOT_LOST,
    /// `libs/sdk/src/link.rs`, `watch_mailbox`: the look when `due`, at the beginning of a connection and from time to time.
    looks_unasked keeps G3_ARRIVES,
}

/// A row of `mailbox_entry`, also as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    seq: u8,
    /// First sequence of a gap that ends at `seq`; 0 for a message.
    gap_from: u8,
    message: usize,
}

/// A mailbox: its row of `mailbox_head` and its entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Mailbox {
    last_seq: u8,
    acked: u8,
    entries: Vec<Entry>,
}

/// What has been committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Database {
    mailboxes: [Mailbox; DEVICES],
    /// Keys that have an answer: message, and number of the key.
    keys: BTreeSet<(usize, u8)>,
    /// References of each payload; 0: there is no row.
    refs: [u8; MESSAGES],
}

/// One call in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    message: usize,
    key: u8,
    /// The key was not known: its sequences, once they are counted.
    fresh: bool,
    seqs: [u8; DEVICES],
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Begun; more calls may join.
    Begun,
    /// Holds its keys.
    Claimed,
    /// Holds the heads.
    Placed,
    /// Has committed the first mailbox only; not while all rules hold.
    Half,
    /// Committed; the answers are still here.
    Committed,
}

/// A process of delivery; nothing of it survives a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Replica {
    /// Empty: idle.
    batch: Vec<Call>,
    step: Option<Step>,
}

/// A sender with its outbox of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Sender {
    accepted: bool,
    /// Number of the key of its next call.
    key: u8,
}

/// A reader: its store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Device {
    cursor: u8,
    /// How often each message was shown.
    shown: [u8; MESSAGES],
    /// Observer: what expired in its mailbox.
    expired: [bool; MESSAGES],
    /// Observer: entries did not follow each other.
    hole: bool,
}

/// A doorbell on the bus with its entries. It stays: it may come, come late, and come again.
pub type Doorbell = Vec<Entry>;

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    db: Database,
    replicas: [Replica; REPLICAS],
    senders: [Sender; MESSAGES],
    devices: [Device; DEVICES],
    bus: BTreeSet<Doorbell>,
    /// Observer: places that each message got.
    placed: [u8; MESSAGES],
    /// What may still go wrong.
    crashes: u8,
    repetitions: u8,
    expiries: u8,
}

/// What happens next; `usize` are indices of messages, replicas and devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A call reaches a replica and joins its batch: replica, message. One that is late on the wire is one that the
    /// replica is late to begin.
    Send(usize, usize),
    /// The keys of the batch are inserted.
    Claim(usize),
    /// The heads grow.
    Place(usize),
    /// The transaction ends well, and the doorbells ring or are lost.
    Commit { replica: usize, rings: bool },
    /// The answers leave.
    Answer(usize),
    /// The process dies, and another takes its place.
    Crash(usize),
    /// A device takes in what it fetches, one entry.
    Fetch(usize),
    /// A device hears a doorbell.
    Hear(Doorbell),
    /// An acknowledgement arrives, maybe an old one.
    Ack(usize, u8),
    /// What is in a mailbox up to a sequence expires.
    Expire(usize, u8),
    /// Without `rings_after_commit`.
    RingEarly(usize),
    /// Without `stores_message_with_cursor`: a device dies between the two.
    ShowAndDie(usize),
}

/// The model.
#[derive(Debug, Clone)]
pub struct Mailboxes {
    /// Which rules hold.
    pub rules: Rules,
}

impl Model for Mailboxes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            db: Database::default(),
            replicas: Default::default(),
            senders: Default::default(),
            devices: Default::default(),
            bus: BTreeSet::new(),
            placed: [0; MESSAGES],
            crashes: 1,
            repetitions: 1,
            expiries: 2,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for replica in 0..REPLICAS {
            self.replica_actions(state, replica, actions);
        }
        for device in 0..DEVICES {
            self.device_actions(state, device, actions);
        }
        actions.extend(state.bus.iter().cloned().map(Action::Hear));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send(replica, message) => self.send(&mut state, replica, message),
            Action::Claim(replica) => self.claim(&mut state, replica),
            Action::Place(replica) => self.place(&mut state, replica),
            Action::Commit { replica, rings } => self.commit(&mut state, replica, rings),
            Action::Answer(replica) => self.answer(&mut state, replica),
            Action::Crash(replica) => {
                state.crashes -= 1;
                state.replicas[replica] = Replica::default();
            }
            Action::Fetch(device) => {
                let entry = state.next_entry(device)?;
                self.take_in(&mut state.devices[device], entry);
            }
            Action::Hear(bell) => self.hear(&mut state, &bell),
            Action::Ack(device, seq) => self.ack(&mut state, device, seq),
            Action::Expire(device, last) => self.expire(&mut state, device, last),
            Action::RingEarly(replica) => state.ring(replica),
            Action::ShowAndDie(device) => {
                state.crashes -= 1;
                let entry = state.next_entry(device)?;
                state.devices[device].shown[entry.message] += 1;
            }
        }
        state.simplify();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G1_NOT_LOST, |_, state: &State| state.nothing_lost()),
            Property::always(G2_NO_HOLES, |_, state: &State| state.no_holes()),
            Property::always(G2_ONCE, |_, state: &State| {
                state.devices.iter().flat_map(|device| device.shown).all(|n| n <= 1)
            }),
            Property::always(G10_ONCE, |_, state: &State| state.placed.iter().all(|places| *places <= 1)),
            Property::eventually(G3_ARRIVES, |_, state: &State| state.all_arrived()),
            Property::sometimes("a call is known when it comes again", |_, state: &State| {
                let again = |replica: &Replica| {
                    replica.step == Some(Step::Claimed) && replica.batch.iter().any(|call| !call.fresh)
                };
                state.replicas.iter().any(again)
            }),
            Property::sometimes("a batch waits for the heads that another one holds", |_, state: &State| {
                let steps = state.replicas.each_ref().map(|replica| replica.step);
                steps == [Some(Step::Claimed), Some(Step::Placed)]
            }),
            Property::sometimes("a doorbell comes at the right moment", |_, state: &State| {
                state.bus.iter().any(|entries| entries[0].seq == state.devices[LISTENER].cursor + 1)
            }),
            Property::sometimes("an expired message is told and the other one shown", |_, state: &State| {
                let device = &state.devices[0];
                device.expired[0] && device.shown == [0, 1] && state.all_arrived()
            }),
        ]
    }
}

impl Mailboxes {
    fn replica_actions(&self, state: &State, replica: usize, actions: &mut Vec<Action>) {
        let Replica { batch, step } = &state.replicas[replica];
        if step.is_none_or(|step| step == Step::Begun) {
            let callers = (0..MESSAGES).filter(|message| state.may_send(*message));
            actions.extend(callers.map(|message| Action::Send(replica, message)));
        }
        let Some(step) = *step else { return };
        match step {
            Step::Begun if !self.twin_claimed(state, replica) => actions.push(Action::Claim(replica)),
            Step::Begun => {}
            Step::Claimed if !self.rules.locks_heads || !state.heads_held(replica) => {
                actions.push(Action::Place(replica));
            }
            Step::Claimed => {}
            Step::Placed | Step::Half => {
                actions.push(Action::Commit { replica, rings: false });
                if batch.iter().any(|call| call.fresh) && step == Step::Placed {
                    actions.push(Action::Commit { replica, rings: true });
                    if !self.rules.rings_after_commit {
                        actions.push(Action::RingEarly(replica));
                    }
                }
                if !self.rules.answers_after_commit {
                    actions.push(Action::Answer(replica));
                }
            }
            Step::Committed => actions.push(Action::Answer(replica)),
        }
        if state.crashes > 0 {
            actions.push(Action::Crash(replica));
        }
    }

    fn device_actions(&self, state: &State, device: usize, actions: &mut Vec<Action>) {
        let (mailbox, cursor) = (&state.db.mailboxes[device], state.devices[device].cursor);
        let next = state.next_entry(device);
        if next.is_some() && (self.rules.looks_unasked || device != LISTENER) {
            actions.push(Action::Fetch(device));
        }
        if next.is_some_and(|entry| entry.gap_from == 0) && !self.rules.stores_message_with_cursor && state.crashes > 0
        {
            actions.push(Action::ShowAndDie(device));
        }
        let known = if self.rules.acks_what_is_stored { cursor } else { mailbox.last_seq };
        let first = if self.rules.acks_only_forwards { mailbox.acked + 1 } else { 1 };
        actions.extend((first..=known.min(mailbox.last_seq)).map(|seq| Action::Ack(device, seq)));
        if state.expiries > 0 && device == LISTENER {
            actions.extend(mailbox.entries.iter().map(|entry| Action::Expire(device, entry.seq)));
        }
    }

    fn send(&self, state: &mut State, replica: usize, message: usize) {
        if state.is_under_way(message) {
            state.repetitions -= 1;
        }
        let key = state.senders[message].key;
        if !self.rules.repeats_with_the_same_key {
            state.senders[message].key += 1;
        }
        let replica = &mut state.replicas[replica];
        replica.step = Some(Step::Begun);
        replica.batch.push(Call { message, key, fresh: false, seqs: [0; DEVICES] });
        replica.batch.sort();
    }

    /// The key of a call as the replica's table has it.
    fn key(&self, replica: usize, call: &Call) -> (usize, u8) {
        let place = if self.rules.shares_keys { 0 } else { 100 * replica as u8 };
        (call.message, call.key + place)
    }

    /// Whether a transaction that has not ended holds a key of this one's.
    fn twin_claimed(&self, state: &State, replica: usize) -> bool {
        let held = |(other, twin): (usize, &Replica)| {
            let holds = twin.step.is_some_and(|step| (Step::Claimed..=Step::Half).contains(&step));
            let same = |call: &Call| {
                let key = self.key(replica, call);
                twin.batch.iter().any(|held| self.key(other, held) == key)
            };
            other != replica && holds && state.replicas[replica].batch.iter().any(same)
        };
        self.rules.waits_for_twins && state.replicas.iter().enumerate().any(held)
    }

    fn claim(&self, state: &mut State, replica: usize) {
        let mut batch = std::mem::take(&mut state.replicas[replica].batch);
        let mut seen = BTreeSet::new();
        for call in &mut batch {
            let key = self.key(replica, call);
            // Of twins in one batch the first counts.
            call.fresh = !self.rules.knows_keys || (!state.db.keys.contains(&key) && seen.insert(key));
        }
        if !self.rules.claims_in_the_transaction {
            state.db.keys.extend(seen);
        }
        state.replicas[replica] = Replica { batch, step: Some(Step::Claimed) };
    }

    fn place(&self, state: &mut State, replica: usize) {
        let mut heads = [0; DEVICES];
        for (device, head) in heads.iter_mut().enumerate() {
            let others = state.replicas.iter().filter(|other| other.step >= Some(Step::Placed));
            let counted = others.flat_map(|other| &other.batch).map(|call| call.seqs[device]).max();
            *head = state.db.mailboxes[device].last_seq;
            if !self.rules.locks_heads {
                *head = counted.unwrap_or_default().max(*head);
            }
        }
        let replica = &mut state.replicas[replica];
        for call in replica.batch.iter_mut().filter(|call| call.fresh) {
            heads.iter_mut().for_each(|head| *head += 1);
            call.seqs = heads;
        }
        replica.step = Some(Step::Placed);
    }

    fn commit(&self, state: &mut State, replica: usize, rings: bool) {
        let Replica { batch, step } = state.replicas[replica].clone();
        let begins = step == Some(Step::Placed);
        let whole = self.rules.fans_out_in_one_transaction;
        let devices = match (begins, whole) {
            (_, true) => 0..DEVICES,
            (true, false) => 0..1,
            (false, false) => 1..DEVICES,
        };
        for call in batch.iter().filter(|call| call.fresh) {
            if begins {
                state.db.keys.insert(self.key(replica, call));
                state.db.refs[call.message] += DEVICES as u8;
                state.placed[call.message] += 1;
            }
            for device in devices.clone() {
                let mailbox = &mut state.db.mailboxes[device];
                mailbox.last_seq = mailbox.last_seq.max(call.seqs[device]);
                mailbox.entries.push(Entry { seq: call.seqs[device], gap_from: 0, message: call.message });
                mailbox.entries.sort();
            }
        }
        if rings {
            state.ring(replica);
        }
        let ends = whole || !begins;
        state.replicas[replica].step = Some(if ends { Step::Committed } else { Step::Half });
        for call in &mut state.replicas[replica].batch {
            if ends {
                // From here on they are in the database.
                (call.fresh, call.seqs, call.key) = (false, [0; DEVICES], 0);
            }
        }
    }

    fn answer(&self, state: &mut State, replica: usize) {
        for call in state.replicas[replica].batch.clone() {
            state.senders[call.message].accepted = true;
        }
        if state.replicas[replica].step == Some(Step::Committed) {
            state.replicas[replica] = Replica::default();
        }
    }

    /// `receive::entry`.
    fn take_in(&self, device: &mut Device, entry: Entry) {
        if self.rules.drops_what_was_read && entry.seq <= device.cursor {
            return;
        }
        let first = if entry.gap_from == 0 { entry.seq } else { entry.gap_from };
        device.hole |= first > device.cursor + 1;
        if entry.gap_from == 0 {
            device.shown[entry.message] += 1;
        }
        device.cursor = entry.seq;
    }

    /// `sync::on_mailbox`.
    fn hear(&self, state: &mut State, entries: &[Entry]) {
        let device = &mut state.devices[LISTENER];
        let continues = entries.first().is_some_and(|first| first.seq <= device.cursor + 1);
        if continues || !self.rules.fetches_before_a_hole {
            entries.iter().for_each(|entry| self.take_in(device, *entry));
        } else {
            while let Some(entry) = state.next_entry(LISTENER) {
                self.take_in(&mut state.devices[LISTENER], entry);
            }
        }
    }

    fn ack(&self, state: &mut State, device: usize, seq: u8) {
        let mailbox = &mut state.db.mailboxes[device];
        mailbox.acked = seq;
        let all = !self.rules.deletes_up_to_the_ack;
        let gone: Vec<Entry> = mailbox.entries.extract_if(.., |entry| all || entry.seq <= seq).collect();
        self.release(state, &gone);
    }

    /// `expire_device`. `last` may be what an earlier look has found.
    fn expire(&self, state: &mut State, device: usize, last: u8) {
        state.expiries -= 1;
        let mailbox = &mut state.db.mailboxes[device];
        let gone: Vec<Entry> = mailbox.entries.extract_if(.., |entry| entry.seq <= last).collect();
        let oldest = if self.rules.gaps_begin_with_the_oldest { gone.first() } else { gone.last() };
        if let Some(oldest) = oldest.filter(|_| self.rules.leaves_gaps) {
            let gap_from = if oldest.gap_from == 0 { oldest.seq } else { oldest.gap_from };
            mailbox.entries.insert(0, Entry { seq: last, gap_from, message: 0 });
        }
        for entry in gone.iter().filter(|entry| entry.gap_from == 0) {
            state.devices[device].expired[entry.message] = true;
        }
        self.release(state, &gone);
    }

    fn release(&self, state: &mut State, gone: &[Entry]) {
        for entry in gone.iter().filter(|entry| entry.gap_from == 0) {
            let refs = &mut state.db.refs[entry.message];
            *refs = if self.rules.counts_references { refs.saturating_sub(1) } else { 0 };
        }
    }
}

impl State {
    /// The sender has no answer; while a call is still under way, only if it is impatient.
    fn may_send(&self, message: usize) -> bool {
        !self.senders[message].accepted && (self.repetitions > 0 || !self.is_under_way(message))
    }

    fn is_under_way(&self, message: usize) -> bool {
        self.replicas.iter().flat_map(|replica| &replica.batch).any(|call| call.message == message)
    }

    /// What makes no difference any more.
    fn simplify(&mut self) {
        let cursor = self.devices[LISTENER].cursor;
        self.bus.retain(|entries| entries.last().is_some_and(|last| last.seq > cursor));
        // One replica is like the other.
        self.replicas.sort();
    }

    fn heads_held(&self, replica: usize) -> bool {
        let holds = |step| (Step::Placed..=Step::Half).contains(&step);
        self.replicas.iter().enumerate().any(|(other, held)| other != replica && held.step.is_some_and(holds))
    }

    /// What a fetch after the cursor brings first. Without its payload it brings nothing.
    fn next_entry(&self, device: usize) -> Option<Entry> {
        let cursor = self.devices[device].cursor;
        let next = self.db.mailboxes[device].entries.iter().find(|entry| entry.seq > cursor);
        next.filter(|entry| self.has_payload(entry)).copied()
    }

    fn has_payload(&self, entry: &Entry) -> bool {
        entry.gap_from > 0 || self.db.refs[entry.message] > 0
    }

    fn ring(&mut self, replica: usize) {
        let fresh = self.replicas[replica].batch.iter().filter(|call| call.fresh);
        let entries = fresh.map(|call| Entry { seq: call.seqs[LISTENER], gap_from: 0, message: call.message });
        self.bus.insert(entries.collect());
    }

    fn nothing_lost(&self) -> bool {
        (0..MESSAGES).filter(|message| self.senders[*message].accepted).all(|message| {
            self.devices.iter().zip(&self.db.mailboxes).all(|(device, mailbox)| {
                let waits = |entry: &Entry| {
                    let unread = entry.seq > device.cursor && entry.gap_from == 0;
                    entry.message == message && unread && self.has_payload(entry)
                };
                device.shown[message] > 0 || device.expired[message] || mailbox.entries.iter().any(waits)
            })
        })
    }

    fn no_holes(&self) -> bool {
        let covered = |mailbox: &Mailbox| {
            let covers = |seq: u8, entry: &Entry| {
                let first = if entry.gap_from == 0 { entry.seq } else { entry.gap_from };
                (first..=entry.seq).contains(&seq)
            };
            (mailbox.acked + 1..=mailbox.last_seq)
                .all(|seq| mailbox.entries.iter().filter(|entry| covers(seq, entry)).count() == 1)
        };
        self.db.mailboxes.iter().all(covered) && self.devices.iter().all(|device| !device.hole)
    }

    fn all_arrived(&self) -> bool {
        let read =
            |device: &Device| device.shown.iter().zip(device.expired).all(|(shown, expired)| *shown > 0 || expired);
        self.senders.iter().all(|sender| sender.accepted)
            && self.devices.iter().all(read)
            && self.db.mailboxes.iter().all(|mailbox| mailbox.acked == mailbox.last_seq)
    }
}
