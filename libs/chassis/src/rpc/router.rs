//! From method number to handler.

use std::{collections::HashMap, future::Future, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use qpc_wire::{Code, Method, Status};

use super::{Call, Ctx};
use crate::Runtime;

type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Bytes, Status>> + Send + Sync>;

/// The handlers of a service over its state `S`. Cheap to clone once built.
pub struct Router<S> {
    state: Arc<S>,
    runtime: Runtime,
    handlers: HashMap<u16, Handler>,
}

impl<S: Send + Sync + 'static> Router<S> {
    /// A router without handlers.
    pub fn new(state: Arc<S>, runtime: Runtime) -> Self {
        Self { state, runtime, handlers: HashMap::new() }
    }

    /// Answers method `M` with `handler`.
    pub fn on<M, E, F, Fut>(mut self, handler: F) -> Self
    where
        M: Method,
        E: std::error::Error + Into<Status> + 'static,
        F: Fn(Arc<S>, Ctx, M::Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M::Response, E>> + Send + 'static,
    {
        let (state, runtime, handler) = (self.state.clone(), self.runtime.clone(), Arc::new(handler));
        let run = move |mut call: Call| -> BoxFuture<'static, Result<Bytes, Status>> {
            let (state, handler) = (state.clone(), handler.clone());
            let now_ms = runtime.now_ms();
            Box::pin(async move {
                // `clone` of `Bytes` counts a reference; the message's fields point into the frame.
                let request = M::Request::decode(call.body.clone())
                    .map_err(|error| Status::invalid(format!("malformed {}: {error}", M::INFO.name)))?;
                call.set_key(M::idempotency_key(&request), now_ms)?;
                match handler(state, call.ctx, request).await {
                    Ok(response) => Ok(response.encode_to_vec().into()),
                    Err(error) => Err(into_status(error)),
                }
            })
        };
        self.handlers.insert(M::INFO.id, Arc::new(run));
        self
    }

    pub(super) fn into_handlers(self) -> HashMap<u16, Handler> {
        self.handlers
    }
}

/// The cause of an internal error goes to the log, never to the client.
pub(crate) fn into_status<E: std::error::Error + Into<Status> + 'static>(error: E) -> Status {
    let cause = error_chain(&error);
    let status = error.into();
    if matches!(status.code, Code::Internal | Code::DataLoss) {
        tracing::error!(cause, "call failed");
    } else if status.code == Code::Unavailable {
        tracing::warn!(cause, "call failed");
    }
    status
}

fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let line = source.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = source.source();
    }
    text
}
