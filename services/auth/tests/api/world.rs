//! A running service and people who call it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use qpc_auth::Config;
use qpc_chassis::{
    Runtime,
    bus::Bus,
    cache::{Cache, MemoryCache},
    db::contract::fresh_database,
    rpc::{Ctx, Router, ServeOptions, forward, serve},
    run::Deps,
    runtime::{Clock, SystemEntropy},
    secrets::Secrets,
};
use qpc_crypto::{
    AccountKey, DeviceCertificate, DeviceKey, KsfParams,
    opaque::{LoginClient, RegisterClient},
    sha256,
};
use qpc_wire::{
    AccountId, Code, DeviceId, Method, Status, bus, methods,
    proofs::{self, ChannelBinding},
    v1,
};
use rand::RngCore;

/// 2026-01-01, the start of an hour.
const START_MS: u64 = 1_767_225_600_000;
/// Time a call of a test may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct MockClock(AtomicU64);

impl Clock for MockClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) struct World {
    pub(crate) deps: Deps,
    pub(crate) others: Arc<Others>,
    clock: Arc<MockClock>,
    /// What each replica of the service runs on.
    replicas: Vec<Deps>,
    _folder: tempfile::TempDir,
}

/// What keypackage and delivery would do.
#[derive(Default)]
pub(crate) struct Others {
    /// Devices whose keys were forgotten, in order.
    pub(crate) keys: Mutex<Vec<Bytes>>,
    /// Devices whose mailbox was forgotten, in order.
    pub(crate) mailboxes: Mutex<Vec<Bytes>>,
    /// Accounts that were forgotten, in order, with the number of their devices.
    pub(crate) accounts: Mutex<Vec<(Bytes, usize)>>,
    /// Accounts whose files were forgotten, in order.
    pub(crate) files: Mutex<Vec<Bytes>>,
    /// Calls that blob still refuses.
    pub(crate) blob_fails: AtomicU32,
    /// Calls that delivery still refuses.
    pub(crate) delivery_fails: AtomicU32,
    /// Calls that keypackage still refuses.
    pub(crate) keypackage_fails: AtomicU32,
}

/// A client connection as the gateway describes it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) binding: Option<ChannelBinding>,
    pub(crate) address: &'static [u8],
    pub(crate) identity: Option<(AccountId, DeviceId)>,
}

pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) password: &'static str,
    pub(crate) account: AccountKey,
    pub(crate) device: DeviceKey,
    pub(crate) certificate: DeviceCertificate,
}

/// A login between its two calls.
pub(crate) struct Started {
    pub(crate) response: v1::OpaqueLoginStartResponse,
    pub(crate) client: LoginClient,
}

pub(crate) fn connection(binding: u8) -> Connection {
    Connection { binding: Some([binding; 32]), address: b"", identity: None }
}

pub(crate) fn rng() -> qpc_chassis::runtime::EntropyRng {
    Runtime::system().rng()
}

pub(crate) fn key() -> Bytes {
    let mut key = vec![0; 16];
    rng().fill_bytes(&mut key);
    key.into()
}

pub(crate) fn bytes(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}

/// As client and server agree.
pub(crate) fn context(binding: &ChannelBinding) -> Vec<u8> {
    [b"qpc opaque v1", binding.as_slice()].concat()
}

/// Waits for a condition that other tasks bring about.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("nothing happened in time");
}

