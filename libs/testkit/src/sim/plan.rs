//! What happens in a simulation and when: drawn from the seed before it begins.

use std::time::Duration;

use qpc_sdk::{Role, Suite};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{Tally, template::DEVICES};
use crate::Faults;

/// Replicas of each service, and gateways.
pub(super) const PAIR: usize = 2;
/// Services that have replicas: auth, keypackage, delivery.
pub(super) const SERVICES: usize = 3;
/// Fewest and most operations of a simulation.
const OPERATIONS: std::ops::RangeInclusive<usize> = 8..=20;
/// The same of faults.
const FAULTS: std::ops::RangeInclusive<usize> = 0..=10;
/// Shortest and longest time in which they happen.
const SPAN_MS: std::ops::RangeInclusive<u64> = 3_000..=40_000;
/// Time within which everybody begins.
const BEGIN_MS: u64 = 1_500;
/// Shortest and longest time for which something stays down.
const DOWN_MS: std::ops::RangeInclusive<u64> = 50..=8_000;
/// Time after an operation in which it is still going on.
const SOON_MS: u64 = 200;
/// The most that a server's clock is wrong: calls carry the time until which somebody waits for them.
const SERVER_SKEW_MS: i64 = 200;
/// The same of a client's clock.
const CLIENT_SKEW_MS: i64 = 10 * 60 * 1000;

/// A part of the installation that can stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Gateway(usize),
    /// Service, replica.
    Service(usize, usize),
    Client(usize),
}

/// What a user does, or what goes wrong. To add one: a variant, its line in [`Plan::operation`] or [`Plan::fault`], and
/// its arm in `drive`.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// A direct conversation with the account of another client.
    Dm {
        client: usize,
        with: usize,
    },
    /// A message in one of the conversations; `pick` chooses among them.
    Send {
        client: usize,
        pick: usize,
        burst: usize,
    },
    /// Signs, edits or deletes one of the messages there, as `how` says.
    Change {
        client: usize,
        pick: usize,
        how: usize,
    },
    /// New keys in one of the conversations.
    Update {
        client: usize,
        pick: usize,
    },
    /// A group with the accounts of these clients.
    Found {
        client: usize,
        with: Vec<usize>,
    },
    /// Adds the account of another client to one of the groups.
    Add {
        client: usize,
        pick: usize,
        whom: usize,
    },
    Remove {
        client: usize,
        pick: usize,
        whom: usize,
    },
    Leave {
        client: usize,
        pick: usize,
    },
    /// Gives the account of another client a role in one of the groups.
    Role {
        client: usize,
        pick: usize,
        whom: usize,
        role: Role,
    },
    /// Revokes the device of another client, if it is of the same account.
    Revoke {
        client: usize,
        whom: usize,
    },
    /// An invite to one of the groups, by which another client joins.
    Invite {
        client: usize,
        pick: usize,
        whom: usize,
    },
    /// A look into the mailbox.
    Sync {
        client: usize,
    },

    /// Stops where it stands.
    Crash(Part),
    /// Ends in good order.
    Stop(Part),
    /// Starts what has stopped; a client at this gateway.
    Start(Part, usize),
    /// Loses its connections, in silence or not.
    Cut(Part, bool),
    /// Cannot be reached.
    Isolate(Part),
    Rejoin(Part),
    /// Delay in milliseconds, percent of slow pieces, permille of reset streams.
    Weather(u64, u32, u32),
    Bus(Faults),
    /// A clock goes wrong by milliseconds.
    Skew(Part, i64),
}

