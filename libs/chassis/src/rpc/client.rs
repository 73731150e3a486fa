//! Calls to a service over the bus.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use qpc_wire::{Code, CorrelationId, Method, Status, bus};
use tracing::Instrument as _;

use super::Ctx;
use crate::{
    Runtime,
    bus::{Bus, BusError},
    trace,
};

/// Bus subject of a service.
pub fn subject(service: &str) -> String {
    format!("qpc.rpc.{service}")
}

/// Sends `call` to `service`; gives the status byte and the encoded response or error as they came.
pub async fn forward(
    bus: &dyn Bus,
    service: &str,
    mut call: bus::Call,
    timeout: Duration,
) -> Result<(u8, Bytes), Status> {
    let subject = subject(service);
    let stop = trace::onward(&subject);
    if let Some(place) = stop.place {
        call.trace = Bytes::copy_from_slice(&place.to_array());
    }
    let asked = bus.request(subject, call.encode_to_vec().into(), timeout);
    let answer = asked.instrument(stop.span().clone()).await.map_err(|error| {
        tracing::warn!(service, %error, "no answer");
        match error {
            BusError::NoResponders(_) | BusError::Closed | BusError::Seed(_) | BusError::Nats(_) => {
                Status::unavailable(format!("the {service} service is not there"), 500)
            }
            BusError::Timeout(_) => {
                Status::new(Code::DeadlineExceeded, format!("the {service} service did not answer"))
            }
            BusError::TooLarge(_) => Status::invalid("the request is too large"),
        }
    })?;
    let reply = bus::Reply::decode(answer).map_err(|error| {
        tracing::error!(service, %error, "malformed reply");
        Status::internal()
    })?;
    Ok((u8::try_from(reply.status).unwrap_or(Code::Unknown as u8), reply.body))
}

/// Typed calls from one service to another.
#[derive(Clone)]
pub struct Client {
    bus: Arc<dyn Bus>,
    runtime: Runtime,
}

impl Client {
    /// A client on `bus`.
    pub fn new(bus: Arc<dyn Bus>, runtime: Runtime) -> Self {
        Self { bus, runtime }
    }

    /// Calls method `M` in the name of the caller that `ctx` is about, and within its deadline.
    pub async fn call<M: Method>(&self, ctx: &Ctx, request: &M::Request) -> Result<M::Response, Status> {
        let call = bus::Call {
            method: M::INFO.id.into(),
            correlation_id: Bytes::copy_from_slice(&ctx.correlation.to_array()),
            deadline_ms: ctx.deadline_ms,
            account_id: ctx.identity.map(|identity| identity.account.to_bytes()).unwrap_or_default(),
            device_id: ctx.identity.map(|identity| identity.device.to_bytes()).unwrap_or_default(),
            channel_binding: Bytes::new(),
            address_hash: Bytes::new(),
            body: request.encode_to_vec().into(),
            trace: Bytes::new(),
        };
        self.send::<M>(call).await
    }

    /// Calls method `M` of its own accord: in nobody's name, and within the time that the method has.
    pub async fn call_unasked<M: Method>(&self, request: &M::Request) -> Result<M::Response, Status> {
        let correlation = CorrelationId::new(self.runtime.random(), 0);
        let call = bus::Call {
            method: M::INFO.id.into(),
            correlation_id: Bytes::copy_from_slice(&correlation.to_array()),
            deadline_ms: self.runtime.now_ms() + u64::from(M::INFO.deadline_ms),
            body: request.encode_to_vec().into(),
            ..bus::Call::default()
        };
        self.send::<M>(call).await
    }

    async fn send<M: Method>(&self, call: bus::Call) -> Result<M::Response, Status> {
        let left = Duration::from_millis(call.deadline_ms.saturating_sub(self.runtime.now_ms()));
        let (status, body) = forward(&*self.bus, M::INFO.owner.name(), call, left).await?;
        if status != 0 {
            return Err(Status::decode(status, body));
        }
        M::Response::decode(body).map_err(|error| {
            tracing::error!(method = M::INFO.name, %error, "malformed response");
            Status::internal()
        })
    }
}