pub(crate) fn code<R>(result: Result<R, Status>) -> Code {
    result.err().expect("the call was to be refused").code
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), |clock| Arc::new(MemoryCache::new(clock))).await
    }

    pub(crate) async fn with(config: Config, cache: impl FnOnce(Arc<MockClock>) -> Arc<dyn Cache>) -> Self {
        Self::on(None, config, cache).await
    }

    /// On a new database of the server that the environment names.
    #[allow(clippy::disallowed_methods, reason = "tests of servers are told where they are")]
    pub(crate) async fn on_postgres(config: Config) -> Self {
        let url = std::env::var("QPC_TEST_POSTGRES").expect("QPC_TEST_POSTGRES is not set; run cargo xtask test");
        let db = fresh_database(&url, &format!("auth_{:016x}", rng().next_u64())).await;
        Self::on(Some(db), config, |clock| Arc::new(MemoryCache::new(clock))).await
    }

    async fn on(db: Option<String>, config: Config, cache: impl FnOnce(Arc<MockClock>) -> Arc<dyn Cache>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(MockClock(AtomicU64::new(START_MS)));
        let db_pool = if db.is_some() { 4 } else { 1 };
        let deps = Deps {
            cache: cache(clock.clone()),
            db_pool,
            ..Deps::local(
                Runtime::new(clock.clone(), Arc::new(SystemEntropy)),
                Secrets::new([5; 32]),
                db.unwrap_or_else(|| format!("sqlite:{}", folder.path().display())),
            )
        };
        let others = start_others(&deps).await;
        let mut world = Self { deps, others, clock, replicas: Vec::new(), _folder: folder };
        world.add_replica(config).await;
        world
    }

    /// One more replica of the service.
    pub(crate) async fn add_replica(&mut self, config: Config) {
        let deps = self.deps.child();
        qpc_auth::start(deps.clone(), config).await.unwrap();
        self.replicas.push(deps);
    }

    /// Ends all replicas and starts one with other settings.
    pub(crate) async fn restart(&mut self, config: Config) {
        for deps in self.replicas.drain(..) {
            assert!(deps.runtime.drain(DEADLINE).await);
        }
        self.add_replica(config).await;
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    pub(crate) async fn call<M: Method>(&self, from: &Connection, request: M::Request) -> Result<M::Response, Status> {
        let (account_id, device_id) = match from.identity {
            Some((account, device)) => (account.to_bytes(), device.to_bytes()),
            None => Default::default(),
        };
        let call = bus::Call {
            method: M::INFO.id.into(),
            // The same for every call, so that whole errors can be compared.
            correlation_id: bytes(&[0; 12]),
            deadline_ms: self.clock.now_ms() + DEADLINE.as_millis() as u64,
            account_id,
            device_id,
            channel_binding: from.binding.map(|binding| bytes(&binding)).unwrap_or_default(),
            address_hash: bytes(from.address),
            body: request.encode_to_vec().into(),
            trace: Bytes::new(),
        };
        let (status, body) = forward(&*self.deps.bus as &dyn Bus, "auth", call, DEADLINE).await.unwrap();
        if status == 0 { Ok(M::Response::decode(body).unwrap()) } else { Err(Status::decode(status, body)) }
    }

    /// A new person with a session of the first device.
    pub(crate) async fn logged_in(&self, name: &str) -> (Person, Bytes) {
        let person = Person::new(name);
        self.register(&person).await;
        let token = self.log_in(&connection(2), &person).await.unwrap().session_token;
        (person, token)
    }

    /// Everything up to the last call of a registration.
    pub(crate) async fn registration(&self, from: &Connection, person: &Person) -> v1::OpaqueRegisterFinishRequest {
        self.terms(from, person).await.0
    }

    /// The same, with what the server wants for it.
    pub(crate) async fn terms(
        &self,
        from: &Connection,
        person: &Person,
    ) -> (v1::OpaqueRegisterFinishRequest, v1::RegistrationTerms) {
        let (client, request) = RegisterClient::start(&mut rng(), person.password.as_bytes()).unwrap();
        let request =
            v1::OpaqueRegisterStartRequest { username: person.name.clone(), registration_request: request.into() };
        let response = self.call::<methods::OpaqueRegisterStart>(from, request).await.unwrap();
        let ksf = KsfParams::FLOOR;
        let password = person.password.as_bytes();
        let (upload, _) = client.finish(&mut rng(), password, &response.registration_response, ksf).unwrap();
        let request = v1::OpaqueRegisterFinishRequest {
            idempotency_key: key(),
            username: person.name.clone(),
            registration_upload: upload.into(),
            ksf: Some(v1::KsfParams {
                memory_kib: ksf.memory_kib,
                iterations: ksf.iterations,
                parallelism: ksf.parallelism,
            }),
            device_certificate: bytes(&person.certificate.to_bytes()),
            account_proof: person.register_proof(from),
            registration_state: response.registration_state,
            ..Default::default()
        };
        (request, response.terms.unwrap())
    }

    pub(crate) async fn register(&self, person: &Person) {
        let from = connection(1);
        let request = self.registration(&from, person).await;
        self.call::<methods::OpaqueRegisterFinish>(&from, request).await.unwrap();
    }

    pub(crate) async fn start_login(&self, from: &Connection, name: &str, password: &str) -> Result<Started, Status> {
        let (client, request) = LoginClient::start(&mut rng(), password.as_bytes()).unwrap();
        let request = v1::OpaqueLoginStartRequest { username: name.to_owned(), credential_request: request.into() };
        let response = self.call::<methods::OpaqueLoginStart>(from, request).await?;
        Ok(Started { response, client })
    }

    /// A login with the right password.
    pub(crate) async fn log_in(
        &self,
        from: &Connection,
        person: &Person,
    ) -> Result<v1::OpaqueLoginFinishResponse, Status> {
        let started = self.start_login(from, &person.name, person.password).await?;
        let request = person.finish_login(from, started);
        self.call::<methods::OpaqueLoginFinish>(from, request).await
    }

    pub(crate) async fn attach(
        &self,
        from: &Connection,
        token: &Bytes,
        proof: Bytes,
    ) -> Result<v1::SessionAttachResponse, Status> {
        let request = v1::SessionAttachRequest { session_token: token.clone(), device_proof: proof };
        self.call::<methods::SessionAttach>(from, request).await
    }
}

