//! Carries a plan out, heals everything, waits until all is quiet, and collects what everybody has.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use qpc_chassis::{Runtime, db::Db};
use qpc_crypto::MlsError;
use qpc_sdk::{
    Client, ConversationId, ConversationInfo, ConversationKind, DeviceId, Error, Event, MessageKind, ReceiptFile,
};
use qpc_wire::Code;
use tokio::time::Instant;

use super::{
    history::{Final, Held, History},
    plan::{Action, PAIR, Part, Plan, SERVICES},
    template::{DEVICES, SEALED, Template},
    world::{Node, Opening, Servers, open},
};
use crate::Faults;

/// Longest time until all is quiet, once everything works again.
const QUIET_WITHIN: Duration = Duration::from_secs(600);
/// Time between two looks whether it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time for which all stays quiet before it is believed.
const STILL: Duration = Duration::from_secs(5);
/// Messages of a history.
const ALL: u32 = 10_000;
/// Time for which invites are good.
const INVITE_FOR: Duration = Duration::from_secs(3600);

/// A client and its machine.
struct Device {
    node: Node,
    name: &'static str,
    id: DeviceId,
    client: Option<Client>,
}

pub(super) struct Simulation {
    servers: Servers,
    devices: Vec<Device>,
    plan: Plan,
    template: &'static Template,
    pub(super) history: Arc<History>,
    /// Messages so far.
    sent: u64,
}

impl Simulation {
    pub(super) async fn new(seed: u64, plan: Plan, template: &'static Template) -> Result<Self> {
        let mut servers = Servers::new(seed, template.start_ms, template.database.fork());
        servers.start_all().await?;
        let devices = plan
            .devices
            .iter()
            .map(|n| {
                let (disk, id) = &template.devices[*n];
                Device { node: servers.node(disk.fork()), name: DEVICES[*n].0, id: *id, client: None }
            })
            .collect();
        Ok(Self { servers, devices, plan, template, history: Arc::new(History::new()), sent: 0 })
    }

    /// A number that differs when anything differed that was sent or told.
    pub(super) fn trace(&self) -> u64 {
        self.servers.net.trace() ^ self.history.trace().rotate_left(32)
    }

    pub(super) async fn run(&mut self) -> Result<Vec<String>> {
        let began = Instant::now();
        for (at, action) in self.plan.steps.clone() {
            tokio::time::sleep_until(began + Duration::from_millis(at)).await;
            // What follows from something broken says nothing new.
            if self.history.is_broken() {
                return Ok(self.history.check(Vec::new()));
            }
            self.history.note(format!("{action:?}"));
            self.act(action).await?;
        }
        self.heal().await?;
        let all = match self.settle().await? {
            Ok(all) => all,
            Err(_) if self.history.is_broken() => return Ok(self.history.check(Vec::new())),
            Err(why) => {
                self.history.broken(format!("not quiet after {QUIET_WITHIN:?}: {why}"));
                self.collect().await?
            }
        };
        Ok(self.history.check(all))
    }

