//! Presence of devices and doorbells to them.
//!
//! A gateway registers the devices attached to it; whoever has news for a device looks its gateway up and publishes there.
//! Both may fail: then the device hears later, when it pulls (G3). Nothing here is needed for a message to arrive.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_wire::{DeviceId, bus, v1::EventType};

use crate::{
    bus::Bus,
    cache::{Cache, CacheError},
};

/// A registration lapses unless repeated within this time.
pub const PRESENCE_TTL: Duration = Duration::from_secs(90);

/// Bytes of doorbells put into one bus message; below the 1 MiB that a NATS server takes by default.
const MAX_BATCH_BYTES: usize = 512 << 10;

/// Bus subject of the doorbells for one gateway.
pub fn subject(gateway: &str) -> String {
    format!("qpc.push.{gateway}")
}

/// Bus subject of the doorbells for all gateways. No gateway is called so: their names are hexadecimal.
pub const EVERYWHERE: &str = "qpc.push.everywhere";

fn presence_key(device: &DeviceId) -> String {
    format!("presence:{device}")
}

/// News for one device.
#[derive(Debug, Clone)]
pub struct Doorbell {
    /// Whom to tell.
    pub device: DeviceId,
    /// What about.
    pub event: EventType,
    /// Encoded event message.
    pub body: Bytes,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Push {
    bus: Arc<dyn Bus>,
    cache: Arc<dyn Cache>,
}

impl Push {
    /// Presence in `cache`, doorbells on `bus`.
    pub fn new(bus: Arc<dyn Bus>, cache: Arc<dyn Cache>) -> Self {
        Self { bus, cache }
    }

    /// Says that `devices` are attached to `gateway`; tells for each whether that was known already.
    pub async fn register(&self, devices: &[DeviceId], gateway: &str) -> Result<Vec<bool>, CacheError> {
        let pairs = devices.iter().map(|device| (presence_key(device), gateway.to_owned())).collect();
        self.cache.set_many(pairs, PRESENCE_TTL).await
    }

    /// Says that `device` has left `gateway`; nothing happens when it is registered elsewhere by now.
    pub async fn unregister(&self, device: &DeviceId, gateway: &str) -> Result<(), CacheError> {
        self.cache.remove_if(presence_key(device), gateway.to_owned()).await.map(|_| ())
    }

    /// Those of `devices` that are attached somewhere.
    pub async fn attached(&self, devices: &[DeviceId]) -> Result<Vec<DeviceId>, CacheError> {
        let gateways = self.cache.get_many(devices.iter().map(presence_key).collect()).await?;
        let pairs = devices.iter().zip(gateways);
        Ok(pairs.filter_map(|(device, gateway)| gateway.map(|_| *device)).collect())
    }

    /// Rings at every device that is attached somewhere.
    pub async fn ring(&self, doorbells: Vec<Doorbell>) {
        if doorbells.is_empty() {
            return;
        }
        let keys = doorbells.iter().map(|doorbell| presence_key(&doorbell.device)).collect();
        let gateways = match self.cache.get_many(keys).await {
            Ok(gateways) => gateways,
            Err(error) => {
                tracing::warn!(%error, "presence unknown, devices will hear when they pull");
                return;
            }
        };
        let mut batches: BTreeMap<String, Vec<bus::Push>> = BTreeMap::new();
        for (doorbell, gateway) in doorbells.into_iter().zip(gateways) {
            let Some(gateway) = gateway else { continue };
            batches.entry(gateway).or_default().push(push(doorbell));
        }
        for (gateway, pushes) in batches {
            self.publish(&subject(&gateway), pushes).await;
        }
    }

    /// Rings at every gateway, whatever presence says: a device may be attached at several, and presence knows one.
    pub async fn ring_everywhere(&self, doorbells: Vec<Doorbell>) {
        if !doorbells.is_empty() {
            self.publish(EVERYWHERE, doorbells.into_iter().map(push).collect()).await;
        }
    }

    async fn publish(&self, subject: &str, pushes: Vec<bus::Push>) {
        let mut batch = bus::PushBatch::default();
        let mut size = 0;
        for push in pushes {
            let len = push.body.len() + 32;
            if size + len > MAX_BATCH_BYTES && !batch.pushes.is_empty() {
                self.send(subject, std::mem::take(&mut batch)).await;
                size = 0;
            }
            size += len;
            batch.pushes.push(push);
        }
        self.send(subject, batch).await;
    }

    async fn send(&self, subject: &str, batch: bus::PushBatch) {
        if let Err(error) = self.bus.publish(subject.to_owned(), batch.encode_to_vec().into()).await {
            tracing::warn!(%error, subject, "doorbell not sent");
        }
    }
}

fn push(doorbell: Doorbell) -> bus::Push {
    bus::Push { device_id: doorbell.device.to_bytes(), event_type: doorbell.event as u32, body: doorbell.body }
}
