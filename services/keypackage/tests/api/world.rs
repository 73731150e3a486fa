//! A running service and devices that call it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use openmls_memory_storage::MemoryStorage;
use prost::Message;
use qpc_chassis::{
    Runtime,
    bus::Bus,
    cache::{Cache, MemoryCache},
    limits::Rate,
    rpc::{self, Ctx, Router, ServeOptions, forward},
    run::Deps,
    runtime::{Clock, SystemEntropy},
    secrets::Secrets,
};
use qpc_crypto::{AccountKey, DeviceCertificate, DeviceKey, Provider, Suite, mls::key_package};
use qpc_keypackage::Config;
use qpc_wire::{Code, DeviceId, Method, Status, bus, methods, v1};
use rand::RngCore;

/// Time a call of a test may take.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) deps: Deps,
    clock: Arc<MockClock>,
    listed: Arc<Listed>,
    _folder: tempfile::TempDir,
}

/// Begins now, as MLS looks at the machine's clock too, and then only moves when it is told to.
pub(crate) struct MockClock(AtomicU64);

impl Clock for MockClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the auth service of these tests knows.
#[derive(Default)]
struct Listed(Mutex<Vec<DeviceCertificate>>);

pub(crate) struct Machine {
    account: AccountKey,
    pub(crate) key: DeviceKey,
    pub(crate) certificate: DeviceCertificate,
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

pub(crate) fn code<R>(result: Result<R, Status>) -> Code {
    result.err().expect("the call was to be refused").code
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), |clock| Arc::new(MemoryCache::new(clock))).await
    }

    /// Where one fetches as many packages as there are.
    pub(crate) async fn without_rates() -> Self {
        let config = Config { key_package_fetches: Rate::UNLIMITED, ..Config::default() };
        Self::with(config, |clock| Arc::new(MemoryCache::new(clock))).await
    }

    pub(crate) async fn with(config: Config, cache: impl FnOnce(Arc<MockClock>) -> Arc<dyn Cache>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(MockClock(AtomicU64::new(Runtime::system().now_ms())));
        let runtime = Runtime::new(clock.clone(), Arc::new(SystemEntropy));
        let deps = Deps {
            cache: cache(clock.clone()),
            ..Deps::local(runtime, Secrets::new([5; 32]), format!("sqlite:{}", folder.path().display()))
        };
        let listed = Arc::new(Listed::default());
        let auth = Router::new(listed.clone(), deps.runtime.clone()).on::<methods::ListDevices, _, _, _>(list_devices);
        rpc::serve(&deps, "auth", auth, ServeOptions::default()).await.unwrap();
        qpc_keypackage::start(deps.clone(), config).await.unwrap();
        Self { deps, clock, listed, _folder: folder }
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    /// A new device of a new account, which auth knows.
    pub(crate) fn machine(&self) -> Machine {
        let account = AccountKey::generate(&mut rng());
        let key = DeviceKey::generate(&mut rng());
        let certificate = DeviceCertificate::issue(&account, &key.public(), 1);
        self.listed.0.lock().unwrap().push(certificate.clone());
        Machine { account, key, certificate }
    }

    pub(crate) fn revoke(&self, machine: &Machine) {
        self.listed.0.lock().unwrap().retain(|certificate| *certificate != machine.certificate);
    }

    /// Calls in the name of a device, or of nobody.
    pub(crate) async fn call<M: Method>(
        &self,
        from: Option<&Machine>,
        request: M::Request,
    ) -> Result<M::Response, Status> {
        let certificate = from.map(|machine| &machine.certificate);
        let call = bus::Call {
            method: M::INFO.id.into(),
            correlation_id: bytes(&[0; 12]),
            deadline_ms: self.deps.runtime.now_ms() + DEADLINE.as_millis() as u64,
            account_id: certificate.map(|certificate| certificate.account_id().to_bytes()).unwrap_or_default(),
            device_id: certificate.map(|certificate| certificate.device_id().to_bytes()).unwrap_or_default(),
            channel_binding: bytes(&[1; 32]),
            address_hash: Bytes::new(),
            body: request.encode_to_vec().into(),
            trace: Bytes::new(),
        };
        let (status, body) = forward(&*self.deps.bus as &dyn Bus, "keypackage", call, DEADLINE).await.unwrap();
        if status == 0 { Ok(M::Response::decode(body).unwrap()) } else { Err(Status::decode(status, body)) }
    }
}

impl Machine {
    /// Another device of the same account, which auth knows.
    pub(crate) fn sibling(&self, world: &World) -> Self {
        let key = DeviceKey::generate(&mut rng());
        let certificate = DeviceCertificate::issue(&self.account, &key.public(), 1);
        world.listed.0.lock().unwrap().push(certificate.clone());
        Self { account: AccountKey::from_bytes(&self.account.to_bytes()), key, certificate }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.certificate.device_id()
    }

    pub(crate) fn package(&self, suite: Suite, last_resort: bool) -> Bytes {
        let provider = Provider::new(MemoryStorage::default());
        key_package::generate(&provider, &self.key, &self.certificate, suite, last_resort).unwrap().into()
    }

    pub(crate) fn packages(&self, suite: Suite, number: usize) -> Vec<Bytes> {
        (0..number).map(|_| self.package(suite, false)).collect()
    }

    /// The same device under another account.
    pub(crate) fn stolen_by(&self, thief: &Self) -> Self {
        let key = DeviceKey::from_bytes(&self.key.to_bytes());
        let certificate = DeviceCertificate::issue(&thief.account, &key.public(), 1);
        Self { account: AccountKey::from_bytes(&thief.account.to_bytes()), key, certificate }
    }
}

async fn list_devices(
    listed: Arc<Listed>,
    ctx: Ctx,
    _: v1::ListDevicesRequest,
) -> Result<v1::ListDevicesResponse, Status> {
    let account = ctx.identity.map(|identity| identity.account);
    let listed = listed.0.lock().unwrap();
    let own = listed.iter().filter(|certificate| Some(certificate.account_id()) == account);
    let devices = own.map(|certificate| v1::Device {
        device_id: certificate.device_id().to_bytes(),
        device_certificate: bytes(&certificate.to_bytes()),
        added_at_ms: 1,
        name: Bytes::new(),
    });
    Ok(v1::ListDevicesResponse { devices: devices.collect() })
}
