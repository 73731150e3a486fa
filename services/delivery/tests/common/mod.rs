//! A delivery service, in this process or elsewhere on the bus, and devices that speak MLS to it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openmls_memory_storage::MemoryStorage;
use prost::Message;
use qpc_chassis::db::Db;
use qpc_chassis::{
    Runtime,
    bus::{Bus, LocalBus},
    rpc::{Identity, Router, ServeOptions, forward, serve},
    run::Deps,
    runtime::{Clock, SystemEntropy},
    secrets::Secrets,
};
use qpc_crypto::{
    AccountKey, Changes, Conversation, DeviceCertificate, DeviceKey, InviteSecret, PendingCommit, Policy, Provider,
    QueueKey, Suite, aead,
    mls::{join_welcome, key_package},
};
use qpc_wire::{
    Code, DeviceId, GroupId, Method, Status, bus,
    methods::{CommitGroup, CreateGroup, Fetch, FetchGroupInfo, FetchHybridKeys, FetchPart, ForgetDevice},
    status::Detail,
    v1::{
        CommitBundle, CommitGroupRequest, CommitGroupResponse, CreateGroupRequest, CreateGroupResponse, EnqueueRequest,
        Entry, Envelope, EnvelopeKind, FetchGroupInfoRequest, FetchHybridKeysRequest, FetchHybridKeysResponse,
        FetchPartRequest, FetchRequest, FetchResponse, ForgetDeviceRequest, GroupKind, HybridKey, Pointer, SharedState,
        entry::Body,
    },
};
use rand::RngCore;

/// See [`World::start_at`].
pub struct MockClock(AtomicU64);

impl MockClock {
    pub fn now() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(Runtime::system().now_ms())))
    }

    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for MockClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The service under test and what it needs around it.
pub struct World {
    pub deps: Deps,
    pub folder: tempfile::TempDir,
    /// Queue keys; none of a device that was revoked.
    keys: Arc<std::sync::Mutex<HashMap<DeviceId, Option<Bytes>>>>,
    /// How long a call waits for its answer.
    pub patience: Duration,
}

impl World {
    /// The service itself, in this process.
    pub async fn start() -> Self {
        let world = Self::around(Arc::new(LocalBus::default())).await;
        qpc_delivery::start(world.deps.clone(), qpc_delivery::Config::default()).await.unwrap();
        world
    }

    /// The same with other settings.
    pub async fn start_with(config: qpc_delivery::Config) -> Self {
        let world = Self::around(Arc::new(LocalBus::default())).await;
        qpc_delivery::start(world.deps.clone(), config).await.unwrap();
        world
    }

    /// The same over another database.
    pub async fn start_on(db: String) -> Self {
        let mut world = Self::around(Arc::new(LocalBus::default())).await;
        (world.deps.db, world.deps.db_pool) = (db, 8);
        qpc_delivery::start(world.deps.clone(), qpc_delivery::Config::default()).await.unwrap();
        world
    }

    /// The same with a clock that only the test moves. It begins now, as MLS looks at the machine's clock too.
    pub async fn start_at(clock: Arc<MockClock>, config: qpc_delivery::Config) -> Self {
        let runtime = Runtime::new(clock, Arc::new(SystemEntropy));
        let world = Self::around_on(Arc::new(LocalBus::default()), runtime).await;
        qpc_delivery::start(world.deps.clone(), config).await.unwrap();
        world
    }

    /// The same over another database.
    pub async fn start_at_on(clock: Arc<MockClock>, db: String, config: qpc_delivery::Config) -> Self {
        let runtime = Runtime::new(clock, Arc::new(SystemEntropy));
        let mut world = Self::around_on(Arc::new(LocalBus::default()), runtime).await;
        (world.deps.db, world.deps.db_pool) = (db, 8);
        qpc_delivery::start(world.deps.clone(), config).await.unwrap();
        world
    }

    /// Everything but the service, which is elsewhere on `bus`.
    pub async fn around(bus: Arc<dyn Bus>) -> Self {
        Self::around_on(bus, Runtime::system()).await
    }

