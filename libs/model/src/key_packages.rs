//! A stock of one or two KeyPackages and a last resort, three claims of it, and the upload that brought it, whose answer got
//! lost.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

use crate::rules;

const CLAIMS: usize = 3;
const REPLICAS: usize = 2;
/// The single-use packages of the upload, in its order.
const UPLOAD: [u8; 2] = [1, 2];
/// The last resort of the same upload.
const LAST_RESORT: u8 = 9;

/// Two claims never get the same package, unless it is marked as a last resort.
pub const G6_ONCE: &str = "G6 a KeyPackage is handed out once";
/// The last resort is for when every package is gone or held by a claim under way.
pub const G6_LAST_RESORT_LAST: &str = "G6 the last resort goes out last";
/// A device with a last resort can always be reached.
pub const G6_NEVER_EMPTY: &str = "G6 a claim does not come back empty";
/// However often a claim is repeated, it says the same.
pub const G10_SAME_ANSWER: &str = "G10 a repeated claim gets the first answer";
/// However often a claim is repeated, it takes one package.
pub const G10_TAKES_ONE: &str = "G10 a repeated claim takes one package";
/// In the end every claim has its package.
pub const G10_ANSWERED: &str = "G10 who asks again gets an answer";

rules! {
    /// `services/keypackage/src/store/sql.rs`, `TAKE_POSTGRES`: `DELETE … RETURNING`.
    deletes_what_goes_out keeps G6_ONCE,
    /// `services/keypackage/src/store/sql.rs`, `TAKE_POSTGRES`: `FOR UPDATE SKIP LOCKED`. Else two claims pick one row, the
    /// second finds it deleted, and takes the last resort though another package is there.
    skips_what_is_held keeps G6_LAST_RESORT_LAST,
    /// `services/keypackage/src/store/sql.rs`, `take`: the last resort is read, not deleted.
    copies_the_last_resort keeps G6_NEVER_EMPTY,
    /// `services/keypackage/src/store/sql.rs`, `take`: `last_resort: single.is_none()`.
    marks_the_last_resort keeps G6_ONCE,
    /// `services/keypackage/src/api/fetch_key_package.rs`: the answer is returned after `tx.commit()`.
    answers_after_commit keeps G6_ONCE,
    /// `services/keypackage/src/api/fetch_key_package.rs`: `claim`, and `remember` with the answer.
    remembers_answers keeps G10_SAME_ANSWER,
    /// `services/keypackage/src/api/fetch_key_package.rs`: `claim`, `take` and `remember` get one `Tx`.
    takes_and_remembers_in_one_transaction keeps G10_TAKES_ONE,
    /// `libs/chassis/src/db/idempotency.rs`, `claim`: inserting a key waits for a twin that has not ended.
    waits_for_twins keeps G10_TAKES_ONE,
    /// `services/keypackage/src/api/upload_key_package.rs`: `once`. Packages that have left would come back.
    uploads_once keeps G6_ONCE,
    /// `libs/sdk/src/publish.rs`, `upload`: `REPEAT_MS`, so that no upload is repeated after its key is forgotten.
    gives_up_old_uploads keeps G6_ONCE,
}

/// What a claim is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Given {
    /// 0: none.
    package: u8,
    last_resort: bool,
}

/// What has been committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Database {
    /// In the order of upload.
    packages: Vec<u8>,
    last_resort: bool,
    /// Claims that have an answer.
    answers: BTreeMap<usize, Given>,
}

/// How far a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Nothing done yet.
    Begun,
    /// Holds the key.
    Claimed,
    /// Has chosen a row and not locked it; not while all rules hold.
    Picked(u8),
    /// Holds the row.
    Taken(Given),
    /// The row is gone for good and the answer is not kept; not while all rules hold.
    Half(Given),
    /// Committed; the answer is still here.
    Answering(Given),
}

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Claim {
    /// What it was told.
    told: BTreeSet<Given>,
    /// Observer: packages that left the store for it.
    took: u8,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    db: Database,
    replicas: [Option<(usize, Step)>; REPLICAS],
    claims: [Claim; CLAIMS],
    /// What may still go wrong.
    crashes: u8,
    repetitions: u8,
    uploads: u8,
    /// Observer: somebody got the last resort while a package was free.
    too_early: bool,
}

