//! Hundreds of people are added at once: more than fits a request, a doorbell or a mailbox entry.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a task that is aborted")]

mod common;

use bytes::Bytes;
use common::{agree, call, client, let_in, open, receives};
use openmls_memory_storage::MemoryStorage;
use prost::Message;
use qpc_chassis::{Runtime, rpc::Identity};
use qpc_crypto::{
    AccountKey, Conversation, DeviceCertificate, DeviceKey, KsfParams, Provider, QueueKey, Suite, aead,
    mls::{join_welcome, key_package},
    opaque::RegisterClient,
};
use qpc_testkit::{Backend, Cluster, Shape, eventually};
use qpc_wire::{
    GroupId,
    limits::{MAX_ADDS, MAX_HANDSHAKE},
    methods::{Fetch, FetchPart, OpaqueRegisterFinish, OpaqueRegisterStart, UploadHybridKey, UploadKeyPackage},
    proofs,
    v1::{self, EnvelopeKind, entry::Body},
};

/// Enough for a commit, a Welcome and a tree that are each too large for one request or response, and more than one commit
/// adds.
const CROWD: usize = MAX_ADDS + 20;
/// As many as one commit adds.
const FIRST: usize = MAX_ADDS;
/// What a joiner may get apart from what all share, bytes.
const JOINER_BYTES: usize = 2048;

/// Somebody who has registered, and is away.
struct Absent {
    name: String,
    identity: Identity,
    queue: QueueKey,
    provider: Provider<MemoryStorage>,
}

/// Registers somebody with two hybrid KeyPackages.
async fn register(cluster: &Cluster, name: String) -> Absent {
    const KSF: KsfParams = KsfParams::FLOOR;
    let runtime = Runtime::system();
    let mut rng = runtime.rng();
    let key = || Bytes::copy_from_slice(&runtime.random::<16>());
    let (account, device) = (AccountKey::generate(&mut rng), DeviceKey::generate(&mut rng));
    let certificate = DeviceCertificate::issue(&account, &device.public(), 1);
    let identity = Identity { account: certificate.account_id(), device: certificate.device_id() };

    let (registering, registration) = RegisterClient::start(&mut rng, b"a password").unwrap();
    let start = v1::OpaqueRegisterStartRequest { username: name.clone(), registration_request: registration.into() };
    let answer = call::<OpaqueRegisterStart>(cluster, None, &start).await.unwrap();
    let (upload, _) = registering.finish(&mut rng, b"a password", &answer.registration_response, KSF).unwrap();
    let finish = v1::OpaqueRegisterFinishRequest {
        idempotency_key: key(),
        username: name.clone(),
        registration_upload: upload.into(),
        ksf: Some(v1::KsfParams {
            memory_kib: KSF.memory_kib,
            iterations: KSF.iterations,
            parallelism: KSF.parallelism,
        }),
        device_certificate: Bytes::copy_from_slice(&certificate.to_bytes()),
        account_proof: account.sign(&proofs::register(&[1; 32], &name)).to_vec().into(),
        registration_state: answer.registration_state,
        ..Default::default()
    };
    call::<OpaqueRegisterFinish>(cluster, None, &finish).await.unwrap();

    let queue = QueueKey::generate(&mut rng);
    let public_key = queue.public_bytes();
    let signature = device.sign(&proofs::queue_key(&public_key)).to_vec().into();
    let upload = v1::UploadHybridKeyRequest { public_key: public_key.into(), signature };
    call::<UploadHybridKey>(cluster, Some(identity), &upload).await.unwrap();
    let provider = Provider::default();
    let package = || key_package::generate(&provider, &device, &certificate, Suite::Hybrid, false).unwrap().into();
    let upload = v1::UploadKeyPackageRequest {
        idempotency_key: key(),
        suite: Suite::Hybrid.id().into(),
        key_packages: vec![package(), package()],
        last_resort: Bytes::new(),
    };
    call::<UploadKeyPackage>(cluster, Some(identity), &upload).await.unwrap();
    Absent { name, identity, queue, provider }
}

impl Absent {
    async fn mailbox(&self, cluster: &Cluster) -> Vec<v1::Entry> {
        let request = v1::FetchRequest { after: 0, limit: 0 };
        call::<Fetch>(cluster, Some(self.identity), &request).await.unwrap().entries
    }