pub(super) struct Plan {
    pub(super) suite: Suite,
    /// Devices of [`DEVICES`] that take part.
    pub(super) devices: Vec<usize>,
    pub(super) sync_every: Duration,
    /// Milliseconds since the beginning, ascending.
    pub(super) steps: Vec<(u64, Action)>,
    /// Drawn operations and faults.
    pub(super) operations: Tally,
    pub(super) faults: Tally,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let suite = if rng.gen_ratio(1, 10) { Suite::Hybrid } else { Suite::Classic };
        let mut plan = Self {
            suite,
            devices: some_devices(&mut rng),
            sync_every: Duration::from_millis(rng.gen_range(2_000..30_000)),
            steps: Vec::new(),
            operations: Tally::new(),
            faults: Tally::new(),
        };
        let span = rng.gen_range(SPAN_MS);
        plan.begin(&mut rng);
        for _ in 0..rng.gen_range(OPERATIONS) {
            let at = BEGIN_MS + rng.gen_range(0..span);
            plan.operation(&mut rng, at);
        }
        for _ in 0..rng.gen_range(FAULTS) {
            // Half of them hit somebody in the middle of something.
            let at = match plan.steps.choose(&mut rng) {
                Some((at, _)) if rng.r#gen() => at + rng.gen_range(0..SOON_MS),
                _ => rng.gen_range(0..span),
            };
            plan.fault(&mut rng, at);
        }
        plan.steps.sort_by_key(|(at, _)| *at);
        plan
    }

    fn step(&mut self, at: u64, action: Action) {
        self.steps.push((at, action));
    }

    /// Everybody arrives, and two or three begin to talk.
    fn begin(&mut self, rng: &mut StdRng) {
        for client in 0..self.devices.len() {
            let at = rng.gen_range(0..BEGIN_MS);
            self.step(at, Action::Start(Part::Client(client), rng.gen_range(0..PAIR)));
        }
        for _ in 0..2 {
            let action = self.dm(rng);
            self.operate(BEGIN_MS, "dm", action);
        }
    }

    fn dm(&self, rng: &mut StdRng) -> Action {
        loop {
            let (client, with) = (rng.gen_range(0..self.devices.len()), rng.gen_range(0..self.devices.len()));
            if DEVICES[self.devices[client]].0 != DEVICES[self.devices[with]].0 {
                return Action::Dm { client, with };
            }
        }
    }

    fn operate(&mut self, at: u64, name: &'static str, action: Action) {
        *self.operations.entry(name).or_default() += 1;
        self.step(at, action);
    }

    fn operation(&mut self, rng: &mut StdRng, at: u64) {
        let all = self.devices.len();
        let (client, whom, pick) = (rng.gen_range(0..all), rng.gen_range(0..all), rng.r#gen());
        let (name, action) = match rng.gen_range(0..100) {
            0..4 => ("dm", self.dm(rng)),
            4..20 => ("update", Action::Update { client, pick }),
            20..23 => ("sync", Action::Sync { client }),
            23..29 => ("found", Action::Found { client, with: (0..all).filter(|_| rng.gen_ratio(1, 2)).collect() }),
            29..35 => ("add", Action::Add { client, pick, whom }),
            35..38 => ("remove", Action::Remove { client, pick, whom }),
            38..40 => ("leave", Action::Leave { client, pick }),
            40..43 => ("invite", Action::Invite { client, pick, whom }),
            43..45 => ("revoke", Action::Revoke { client, whom }),
            45..48 => {
                let role = if rng.r#gen() { Role::Admin } else { Role::Member };
                ("role", Action::Role { client, pick, whom, role })
            }
            // Everybody at the same moment.
            48..52 => {
                (0..all).for_each(|client| self.step(at, Action::Update { client, pick }));
                ("race", Action::Sync { client })
            }
            52..60 => ("change", Action::Change { client, pick, how: rng.r#gen() }),
            60..66 => {
                (0..all).for_each(|client| self.step(at, Action::Change { client, pick, how: rng.r#gen() }));
                ("changes", Action::Change { client, pick, how: rng.r#gen() })
            }
            _ => ("send", Action::Send { client, pick, burst: rng.gen_range(1..=3) }),
        };
        self.operate(at, name, action);
    }

    fn fault(&mut self, rng: &mut StdRng, at: u64) {
        let after = at + rng.gen_range(DOWN_MS);
        let part = self.part(rng);
        let name = match rng.gen_range(0..100) {
            0..35 => {
                self.step(at, Action::Crash(part));
                self.step(after, Action::Start(part, rng.gen_range(0..PAIR)));
                "crash"
            }
            35..50 => {
                self.step(at, Action::Stop(part));
                self.step(after, Action::Start(part, rng.gen_range(0..PAIR)));
                "stop"
            }
            50..65 => {
                self.step(at, Action::Cut(part, rng.r#gen()));
                "cut"
            }
            65..72 => {
                self.step(at, Action::Isolate(part));
                self.step(after, Action::Rejoin(part));
                "isolation"
            }
            72..80 => {
                let weather = Action::Weather(rng.gen_range(2..200), rng.gen_range(0..30), rng.gen_range(0..60));
                self.step(at, weather);
                self.step(after, Action::Weather(5, 0, 0));
                "bad network"
            }
            80..92 => {
                self.step(at, Action::Bus(bad_bus(rng)));
                self.step(after, Action::Bus(Faults::NONE));
                "bad bus"
            }
            _ => {
                let most = if matches!(part, Part::Client(_)) { CLIENT_SKEW_MS } else { SERVER_SKEW_MS };
                self.step(at, Action::Skew(part, rng.gen_range(-most..=most)));
                "clock"
            }
        };
        *self.faults.entry(name).or_default() += 1;
    }

    fn part(&self, rng: &mut StdRng) -> Part {
        match rng.gen_range(0..3) {
            0 => Part::Gateway(rng.gen_range(0..PAIR)),
            1 => Part::Service(rng.gen_range(0..SERVICES), rng.gen_range(0..PAIR)),
            _ => Part::Client(rng.gen_range(0..self.devices.len())),
        }
    }
}

fn bad_bus(rng: &mut StdRng) -> Faults {
    Faults { seed: rng.r#gen(), lost: rng.gen_range(0..40), doubled: rng.gen_range(0..30), late: rng.gen_range(0..30) }
}

/// Three to five, of two accounts at least.
fn some_devices(rng: &mut StdRng) -> Vec<usize> {
    loop {
        let mut devices: Vec<usize> = (0..DEVICES.len()).collect();
        devices.shuffle(rng);
        devices.truncate(rng.gen_range(3..=DEVICES.len()));
        if devices.iter().any(|device| DEVICES[*device].0 != DEVICES[devices[0]].0) {
            return devices;
        }
    }
}
