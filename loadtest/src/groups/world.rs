//! A group whose steps are timed: the same ones whether its members are ours or of openmls alone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use qpc_crypto::{AccountKey, GroupView, Suite, mls::warm_rank};
use qpc_sdk::Runtime;
use qpc_wire::{DeviceId, GroupId};
use tokio::time::Instant;

use super::{
    bare::{Bare, BareServer},
    member::{Change, Item, Made, Mail, Member},
    ours::{Held, Stored},
};

/// Devices added by one commit.
pub(super) const BATCH: usize = 50;
/// Messages of one repetition.
const MESSAGES: usize = 2;
/// Updates that make a tree warm, in the order in which clients make them; with more it gets warmer.
pub(super) const WARM_UPDATES: usize = 32;
const TEXT: &str = "A message of two hundred bytes, which is what people write to each other when they have a little more \
    to say than yes or no, and less than what they would rather have said by voice, on a walk, or here.";

/// Whose code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Ours,
    Bare,
}

/// Where a device keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Memory,
    Disk,
    /// Not a device but the server.
    Server,
}

/// What is measured in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Update,
    /// Somebody comes, a few messages are written, and they go again.
    Add,
    AddMany,
    External,
    Load,
}

pub(super) const STEPS: [Step; 5] = [Step::Update, Step::Add, Step::AddMany, Step::External, Step::Load];

/// Those that are other ones in a warm tree.
pub(super) const WARM_STEPS: [Step; 2] = [Step::Update, Step::Add];

/// Times in milliseconds and sizes in bytes, by what was done.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) times: BTreeMap<(&'static str, Place), Vec<f64>>,
    pub(super) bytes: BTreeMap<&'static str, usize>,
}

impl Samples {
    fn time<T>(&mut self, what: &'static str, place: Place, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let value = work()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        if !what.is_empty() {
            self.times.entry((what, place)).or_default().push(ms);
        }
        Ok(value)
    }

    /// The first one counts: later ones may meet a tree that is warmer.
    fn size(&mut self, what: &'static str, bytes: usize) {
        if !what.is_empty() {
            self.bytes.entry(what).or_insert(bytes);
        }
    }

    pub(super) fn fastest(&self, what: &'static str, place: Place) -> Option<f64> {
        self.times.get(&(what, place))?.iter().copied().min_by(f64::total_cmp)
    }

    pub(super) fn median(&self, what: &'static str, place: Place) -> Option<f64> {
        let mut times = self.times.get(&(what, place))?.clone();
        times.sort_by(f64::total_cmp);
        // Of an even number, the mean of the middle two: the larger alone would be the slowest of two.
        Some(f64::midpoint(times[(times.len() - 1) / 2], times[times.len() / 2]))
    }
}

enum Server {
    /// What the service stores between two commits.
    Ours(Vec<u8>),
    Bare(Box<BareServer>),
}

impl Server {
    fn apply(&mut self, made: &Made) -> Result<()> {
        match self {
            Self::Ours(snapshot) => {
                let mut view = GroupView::restore(snapshot)?;
                view.apply(&made.commit)?;
                view.check_group_info(&made.group_info)?;
                *snapshot = view.snapshot()?;
                Ok(())
            }
            Self::Bare(server) => server.apply(&made.commit),
        }
    }

    fn tree(&self) -> Result<Vec<u8>> {
        match self {
            Self::Ours(snapshot) => Ok(GroupView::restore(snapshot)?.ratchet_tree()?),
            Self::Bare(server) => server.tree(),
        }
    }
}

/// A device that is timed.
struct Tracked {
    place: Place,
    member: Box<dyn Member>,
}

/// The group.
pub(super) struct World {
    side: Side,
    /// Bytes of a credential of openmls.
    credential: usize,
    suite: Suite,
    group: GroupId,
    runtime: Runtime,
    folder: PathBuf,
    /// Owner of the group.
    account: AccountKey,
    server: Server,
    info: Vec<u8>,
    epoch: u64,
    /// Pairs: one that changes the group and writes, one that reads.
    tracked: Vec<Tracked>,
    /// In the order of their leaves, which begin behind those that are timed.
    others: Vec<Box<dyn Member>>,
}

impl World {
    /// A group of `leaves`, filled by one member in batches, with a pair of timed devices at each place.
    pub(super) fn new(
        side: Side,
        suite: Suite,
        leaves: usize,
        places: &[Place],
        credential: usize,
        folder: &Path,
    ) -> Result<Self> {
        let runtime = Runtime::system();
        let (group, account) = (GroupId(runtime.random()), AccountKey::generate(&mut runtime.rng()));
        let first = *places.first().context("no place")?;
        let mut world = Self {
            side,
            credential,
            suite,
            group,
            runtime,
            folder: folder.to_owned(),
            account,
            server: Server::Ours(Vec::new()),
            info: Vec::new(),
            epoch: 0,
            tracked: Vec::new(),
            others: Vec::new(),
        };
        let mut founder = world.device(first, true)?;
        let info = founder.found(suite, group)?;
        world.server = match side {
            Side::Ours => Server::Ours(GroupView::found(&info)?.snapshot()?),
            Side::Bare => Server::Bare(Box::new(BareServer::found(&info)?)),
        };
        world.tracked.push(Tracked { place: first, member: founder });
        world.fill(leaves)?;
        let rest = places.iter().flat_map(|place| [*place, *place]).skip(1);
        world.let_in(rest.collect())?;
        Ok(world)
    }

