//! How long messages wait for devices that are there: what an operator sees first when doorbells, gateways or this service
//! do not keep up. A device that is away for a month is no fault of the server's, and does not count.
//!
//! A replica asks for devices that it has heard of lately, and the cache says which of them are attached to a gateway still:
//! calls of one device go to all replicas, so that a pause here says nothing. The oldest of all replicas is the largest figure.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use qpc_chassis::{db::DbError, metrics::Metrics, push::Push};
use qpc_wire::DeviceId;

use crate::store::Store;

/// Time between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Devices that one look is about; those that come when there are so many are not watched.
const DEVICES: usize = 1024;
/// A device that has asked this replica for nothing for so long is forgotten, milliseconds. For who waits for mail the gateway
/// looks every 5 s at any of the replicas.
const FORGOTTEN_MS: u64 = 300_000;

/// See the module.
pub(crate) struct Waiting {
    present: Mutex<HashMap<DeviceId, Stay>>,
    oldest: Gauge<f64, AtomicU64>,
}

/// When a device came, and when it was heard last, Unix milliseconds.
#[derive(Debug, Clone, Copy)]
struct Stay {
    since_ms: u64,
    last_ms: u64,
}

impl Waiting {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let help = "Age of the oldest message that waits for a device which is there";
        Self { present: Mutex::default(), oldest: metrics.age("delivery_oldest_undelivered_seconds", help) }
    }

    /// `device` has asked for something.
    pub(crate) fn seen(&self, device: &DeviceId, now_ms: u64) {
        let mut present = self.present();
        if let Some(stay) = present.get_mut(device) {
            let since_ms = if stay.is_over(now_ms) { now_ms } else { stay.since_ms };
            *stay = Stay { since_ms, last_ms: now_ms };
        } else if present.len() < DEVICES {
            present.insert(*device, Stay { since_ms: now_ms, last_ms: now_ms });
        }
    }

    /// Looks what waits for the devices that are there.
    pub(crate) async fn look(&self, store: &Store, push: &Push, now_ms: u64) -> Result<(), DbError> {
        let heard: Vec<DeviceId> = {
            let mut present = self.present();
            present.retain(|_, stay| !stay.is_over(now_ms));
            present.keys().copied().collect()
        };
        let attached = match push.attached(&heard).await {
            Ok(attached) => attached,
            Err(error) => {
                tracing::warn!(%error, "presence unknown, and so how long messages wait");
                return Ok(());
            }
        };
        let waiting = store.oldest(&attached).await?;
        let there: HashSet<DeviceId> = attached.into_iter().collect();
        let mut present = self.present();
        for device in heard.iter().filter(|device| !there.contains(device)) {
            present.remove(device);
        }
        // What came while the device was away waits since it is back.
        let ages = waiting.iter().filter_map(|(device, accepted_ms)| {
            present.get(device).map(|stay| now_ms.saturating_sub(stay.since_ms.max(*accepted_ms)))
        });
        self.oldest.set(ages.max().unwrap_or(0) as f64 / 1000.0);
        Ok(())
    }

    fn present(&self) -> MutexGuard<'_, HashMap<DeviceId, Stay>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stay {
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_ms) > FORGOTTEN_MS
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use qpc_chassis::{Runtime, bus::LocalBus, cache::MemoryCache, db::Db};
    use qpc_wire::{GroupId, v1::EnvelopeKind};

    use super::*;
    use crate::{
        domain::mailbox::{Payload, Recipient},
        store::{MIGRATIONS, append},
    };

    async fn send(store: &Store, tag: u8, device: DeviceId, accepted_ms: u64) {
        let payload = Payload {
            id: [tag; 16],
            group: GroupId([9; 16]),
            kind: EnvelopeKind::Application,
            epoch: 1,
            accepted_ms,
            body: bytes::Bytes::from_static(b"x"),
            shared: None,
            receipt: None,
            franking: None,
            disappears_ms: None,
            recipients: vec![Recipient::plain(device)],
        };
        let mut tx = store.db.begin().await.unwrap();
        append(&mut tx, &[payload], u64::MAX >> 1).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_message_is_as_old_as_its_device_has_been_waiting_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let setting = format!("sqlite:{}", folder.path().display());
        let store = Store::new(Db::open(&setting, "delivery", 1, MIGRATIONS).await.unwrap());
        let cache = Arc::new(MemoryCache::new(Runtime::system().clock));
        let push = Push::new(Arc::new(LocalBus::default()), cache);
        let (metrics, here, away) = (Metrics::default(), DeviceId([1; 16]), DeviceId([2; 16]));
        let waiting = Waiting::new(&metrics);
        let age = async |now_ms| {
            waiting.look(&store, &push, now_ms).await.unwrap();
            waiting.oldest.get()
        };
        push.register(&[here], "gateway").await.unwrap();
        send(&store, 1, away, 1_000).await;
        assert_eq!(age(500_000).await, 0.0, "nobody is there");
        send(&store, 2, here, 200_000).await;
        waiting.seen(&here, 500_000);
        assert_eq!(age(502_000).await, 2.0, "it came back two seconds ago");
        // Meanwhile other replicas were asked.
        waiting.seen(&here, 600_000);
        assert_eq!(age(601_000).await, 101.0, "it has been there all the time");
        store.ack(&here, 1, 601_000).await.unwrap();
        assert_eq!(age(602_000).await, 0.0);
        send(&store, 3, here, 605_000).await;
        assert_eq!(age(615_000).await, 10.0, "younger than the stay");
        waiting.seen(&away, 616_000);
        assert_eq!(age(620_000).await, 15.0, "the other one has asked for something and is attached nowhere");
        push.unregister(&here, "gateway").await.unwrap();
        assert_eq!(age(625_000).await, 0.0, "it is away");
        push.register(&[here], "gateway").await.unwrap();
        waiting.seen(&here, 700_000);
        assert_eq!(age(703_000).await, 3.0, "and back");
        assert_eq!(age(1_001_000).await, 0.0, "forgotten");
    }
}
