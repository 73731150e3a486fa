//! What the delivery service does for a large group: the service itself over a local bus, with its store in SQLite on the
//! disk. Rows and transactions are counted, not derived.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use prost::Message as _;
use qpc_chassis::{
    db::Db,
    limits::Rate,
    rpc::{Identity, Router, ServeOptions, forward, serve},
    run::Deps,
    secrets::Secrets,
};
use qpc_crypto::{AccountKey, QueueKey, Suite};
use qpc_delivery::store::MIGRATIONS;
use qpc_sdk::Runtime;
use qpc_wire::{
    GroupId, Method, Status, bus,
    limits::{MAX_ADDS, MAX_HANDSHAKE, PART},
    methods::{CommitGroup, CreateGroup, Enqueue, Fetch, FetchHybridKeys, StagePart},
    v1::{
        CommitBundle, CommitGroupRequest, CreateGroupRequest, EnqueueRequest, Entry, EnvelopeKind,
        FetchHybridKeysRequest, FetchHybridKeysResponse, FetchRequest, GroupKind, HybridKey, StagePartRequest,
        entry::Body,
    },
};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    member::{Change, Made, Member},
    ours::Held,
    world::BATCH,
};

/// Leaves of the largest group; a server allows fewer unless it is told.
const MOST_LEAVES: usize = 2000;
/// A call may wait for the sealing to thousands of devices.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was seen.
pub(super) struct Seen {
    /// Milliseconds of CommitGroup that adds all joiners, of an update, and of Enqueue.
    pub(super) add_ms: f64,
    pub(super) update_ms: f64,
    pub(super) message_ms: f64,
    /// What one message has added to the database.
    pub(super) payloads: i64,
    pub(super) entries: i64,
    pub(super) transactions: usize,
    pub(super) entry_bytes: usize,
    /// What the first and the last of those added got in their mailbox until all were added, and what they share.
    pub(super) joiner_bytes: usize,
    pub(super) shared_bytes: u64,
}

struct Service {
    deps: Deps,
    folder: TempDir,
    db: Db,
}

impl Service {
    async fn start(folder: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let runtime = Runtime::system();
        let deps = Deps::local(runtime, Secrets::new([7; 32]), format!("sqlite:{}", folder.path().display()));
        // One key for all devices: sealing to it takes the same time.
        let key = Bytes::from(QueueKey::generate(&mut deps.runtime.rng()).public_bytes());
        let router = Router::new(Arc::new(key), deps.runtime.clone()).on::<FetchHybridKeys, _, _, _>(
            |key: Arc<Bytes>, _ctx, request: FetchHybridKeysRequest| async move {
                let one =
                    |device_id| HybridKey { device_id, public_key: key.as_ref().clone(), signature: Bytes::new() };
                let keys = request.device_ids.into_iter().map(one).collect();
                Ok::<_, Status>(FetchHybridKeysResponse { keys, revoked_ids: Vec::new() })
            },
        );
        serve(&deps, "keypackage", router, ServeOptions::default()).await?;
        let config = qpc_delivery::Config {
            group_leaves: MOST_LEAVES,
            sends: Rate::UNLIMITED,
            inbound_bytes: Rate::UNLIMITED,
            groups_founded: Rate::UNLIMITED,
            ..qpc_delivery::Config::default()
        };
        qpc_delivery::start(deps.clone(), config).await.map_err(|error| anyhow!(error))?;
        let db = Db::open(&deps.db, "delivery", 1, MIGRATIONS).await?;
        Ok(Self { deps, folder, db })
    }

    fn key(&self) -> Bytes {
        Bytes::copy_from_slice(&self.deps.runtime.random::<16>())
    }

    async fn call<M: Method>(&self, caller: Identity, request: &M::Request) -> Result<M::Response> {
        let call = bus::Call {
            method: M::INFO.id.into(),
            correlation_id: Bytes::from_static(&[0; 12]),
            deadline_ms: self.deps.runtime.now_ms() + PATIENCE.as_millis() as u64,
            account_id: caller.account.to_bytes(),
            device_id: caller.device.to_bytes(),
            channel_binding: Bytes::new(),
            address_hash: Bytes::new(),
            body: request.encode_to_vec().into(),
            trace: Bytes::new(),
        };
        let (status, body) = forward(&*self.deps.bus, "delivery", call, PATIENCE).await?;
        if status != 0 {
            bail!("{}: {}", M::INFO.id, Status::decode(status, body));
        }
        Ok(M::Response::decode(body)?)
    }

    async fn count(&self, sql: &'static str) -> Result<i64> {
        Ok(self.db.row(sql, &[]).await?.context("no count")?.int(0)?)
    }

