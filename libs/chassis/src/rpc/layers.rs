//! The layers that every call passes, outermost first. [`stack`] is the list.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use qpc_wire::{Code, Status};
use tower::{BoxError, Layer, Service, ServiceBuilder, layer::layer_fn, util::BoxCloneSyncService};
use tracing::field::Empty;

use super::{Call, server::ServeOptions};
use crate::{Runtime, metrics::Metrics, trace};

pub(super) type Stack = BoxCloneSyncService<Call, Bytes, Status>;
type Answer = BoxFuture<'static, Result<Bytes, Status>>;
type Handlers = HashMap<u16, Arc<dyn Fn(Call) -> Answer + Send + Sync>>;

/// What happens to a call between the bus and its handler.
pub(super) fn stack(
    service: &'static str,
    handlers: Handlers,
    runtime: Runtime,
    metrics: Arc<Metrics>,
    options: ServeOptions,
) -> Stack {
    let stack = ServiceBuilder::new()
        // A span with the correlation id, which every line logged inside carries; and one of the trace, if there is one.
        .layer(name(service))
        // Duration by method and code, refusals included.
        .layer(measure(service, metrics))
        // A full service says so at once rather than letting calls queue past their deadline.
        .map_err(overloaded)
        .load_shed()
        .concurrency_limit(options.max_in_flight)
        // Nobody waits for an answer after the deadline; work that nobody waits for stops.
        .layer(deadline(runtime))
        // Decoding, idempotency key, handler.
        .service(Dispatch(Arc::new(handlers)));
    BoxCloneSyncService::new(stack)
}

#[derive(Clone)]
struct Dispatch(Arc<Handlers>);

impl Service<Call> for Dispatch {
    type Response = Bytes;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Answer {
        match self.0.get(&call.ctx.method.id) {
            Some(handler) => handler(call),
            None => Box::pin(async { Err(Status::new(Code::Unimplemented, "not answered by this service")) }),
        }
    }
}

fn overloaded(error: BoxError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(_) => Status::unavailable("the service is overloaded", 100),
    }
}

/// A layer from a function of (inner answer's maker, call).
#[derive(Clone)]
struct Around<I, F> {
    inner: I,
    f: F,
}

impl<I, F> Service<Call> for Around<I, F>
where
    I: Service<Call, Response = Bytes, Error = Status, Future: Send + 'static>,
    F: FnMut(&mut I, Call) -> Answer,
{
    type Response = Bytes;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Answer {
        (self.f)(&mut self.inner, call)
    }
}

fn name<I>(
    service: &'static str,
) -> impl Layer<I, Service = Around<I, impl FnMut(&mut I, Call) -> Answer + Clone>> + Clone
where
    I: Service<Call, Response = Bytes, Error = Status, Future: Send + 'static>,
{
    layer_fn(move |inner| Around {
        inner,
        f: move |inner: &mut I, mut call: Call| -> Answer {
            let stop = trace::serving(call.ctx.trace, service, call.ctx.method.name);
            call.ctx.trace = stop.place;
            let span = tracing::info_span!(
                "call",
                service,
                method = call.ctx.method.name,
                correlation = %call.ctx.correlation,
                trace = Empty,
            );
            let correlation = call.ctx.correlation;
            let answer = span.in_scope(|| inner.call(call));
            let ended = stop.clone();
            let named = async move {
                let answer = answer.await;
                ended.ended(answer.as_ref().err().map_or(Code::Ok, |status| status.code));
                match &answer {
                    Ok(body) => tracing::debug!(bytes = body.len(), "answered"),
                    Err(status) => tracing::debug!(code = ?status.code, reason = status.message, "refused"),
                }
                answer.map_err(|status| Status { correlation_id: correlation.to_string(), ..status })
            };
            Box::pin(stop.around(span, named))
        },
    })
}

fn measure<I>(
    service: &'static str,
    metrics: Arc<Metrics>,
) -> impl Layer<I, Service = Around<I, impl FnMut(&mut I, Call) -> Answer + Clone>> + Clone
where
    I: Service<Call, Response = Bytes, Error = Status, Future: Send + 'static>,
{
    layer_fn(move |inner| {
        let metrics = metrics.clone();
        Around {
            inner,
            f: move |inner: &mut I, call: Call| -> Answer {
                let (method, place) = (call.ctx.method.name, call.ctx.trace);
                let started = tokio::time::Instant::now();
                let metrics = metrics.clone();
                let answer = inner.call(call);
                Box::pin(async move {
                    let answer = answer.await;
                    let code = answer.as_ref().err().map_or(Code::Ok, |status| status.code);
                    metrics.call(service, method, code, started.elapsed(), place);
                    answer
                })
            },
        }
    })
}

fn deadline<I>(
    runtime: Runtime,
) -> impl Layer<I, Service = Around<I, impl FnMut(&mut I, Call) -> Answer + Clone>> + Clone
where
    I: Service<Call, Response = Bytes, Error = Status, Future: Send + 'static>,
{
    layer_fn(move |inner| {
        let runtime = runtime.clone();
        Around {
            inner,
            f: move |inner: &mut I, call: Call| -> Answer {
                let left = call.ctx.deadline_ms.saturating_sub(runtime.now_ms());
                let late = || Status::new(Code::DeadlineExceeded, "the call took too long");
                if left == 0 {
                    return Box::pin(async move { Err(late()) });
                }
                let answer = inner.call(call);
                Box::pin(async move {
                    tokio::time::timeout(Duration::from_millis(left), answer).await.unwrap_or_else(|_| Err(late()))
                })
            },
        }
    })
}
