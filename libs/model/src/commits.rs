//! Epochs of a group: Alice and Bob commit whenever they like, and Alice has a message in her outbox that was encrypted
//! when the group was three epochs younger.
//!
//! Mailboxes are ideal here, see [`crate::mailbox`]. A commit goes to the other member, never to who made it.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::rules;

const ALICE: usize = 0;
const BOB: usize = 1;
const REPLICAS: usize = 2;
/// Epoch of the group at the beginning, three beyond that of Alice's message.
const BEGIN: u8 = 3;
/// Commits that each member makes, those that come late included.
const COMMITS: [u8; 2] = [2, 3];
/// Epoch of the group when no commit was late.
const MOST: u8 = BEGIN + COMMITS[ALICE] + COMMITS[BOB];
/// `PAST_EPOCHS` of `services/delivery/src/domain/mailbox.rs`.
const ACCEPTED_BEHIND: u8 = 3;
/// `MAX_PAST_EPOCHS` of `libs/crypto/src/mls/group.rs`.
const KEPT: u8 = 5;

/// What the receipt says is durable can be read by whoever gets it.
pub const G1_READABLE: &str = "G1 an accepted message can be read";
/// No two accepted commits begin in one epoch.
pub const G4_ONE_WINNER: &str = "G4 one commit wins an epoch";
/// Nobody is in an epoch that the group has not been in.
pub const G4_NO_FORK: &str = "G4 nobody forks";
/// Whoever has read everything and waits for nothing is in the epoch of the group.
pub const G4_SAME_EPOCH: &str = "G4 who is caught up is in the group's epoch";
/// When all have committed what they wanted to: nothing is pending, everybody is in one epoch, the message has arrived.
pub const G4_SETTLES: &str = "G4 losers try again and everybody catches up";
/// Alice's message has one place in Bob's mailbox, however often it was sent.
pub const G10_ONCE: &str = "G10 a repeated message is accepted once";

rules! {
    /// `services/delivery/src/store/chain.rs`, `Head::expect`: the epoch is compared with that of the locked row.
    compares_and_sets keeps G4_ONE_WINNER,
    /// `services/delivery/src/api/commit_group.rs`: what moves the group, `append` and `remember` get one `Tx`.
    commits_in_one_transaction keeps G4_SAME_EPOCH,
    /// `services/delivery/src/api/commit_group.rs`: `remember`. Else who asks again is told that another one won.
    remembers_answers keeps G4_SAME_EPOCH,
    /// `services/delivery/src/api/commit_group.rs`, `handle`: `replay` after a refusal, since a twin may have won.
    replays_before_refusing keeps G4_SAME_EPOCH,
    /// `libs/chassis/src/db/idempotency.rs`: `KEPT_MS` is longer than a member is silent that has a commit without an answer.
    /// Hoped for and not enforced: `libs/sdk/src/commit.rs` sends a pending commit again at any age. Whoever was silent for
    /// longer drops a commit that was accepted, cannot follow the group, and has to come back as `libs/sdk/src/heal.rs`
    /// does it.
    outlives_silence keeps G4_SAME_EPOCH,
    /// `libs/sdk/src/commit.rs`: `insert_pending` keeps the request, and `resume` sends it as it is, key and all.
    repeats_with_the_same_key keeps G4_SAME_EPOCH,
    /// `libs/sdk/src/sync.rs`, `pull_in_turn`: `resume` asks again for the answer to what is pending.
    asks_until_answered keeps G4_SETTLES,
    /// `libs/sdk/src/commit.rs`, `submit`: `accepted` merges, and only after the answer.
    merges_on_the_answer keeps G4_NO_FORK,
    /// `libs/sdk/src/commit.rs`, `refused`: `drop_change` clears the pending commit when the answer is `WrongEpoch`.
    loser_clears keeps G4_NO_FORK,
    /// `libs/sdk/src/sync.rs`, `pull_in_turn`: `resume` before the first fetch.
    settles_before_reading keeps G4_SAME_EPOCH,
    /// `libs/sdk/src/commit.rs`, `change`: `pull_in_turn` before a commit is made, so that its maker is never more than one
    /// own commit beyond what waits in the mailbox.
    reads_before_committing keeps G1_READABLE,
    /// `libs/crypto/src/mls/group.rs`: `max_past_epochs`.
    keeps_past_epochs keeps G1_READABLE,
    /// `services/delivery/src/committer.rs`, `allowed`: `PAST_EPOCHS` is less than what members keep.
    leaves_room keeps G1_READABLE,
    /// `services/delivery/src/store/chain.rs`, `lock`: `FOR UPDATE`, so that the epoch by which a message is judged stands
    /// until it is in the mailboxes. Else any number of commits may pass in between, and a twin that was judged before them
    /// is accepted after the other one was refused and encrypted anew.
    locks_the_epoch keeps G1_READABLE | G10_ONCE,
    /// `services/delivery/src/committer.rs`, `round`: a `first_answer` counts before what was `checked`.
    asks_keys_before_epochs keeps G10_ONCE,
}