    fn fill(&mut self, leaves: usize) -> Result<()> {
        let mut missing = if leaves > 2 { leaves - 1 } else { 0 };
        let mut unused = Samples::default();
        while missing > 0 {
            let count = missing.min(BATCH);
            let mut packages = Vec::with_capacity(count);
            for _ in 0..count {
                let mut member = self.device(Place::Memory, false)?;
                packages.push((member.id(), member.key_package(self.suite)?));
                self.others.push(member);
            }
            self.commit(0, &Change::Add(&packages), "", "", &mut unused)?;
            missing -= count;
        }
        Ok(())
    }

    /// The devices that are timed take the places beside the founder, so that the tree is as cold for one as for another.
    fn let_in(&mut self, places: Vec<Place>) -> Result<()> {
        let mut unused = Samples::default();
        if !self.others.is_empty() {
            let gone: Vec<DeviceId> = self.others.drain(..places.len()).map(|member| member.id()).collect();
            self.commit(0, &Change::Remove(&gone), "", "", &mut unused)?;
        }
        let (mut joiners, mut packages) = (Vec::new(), Vec::new());
        for place in places {
            let mut member = self.device(place, true)?;
            packages.push((member.id(), member.key_package(self.suite)?));
            joiners.push(Tracked { place, member });
        }
        let made = self.commit(0, &Change::Add(&packages), "", "", &mut unused)?;
        let tree = self.server.tree()?;
        for mut joiner in joiners {
            let item = Item::Welcome { welcome: &made.welcome, tree: &tree, group_info: &made.group_info };
            joiner.member.take(joiner.member.mail(item)?)?;
            self.tracked.push(joiner);
        }
        Ok(())
    }

    fn device(&self, place: Place, own: bool) -> Result<Box<dyn Member>> {
        let stranger = AccountKey::generate(&mut self.runtime.rng());
        let account = if own { &self.account } else { &stranger };
        let folder = || tempfile::tempdir_in(&self.folder);
        Ok(match (self.side, place) {
            (Side::Ours, Place::Disk) => Box::new(Stored::new(&self.runtime, account, self.group, folder()?)?),
            (Side::Ours, _) => Box::new(Held::new(&self.runtime, account)),
            (Side::Bare, Place::Disk) => {
                Box::new(Bare::stored(&self.runtime, self.suite, self.group, self.credential, folder()?)?)
            }
            (Side::Bare, _) => Box::new(Bare::held(&self.runtime, self.suite, self.group, self.credential)?),
        })
    }

    /// Warms the tree as updates would: by commits with a path of those whose turn would be first. Devices that come back
    /// from outside make the same nodes as by an update, and need not have followed the group. Returns how many.
    pub(super) fn warm(&mut self) -> Result<usize> {
        let behind = self.tracked.len();
        let leaves = (behind + self.others.len()) as u32;
        let mut order: Vec<usize> = (0..self.others.len()).collect();
        order.sort_by_key(|other| warm_rank((behind + other) as u32, leaves));
        order.truncate(WARM_UPDATES.min(self.others.len() / 2));
        for other in &order {
            let tree = self.server.tree()?;
            let member = &mut self.others[*other];
            let made = member.join_external(&self.info, &tree, self.epoch)?;
            member.settle()?;
            self.accept(made, "", &mut Samples::default())?;
        }
        for index in 0..self.tracked.len() {
            let tree = self.server.tree()?;
            let member = &mut self.tracked[index].member;
            let made = member.join_external(&self.info, &tree, self.epoch)?;
            member.settle()?;
            let made = self.accept(made, "", &mut Samples::default())?;
            for earlier in &mut self.tracked[..index] {
                earlier.member.take(earlier.member.mail(Item::Commit(&made.commit))?)?;
            }
        }
        Ok(order.len())
    }

