//! How long messages wait for devices that are there: what an operator sees first when doorbells, gateways or this service
//! do not keep up. A device that is away for a month is no fault of the server's, and does not count.
//!
//! Who is there is known by what it asks of this replica. Another replica knows other devices; the oldest of all is the
//! largest figure.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use qpc_chassis::{db::DbError, metrics::Metrics};
use qpc_wire::DeviceId;

use crate::store::Store;

/// Time between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Devices that one look is about; those that come when there are so many are not watched.
const DEVICES: usize = 1024;
/// A device that has asked for nothing for so long is away, milliseconds. Who waits for mail is asked for it every 5 s.
const AWAY_MS: u64 = 30_000;

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
    pub(crate) async fn look(&self, store: &Store, now_ms: u64) -> Result<(), DbError> {
        let stays: Vec<(DeviceId, Stay)> = {
            let mut present = self.present();
            present.retain(|_, stay| !stay.is_over(now_ms));
            present.iter().map(|(device, stay)| (*device, *stay)).collect()
        };
        let devices: Vec<DeviceId> = stays.iter().map(|(device, _)| *device).collect();
        let waiting = store.oldest(&devices).await?;
        // What came while the device was away waits since it is back.
        let ages = stays.iter().filter_map(|(device, stay)| {
            waiting.get(device).map(|accepted_ms| now_ms.saturating_sub(stay.since_ms.max(*accepted_ms)))
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
        now_ms.saturating_sub(self.last_ms) > AWAY_MS
    }
}

#[cfg(test)]
mod tests {
    use qpc_chassis::db::Db;
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
        let (metrics, here, away) = (Metrics::default(), DeviceId([1; 16]), DeviceId([2; 16]));
        let waiting = Waiting::new(&metrics);
        let age = async |now_ms| {
            waiting.look(&store, now_ms).await.unwrap();
            waiting.oldest.get()
        };
        send(&store, 1, away, 1_000).await;
        assert_eq!(age(500_000).await, 0.0, "nobody is there");
        send(&store, 2, here, 200_000).await;
        waiting.seen(&here, 500_000);
        assert_eq!(age(502_000).await, 2.0, "it came back two seconds ago");
        for now_ms in [520_000, 540_000, 560_000] {
            waiting.seen(&here, now_ms);
        }
        assert_eq!(age(561_000).await, 61.0, "it has been there all the time");
        store.ack(&here, 1, 561_000).await.unwrap();
        assert_eq!(age(562_000).await, 0.0);
        send(&store, 3, here, 565_000).await;
        assert_eq!(age(575_000).await, 10.0, "younger than the stay");
        assert_eq!(age(600_000).await, 0.0, "it is away");
    }
}
