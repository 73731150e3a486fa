//! Parts that are in memory, of all devices and of one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
};

use prometheus_client::metrics::gauge::Gauge;
use qpc_chassis::metrics::Metrics;
use qpc_wire::DeviceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;

/// Parts in memory; the bodies of more wait unread, which stops the client by flow control.
const MAX_PARTS: usize = 64;
/// Of these, parts of one device.
pub(crate) const MAX_PARTS_OF_DEVICE: u32 = 8;

/// See the module.
pub(crate) struct Slots {
    all: Arc<Semaphore>,
    devices: Arc<Mutex<HashMap<DeviceId, u32>>>,
    taken: Gauge<i64, AtomicI64>,
}

/// Room for one part.
pub(crate) struct Slot {
    device: DeviceId,
    devices: Arc<Mutex<HashMap<DeviceId, u32>>>,
    taken: Gauge<i64, AtomicI64>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            all: Arc::new(Semaphore::new(MAX_PARTS)),
            devices: Arc::default(),
            taken: metrics.gauge("blob_parts", "Parts in memory"),
        }
    }

    /// Waits for room; refuses a device that has too much of it.
    pub(crate) async fn enter(&self, device: DeviceId) -> Result<Slot, Error> {
        {
            let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
            let count = devices.entry(device).or_default();
            if *count >= MAX_PARTS_OF_DEVICE {
                return Err(Error::Busy(MAX_PARTS_OF_DEVICE));
            }
            *count += 1;
        }
        self.taken.inc();
        let mut slot = Slot { device, devices: self.devices.clone(), taken: self.taken.clone(), permit: None };
        // Never closed.
        slot.permit = self.all.clone().acquire_owned().await.ok();
        Ok(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.dec();
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = devices.get_mut(&self.device) {
            *count -= 1;
            if *count == 0 {
                devices.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_device_has_its_share_and_all_have_the_rest() {
        let slots = Slots::new(&Metrics::default());
        let device = |n: u8| DeviceId([n; 16]);
        let mut taken = Vec::new();
        for n in 0..8 {
            for _ in 0..MAX_PARTS_OF_DEVICE {
                taken.push(slots.enter(device(n)).await.unwrap());
            }
            assert!(matches!(slots.enter(device(n)).await, Err(Error::Busy(MAX_PARTS_OF_DEVICE))));
        }
        assert_eq!(taken.len(), MAX_PARTS);
        // One more device waits, and goes on when there is room.
        let mut waiting = Box::pin(slots.enter(device(9)));
        assert!(waiting.as_mut().now_or_never().is_none());
        taken.pop();
        drop(waiting.await.unwrap());
        drop(taken);
        assert!(slots.devices.lock().unwrap().is_empty(), "nothing is remembered of who has left");
    }
}