/// What happens next; `usize` are indices of claims and replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A claim reaches a replica: replica, claim. One that is late on the wire is one that the replica is late to begin.
    Send(usize, usize),
    /// A replica goes on by a step.
    Step(usize),
    /// The answer leaves and arrives.
    Answer(usize),
    /// A replica dies.
    Crash(usize),
    /// The device repeats its upload, within a day or later.
    Upload { next_day: bool },
}

/// The model.
#[derive(Debug, Clone)]
pub struct KeyPackages {
    /// Which rules hold.
    pub rules: Rules,
}

impl Model for KeyPackages {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begin = |packages: &[u8]| State {
            db: Database { packages: packages.to_vec(), last_resort: true, answers: BTreeMap::new() },
            replicas: [None; REPLICAS],
            claims: Default::default(),
            crashes: 2,
            repetitions: 2,
            uploads: 1,
            too_early: false,
        };
        vec![begin(&UPLOAD), begin(&UPLOAD[1..])]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (replica, work) in state.replicas.iter().enumerate() {
            match *work {
                None => {
                    let callers = (0..CLAIMS).filter(|claim| state.may_send(*claim));
                    actions.extend(callers.map(|claim| Action::Send(replica, claim)));
                    continue;
                }
                Some((_, Step::Answering(_))) => actions.push(Action::Answer(replica)),
                Some((claim, step)) => {
                    if !self.waits(state, replica, claim, step) {
                        actions.push(Action::Step(replica));
                    }
                    if matches!(step, Step::Taken(_)) && !self.rules.answers_after_commit {
                        actions.push(Action::Answer(replica));
                    }
                }
            }
            if state.crashes > 0 {
                actions.push(Action::Crash(replica));
            }
        }
        if state.uploads > 0 {
            actions.push(Action::Upload { next_day: false });
            if !self.rules.gives_up_old_uploads {
                actions.push(Action::Upload { next_day: true });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send(replica, claim) => {
                if state.is_under_way(claim) {
                    state.repetitions -= 1;
                }
                state.replicas[replica] = Some((claim, Step::Begun));
            }
            Action::Step(replica) => {
                let (claim, step) = state.replicas[replica]?;
                let next = self.step(&mut state, replica, claim, step);
                state.replicas[replica] = Some((claim, next));
            }
            Action::Answer(replica) => {
                let (claim, step) = state.replicas[replica]?;
                let (Step::Answering(given) | Step::Taken(given)) = step else { return None };
                state.claims[claim].told.insert(given);
                if matches!(step, Step::Answering(_)) {
                    state.replicas[replica] = None;
                }
            }
            Action::Crash(replica) => {
                state.crashes -= 1;
                state.replicas[replica] = None;
            }
            Action::Upload { next_day } => {
                state.uploads -= 1;
                let known = self.rules.uploads_once && !next_day;
                // One package that is there already, and all are refused: their hashes are unique.
                if !known && UPLOAD.iter().all(|package| !state.db.packages.contains(package)) {
                    state.db.packages.extend(UPLOAD);
                }
            }
        }
        // One replica is like the other.
        state.replicas.sort();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G6_ONCE, |_, state: &State| {
                let mut seen = BTreeSet::new();
                let given = state.claims.iter().flat_map(|claim| &claim.told);
                given.filter(|given| !given.last_resort && given.package > 0).all(|given| seen.insert(given.package))
            }),
            Property::always(G6_LAST_RESORT_LAST, |_, state: &State| !state.too_early),
            Property::always(G6_NEVER_EMPTY, |_, state: &State| {
                state.claims.iter().flat_map(|claim| &claim.told).all(|given| given.package > 0)
            }),
            Property::always(G10_SAME_ANSWER, |_, state: &State| {
                state.claims.iter().all(|claim| claim.told.len() <= 1)
            }),
            Property::always(G10_TAKES_ONE, |_, state: &State| state.claims.iter().all(|claim| claim.took <= 1)),
            Property::eventually(G10_ANSWERED, |_, state: &State| {
                state.claims.iter().all(|claim| !claim.told.is_empty())
            }),
            Property::sometimes("the last resort goes out twice", |_, state: &State| {
                let last = |claim: &&Claim| claim.told.iter().any(|given| given.last_resort);
                state.claims.iter().filter(last).count() > 1
            }),
            Property::sometimes("a claim is answered again", |_, state: &State| {
                let again = |(claim, step): &(usize, Step)| {
                    matches!(step, Step::Answering(_)) && !state.claims[*claim].told.is_empty()
                };
                state.replicas.iter().flatten().any(again)
            }),
            Property::sometimes("two claims hold a package each", |_, state: &State| {
                state.replicas.iter().flatten().filter(|(_, step)| UPLOAD.map(single).contains(step)).count() == 2
            }),
        ]
    }
}