    /// Transactions in the write-ahead log: frames that end one say how large the database is then.
    fn transactions(&self) -> Result<usize> {
        for file in fs::read_dir(self.folder.path())? {
            let path = file?.path();
            if path.to_string_lossy().ends_with("-wal") {
                return commits(&fs::read(path)?).context("a write-ahead log of SQLite");
            }
        }
        bail!("no write-ahead log")
    }
}

/// Commits in a write-ahead log (SQLite file format, section 4.1).
fn commits(log: &[u8]) -> Option<usize> {
    const HEADER: usize = 32;
    const FRAME: usize = 24;
    let number = |at: usize| Some(u32::from_be_bytes(*log.get(at..at + 4)?.first_chunk()?));
    let (page, salt) = (number(8)? as usize, log.get(16..24)?);
    let (mut at, mut commits) = (HEADER, 0);
    // What was left of an older log has another salt.
    while log.get(at + 8..at + 16) == Some(salt) {
        commits += usize::from(number(at + 4)? != 0);
        at += FRAME + page;
    }
    Some(commits)
}

struct Group<'a> {
    service: &'a Service,
    suite: Suite,
    id: GroupId,
    founder: Held,
    identity: Identity,
    epoch: u64,
}

impl Group<'_> {
    fn newcomers(&self, count: usize) -> Result<Vec<(Identity, Vec<u8>)>> {
        let runtime = &self.service.deps.runtime;
        let newcomer = |_| {
            let mut held = Held::new(runtime, &AccountKey::generate(&mut runtime.rng()));
            Ok((identity(&held), held.key_package(self.suite)?))
        };
        (0..count).map(newcomer).collect()
    }

    async fn add(&mut self, newcomers: &[(Identity, Vec<u8>)]) -> Result<f64> {
        let packages: Vec<_> = newcomers.iter().map(|(identity, package)| (identity.device, package.clone())).collect();
        self.commit(&Change::Add(&packages)).await
    }

    /// Returns the milliseconds of the call, and of those that bring what it needs.
    async fn commit(&mut self, change: &Change<'_>) -> Result<f64> {
        let mut bundle = self.bundle(change)?;
        let start = Instant::now();
        if bundle.encoded_len() > MAX_HANDSHAKE {
            let staged = self.stage(&bundle.encode_to_vec().into()).await?;
            bundle = CommitBundle { staged, ..CommitBundle::default() };
        }
        let request = CommitGroupRequest {
            idempotency_key: self.service.key(),
            group_id: self.id.to_bytes(),
            epoch: self.epoch,
            bundle: Some(bundle),
        };
        self.epoch = self.service.call::<CommitGroup>(self.identity, &request).await?.epoch;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        self.founder.settle()?;
        Ok(ms)
    }

    /// Brings a bundle that is too large for a request.
    async fn stage(&self, bundle: &Bytes) -> Result<Bytes> {
        let staged_id = self.service.key();
        for start in (0..bundle.len()).step_by(PART) {
            let request = StagePartRequest {
                staged_id: staged_id.clone(),
                offset: start as u64,
                total: bundle.len() as u64,
                data: bundle.slice(start..bundle.len().min(start + PART)),
            };
            self.service.call::<StagePart>(self.identity, &request).await?;
        }
        Ok(staged_id)
    }

    fn bundle(&mut self, change: &Change<'_>) -> Result<CommitBundle> {
        let Made { commit, welcome, group_info } = self.founder.change(change)?;
        Ok(CommitBundle {
            commit: commit.into(),
            welcome: welcome.into(),
            group_info: group_info.into(),
            staged: Bytes::new(),
            delivery_key_hash: Bytes::new(),
        })
    }
}

fn identity(held: &Held) -> Identity {
    let certificate = held.certificate();
    Identity { account: certificate.account_id(), device: certificate.device_id() }
}

