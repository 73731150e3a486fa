//! Calls: how a service receives them, answers them, and calls another service.
//!
//! A call arrives as [`qpc_wire::bus::Call`] on `qpc.rpc.<service>`, passes the layers of [`stack`] and ends in a handler
//! of the [`Router`]. Handlers are plain async functions of (state, context, request).

mod client;
mod layers;
mod router;
mod server;

use bytes::Bytes;
use qpc_wire::{
    Access, AccountId, CorrelationId, DeviceId, Effect, IdempotencyKey, MethodInfo, Status, bus,
    proofs::ChannelBinding, status::Code,
};
use sha2::{Digest, Sha256};

pub use client::{Client, forward, subject};
pub use router::Router;
pub(crate) use router::into_status;
pub(crate) use server::probe_subject;
pub use server::{ServeOptions, serve};

use crate::{db::IdempotentCall, trace::Place};

/// The device that a connection is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Owner of the device.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
}

/// What a handler knows of a call besides the request.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Row of the method table.
    pub method: &'static MethodInfo,
    /// Stands in every log line of the call.
    pub correlation: CorrelationId,
    /// Unix milliseconds after which nobody waits for the answer.
    pub deadline_ms: u64,
    /// Absent on an anonymous connection.
    pub identity: Option<Identity>,
    /// TLS exporter of the client's connection; absent between services.
    pub binding: Option<ChannelBinding>,
    /// Keyed hash of the client's address, for limits only.
    pub address_hash: Bytes,
    /// The span of the call, if it is sampled.
    pub trace: Option<Place>,
    idempotent: Option<IdempotentCall>,
}

impl Ctx {
    /// The attached device, or `UNAUTHENTICATED`.
    pub fn identity(&self) -> Result<Identity, Status> {
        self.identity.ok_or_else(|| Status::new(Code::Unauthenticated, "attach a session first"))
    }

    /// The channel binding, or `FAILED_PRECONDITION`.
    pub fn binding(&self) -> Result<&ChannelBinding, Status> {
        self.binding.as_ref().ok_or_else(|| Status::new(Code::FailedPrecondition, "the call needs a client connection"))
    }

    /// The key of a mutating call, or `INVALID_ARGUMENT`.
    pub fn idempotent(&self) -> Result<&IdempotentCall, Status> {
        self.idempotent.as_ref().ok_or_else(missing_key)
    }

    /// As [`Self::idempotent`] for an item of a batch, which carries its own key and is a call of `method` in itself.
    pub fn idempotent_item(
        &self,
        method: &MethodInfo,
        key: &Bytes,
        item: &[u8],
        now_ms: u64,
    ) -> Result<IdempotentCall, Status> {
        let caller = self.identity.map(|identity| identity.device);
        Ok(IdempotentCall::new(caller, parse_key(key)?, request_hash(method, item), now_ms))
    }
}

fn missing_key() -> Status {
    Status::invalid("the call needs an idempotency key of 16 bytes")
}

fn parse_key(key: &Bytes) -> Result<IdempotencyKey, Status> {
    IdempotencyKey::try_from(key).map_err(|_| missing_key())
}

fn request_hash(method: &MethodInfo, request: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(method.id.to_be_bytes()).chain_update(request).finalize().into()
}

/// A call on its way through the layers.
pub(crate) struct Call {
    pub(crate) ctx: Ctx,
    pub(crate) body: Bytes,
}

impl Call {
    /// Checks what every call must have.
    pub(crate) fn from_bus(call: bus::Call) -> Result<Self, Status> {
        let method = u16::try_from(call.method)
            .ok()
            .and_then(qpc_wire::methods::by_id)
            // Only gateways name a client's connection, and those pass no such call on. Should one do, it ends here.
            .filter(|method| method.access != Access::Service || call.channel_binding.is_empty())
            .ok_or_else(|| Status::new(Code::Unimplemented, "no such method"))?;
        let identity = if call.device_id.is_empty() {
            None
        } else {
            Some(Identity {
                account: AccountId::try_from(&call.account_id)?,
                device: DeviceId::try_from(&call.device_id)?,
            })
        };
        let correlation = CorrelationId::from_slice(&call.correlation_id)
            .ok_or_else(|| Status::invalid("correlation id must be 12 bytes"))?;
        Ok(Self {
            ctx: Ctx {
                method,
                correlation,
                deadline_ms: call.deadline_ms,
                identity,
                binding: call.channel_binding.as_ref().try_into().ok(),
                address_hash: call.address_hash,
                trace: Place::from_slice(&call.trace),
                idempotent: None,
            },
            body: call.body,
        })
    }

    /// Sets the idempotency key once the request is decoded.
    fn set_key(&mut self, key: Option<&Bytes>, now_ms: u64) -> Result<(), Status> {
        if self.ctx.method.effect == Effect::Keyed {
            let key = key.ok_or_else(missing_key)?;
            self.ctx.idempotent = Some(self.ctx.idempotent_item(self.ctx.method, key, &self.body, now_ms)?);
        }
        Ok(())
    }
}