impl KeyPackages {
    fn step(&self, state: &mut State, replica: usize, claim: usize, step: Step) -> Step {
        match step {
            Step::Begun => match state.db.answers.get(&claim) {
                Some(first) => Step::Answering(*first),
                None => Step::Claimed,
            },
            Step::Claimed => self.choose(state, replica),
            Step::Picked(package) if state.db.packages.contains(&package) => single(package),
            Step::Picked(_) => self.last_resort(state, replica),
            Step::Taken(given) => {
                self.remove(state, claim, given);
                if !self.rules.takes_and_remembers_in_one_transaction {
                    return Step::Half(given);
                }
                self.remember(state, claim, given)
            }
            Step::Half(given) => self.remember(state, claim, given),
            Step::Answering(_) => step,
        }
    }

    /// The subquery of `TAKE_POSTGRES`.
    fn choose(&self, state: &mut State, replica: usize) -> Step {
        let skips = self.rules.skips_what_is_held;
        let free = |package: &&u8| !skips || !state.is_held(replica, **package);
        match state.db.packages.iter().find(free).copied() {
            Some(package) if skips => single(package),
            Some(package) => Step::Picked(package),
            None => self.last_resort(state, replica),
        }
    }

    fn last_resort(&self, state: &mut State, replica: usize) -> Step {
        let free = |package: &u8| !state.is_held(replica, *package);
        state.too_early |= state.db.packages.iter().any(free);
        let package = if state.db.last_resort { LAST_RESORT } else { 0 };
        Step::Taken(Given { package, last_resort: self.rules.marks_the_last_resort })
    }

    fn remove(&self, state: &mut State, claim: usize, given: Given) {
        if given.package == LAST_RESORT {
            state.db.last_resort = self.rules.copies_the_last_resort;
        } else {
            state.claims[claim].took += 1;
            if self.rules.deletes_what_goes_out {
                state.db.packages.retain(|package| *package != given.package);
            }
        }
    }

    fn remember(&self, state: &mut State, claim: usize, given: Given) -> Step {
        if self.rules.remembers_answers {
            state.db.answers.insert(claim, given);
        }
        Step::Answering(given)
    }

    /// Whether a step needs a row that the other transaction holds.
    fn waits(&self, state: &State, replica: usize, claim: usize, step: Step) -> bool {
        let others = state.replicas.iter().enumerate().filter(|(other, _)| *other != replica);
        others.filter_map(|(_, work)| *work).any(|(other, held)| match step {
            Step::Begun => {
                let running = matches!(held, Step::Claimed | Step::Picked(_) | Step::Taken(_) | Step::Half(_));
                self.rules.waits_for_twins && other == claim && running
            }
            Step::Picked(package) => held == single(package),
            _ => false,
        })
    }
}

fn single(package: u8) -> Step {
    Step::Taken(Given { package, last_resort: false })
}

impl State {
    fn may_send(&self, claim: usize) -> bool {
        self.claims[claim].told.is_empty() && (self.repetitions > 0 || !self.is_under_way(claim))
    }

    fn is_under_way(&self, claim: usize) -> bool {
        self.replicas.iter().flatten().any(|(other, _)| *other == claim)
    }

    /// Whether another transaction has a row locked.
    fn is_held(&self, replica: usize, package: u8) -> bool {
        self.replicas
            .iter()
            .enumerate()
            .any(|(other, work)| other != replica && work.is_some_and(|(_, step)| step == single(package)))
    }
}
