//! A delivery service, in this process or elsewhere on the bus, and devices that speak MLS to it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use openmls_memory_storage::MemoryStorage;
use prost::Message;
use qpc_chassis::{
    Runtime,
    bus::{Bus, LocalBus},
    cache::MemoryCache,
    rpc::{Identity, Router, ServeOptions, forward, serve},
    run::Deps,
    secrets::Secrets,
};
use qpc_crypto::{AccountKey, Conversation, DeviceCertificate, DeviceKey, Provider, QueueKey, Suite, mls::key_package};
use qpc_wire::{
    DeviceId, GroupId, Method, Status, bus,
    methods::{CreateGroup, Fetch, FetchHybridKeys},
    v1::{
        CommitBundle, CreateGroupRequest, CreateGroupResponse, Entry, Envelope, FetchHybridKeysRequest,
        FetchHybridKeysResponse, FetchRequest, FetchResponse, GroupKind, HybridKey, entry::Body,
    },
};
use rand::RngCore;

/// The service under test and what it needs around it.
pub struct World {
    pub deps: Deps,
    pub folder: tempfile::TempDir,
    keys: Arc<std::sync::Mutex<HashMap<DeviceId, Bytes>>>,
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

    /// Everything but the service, which is elsewhere on `bus`.
    pub async fn around(bus: Arc<dyn Bus>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::system();
        let deps = Deps {
            bus,
            cache: Arc::new(MemoryCache::new(runtime.clock.clone())),
            secrets: Secrets::new([7; 32]),
            metrics: Arc::default(),
            health: Arc::default(),
            db: format!("sqlite:{}", folder.path().display()),
            db_pool: 1,
            runtime,
        };
        let world = Self { deps, folder, keys: Arc::default(), patience: Duration::from_secs(10) };
        world.serve_queue_keys().await;
        world
    }

    /// Stands in for the keypackage service, as far as this service asks it.
    async fn serve_queue_keys(&self) {
        let router = Router::new(self.keys.clone(), self.deps.runtime.clone()).on::<FetchHybridKeys, _, _, _>(
            |keys, _ctx, request: FetchHybridKeysRequest| async move {
                let keys = keys.lock().unwrap();
                let found = request.device_ids.iter().filter_map(|id| {
                    let public_key = keys.get(&DeviceId::try_from(id).ok()?)?.clone();
                    Some(HybridKey { device_id: id.clone(), public_key, signature: Bytes::new() })
                });
                Ok::<_, Status>(FetchHybridKeysResponse { keys: found.collect() })
            },
        );
        serve(&self.deps, "keypackage", router, ServeOptions::default()).await.unwrap();
    }

    /// A new account with one device, whose queue key is known.
    pub fn device(&self) -> Device {
        let mut rng = self.deps.runtime.rng();
        let (account, key, queue) =
            (AccountKey::generate(&mut rng), DeviceKey::generate(&mut rng), QueueKey::generate(&mut rng));
        let certificate = DeviceCertificate::issue(&account, &key.public(), 1);
        let identity = Identity { account: certificate.account_id(), device: certificate.device_id() };
        self.keys.lock().unwrap().insert(identity.device, queue.public_bytes().into());
        Device { key, queue, certificate, identity, provider: Provider::default() }
    }

    pub fn forget_queue_key(&self, device: &Device) {
        self.keys.lock().unwrap().remove(&device.identity.device);
    }

    pub async fn call<M: Method>(&self, caller: &Device, request: &M::Request) -> Result<M::Response, Status> {
        let call = bus::Call {
            method: M::INFO.id.into(),
            correlation_id: Bytes::from_static(&[0; 12]),
            deadline_ms: self.deps.runtime.now_ms() + 10_000,
            account_id: caller.identity.account.to_bytes(),
            device_id: caller.identity.device.to_bytes(),
            channel_binding: Bytes::new(),
            address_hash: Bytes::new(),
            body: request.encode_to_vec().into(),
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
            let welcome = other.open(entries.last().unwrap());
            conversations.push(Conversation::join(&other.provider, &welcome).unwrap());
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
        let mut conversation =
            Conversation::create(&founder.provider, &founder.key, &founder.certificate, Suite::Classic, id).unwrap();
        let group_info = conversation.group_info(&founder.provider, &founder.key).unwrap();
        let packages: Vec<_> = others.iter().map(|other| other.key_package()).collect();
        let pending = conversation.add(&founder.provider, &founder.key, &packages).unwrap();
        let request = CreateGroupRequest {
            idempotency_key: self.key(),
            kind: kind as i32,
            group_info: group_info.into(),
            first_commit: Some(CommitBundle { commit: pending.commit.into(), welcome: pending.welcome.into() }),
        };
        (conversation, request)
    }

    pub async fn fetch(&self, device: &Device, after: u64) -> FetchResponse {
        self.call::<Fetch>(device, &FetchRequest { after, limit: 0 }).await.unwrap()
    }
}

/// A client.
pub struct Device {
    pub key: DeviceKey,
    pub queue: QueueKey,
    pub certificate: DeviceCertificate,
    pub identity: Identity,
    pub provider: Provider<MemoryStorage>,
}

impl Device {
    pub fn key_package(&self) -> Vec<u8> {
        key_package::generate(&self.provider, &self.key, &self.certificate, Suite::Classic, false).unwrap()
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