    /// Runs and times a step once at each place.
    pub(super) fn step(&mut self, step: Step, samples: &mut Samples) -> Result<()> {
        for maker in (0..self.tracked.len()).step_by(2) {
            match step {
                Step::Update => drop(self.commit(maker, &Change::Update, "update", "update, received", samples)?),
                Step::Add => {
                    let guest = self.add(maker, samples)?;
                    self.message(maker, samples)?;
                    self.commit(maker, &Change::Remove(&[guest]), "remove", "remove, received", samples)?;
                }
                Step::AddMany => self.add_many(maker, samples)?,
                Step::External => self.external(maker, samples)?,
                Step::Load => self.load(maker, samples)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, maker: usize, samples: &mut Samples) -> Result<DeviceId> {
        let place = self.tracked[maker].place;
        let mut guest = self.device(place, false)?;
        let packages = [(guest.id(), guest.key_package(self.suite)?)];
        let made = self.commit(maker, &Change::Add(&packages), "add one", "add one, received", samples)?;
        samples.size("welcome", made.welcome.len());
        let tree = self.server.tree()?;
        samples.size("tree", tree.len());
        let item = Item::Welcome { welcome: &made.welcome, tree: &tree, group_info: &made.group_info };
        let mail = guest.mail(item)?;
        samples.time("join", place, || guest.take(mail))?;
        Ok(guest.id())
    }

    fn add_many(&mut self, maker: usize, samples: &mut Samples) -> Result<()> {
        let mut packages = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let mut guest = self.device(Place::Memory, false)?;
            packages.push((guest.id(), guest.key_package(self.suite)?));
        }
        self.commit(maker, &Change::Add(&packages), "add 50", "add 50, received", samples)?;
        let gone: Vec<DeviceId> = packages.iter().map(|(id, _)| *id).collect();
        self.commit(maker, &Change::Remove(&gone), "", "", samples)?;
        Ok(())
    }

    fn external(&mut self, maker: usize, samples: &mut Samples) -> Result<()> {
        let place = self.tracked[maker].place;
        // A further device of an account that is in the group, which needs no invite.
        let mut guest = self.device(place, true)?;
        let (info, tree, epoch) = (self.info.clone(), self.server.tree()?, self.epoch);
        let made = samples.time("external join", place, || {
            let made = guest.join_external(&info, &tree, epoch)?;
            guest.settle()?;
            Ok(made)
        })?;
        samples.size("external join", made.commit.len());
        let made = self.accept(made, "external join", samples)?;
        for tracked in &mut self.tracked {
            let mail = tracked.member.mail(Item::Commit(&made.commit))?;
            samples.time("external join, received", tracked.place, || tracked.member.take(mail))?;
        }
        self.commit(maker, &Change::Remove(&[guest.id()]), "", "", samples)?;
        Ok(())
    }

    fn message(&mut self, maker: usize, samples: &mut Samples) -> Result<()> {
        let place = self.tracked[maker].place;
        for _ in 0..MESSAGES {
            let writer = &mut self.tracked[maker].member;
            let message = samples.time("encrypt", place, || writer.encrypt(TEXT))?;
            samples.size("encrypt", message.len());
            let reader = &mut self.tracked[maker + 1].member;
            let mail = reader.mail(Item::Message(&message))?;
            samples.time("decrypt", place, || reader.take(mail))?;
        }
        Ok(())
    }

    fn load(&mut self, maker: usize, samples: &mut Samples) -> Result<()> {
        let Tracked { place, member } = &mut self.tracked[maker];
        if *place == Place::Memory {
            return Ok(());
        }
        samples.time("(load)", *place, || member.load())?;
        if self.side == Side::Ours {
            samples.time("(load and note epoch)", *place, || member.note())?;
        }
        Ok(())
    }

    /// Makes a commit, lets the server take it in, and everybody who is timed.
    fn commit(
        &mut self,
        maker: usize,
        change: &Change<'_>,
        made_as: &'static str,
        received_as: &'static str,
        samples: &mut Samples,
    ) -> Result<Made> {
        let Tracked { place, member } = &mut self.tracked[maker];
        let place = *place;
        let start = Instant::now();
        let made = member.change(change)?;
        let making = start.elapsed();
        let made = self.accept(made, made_as, samples)?;
        let start = Instant::now();
        self.tracked[maker].member.settle()?;
        if !made_as.is_empty() {
            let ms = (making + start.elapsed()).as_secs_f64() * 1e3;
            samples.times.entry((made_as, place)).or_default().push(ms);
        }
        samples.size(made_as, made.commit.len());
        for (index, tracked) in self.tracked.iter_mut().enumerate().filter(|(index, _)| *index != maker) {
            let mail: Mail = tracked.member.mail(Item::Commit(&made.commit))?;
            let taken = samples.time(received_as, tracked.place, || tracked.member.take(mail));
            taken.with_context(|| format!("device {index} takes in {made_as:?}"))?;
        }
        Ok(made)
    }

    fn accept(&mut self, made: Made, what: &'static str, samples: &mut Samples) -> Result<Made> {
        let server = &mut self.server;
        samples.time(what, Place::Server, || server.apply(&made))?;
        self.info.clone_from(&made.group_info);
        self.epoch += 1;
        Ok(made)
    }
}
