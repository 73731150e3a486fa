//! Has the other services forget revoked devices and deleted accounts: each is told of each until it has said so.
//!
//! What is still to be told stands in the database, so that a crash, or a service that is away, costs time only. Replicas
//! may tell at the same moment; the calls are repeatable.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use qpc_chassis::{Runtime, rpc::Client};
use qpc_wire::{
    Method, Status,
    methods::{ForgetAccount, ForgetDevice, ForgetDeviceKeys, ForgetFiles},
    v1::{ForgetAccountRequest, ForgetDeviceKeysRequest, ForgetDeviceRequest, ForgetFilesRequest},
};
use tokio::sync::Notify;

use crate::{
    error::Error,
    store::{PAGE, Revocation, Store},
};

/// Pages of one look, so that it cannot go on for ever.
const MAX_PAGES: usize = 100;

/// Bits of [`Revocation::told`].
const KEYPACKAGE: u64 = 1;
const DELIVERY: u64 = 2;

/// See the module.
pub(crate) struct Forget {
    store: Store,
    client: Client,
    wake: Notify,
}

impl Forget {
    pub(crate) fn new(store: Store, client: Client) -> Self {
        Self { store, client, wake: Notify::new() }
    }

    /// There is something new to tell.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Works until shutdown: whenever there is something new, and every so often for what did not go well.
    pub(crate) async fn run(self: Arc<Self>, runtime: Runtime, every: Duration) {
        loop {
            tokio::select! {
                () = runtime.shutdown().cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(every) => {}
            }
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "revoked devices not forgotten yet");
            }
        }
    }

    /// Tells everything that is to be told, once.
    async fn look(&self) -> Result<(), Error> {
        let (mut after, mut away) = (0, 0);
        for _ in 0..MAX_PAGES {
            let page = self.store.untold(after).await?;
            for revocation in &page {
                let told = self.tell(revocation, &mut away).await;
                if told != 0 {
                    self.store.add_told(revocation.seq, told).await?;
                }
                after = revocation.seq;
            }
            if (page.len() as u64) < PAGE {
                break;
            }
        }
        self.look_for_accounts().await
    }

    /// Has delivery and blob forget deleted accounts, once each. What is left is looked for the next time.
    async fn look_for_accounts(&self) -> Result<(), Error> {
        for deletion in self.store.deletions().await? {
            let request = ForgetAccountRequest {
                account_id: deletion.account.to_bytes(),
                device_ids: deletion.devices.iter().map(|device| device.to_bytes()).collect(),
            };
            let files = ForgetFilesRequest { account_id: deletion.account.to_bytes() };
            let (delivery, blob) = tokio::join!(
                self.client.call_unasked::<ForgetAccount>(&request),
                self.client.call_unasked::<ForgetFiles>(&files)
            );
            match delivery.map(drop).and(blob.map(drop)) {
                Ok(()) => self.store.finish_deletion(deletion.account).await?,
                Err(status) => {
                    tracing::warn!(%status, "a deleted account is not forgotten yet");
                    if status.is_transient() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Which services have forgotten the device now. Those in `away` are not asked again.
    async fn tell(&self, revocation: &Revocation, away: &mut u64) -> u64 {
        let device_id = revocation.device.to_bytes();
        let open = |service: u64, away: u64| (revocation.told | away) & service == 0;
        let mut told = 0;
        if open(KEYPACKAGE, *away) {
            told |= said(KEYPACKAGE, self.keys(device_id.clone()).await, away);
        }
        if open(DELIVERY, *away) {
            told |= said(DELIVERY, self.mailbox(device_id).await, away);
        }
        told
    }

    async fn keys(&self, device_id: Bytes) -> Result<(), Status> {
        self.client.call_unasked::<ForgetDeviceKeys>(&ForgetDeviceKeysRequest { device_id }).await.map(|_| ())
    }

    async fn mailbox(&self, device_id: Bytes) -> Result<(), Status> {
        self.client.call_unasked::<ForgetDevice>(&ForgetDeviceRequest { device_id }).await.map(|_| ())
    }
}

/// `service` when it has done it. One that is not there will not be there for the next device either.
fn said(service: u64, answer: Result<(), Status>, away: &mut u64) -> u64 {
    match answer {
        Ok(()) => service,
        Err(status) => {
            let name =
                if service == KEYPACKAGE { ForgetDeviceKeys::INFO.owner } else { ForgetDevice::INFO.owner }.name();
            tracing::warn!(service = name, %status, "a revoked device is not forgotten yet");
            if status.is_transient() {
                *away |= service;
            }
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use qpc_chassis::{
        rpc::{Ctx, Router, ServeOptions, serve},
        run::Deps,
        secrets::Secrets,
    };
    use qpc_crypto::{AccountKey, DeviceCertificate, DeviceKey, KsfParams};
    use qpc_wire::{Code, methods, v1};

    use super::*;
    use crate::store::{NewAccount, contract};

    /// Devices that keypackage was told of, and how it answers to each.
    #[derive(Default)]
    struct Keypackage {
        told: Mutex<Vec<Bytes>>,
        answers: Mutex<Vec<Status>>,
    }

    async fn heard(
        keypackage: Arc<Keypackage>,
        _: Ctx,
        request: ForgetDeviceKeysRequest,
    ) -> Result<v1::ForgetDeviceKeysResponse, Status> {
        keypackage.told.lock().unwrap().push(request.device_id);
        keypackage.answers.lock().unwrap().pop().map_or(Ok(v1::ForgetDeviceKeysResponse {}), Err)
    }

    /// Three devices, revoked one after the other, and no delivery.
    async fn world() -> (Forget, Arc<Keypackage>, Vec<Bytes>, tempfile::TempDir) {
        let (store, folder) = contract::sqlite().await;
        let runtime = Runtime::system();
        store.add_setup(1, b"setup", 0).await.unwrap();
        let mut devices = Vec::new();
        for number in 0..3 {
            let key = DeviceKey::generate(&mut runtime.rng());
            let certificate = DeviceCertificate::issue(&AccountKey::generate(&mut runtime.rng()), &key.public(), 1);
            let account = NewAccount {
                username: format!("user{number}"),
                name_tag: [number; 32],
                certificate: certificate.clone(),
                setup_id: 1,
                credential_id: [4; 16],
                record: vec![],
                ksf: KsfParams::FLOOR,
                now_ms: 1,
            };
            let (account_id, device) = (certificate.account_id(), certificate.device_id());
            let mut tx = store.db().begin().await.unwrap();
            Store::register(&mut tx, &account).await.unwrap();
            Store::revoke(&mut tx, account_id, device, device, 2).await.unwrap();
            tx.commit().await.unwrap();
            devices.push(device.to_bytes());
        }
        let deps = Deps::local(runtime, Secrets::new([5; 32]), String::new());
        let keypackage = Arc::<Keypackage>::default();
        let router =
            Router::new(keypackage.clone(), deps.runtime.clone()).on::<methods::ForgetDeviceKeys, _, _, _>(heard);
        serve(&deps, "keypackage", router, ServeOptions::default()).await.unwrap();
        (Forget::new(store, deps.client()), keypackage, devices, folder)
    }

    #[tokio::test]
    async fn what_is_new_is_told_at_once() {
        let (forget, keypackage, devices, _folder) = world().await;
        let (forget, runtime) = (Arc::new(forget), Runtime::system());
        runtime.spawn(forget.clone().run(runtime.clone(), Duration::from_secs(3600)));
        forget.wake();
        let told = async {
            while keypackage.told.lock().unwrap().len() < devices.len() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("told long before its time");
        assert!(runtime.drain(Duration::from_secs(20)).await);
    }

    #[tokio::test]
    async fn each_service_is_told_until_it_has_heard_and_no_longer() {
        let (forget, keypackage, devices, _folder) = world().await;
        for _ in 0..2 {
            forget.look().await.unwrap();
            assert_eq!(*keypackage.told.lock().unwrap(), devices, "delivery being away is not its concern");
        }
        let open: Vec<u64> = forget.store.untold(0).await.unwrap().iter().map(|revocation| revocation.told).collect();
        assert_eq!(open, [KEYPACKAGE; 3]);
    }

    #[tokio::test]
    async fn one_that_is_away_is_asked_once_a_look_and_one_bad_device_is_not_in_the_way() {
        let (forget, keypackage, devices, _folder) = world().await;
        keypackage.answers.lock().unwrap().push(Status::unavailable("away", 100));
        forget.look().await.unwrap();
        assert_eq!(*keypackage.told.lock().unwrap(), devices[..1]);

        keypackage.answers.lock().unwrap().push(Status::new(Code::Internal, "this one never"));
        keypackage.told.lock().unwrap().clear();
        forget.look().await.unwrap();
        assert_eq!(*keypackage.told.lock().unwrap(), devices);
        let open: Vec<u64> = forget.store.untold(0).await.unwrap().iter().map(|revocation| revocation.told).collect();
        assert_eq!(open, [0, KEYPACKAGE, KEYPACKAGE]);
    }
}