/// A commit: its number, the same however often it is sent.
pub type Commit = u8;

/// An entry of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// A commit made in this epoch.
    Commit { from: u8, commit: Commit },
    /// Alice's message, encrypted in this epoch.
    Message { epoch: u8 },
}

/// What has been committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// Accepted commits with the epoch they were made in; their number is the epoch of the group.
    log: Vec<(u8, Commit)>,
    mailboxes: [Vec<Item>; 2],
    /// Commits whose key has an answer.
    keys: BTreeSet<(Commit, u8)>,
    /// Keys of Alice's message that have an answer, by the epoch it was encrypted in: each time it gets a new one.
    message_keys: BTreeSet<u8>,
}

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// CommitGroup.
    Commit { member: usize, from: u8, commit: Commit, key: u8 },
    /// Enqueue.
    Message { epoch: u8 },
}

/// What the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// Done.
    Ok,
    /// Not in this epoch.
    WrongEpoch,
}

/// How far a replica is with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Its key was not known when it came.
    Taken,
    /// The epoch was read outside the locks, and is good.
    Checked,
    /// Will be refused unless a twin has won.
    Refusing,
    /// The row of the group is changed and locked.
    Advanced,
    /// The epoch is committed and the rest is not; not while all rules hold.
    Half,
    /// The answer is still here.
    Answering(Answer),
}

/// A member with its store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// Commits that it followed; their number is its epoch.
    history: Vec<Commit>,
    /// An own commit without an answer, the epoch it was made in, and its key.
    pending: Option<(Commit, u8, u8)>,
    /// Commits it has made.
    made: u8,
    /// Entries read.
    cursor: usize,
    /// Observer: what it could not read.
    unreadable: bool,
}

/// What has become of Alice's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outbox {
    /// To be sent as encrypted in this epoch.
    Ready(u8),
    /// To be encrypted anew.
    Stale(u8),
    /// Has its receipt.
    Accepted,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    db: Database,
    replicas: [Option<(Call, Step)>; REPLICAS],
    members: [Member; 2],
    outbox: Outbox,
    /// What may still go wrong.
    crashes: u8,
    repetitions: u8,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A member makes a commit and keeps it.
    Make(usize),
    /// A call reaches a replica. One that is late on the wire is one that the replica is late to begin.
    Send(usize, Call),
    /// Alice encrypts it anew.
    Renew,
    /// A member reads an entry.
    Read(usize),
    /// A replica goes on by a step.
    Step(usize),
    /// The answer leaves and arrives.
    Answer(usize),
    /// Without `outlives_silence`: all keys are forgotten.
    Forget,
    /// A replica dies; what it had not committed, or not answered, is gone.
    Crash(usize),
}

/// The model.
#[derive(Debug, Clone)]
pub struct Commits {
    /// Which rules hold.
    pub rules: Rules,
}