impl Person {
    pub(crate) fn new(name: &str) -> Self {
        let account = AccountKey::generate(&mut rng());
        Self::device_of(name, account)
    }

    fn device_of(name: &str, account: AccountKey) -> Self {
        let device = DeviceKey::generate(&mut rng());
        let certificate = DeviceCertificate::issue(&account, &device.public(), 1);
        Self { name: name.to_owned(), password: "correct horse", account, device, certificate }
    }

    /// The same person at another device.
    pub(crate) fn another_device(&self) -> Self {
        Self::device_of(&self.name, AccountKey::from_bytes(&self.account.to_bytes()))
    }

    /// This person's device, attached, on a connection with this binding.
    pub(crate) fn attached(&self, binding: u8) -> Connection {
        let identity = (self.certificate.account_id(), self.certificate.device_id());
        Connection { identity: Some(identity), ..connection(binding) }
    }

    pub(crate) fn register_proof(&self, on: &Connection) -> Bytes {
        bytes(&self.account.sign(&proofs::register(&on.binding.unwrap(), &self.name)))
    }

    pub(crate) fn attach_proof(&self, on: &Connection, token: &Bytes) -> Bytes {
        bytes(&self.device.sign(&proofs::attach(&on.binding.unwrap(), &sha256(&[token]))))
    }

    pub(crate) fn login_proof(&self, on: &Connection, state: &Bytes) -> Bytes {
        bytes(&self.device.sign(&proofs::login(&on.binding.unwrap(), &sha256(&[state]))))
    }

    /// The last call of a login whose password was right.
    pub(crate) fn finish_login(&self, on: &Connection, started: Started) -> v1::OpaqueLoginFinishRequest {
        let ksf = started.response.ksf.unwrap();
        let ksf = KsfParams { memory_kib: ksf.memory_kib, iterations: ksf.iterations, parallelism: ksf.parallelism };
        let context = context(&on.binding.unwrap());
        let response = &started.response.credential_response;
        let finish = started.client.finish(&mut rng(), self.password.as_bytes(), response, ksf, &context).ok().unwrap();
        v1::OpaqueLoginFinishRequest {
            device_proof: self.login_proof(on, &started.response.login_state),
            login_state: started.response.login_state,
            credential_finalization: finish.finalization.into(),
            device_certificate: bytes(&self.certificate.to_bytes()),
        }
    }
}