    async fn act(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Dm { client, with } => self.dm(client, with),
            Action::Send { client, pick, burst } => self.send(client, pick, burst),
            Action::Change { client, pick, how } => self.change_message(client, pick, how),
            Action::Update { client, pick } => self.update(client, pick),
            Action::Found { client, with } => self.found(client, &with),
            Action::Add { client, pick, whom } => {
                let name = self.devices[whom].name.to_owned();
                self.change(client, pick, |client, group| async move { client.add(group, &[name]).await });
            }
            Action::Remove { client, pick, whom } => {
                let name = self.devices[whom].name;
                self.change(client, pick, move |client, group| async move { client.remove(group, name).await });
            }
            Action::Leave { client, pick } => self.leave(client, pick),
            Action::Role { client, pick, whom, role } => {
                let name = self.devices[whom].name;
                self.change(client, pick, move |client, group| async move { client.set_role(group, name, role).await });
            }
            Action::Revoke { client, whom } => self.revoke(client, whom),
            Action::Invite { client, pick, whom } => self.invite(client, pick, whom),
            Action::Sync { client } => self.with(client, |client, _, _| async move { client.sync().await }),
            Action::Crash(part) => {
                self.node(part).crash();
                self.forget(part);
            }
            Action::Stop(part) => {
                let beside = self.servers.beside.clone();
                if let Part::Client(client) = part
                    && let Some(client) = self.devices[client].client.take()
                {
                    beside.spawn(client.close());
                }
                self.node(part).stop(&beside);
            }
            Action::Start(part, gateway) => self.start(part, gateway).await?,
            Action::Cut(part, silent) => self.node(part).port().cut(silent),
            Action::Isolate(part) => self.node(part).port().isolate(),
            Action::Rejoin(part) => self.node(part).port().rejoin(),
            Action::Weather(delay, slow_percent, reset_permille) => {
                let delay = Duration::from_millis(delay);
                let weather = qpc_chassis::runtime::sim::net::Weather { delay, slow_percent, reset_permille };
                self.servers.net.set_weather(weather);
            }
            Action::Bus(faults) => self.servers.bus.set(faults),
            Action::Skew(part, ms) => self.node(part).clock().skew(ms),
        }
        Ok(())
    }

    fn node(&mut self, part: Part) -> &mut Node {
        match part {
            Part::Gateway(gateway) => &mut self.servers.gateways[gateway],
            Part::Service(service, replica) => &mut self.servers.services[service][replica],
            Part::Client(client) => &mut self.devices[client].node,
        }
    }

    fn forget(&mut self, part: Part) {
        if let Part::Client(client) = part {
            self.devices[client].client = None;
        }
    }

    async fn start(&mut self, part: Part, gateway: usize) -> Result<()> {
        match part {
            Part::Gateway(gateway) => self.servers.start_gateway(gateway).await,
            Part::Service(service, replica) => self.servers.start_service(service, replica).await,
            Part::Client(client) => self.start_client(client, gateway).await,
        }
    }

    /// Does nothing if it runs.
    async fn start_client(&mut self, client: usize, gateway: usize) -> Result<()> {
        let device = &mut self.devices[client];
        if device.client.is_some() {
            return Ok(());
        }
        let opening = Opening {
            name: device.name,
            gateway,
            suite: self.plan.suite,
            sync_every: self.plan.sync_every,
            account_key: None,
            sealed: SEALED.contains(&self.plan.devices[client]),
            trust: self.template.trust.clone(),
        };
        let opened = open(&mut device.node, opening).await?;
        let (mut events, history, id) = (opened.events(), self.history.clone(), device.id);
        let listener = opened.clone();
        device.node.runtime().context("started")?.spawn(async move {
            while let Some(event) = events.next().await {
                history.note(format!("{} {}", short(id), brief(&event)));
                history.heard(id, &event);
                if let Event::EpochChanged { conversation, .. } | Event::ConversationAdded(conversation) = event
                    && let Err(error) = look(&listener, conversation, &history).await
                {
                    history.note(format!("{} {error}", short(id)));
                }
            }
        });
        opened.start();
        device.client = Some(opened);
        Ok(())
    }

    /// Runs an operation on the machine of a client, so that it ends with a crash. Its failure must be one that passes, unless
    /// the device is being revoked.
    fn with<F: Future<Output = Result<(), Error>> + Send + 'static>(
        &self,
        client: usize,
        operation: impl FnOnce(Client, Arc<History>, DeviceId) -> F,
    ) {
        let device = &self.devices[client];
        let (Some(client), Some(runtime)) = (device.client.clone(), device.node.runtime()) else { return };
        let (history, id) = (self.history.clone(), device.id);
        let work = operation(client, history.clone(), id);
        runtime.spawn(async move {
            match work.await {
                Ok(()) => {}
                Err(error) if passes(&error) || history.is_doomed(id) => history.note(format!("{} {error}", short(id))),
                Err(error) => history.broken(format!("an operation of {id} failed: {error:?}")),
            }
        });
    }

    fn dm(&self, client: usize, with: usize) {
        let (own, peer) = (self.devices[client].name, self.devices[with].name);
        self.with(client, |client, history, _| async move {
            let id = client.dm(peer).await?;
            history.paired(own, peer, id);
            Ok(())
        });
    }

    fn send(&mut self, client: usize, pick: usize, burst: usize) {
        let first = self.sent;
        self.sent += burst as u64;
        self.with(client, move |client, history, device| async move {
            let Some(conversation) = chosen(&client, pick).await? else { return Ok(()) };
            for n in 0..burst as u64 {
                let id = client.send(conversation, &format!("message {}", first + n)).await?;
                let written = client.history(conversation, ALL).await?.into_iter().find(|message| message.id == id);
                let epoch = written.map_or(u64::MAX, |message| message.epoch);
                history.wrote(device, conversation, id, epoch);
            }
            Ok(())
        });
    }

    fn change_message(&self, client: usize, pick: usize, how: usize) {
        self.with(client, move |client, history, device| async move {
            let Some(conversation) = chosen(&client, pick).await? else { return Ok(()) };
            let epoch = client.conversation(conversation).await?.epoch;
            let mut messages = client.history(conversation, ALL).await?;
            messages.retain(|message| message.kind == MessageKind::Text);
            let Some(message) = (!messages.is_empty()).then(|| &messages[pick % messages.len()]) else { return Ok(()) };
            let (target, own) = (message.reference(), message.sender == client.whoami().await?.account);
            let changed = match how % 8 {
                0 if own => client.delete(conversation, target).await,
                1..4 if own => client.edit(conversation, target, format!("edit {how}")).await,
                4 => client.unreact(conversation, target, "+1").await,
                _ => client.react(conversation, target, if how % 16 < 8 { "+1" } else { "-1" }).await,
            };
            match changed {
                Ok(id) => history.changed(device, conversation, (id, target.id), epoch),
                // It was deleted meanwhile.
                Err(Error::UnknownMessage(_)) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        });
    }

    fn update(&self, client: usize, pick: usize) {
        self.with(client, move |client, history, device| async move {
            let Some(conversation) = chosen(&client, pick).await? else { return Ok(()) };
            let epoch = client.update_keys(conversation).await?;
            history.committed(device, conversation, epoch);
            Ok(())
        });
    }

    fn found(&self, client: usize, with: &[usize]) {
        let own = self.devices[client].name;
        let names: BTreeSet<String> = with.iter().map(|one| self.devices[*one].name.to_owned()).collect();
        let names: Vec<String> = names.into_iter().filter(|name| *name != own).collect();
        self.with(client, move |client, _, _| async move {
            client.create_group("group", &names).await?;
            Ok(())
        });
    }

    /// A change of the members of a group. Who may not make it, or comes too late, is told so.
    fn change<F: Future<Output = Result<u64, Error>> + Send + 'static>(
        &self,
        client: usize,
        pick: usize,
        change: impl FnOnce(Client, ConversationId) -> F + Send + 'static,
    ) {
        self.with(client, move |client, history, device| async move {
            let Some(group) = chosen_group(&client, pick).await? else { return Ok(()) };
            match change(client, group).await {
                // Where nothing was to be done no commit was made, so this is nobody's epoch.
                Ok(epoch) => history.note(format!("{} finds {group} in {epoch}", short(device))),
                Err(error) if refuses(&error) => history.note(format!("{} {error}", short(device))),
                Err(error) => return Err(error),
            }
            Ok(())
        });
    }

    fn leave(&self, client: usize, pick: usize) {
        self.change(client, pick, |client, group| async move { client.leave(group).await.map(|()| 0) });
    }

    fn revoke(&self, client: usize, whom: usize) {
        let (by, device) = (&self.devices[client], self.devices[whom].id);
        if client == whom || by.name != self.devices[whom].name {
            return;
        }
        self.with(client, move |client, history, by| async move {
            // Whatever is answered, it may have happened.
            history.doom(device);
            client.revoke_device(device).await?;
            history.note(format!("{} has revoked {}", short(by), short(device)));
            history.revoked(device);
            Ok(())
        });
    }

    /// The link goes from one to the other by other means.
    fn invite(&self, client: usize, pick: usize, whom: usize) {
        let (give, take) = tokio::sync::oneshot::channel();
        self.change(client, pick, |client, group| async move {
            let link = client.invite(group, INVITE_FOR, 0).await?;
            // Whoever was to get it may be gone.
            let _ = give.send(link);
            Ok(0)
        });
        self.with(whom, |client, history, device| async move {
            let Ok(link) = take.await else { return Ok(()) };
            match client.join(&link).await {
                Err(error) if refuses(&error) => history.note(format!("{} {error}", short(device))),
                joined => drop(joined?),
            }
            Ok(())
        });
    }

    /// Everything works again, except that clocks stay wrong.
    async fn heal(&mut self) -> Result<()> {
        self.history.note("everything heals".into());
        self.servers.bus.set(Faults::NONE);
        self.servers.net.set_weather(qpc_chassis::runtime::sim::net::Weather::FAIR);
        let services = (0..SERVICES).flat_map(|service| (0..PAIR).map(move |replica| Part::Service(service, replica)));
        let gateways = (0..PAIR).map(Part::Gateway);
        let clients = (0..self.devices.len()).map(Part::Client);
        for part in services.chain(gateways).chain(clients) {
            self.node(part).port().rejoin();
            self.start(part, 0).await?;
        }
        Ok(())
    }

    /// Waits until nothing is left to do. The inner error says what is.
    async fn settle(&mut self) -> Result<Result<Vec<Final>, String>> {
        let until = Instant::now() + QUIET_WITHIN;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut open = self.unfinished().await?;
            if open.is_none() {
                tokio::time::sleep(STILL).await;
                open = self.unfinished().await?;
            }
            match open {
                None => return Ok(Ok(self.collect().await?)),
                Some(why) if Instant::now() > until || self.history.is_broken() => return Ok(Err(why)),
                Some(_) => {}
            }
        }
    }

    /// What is still to be done, if anything is.
    async fn unfinished(&self) -> Result<Option<String>> {
        let devices: Vec<_> = self.devices.iter().filter(|device| !self.history.is_doomed(device.id)).collect();
        for device in &devices {
            let Some(client) = &device.client else { continue };
            if !client.whoami().await?.connected {
                return Ok(Some(format!("{} is not connected", device.id)));
            }
            if !client.settle(Duration::ZERO).await {
                return Ok(Some(format!("{} has something left to do", device.id)));
            }
        }
        let delivery = self.delivery().await?;
        for device in &devices {
            let sql = "SELECT last_seq, acked FROM mailbox_head WHERE device = $1";
            let Some(row) = delivery.row(sql, &[(&device.id).into()]).await? else { continue };
            let (head, acked) = (row.uint(0)?, row.uint(1)?);
            if head != acked {
                return Ok(Some(format!("{} has acknowledged {acked} of {head}", device.id)));
            }
        }
        Ok(None)
    }

    async fn delivery(&self) -> Result<Db> {
        let beside: &Runtime = &self.servers.beside;
        Ok(Db::open_inline(&self.servers.database, beside, "delivery", qpc_delivery::store::MIGRATIONS).await?)
    }

    async fn collect(&self) -> Result<Vec<Final>> {
        let mut all = Vec::new();
        for device in self.devices.iter().filter(|device| !self.history.is_doomed(device.id)) {
            let Some(client) = &device.client else { continue };
            let mut conversations = BTreeMap::new();
            for info in client.conversations().await?.into_iter().filter(is_shared) {
                let members = client.members(info.id).await.unwrap_or_default();
                let held = Held {
                    active: info.active,
                    devices: members.into_iter().flat_map(|member| member.devices).collect(),
                    epoch: info.epoch,
                    authenticator: if info.active { client.epoch_authenticator(info.id).await? } else { Vec::new() },
                    messages: client.history(info.id, ALL).await?,
                };
                conversations.insert(info.id, held);
            }
            let undecryptable = client.stats().await?.undecryptable;
            let mut receipts = Vec::new();
            client.export_receipts(&mut receipts).await?;
            let receipts = ReceiptFile::read(receipts.as_slice())?;
            all.push(Final { device: device.id, undecryptable, conversations, receipts });
        }
        Ok(all)
    }
}