impl Model for Commits {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let history: Vec<Commit> = (0..BEGIN).collect();
        let member = Member { history: history.clone(), pending: None, made: 0, cursor: 0, unreadable: false };
        vec![State {
            db: Database {
                log: history.iter().map(|commit| (*commit, *commit)).collect(),
                mailboxes: Default::default(),
                keys: BTreeSet::new(),
                message_keys: BTreeSet::new(),
            },
            replicas: [None; REPLICAS],
            members: [member.clone(), member],
            outbox: Outbox::Ready(0),
            crashes: 1,
            repetitions: 1,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for member in [ALICE, BOB] {
            self.member_actions(state, member, actions);
        }
        if !self.rules.outlives_silence && !state.db.keys.is_empty() {
            actions.push(Action::Forget);
        }
        match state.outbox {
            Outbox::Stale(_) if state.is_caught_up(ALICE) => actions.push(Action::Renew),
            _ => {}
        }
        let calls: Vec<Call> = self.calls(state).into_iter().filter(|call| state.may_send(*call)).collect();
        for (replica, work) in state.replicas.iter().enumerate() {
            match work {
                None => actions.extend(calls.iter().map(|call| Action::Send(replica, *call))),
                Some((_, Step::Answering(_))) => actions.push(Action::Answer(replica)),
                Some((call, step)) if !self.waits(state, replica, *call, *step) => actions.push(Action::Step(replica)),
                Some(_) => {}
            }
            if work.is_some() && state.crashes > 0 {
                actions.push(Action::Crash(replica));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Make(member) => self.make(&mut state, member),
            Action::Send(replica, call) => self.send(&mut state, replica, call),
            Action::Renew => state.outbox = Outbox::Ready(state.members[ALICE].epoch()),
            Action::Read(member) => self.read(&mut state, member),
            Action::Step(replica) => self.step(&mut state, replica),
            Action::Answer(replica) => {
                let (call, Step::Answering(answer)) = state.replicas[replica].take()? else { return None };
                self.answer(&mut state, call, answer);
            }
            Action::Forget => state.db.keys.clear(),
            Action::Crash(replica) => {
                state.crashes -= 1;
                state.replicas[replica] = None;
            }
        }
        // One replica is like the other.
        state.replicas.sort();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G1_READABLE, |_, state: &State| !state.members[BOB].unreadable),
            Property::always(G4_ONE_WINNER, |_, state: &State| {
                state.db.log.iter().enumerate().all(|(epoch, (from, _))| usize::from(*from) == epoch)
            }),
            Property::always(G4_NO_FORK, |_, state: &State| {
                let follows = |member: &Member| {
                    let log = state.db.log.iter().map(|(_, commit)| commit);
                    member.history.len() <= state.db.log.len() && log.zip(&member.history).all(|(a, b)| a == b)
                };
                state.members.iter().all(follows)
            }),
            Property::always(G4_SAME_EPOCH, |_, state: &State| {
                let level = |member: usize| state.members[member].epoch() == state.epoch();
                [ALICE, BOB].into_iter().all(|member| !state.is_caught_up(member) || level(member))
            }),
            Property::always(G10_ONCE, |_, state: &State| {
                state.db.mailboxes[BOB].iter().filter(|item| matches!(item, Item::Message { .. })).count() <= 1
            }),
            Property::eventually(G4_SETTLES, |_, state: &State| state.is_settled()),
            Property::sometimes("a loser commits again and wins", |_, state: &State| {
                state.is_settled() && state.epoch() + 1 == MOST
            }),
            Property::sometimes("a commit that is known is asked for again", |_, state: &State| {
                let again = |(call, step): &(Call, Step)| state.is_known(*call) && *step == Step::Refusing;
                state.replicas.iter().flatten().any(again)
            }),
            Property::sometimes("an old message is accepted as it is", |_, state: &State| {
                state.db.message_keys.contains(&0) && state.is_settled()
            }),
            Property::sometimes("a message that is too old is encrypted anew", |_, state: &State| {
                !state.db.message_keys.contains(&0) && state.is_settled()
            }),
        ]
    }
}