    /// Joins by the first entry of the mailbox, and follows the rest.
    async fn catch_up(&self, cluster: &Cluster) -> Conversation {
        let mut group = None;
        for entry in self.mailbox(cluster).await {
            let Some(Body::Envelope(envelope)) = entry.body else { panic!("a gap") };
            let id = GroupId::try_from(&envelope.group_id).unwrap();
            match envelope.kind() {
                EnvelopeKind::Welcome => {
                    let pointer = envelope.shared.clone().unwrap();
                    let body = self.parts(cluster, &pointer).await;
                    let key = pointer.key.as_ref().try_into().unwrap();
                    let shared = aead::open(key, &pointer.id, &body).unwrap();
                    let shared = v1::SharedState::decode(shared.as_slice()).unwrap();
                    let suite = u16::try_from(shared.suite).unwrap();
                    let welcome = join_welcome(suite, &shared.encrypted_group_info, &envelope.payload).unwrap();
                    group = Some(Conversation::join(&self.provider, &welcome, &shared.ratchet_tree).unwrap());
                }
                EnvelopeKind::Handshake => {
                    let sealed = match &envelope.shared {
                        Some(pointer) => self.parts(cluster, pointer).await,
                        None => envelope.payload.to_vec(),
                    };
                    let opened = self.queue.open_for(self.identity.device, id, &envelope.sealed_key, &sealed).unwrap();
                    group.as_mut().unwrap().process(&self.provider, &opened).unwrap();
                }
                _ => {
                    group.as_mut().unwrap().process(&self.provider, &envelope.payload).unwrap();
                }
            }
        }
        group.unwrap()
    }

    async fn parts(&self, cluster: &Cluster, pointer: &v1::Pointer) -> Vec<u8> {
        let mut whole = Vec::new();
        while (whole.len() as u64) < pointer.size {
            let request = v1::FetchPartRequest { id: pointer.id.clone(), offset: whole.len() as u64 };
            let part = call::<FetchPart>(cluster, Some(self.identity), &request).await.unwrap();
            assert!(!part.data.is_empty());
            whole.extend_from_slice(&part.data);
        }
        whole
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_comes_by_one_commit_and_each_gets_little_of_its_own() {
    let shape = Shape { gateways: 1, replicas: 1, backend: Backend::Embedded, faults: None };
    let cluster = Cluster::start(shape).await.unwrap();
    let mut crowd = Vec::with_capacity(CROWD);
    for n in 0..CROWD {
        crowd.push(register(&cluster, format!("crowd{n}")).await);
    }
    let names: Vec<String> = crowd.iter().map(|absent| absent.name.clone()).collect();
    let alice = client(&cluster, "alice", 0, 0).await;
    let bob = client(&cluster, "bob", 0, 0).await;

    let id = alice.create_group("Everybody", &["bob".to_owned()]).await.unwrap();
    let_in(&bob, id).await;
    let before = alice.conversation(id).await.unwrap().epoch;
    alice.add(id, &names[..FIRST]).await.unwrap();
    // Members renew their leaves after that, each by a commit of its own.
    let first = crowd[0].mailbox(&cluster).await;
    for absent in [&crowd[0], &crowd[FIRST - 1]] {
        let entries = absent.mailbox(&cluster).await;
        let Some(Body::Envelope(welcome)) = &entries[0].body else { panic!("a gap") };
        assert_eq!((welcome.kind(), welcome.epoch), (EnvelopeKind::Welcome, before + 1), "all by one commit");
        assert!(entries[0].encoded_len() < JOINER_BYTES, "{}", entries[0].encoded_len());
        let Some(Body::Envelope(of_first)) = &first[0].body else { panic!("a gap") };
        assert_eq!(welcome.shared, of_first.shared, "all the rest is shared");
        assert!(welcome.shared.as_ref().unwrap().size > MAX_HANDSHAKE as u64);
    }

    // Bob has followed a commit that fits no entry.
    bob.send(id, "so many").await.unwrap();
    receives(&alice, id, &["so many".to_owned()]).await;
    agree(&[&alice, &bob], id).await;
    let joined = crowd[7].catch_up(&cluster).await;
    assert_eq!(joined.epoch_authenticator(), alice.epoch_authenticator(id).await.unwrap());
    assert_eq!(joined.members().len(), FIRST + 2);

    // A group is founded with more than one commit adds, and the founder dies as soon as there is a group.
    let founding = tokio::spawn({
        let (alice, names) = (alice.clone(), names.clone());
        async move { alice.create_group("Even more", &names).await }
    });
    let even_more = eventually("the group", || async {
        let all = alice.conversations().await.unwrap();
        all.into_iter().find(|info| info.name.as_deref() == Some("Even more") && info.epoch == 1)
    })
    .await;
    founding.abort();
    let options = cluster.client_options("alice", 0, 0);
    alice.close().await;
    let alice = open(options).await;
    eventually("everybody", || async { (alice.members(even_more.id).await.unwrap().len() == CROWD + 1).then_some(()) })
        .await;
}