/// Fills a group to `leaves`, the last 500 of them by one addition, and writes one message.
pub(super) async fn run(folder: &Path, suite: Suite, leaves: usize) -> Result<Seen> {
    const ADDITION: usize = 500;
    let service = Service::start(folder).await?;
    let runtime = &service.deps.runtime;
    let mut founder = Held::new(runtime, &AccountKey::generate(&mut runtime.rng()));
    let (id, identity) = (GroupId(runtime.random()), identity(&founder));
    let group_info = founder.found(suite, id)?;
    let mut group = Group { service: &service, suite, id, founder, identity, epoch: 0 };

    let before = (leaves - 1).saturating_sub(ADDITION).max(1);
    let first = group.newcomers(before.min(BATCH))?;
    let packages: Vec<_> = first.iter().map(|(identity, package)| (identity.device, package.clone())).collect();
    let request = CreateGroupRequest {
        idempotency_key: service.key(),
        kind: GroupKind::Group as i32,
        group_info: group_info.into(),
        first_commit: Some(group.bundle(&Change::Add(&packages))?),
    };
    group.epoch = service.call::<CreateGroup>(identity, &request).await?.epoch;
    group.founder.settle()?;
    let mut there = first.len();
    while there < before {
        let batch = group.newcomers((before - there).min(BATCH))?;
        group.add(&batch).await?;
        there += batch.len();
    }
    // As clients do it: in as few commits as there can be.
    let joiners = group.newcomers(leaves - 1 - there)?;
    let mut add_ms = 0.0;
    for batch in joiners.chunks(MAX_ADDS) {
        add_ms += group.add(batch).await?;
    }
    let update_ms = group.commit(&Change::Update).await?;

    let (payload, entry) = ("SELECT COUNT(*) FROM payload", "SELECT COUNT(*) FROM mailbox_entry");
    let counted = (service.count(payload).await?, service.count(entry).await?, service.transactions()?);
    let request = EnqueueRequest {
        idempotency_key: service.key(),
        group_id: id.to_bytes(),
        epoch: group.epoch,
        payload: group.founder.encrypt("A message to everybody.")?.into(),
        epoch_tag: Bytes::new(),
        ..EnqueueRequest::default()
    };
    let start = Instant::now();
    service.call::<Enqueue>(identity, &request).await?;
    let message_ms = start.elapsed().as_secs_f64() * 1e3;
    let transactions = service.transactions()?;
    // A log that was begun anew holds nothing else.
    let transactions = transactions.checked_sub(counted.2).filter(|count| *count > 0).unwrap_or(transactions);

    let (mut joiner_bytes, mut shared_bytes, mut entry_bytes) = (0, 0, 0);
    for (joiner, _) in [joiners.first(), joiners.last()].into_iter().flatten() {
        let entries = mailbox(&service, *joiner).await?;
        let (welcome, shared) = welcome(&entries)?;
        let commits = entries.iter().filter(|entry| kind(entry) == EnvelopeKind::Handshake).map(Entry::encoded_len);
        // The last commit is the update.
        joiner_bytes = joiner_bytes.max(welcome + commits.rev().skip(1).sum::<usize>());
        shared_bytes = shared_bytes.max(shared);
        entry_bytes = entries.last().map(Entry::encoded_len).context("no message")?;
    }
    Ok(Seen {
        add_ms,
        update_ms,
        message_ms,
        payloads: service.count(payload).await? - counted.0,
        entries: service.count(entry).await? - counted.1,
        transactions,
        entry_bytes,
        joiner_bytes,
        shared_bytes,
    })
}

/// Everything that waits for a device.
async fn mailbox(service: &Service, device: Identity) -> Result<Vec<Entry>> {
    let (mut entries, mut after) = (Vec::new(), 0);
    loop {
        let fetched = service.call::<Fetch>(device, &FetchRequest { after, limit: 0 }).await?;
        let Some(last) = fetched.entries.last() else { return Ok(entries) };
        after = last.seq;
        entries.extend(fetched.entries);
    }
}

fn kind(entry: &Entry) -> EnvelopeKind {
    match &entry.body {
        Some(Body::Envelope(envelope)) => envelope.kind(),
        _ => EnvelopeKind::Unspecified,
    }
}

/// Bytes of the Welcome on the wire, and of what it points to.
fn welcome(entries: &[Entry]) -> Result<(usize, u64)> {
    let entry = entries.first().context("an empty mailbox")?;
    ensure!(kind(entry) == EnvelopeKind::Welcome, "a mailbox that begins with something else than a Welcome");
    let Some(Body::Envelope(envelope)) = &entry.body else { bail!("a gap") };
    Ok((entry.encoded_len(), envelope.shared.as_ref().context("no pointer")?.size))
}

#[cfg(test)]
mod tests {
    use super::commits;

    #[test]
    fn a_commit_is_a_frame_that_ends_one() {
        let frame =
            |size: u32, salt: u8| [[0; 4], size.to_be_bytes(), [salt; 4], [salt; 4], [0; 4], [0; 4], [9; 4]].concat();
        let header = [[0; 4], [0; 4], 4_u32.to_be_bytes(), [0; 4], [1; 4], [1; 4], [0; 4], [0; 4]].concat();
        let log = [header.clone(), frame(0, 1), frame(7, 1), frame(8, 1), frame(9, 2)].concat();
        assert_eq!(commits(&log), Some(2));
        assert_eq!(commits(&header), Some(0));
        assert_eq!(commits(&header[..20]), None);
    }
}