impl Commits {
    fn member_actions(&self, state: &State, id: usize, actions: &mut Vec<Action>) {
        let member = &state.members[id];
        let unread = member.cursor < state.db.mailboxes[id].len();
        let pending = member.pending.is_some();
        if !pending && member.made < COMMITS[id] && (!unread || !self.rules.reads_before_committing) {
            actions.push(Action::Make(id));
        }
        if unread && (!pending || !self.rules.settles_before_reading) {
            actions.push(Action::Read(id));
        }
    }

    fn make(&self, state: &mut State, id: usize) {
        let member = &mut state.members[id];
        let (commit, from) = (10 * (id as u8 + 1) + member.made, member.epoch());
        member.pending = Some((commit, from, 0));
        member.made += 1;
        if !self.rules.merges_on_the_answer {
            member.history.push(commit);
        }
    }

    /// `receive::entry`: what cannot be read does not stop the mailbox.
    fn read(&self, state: &mut State, id: usize) {
        let kept = if self.rules.keeps_past_epochs { KEPT } else { 0 };
        let member = &mut state.members[id];
        match state.db.mailboxes[id][member.cursor] {
            Item::Commit { from, commit } if from == member.epoch() => member.history.push(commit),
            Item::Commit { .. } => {}
            Item::Message { epoch } => member.unreadable |= epoch > member.epoch() || epoch + kept < member.epoch(),
        }
        member.cursor += 1;
    }

    /// What the members want of the server.
    fn calls(&self, state: &State) -> Vec<Call> {
        let again = self.rules.asks_until_answered;
        let mut calls = Vec::new();
        for (member, kept) in state.members.iter().enumerate() {
            calls.extend(
                kept.pending.filter(|(.., sent)| *sent == 0 || again).map(|(commit, from, key)| Call::Commit {
                    member,
                    from,
                    commit,
                    key,
                }),
            );
        }
        if let Outbox::Ready(epoch) = state.outbox {
            calls.push(Call::Message { epoch });
        }
        calls
    }

    /// Whether a step needs the row of the group while another transaction holds it.
    fn waits(&self, state: &State, replica: usize, call: Call, step: Step) -> bool {
        let locks = match call {
            Call::Commit { .. } => step == Step::Checked,
            Call::Message { .. } => self.rules.locks_the_epoch && step != Step::Taken,
        };
        let holds = |(other, work): (usize, &Option<(Call, Step)>)| {
            other != replica && matches!(work, Some((_, Step::Advanced)))
        };
        locks && state.replicas.iter().enumerate().any(holds)
    }

    fn send(&self, state: &mut State, replica: usize, call: Call) {
        if state.is_under_way(call) {
            state.repetitions -= 1;
        }
        if let Call::Commit { member, from, commit, key } = call
            && !(self.rules.repeats_with_the_same_key && self.rules.asks_until_answered)
        {
            state.members[member].pending = Some((commit, from, key + 1));
        }
        let step = if state.is_known(call) { Step::Answering(Answer::Ok) } else { Step::Taken };
        state.replicas[replica] = Some((call, step));
    }

    fn step(&self, state: &mut State, replica: usize) {
        let Some((call, step)) = state.replicas[replica] else { return };
        let next = match call {
            Call::Commit { from, .. } => self.step_commit(state, call, from, step),
            Call::Message { epoch } if step == Step::Taken => {
                if self.accepts(state, epoch) {
                    Step::Checked
                } else {
                    Step::Refusing
                }
            }
            Call::Message { epoch } => Step::Answering(self.enqueue(state, epoch, step)),
        };
        state.replicas[replica] = Some((call, next));
    }

    fn step_commit(&self, state: &mut State, call: Call, from: u8, step: Step) -> Step {
        match step {
            Step::Taken if from == state.epoch() => Step::Checked,
            Step::Taken => Step::Refusing,
            Step::Checked if state.is_known(call) => Step::Answering(Answer::Ok),
            Step::Checked if from == state.epoch() || !self.rules.compares_and_sets => Step::Advanced,
            Step::Checked => Step::Refusing,
            Step::Refusing if self.rules.replays_before_refusing && state.is_known(call) => Step::Answering(Answer::Ok),
            Step::Refusing => Step::Answering(Answer::WrongEpoch),
            Step::Advanced => {
                state.commit_epoch(call);
                if !self.rules.commits_in_one_transaction {
                    return Step::Half;
                }
                state.commit_rest(call, self.rules.remembers_answers);
                Step::Answering(Answer::Ok)
            }
            Step::Half => {
                state.commit_rest(call, self.rules.remembers_answers);
                Step::Answering(Answer::Ok)
            }
            Step::Answering(_) => step,
        }
    }

