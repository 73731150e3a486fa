//! Doorbells from the bus to connections, and pushes from a connection's queue to its streams.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_chassis::{
    bus::{Bus, Delivery},
    push::{EVERYWHERE, subject},
};
use qpc_wire::{
    DeviceId, bus,
    frame::{self, ErrorCode},
    v1::EventType,
};
use quinn::{ConnectionError, WriteError};
use tokio::time::timeout;

use crate::{GatewayError, core::Core, link::Link, session::Push};

/// Longest wait for the answer to [`probe`].
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Listens for doorbells until the last connection has left.
pub(crate) async fn start(core: &Arc<Core>) -> Result<(), GatewayError> {
    // Under its server id it is asked by other gateways whether it is there.
    let server = core.config.server().map(|server| subject(&server.to_string()));
    for subject in [subject(&core.id), EVERYWHERE.to_owned()].into_iter().chain(server) {
        let mut doorbells = core.deps.bus.subscribe(subject, None).await?;
        let core = core.clone();
        core.clone().deps.runtime.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = core.empty.cancelled() => return,
                    delivery = doorbells.next() => match delivery {
                        Some(delivery) => hear(&core, delivery).await,
                        None => return tracing::error!("doorbells have ended, clients hear of mail only when they fetch"),
                    },
                }
            }
        });
    }
    Ok(())
}

/// Whether a message to this gateway's own doorbell comes through the bus.
pub(crate) async fn probe(bus: &dyn Bus, gateway: &str) -> bool {
    bus.request(subject(gateway), Bytes::new(), PROBE_TIMEOUT).await.is_ok()
}

async fn hear(core: &Core, delivery: Delivery) {
    if let Some(prober) = delivery.reply {
        if let Err(error) = core.deps.bus.publish(prober, Bytes::new()).await {
            tracing::warn!(%error, "probe not answered");
        }
        return;
    }
    match bus::PushBatch::decode(delivery.payload) {
        Ok(batch) => batch.pushes.into_iter().for_each(|push| ring(core, push)),
        Err(error) => tracing::warn!(%error, "malformed doorbell ignored"),
    }
}

fn ring(core: &Core, push: bus::Push) {
    let Ok(device) = DeviceId::try_from(&push.device_id) else {
        return tracing::warn!("doorbell without a device ignored");
    };
    match i32::try_from(push.event_type).ok().and_then(|event| EventType::try_from(event).ok()) {
        Some(EventType::SessionEnded) => core.revoke(device),
        Some(event @ (EventType::Mailbox | EventType::KeyPackageLow | EventType::PullAgain | EventType::Relayed)) => {
            for link in core.registry.of(&device) {
                link.push(Push { event, body: push.body.clone() });
            }
        }
        // Only the gateway itself knows that it drains.
        Some(EventType::Drain | EventType::Unspecified) | None => {
            tracing::warn!(event = push.event_type, "unknown doorbell ignored");
        }
    }
}

/// Writes what waits for a client, then ends. [`crate::session::PushAction::StartWriter`] starts it, so there is one at
/// a time, and none while nothing waits.
pub(crate) async fn write_all(link: Arc<Link>) {
    loop {
        let Some(push) = link.session().next_push() else { return };
        if write(&link, push).await.is_err() {
            return;
        }
    }
}

/// One push on its own stream. An error means that the connection is gone.
async fn write(link: &Link, push: Push) -> Result<(), ConnectionError> {
    let Ok(header) = frame::push_header(push.event as u16, &push.body) else {
        tracing::error!(bytes = push.body.len(), "a push over the frame limit, the client fetches instead");
        link.session().on_push_lost();
        return Ok(());
    };
    let allowance = link.core.config.limits.allowance(push.body.len());
    // Waits as long as the client grants no stream; its queue is bounded.
    let mut stream = link.connection.open_uni().await?;
    let mut chunks = [header, push.body];
    match timeout(allowance, stream.write_all_chunks(&mut chunks)).await {
        Ok(Ok(())) => {
            link.core.metrics.pushes.inc();
            stream.finish();
        }
        Ok(Err(WriteError::ConnectionLost(error))) => return Err(error),
        // The client did not want this one.
        Ok(Err(_)) => {}
        Err(_) => {
            stream.reset(ErrorCode::TooSlow as u32);
            link.session().on_push_lost();
        }
    }
    Ok(())
}
