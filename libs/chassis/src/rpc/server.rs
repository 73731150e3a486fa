//! Serves the calls of one service from the bus.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_wire::{Status, bus};
use rand::RngCore;
use tower::ServiceExt;

use super::{Call, Router, client::subject, layers};
use crate::{
    bus::{Bus, BusError, Delivery},
    run::Deps,
};

/// Longest wait for an answer from this very process over the bus.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bounds of a service.
#[derive(Debug, Clone, Copy)]
pub struct ServeOptions {
    /// Calls worked on at once; more are refused as `UNAVAILABLE`.
    pub max_in_flight: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { max_in_flight: 4096 }
    }
}

/// Answers calls to `service` until shutdown, then those that have arrived, then ends (G12). Returns once it listens.
pub async fn serve<S: Send + Sync + 'static>(
    deps: &Deps,
    service: &'static str,
    router: Router<S>,
    options: ServeOptions,
) -> Result<(), BusError> {
    probe(deps).await?;
    let mut calls = deps.bus.subscribe(subject(service), Some(service.to_owned())).await?;
    let stack = layers::stack(service, router.into_handlers(), deps.runtime.clone(), deps.metrics.clone(), options);
    let (runtime, bus) = (deps.runtime.clone(), deps.bus.clone());
    deps.runtime.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = runtime.shutdown().cancelled() => break,
                call = calls.next() => match call {
                    Some(call) => runtime.spawn(answer(bus.clone(), stack.clone(), call)),
                    None => break,
                },
            }
        }
        calls.close().await;
        while let Some(call) = calls.next().await {
            runtime.spawn(answer(bus.clone(), stack.clone(), call));
        }
    });
    Ok(())
}

/// Bus subject on which a process asks itself.
pub(crate) fn probe_subject(process: &str) -> String {
    format!("qpc.probe.{process}")
}

/// Makes readiness depend on the bus: a request to this process itself must come back.
async fn probe(deps: &Deps) -> Result<(), BusError> {
    let subject = probe_subject(&format!("{:016x}", deps.runtime.rng().next_u64()));
    let mut requests = deps.bus.subscribe(subject.clone(), None).await?;
    let (runtime, bus) = (deps.runtime.clone(), deps.bus.clone());
    deps.runtime.spawn(async move {
        loop {
            let request = tokio::select! {
                biased;
                () = runtime.shutdown().cancelled() => return,
                request = requests.next() => request,
            };
            let Some(Delivery { payload, reply: Some(reply) }) = request else { return };
            if let Err(error) = bus.publish(reply, payload).await {
                tracing::warn!(%error, "probe not answered");
            }
        }
    });
    let bus = deps.bus.clone();
    deps.health.check("bus", move || {
        let (bus, subject) = (bus.clone(), subject.clone());
        Box::pin(async move { bus.request(subject, Bytes::new(), PROBE_TIMEOUT).await.is_ok() })
    });
    Ok(())
}

async fn answer(bus: Arc<dyn Bus>, stack: layers::Stack, delivery: Delivery) {
    let Some(reply_to) = delivery.reply else { return };
    let answer = match parse(delivery.payload) {
        Ok(call) => stack.oneshot(call).await,
        Err(status) => Err(status),
    };
    let reply = match answer {
        Ok(body) => bus::Reply { status: 0, body },
        Err(status) => bus::Reply { status: status.code as u32, body: status.encode() },
    };
    if let Err(error) = bus.publish(reply_to, reply.encode_to_vec().into()).await {
        tracing::warn!(%error, "answer not sent");
    }
}

fn parse(payload: Bytes) -> Result<Call, Status> {
    let call = bus::Call::decode(payload).map_err(|error| Status::invalid(format!("malformed call: {error}")))?;
    Call::from_bus(call)
}