    async fn around_on(bus: Arc<dyn Bus>, runtime: Runtime) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps =
            Deps { bus, ..Deps::local(runtime, Secrets::new([7; 32]), format!("sqlite:{}", folder.path().display())) };
        let world = Self { deps, folder, keys: Arc::default(), patience: Duration::from_secs(10) };
        world.serve_queue_keys().await;
        world
    }

    /// Stands in for the keypackage service, as far as this service asks it.
    async fn serve_queue_keys(&self) {
        let router = Router::new(self.keys.clone(), self.deps.runtime.clone()).on::<FetchHybridKeys, _, _, _>(
            |keys, _ctx, request: FetchHybridKeysRequest| async move {
                let keys = keys.lock().unwrap();
                let mut found = FetchHybridKeysResponse::default();
                for device_id in request.device_ids {
                    match keys.get(&DeviceId::try_from(&device_id).unwrap()) {
                        Some(Some(key)) => {
                            let public_key = key.clone();
                            found.keys.push(HybridKey { device_id, public_key, signature: Bytes::new() });
                        }
                        Some(None) => found.revoked_ids.push(device_id),
                        None => {}
                    }
                }
                Ok::<_, Status>(found)
            },
        );
        serve(&self.deps, "keypackage", router, ServeOptions::default()).await.unwrap();
    }

    /// A new account with one device, whose queue key is known.
    pub fn device(&self) -> Device {
        self.device_of(AccountKey::generate(&mut self.deps.runtime.rng()))
    }

    /// Another device of the same account.
    pub fn sibling(&self, device: &Device) -> Device {
        self.device_of(AccountKey::from_bytes(&device.account.to_bytes()))
    }

    fn device_of(&self, account: AccountKey) -> Device {
        let mut rng = self.deps.runtime.rng();
        let (key, queue) = (DeviceKey::generate(&mut rng), QueueKey::generate(&mut rng));
        let certificate = DeviceCertificate::issue(&account, &key.public(), 1);
        let identity = Identity { account: certificate.account_id(), device: certificate.device_id() };
        self.keys.lock().unwrap().insert(identity.device, Some(queue.public_bytes().into()));
        Device { account, key, queue, certificate, identity, provider: Provider::default() }
    }

    pub fn remember_queue_key(&self, device: &Device) {
        self.keys.lock().unwrap().insert(device.identity.device, Some(device.queue.public_bytes().into()));
    }

    /// Revokes a device as far as this service hears of it.
    pub async fn revoke(&self, device: &Device) {
        self.revoke_queue_key(device);
        let request = ForgetDeviceRequest { device_id: device.identity.device.to_bytes() };
        self.call::<ForgetDevice>(device, &request).await.unwrap();
    }

    /// Revokes a device as far as the keypackage service hears of it.
    pub fn revoke_queue_key(&self, device: &Device) {
        self.keys.lock().unwrap().insert(device.identity.device, None);
    }

    pub fn forget_queue_key(&self, device: &Device) {
        self.keys.lock().unwrap().remove(&device.identity.device);
    }

    pub async fn call<M: Method>(&self, caller: &Device, request: &M::Request) -> Result<M::Response, Status> {
        self.call_as::<M>(Some(caller.identity), request).await
    }

    /// A call over a connection without a session.
    pub async fn call_anonymously<M: Method>(&self, request: &M::Request) -> Result<M::Response, Status> {
        self.call_as::<M>(None, request).await
    }

    async fn call_as<M: Method>(&self, caller: Option<Identity>, request: &M::Request) -> Result<M::Response, Status> {
        let call = bus::Call {
            method: M::INFO.id.into(),
            correlation_id: Bytes::from_static(&[0; 12]),
            deadline_ms: self.deps.runtime.now_ms() + 10_000,
            account_id: caller.map(|caller| caller.account.to_bytes()).unwrap_or_default(),
            device_id: caller.map(|caller| caller.device.to_bytes()).unwrap_or_default(),
            channel_binding: Bytes::new(),
            address_hash: Bytes::new(),
            body: request.encode_to_vec().into(),
            trace: Bytes::new(),
        };
        let (status, body) = forward(&*self.deps.bus, "delivery", call, self.patience).await?;
        if status == 0 { Ok(M::Response::decode(body).unwrap()) } else { Err(Status::decode(status, body)) }
    }

    pub fn random(&self) -> [u8; 16] {
        let mut out = [0; 16];
        self.deps.runtime.rng().fill_bytes(&mut out);
        out
    }

    pub fn key(&self) -> Bytes {
        Bytes::copy_from_slice(&self.random())
    }

    /// Founds a group of `founder` and `others`; everyone has joined when this returns.
    pub async fn group(&self, kind: GroupKind, founder: &Device, others: &[&Device]) -> Vec<Conversation> {
        let (mut conversation, request) = self.founding(kind, founder, others);
        let response: CreateGroupResponse = self.call::<CreateGroup>(founder, &request).await.unwrap();
        conversation.merge_pending(&founder.provider).unwrap();
        assert_eq!(response.epoch, conversation.epoch());
        let mut conversations = vec![conversation];
        for other in others {
            let entries = self.fetch(other, 0).await.entries;
            conversations.push(self.join(other, entries.last().unwrap()).await);
        }
        conversations
    }

    /// A group at epoch 0 with its first commit staged, and the call that registers it.
    pub fn founding(
        &self,
        kind: GroupKind,
        founder: &Device,
        others: &[&Device],
    ) -> (Conversation, CreateGroupRequest) {
        let id = GroupId(self.random());
        let policy = match kind {
            GroupKind::Direct => Policy::direct(id),
            GroupKind::Own => Policy::own(id),
            _ => Policy::group(id, founder.identity.account),
        };
        self.founding_with(id, &policy, Suite::Classic, founder, others)
    }

    /// The same with any policy.
    pub fn founding_with(
        &self,
        id: GroupId,
        policy: &Policy,
        suite: Suite,
        founder: &Device,
        others: &[&Device],
    ) -> (Conversation, CreateGroupRequest) {
        let mut conversation =
            Conversation::create(&founder.provider, &founder.key, &founder.certificate, suite, id, policy).unwrap();
        let group_info = conversation.group_info(&founder.provider, &founder.key).unwrap();
        let packages: Vec<_> = others.iter().map(|other| other.key_package_of(suite)).collect();
        let changes = Changes { add: &packages, ..Changes::default() };
        let pending = conversation.change(&founder.provider, &founder.key, changes).unwrap();
        let request = CreateGroupRequest {
            idempotency_key: self.key(),
            kind: policy.kind as i32,
            group_info: group_info.into(),
            first_commit: Some(bundle(pending)),
        };
        (conversation, request)
    }

    /// The call that brings a commit made in `epoch`.
    pub fn commit_of(&self, group: GroupId, epoch: u64, pending: PendingCommit) -> CommitGroupRequest {
        CommitGroupRequest {
            idempotency_key: self.key(),
            group_id: group.to_bytes(),
            epoch,
            bundle: Some(bundle(pending)),
        }
    }

    /// Commits `changes`; merges when they were accepted, and forgets them else.
    pub async fn change(
        &self,
        device: &Device,
        conversation: &mut Conversation,
        changes: Changes<'_>,
    ) -> Result<CommitGroupResponse, Status> {
        let pending = conversation.change(&device.provider, &device.key, changes).unwrap();
        let request = self.commit_of(conversation.group_id(), conversation.epoch(), pending);
        let answer = self.call::<CommitGroup>(device, &request).await;
        match answer {
            Ok(_) => conversation.merge_pending(&device.provider).unwrap(),
            Err(_) => conversation.clear_pending(&device.provider).unwrap(),
        }
        answer
    }

    pub async fn update(
        &self,
        device: &Device,
        conversation: &mut Conversation,
    ) -> Result<CommitGroupResponse, Status> {
        self.change(device, conversation, Changes { update: true, ..Changes::default() }).await
    }

    pub fn message(&self, sender: &Device, conversation: &mut Conversation, text: &str) -> EnqueueRequest {
        EnqueueRequest {
            idempotency_key: self.key(),
            group_id: conversation.group_id().to_bytes(),
            epoch: conversation.epoch(),
            payload: conversation.encrypt(&sender.provider, &sender.key, text.as_bytes()).unwrap().into(),
            epoch_tag: Bytes::copy_from_slice(&conversation.epoch_tag().unwrap()),
            commitment: Bytes::new(),
            keep_ms: 0,
        }
    }

    pub async fn fetch(&self, device: &Device, after: u64) -> FetchResponse {
        self.call::<Fetch>(device, &FetchRequest { after, limit: 0 }).await.unwrap()
    }

    /// Everything that a pointer points to, as it is stored.
    pub async fn fetch_parts(&self, device: &Device, pointer: &Pointer) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let request = FetchPartRequest { id: pointer.id.clone(), offset: whole.len() as u64 };
            let part = self.call::<FetchPart>(device, &request).await.unwrap().data;
            if part.is_empty() {
                assert_eq!(whole.len() as u64, pointer.size);
                return whole;
            }
            whole.extend_from_slice(&part);
        }
    }

    /// What joiners share.
    pub async fn shared(&self, device: &Device, pointer: &Pointer) -> SharedState {
        let body = self.fetch_parts(device, pointer).await;
        let key = pointer.key.as_ref().try_into().unwrap();
        SharedState::decode(aead::open(key, &pointer.id, &body).unwrap().as_slice()).unwrap()
    }

    /// Joins by the Welcome in an entry.
    pub async fn join(&self, device: &Device, entry: &Entry) -> Conversation {
        let envelope = envelope(entry);
        assert_eq!(envelope.kind(), EnvelopeKind::Welcome);
        let shared = self.shared(device, envelope.shared.as_ref().unwrap()).await;
        let suite = u16::try_from(shared.suite).unwrap();
        let welcome = join_welcome(suite, &shared.encrypted_group_info, &envelope.payload).unwrap();
        Conversation::join(&device.provider, &welcome, &shared.ratchet_tree).unwrap()
    }

    /// Processes every handshake and message of the group above `after`; returns where the mailbox ends.
    pub async fn catch_up(&self, device: &Device, conversation: &mut Conversation, after: u64) -> u64 {
        let fetched = self.fetch(device, after).await;
        for entry in &fetched.entries {
            if envelope(entry).group_id == conversation.group_id().to_bytes() {
                conversation.process(&device.provider, &device.open(entry)).unwrap();
            }
        }
        fetched.head
    }

    pub fn group_info_request(&self, group: GroupId) -> FetchGroupInfoRequest {
        FetchGroupInfoRequest { group_id: group.to_bytes(), ..FetchGroupInfoRequest::default() }
    }

    /// Joins from outside, as far as making the commit.
    pub async fn outsider(
        &self,
        device: &Device,
        group: GroupId,
        invite: Option<&InviteSecret>,
    ) -> Result<(Conversation, CommitGroupRequest), Status> {
        let mut request = self.group_info_request(group);
        if let Some(invite) = invite {
            request.invite_key = Bytes::copy_from_slice(&invite.key());
            request.invite_signature = Bytes::copy_from_slice(&invite.info_proof(group, device.identity.device));
        }
        let response = self.call::<FetchGroupInfo>(device, &request).await?;
        let shared = self.shared(device, response.shared.as_ref().unwrap()).await;
        let proposals: Vec<Vec<u8>> = response.proposals.iter().map(|proposal| proposal.to_vec()).collect();
        let (conversation, pending) = Conversation::join_external(
            &device.provider,
            &device.key,
            &device.certificate,
            &shared.group_info,
            &shared.ratchet_tree,
            &proposals,
            invite,
        )
        .unwrap();
        Ok((conversation, self.commit_of(group, response.epoch, pending)))
    }

    /// Joins from outside.
    pub async fn come(
        &self,
        device: &Device,
        group: GroupId,
        invite: Option<&InviteSecret>,
    ) -> Result<Conversation, Status> {
        let (mut conversation, request) = self.outsider(device, group, invite).await?;
        self.call::<CommitGroup>(device, &request).await?;
        conversation.merge_pending(&device.provider).unwrap();
        Ok(conversation)
    }

    /// Rows of a table, of SQLite.
    pub async fn rows(&self, sql: &'static str) -> i64 {
        let db = Db::open(&self.deps.db, "delivery", 1, qpc_delivery::store::MIGRATIONS).await.unwrap();
        db.row(sql, &[]).await.unwrap().unwrap().int(0).unwrap()
    }
}