/// Notes who is in the epoch in which a client is.
async fn look(client: &Client, conversation: ConversationId, history: &History) -> Result<(), Error> {
    let info = client.conversation(conversation).await?;
    if info.active && !info.stuck {
        let members = client.members(conversation).await?;
        // Nothing has happened in between: transactions of a simulation take no time.
        history.roster(conversation, info.epoch, members.into_iter().flat_map(|member| member.devices).collect());
    }
    Ok(())
}

fn is_shared(info: &ConversationInfo) -> bool {
    matches!(info.kind, ConversationKind::Direct | ConversationKind::Group)
}

/// One of the conversations of a client, if it has any.
async fn chosen(client: &Client, pick: usize) -> Result<Option<ConversationId>, Error> {
    let mut conversations = client.conversations().await?;
    conversations.retain(|one| one.active && is_shared(one));
    conversations.sort_by_key(|one| one.id);
    Ok((!conversations.is_empty()).then(|| conversations[pick % conversations.len()].id))
}

async fn chosen_group(client: &Client, pick: usize) -> Result<Option<ConversationId>, Error> {
    let mut groups = client.conversations().await?;
    groups.retain(|one| one.active && one.kind == ConversationKind::Group);
    groups.sort_by_key(|one| one.id);
    Ok((!groups.is_empty()).then(|| groups[pick % groups.len()].id))
}

/// What the rules of groups forbid, or what somebody else was first to do.
fn refuses(error: &Error) -> bool {
    let by_server = matches!(
        error.code(),
        Some(Code::PermissionDenied | Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists)
    );
    let by_client = matches!(
        error,
        Error::NotAllowed(_)
            | Error::NotAMember(_)
            | Error::NotMember
            | Error::LastOwner
            | Error::OwnName
            | Error::Mls(MlsError::Denied(_))
            | Error::Stuck(_)
    );
    by_server || by_client
}

/// Failures that a user may see while something is broken.
fn passes(error: &Error) -> bool {
    error.is_transient()
        || matches!(
            error,
            Error::Interrupted | Error::NotWelcomed(_) | Error::TooManyRaces | Error::NotMember | Error::Stuck(_)
        )
}

fn short(id: DeviceId) -> String {
    let mut text = id.to_string();
    text.truncate(6);
    text
}

/// An event without what differs between two runs of the same seed.
fn brief(event: &Event) -> String {
    match event {
        Event::MessageReceived(message) => format!("reads {} {:?}", message.id, message.text),
        Event::Accepted { message, .. } => format!("has {message} accepted"),
        other => {
            let mut text = format!("{other:?}");
            text.truncate(160);
            text
        }
    }
}
