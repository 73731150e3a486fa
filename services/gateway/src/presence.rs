//! Which connections a device has here, and what the rest of the cluster knows of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use qpc_wire::{DeviceId, v1::EventType};

use crate::{core::Core, link::Link, session::Push};

/// Devices of one registration.
const REFRESH_CHUNK: usize = 1000;

#[derive(Default)]
struct State {
    connections: BTreeMap<usize, Arc<Link>>,
    devices: BTreeMap<DeviceId, Vec<Arc<Link>>>,
}

/// The connections of this gateway.
pub(crate) struct Registry {
    most_per_device: usize,
    state: Mutex<State>,
}

impl Registry {
    pub(crate) fn new(most_per_device: usize) -> Self {
        Self { most_per_device, state: Mutex::default() }
    }

    pub(crate) fn open(&self, link: &Arc<Link>) {
        self.state().connections.insert(link.connection.stable_id(), link.clone());
    }

    pub(crate) fn close(&self, link: &Link) {
        self.state().connections.remove(&link.connection.stable_id());
    }

    /// An error is the number of connections that the device has, and may have, already.
    pub(crate) fn attach(&self, device: DeviceId, link: &Arc<Link>) -> Result<(), usize> {
        let mut state = self.state();
        let links = state.devices.entry(device).or_default();
        if links.len() >= self.most_per_device {
            return Err(self.most_per_device);
        }
        links.push(link.clone());
        Ok(())
    }

    pub(crate) fn detach(&self, device: &DeviceId, link: &Arc<Link>) {
        let mut state = self.state();
        if let Some(links) = state.devices.get_mut(device) {
            links.retain(|other| !Arc::ptr_eq(other, link));
            if links.is_empty() {
                state.devices.remove(device);
            }
        }
    }

    pub(crate) fn of(&self, device: &DeviceId) -> Vec<Arc<Link>> {
        self.state().devices.get(device).cloned().unwrap_or_default()
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Link>> {
        self.state().connections.values().cloned().collect()
    }

    fn devices(&self) -> Vec<DeviceId> {
        self.state().devices.keys().copied().collect()
    }

    fn has(&self, device: &DeviceId) -> bool {
        self.state().devices.contains_key(device)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the devices registered, and asks all of them to fetch whenever doorbells may have been lost.
pub(crate) fn start(core: &Arc<Core>) {
    let refreshed = core.clone();
    core.deps.every(Duration::from_millis(core.config.presence_ms.into()), move |_| {
        let core = refreshed.clone();
        async move { core.refresh().await }
    });

    let (core, mut doubt) = (core.clone(), core.deps.bus.doubt());
    core.clone().deps.runtime.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = core.empty.cancelled() => return,
                changed = doubt.changed() => if changed.is_err() { return },
            }
            tracing::info!("doorbells may have been lost, clients fetch");
            for device in core.registry.devices() {
                core.pull_again(&device);
            }
        }
    });
}

impl Core {
    /// Makes an attached device known. Failure costs latency only: the client fetches after it has attached.
    pub(crate) async fn arrive(&self, device: DeviceId) {
        if let Err(error) = self.doorbells.register(&[device], &self.id).await {
            tracing::warn!(%error, "presence not registered, the next refresh tries again");
        }
    }

    /// Makes known that a device has left, unless another connection of it is here.
    pub(crate) fn leave(self: &Arc<Self>, device: DeviceId) {
        if self.registry.has(&device) {
            return;
        }
        let core = self.clone();
        self.deps.runtime.spawn(async move {
            if let Err(error) = core.doorbells.unregister(&device, &core.id).await {
                tracing::debug!(%error, "presence lapses by itself");
            }
            // It may have come back meanwhile, and its registration been taken for the old one.
            if core.registry.has(&device) {
                core.arrive(device).await;
            }
        });
    }

    /// Registers all devices again. One that had been forgotten may have missed something.
    async fn refresh(&self) {
        for devices in self.registry.devices().chunks(REFRESH_CHUNK) {
            match self.doorbells.register(devices, &self.id).await {
                Ok(known) => {
                    let forgotten = devices.iter().zip(known).filter(|(_, known)| !known);
                    forgotten.for_each(|(device, _)| self.pull_again(device));
                }
                Err(error) => tracing::warn!(%error, "presence not refreshed"),
            }
        }
    }

    fn pull_again(&self, device: &DeviceId) {
        for link in self.registry.of(device) {
            link.push(Push::bare(EventType::PullAgain));
        }
    }
}