async fn start_others(deps: &Deps) -> Arc<Others> {
    let others = Arc::new(Others::default());
    let keypackage = Router::new(others.clone(), deps.runtime.clone()).on::<methods::ForgetDeviceKeys, _, _, _>(
        async |others: Arc<Others>, _: Ctx, request| {
            let fails = |left: u32| left.checked_sub(1);
            if others.keypackage_fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                return Err(Status::unavailable("not now", 100));
            }
            others.keys.lock().unwrap().push(request.device_id);
            Ok(v1::ForgetDeviceKeysResponse {})
        },
    );
    let delivery = Router::new(others.clone(), deps.runtime.clone())
        .on::<methods::ForgetDevice, _, _, _>(async |others: Arc<Others>, _: Ctx, request| {
            others.mailboxes.lock().unwrap().push(request.device_id);
            Ok::<_, Status>(v1::ForgetDeviceResponse {})
        })
        .on::<methods::CountDeliveries, _, _, _>(async |_: Arc<Others>, _: Ctx, _| {
            Ok::<_, Status>(v1::CountDeliveriesResponse { groups: 7, messages_waiting: 9 })
        })
        .on::<methods::ForgetAccount, _, _, _>(
            async |others: Arc<Others>, _: Ctx, request: v1::ForgetAccountRequest| {
                let fails = |left: u32| left.checked_sub(1);
                if others.delivery_fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                    return Err(Status::unavailable("not now", 100));
                }
                others.accounts.lock().unwrap().push((request.account_id, request.device_ids.len()));
                Ok(v1::ForgetAccountResponse {})
            },
        )
        .on::<methods::ReportMailboxes, _, _, _>(
            async |_: Arc<Others>, _: Ctx, request: v1::ReportMailboxesRequest| {
                let mailbox = |device_id| v1::MailboxReport {
                    device_id,
                    head: 9,
                    acked: 7,
                    entries: 2,
                    bytes: 200,
                    push_host: String::new(),
                };
                let groups = vec![v1::GroupReport { group_id: request.account_id, kind: 2, epoch: 5, role: 4 }];
                let mailboxes = request.device_ids.into_iter().map(mailbox).collect();
                Ok::<_, Status>(v1::ReportMailboxesResponse { mailboxes, groups })
            },
        );
    let keypackage = keypackage.on::<methods::ReportKeys, _, _, _>(
        async |_: Arc<Others>, _: Ctx, request: v1::ReportKeysRequest| {
            let keys = |device_id: &Bytes| v1::KeyReport {
                device_id: device_id.clone(),
                suite: 1,
                key_packages: 20,
                last_resort: true,
            };
            let keys = request.device_ids.iter().map(keys).collect();
            Ok::<_, Status>(v1::ReportKeysResponse { keys, queue_keys: request.device_ids })
        },
    );
    let blob = Router::new(others.clone(), deps.runtime.clone()).on::<methods::ForgetFiles, _, _, _>(
        async |others: Arc<Others>, _: Ctx, request: v1::ForgetFilesRequest| {
            let fails = |left: u32| left.checked_sub(1);
            if others.blob_fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                return Err(Status::unavailable("not now", 100));
            }
            others.files.lock().unwrap().push(request.account_id);
            Ok(v1::ForgetFilesResponse {})
        },
    );
    let blob = blob.on::<methods::ReportFiles, _, _, _>(async |_: Arc<Others>, _: Ctx, _| {
        let row = v1::BlobReport { blob_id: bytes(&[8; 32]), size: 70, expires_at_ms: 9 };
        let files = v1::FilesReport { blobs: 1, blob_bytes: 70, blob_rows: vec![row], ..Default::default() };
        Ok::<_, Status>(v1::ReportFilesResponse { files: Some(files), announced: 80, daily: 90 })
    });
    serve(deps, "blob", blob, ServeOptions::default()).await.unwrap();
    serve(deps, "keypackage", keypackage, ServeOptions::default()).await.unwrap();
    serve(deps, "delivery", delivery, ServeOptions::default()).await.unwrap();
    others
}