    /// Claiming the key, locking the heads and committing; `step` is what was thought of the epoch before.
    fn enqueue(&self, state: &mut State, epoch: u8, step: Step) -> Answer {
        let good = step == Step::Checked && (!self.rules.locks_the_epoch || self.accepts(state, epoch));
        let known = state.db.message_keys.contains(&epoch);
        if known && (good || self.rules.asks_keys_before_epochs) {
            return Answer::Ok;
        }
        if known || !good {
            return Answer::WrongEpoch;
        }
        state.db.message_keys.insert(epoch);
        state.db.mailboxes[BOB].push(Item::Message { epoch });
        Answer::Ok
    }

    fn accepts(&self, state: &State, epoch: u8) -> bool {
        let behind = if self.rules.leaves_room { ACCEPTED_BEHIND } else { KEPT };
        epoch <= state.epoch() && epoch + behind >= state.epoch()
    }

    fn answer(&self, state: &mut State, call: Call, answer: Answer) {
        match call {
            Call::Commit { member, commit, .. } => {
                let member = &mut state.members[member];
                if member.pending.is_none_or(|(pending, ..)| pending != commit) {
                    return;
                }
                member.pending = None;
                let merges = answer == Answer::Ok || !self.rules.loser_clears;
                if merges && self.rules.merges_on_the_answer {
                    member.history.push(commit);
                }
            }
            Call::Message { epoch } if state.outbox == Outbox::Ready(epoch) => {
                state.outbox = match answer {
                    Answer::Ok => Outbox::Accepted,
                    Answer::WrongEpoch => Outbox::Stale(epoch),
                };
            }
            // The connection that it came on is gone.
            Call::Message { .. } => {}
        }
    }
}

impl Member {
    fn epoch(&self) -> u8 {
        self.history.len() as u8
    }
}

impl State {
    fn epoch(&self) -> u8 {
        self.db.log.len() as u8
    }

    fn is_caught_up(&self, id: usize) -> bool {
        let member = &self.members[id];
        member.pending.is_none() && member.cursor == self.db.mailboxes[id].len()
    }

    fn is_settled(&self) -> bool {
        let done = |id: usize| self.is_caught_up(id) && self.members[id].made == COMMITS[id];
        let level = self.members.iter().all(|member| member.epoch() == self.epoch());
        done(ALICE) && done(BOB) && level && self.outbox == Outbox::Accepted
    }

    /// Nobody sends twice what is under way, unless it is impatient.
    fn may_send(&self, call: Call) -> bool {
        self.repetitions > 0 || !self.is_under_way(call)
    }

    fn is_under_way(&self, call: Call) -> bool {
        let same = |other: &Call| match (call, other) {
            (Call::Commit { commit, .. }, Call::Commit { commit: other, .. }) => commit == *other,
            _ => call == *other,
        };
        self.replicas.iter().flatten().any(|(other, _)| same(other))
    }

    fn is_known(&self, call: Call) -> bool {
        match call {
            Call::Commit { commit, key, .. } => self.db.keys.contains(&(commit, key)),
            Call::Message { .. } => false,
        }
    }

    fn commit_epoch(&mut self, call: Call) {
        if let Call::Commit { from, commit, .. } = call {
            self.db.log.push((from, commit));
        }
    }

    fn commit_rest(&mut self, call: Call, remembers: bool) {
        if let Call::Commit { member, from, commit, key } = call {
            self.db.mailboxes[1 - member].push(Item::Commit { from, commit });
            if remembers {
                self.db.keys.insert((commit, key));
            }
        }
    }
}