pub fn bundle(pending: PendingCommit) -> CommitBundle {
    CommitBundle {
        commit: pending.commit.into(),
        welcome: pending.welcome.into(),
        group_info: pending.group_info.into(),
        staged: Bytes::new(),
        delivery_key_hash: Bytes::copy_from_slice(&pending.delivery_key_hash),
    }
}

pub fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.unwrap_err().code
}

pub fn wrong_epoch(status: &Status) -> Option<u64> {
    match &status.detail {
        Some(Detail::WrongEpoch(wrong)) => Some(wrong.current_epoch),
        _ => None,
    }
}

pub fn revoked(status: &Status) -> Vec<Bytes> {
    match &status.detail {
        Some(Detail::DevicesRevoked(revoked)) => revoked.device_ids.clone(),
        _ => Vec::new(),
    }
}

/// A client.
pub struct Device {
    pub account: AccountKey,
    pub key: DeviceKey,
    pub queue: QueueKey,
    pub certificate: DeviceCertificate,
    pub identity: Identity,
    pub provider: Provider<MemoryStorage>,
}

impl Device {
    pub fn key_package(&self) -> Vec<u8> {
        self.key_package_of(Suite::Classic)
    }

    pub fn key_package_of(&self, suite: Suite) -> Vec<u8> {
        key_package::generate(&self.provider, &self.key, &self.certificate, suite, false).unwrap()
    }

    /// The MLSMessage in an entry, unsealed where it is sealed.
    pub fn open(&self, entry: &Entry) -> Vec<u8> {
        let envelope = envelope(entry);
        if envelope.sealed_key.is_empty() {
            return envelope.payload.to_vec();
        }
        let group = GroupId::try_from(&envelope.group_id).unwrap();
        self.queue.open_for(self.identity.device, group, &envelope.sealed_key, &envelope.payload).unwrap()
    }
}

pub fn envelope(entry: &Entry) -> &Envelope {
    match &entry.body {
        Some(Body::Envelope(envelope)) => envelope,
        other => panic!("not an envelope: {other:?}"),
    }
}
