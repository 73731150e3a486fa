//! A service's side of a pipe: from method number to handler, with the body beside the request.

use std::{collections::HashMap, future::Future, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use hmac::Mac as _;
use prost::Message as _;
use qpc_wire::{
    Code, Flow, Method, Status, bus,
    pieces::{self, PieceError, Pieces},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tracing::field::Empty;

use super::{
    BulkAddress, BulkError, BulkTls, CHALLENGE, MAC, Pipe, mac, read_head, read_some,
    tls::{self, Acceptor},
};
use crate::{
    Runtime,
    rpc::{Call, Ctx, into_status},
    run::Deps,
    trace,
};

/// Name of the key under which calls are MACed.
pub(super) const KEY: &str = "bulk";
/// Pipes at the same time; more wait to be taken.
const MAX_PIPES: usize = 1024;
/// Longest wait for the call on a new pipe.
const CALL_WITHIN: Duration = Duration::from_secs(5);
/// Time in which what is left of a body that nobody wants is read, since a refusal could be lost with it otherwise.
const LINGER: Duration = Duration::from_secs(5);

/// A body as an answer brings it, in pieces of up to 1 MiB.
pub type Source = BoxStream<'static, Result<Bytes, Status>>;

type Handler = Arc<dyn Fn(Call, Body) -> BoxFuture<'static, (Body, Result<Answer, Status>)> + Send + Sync>;

struct Answer {
    response: Bytes,
    source: Option<Source>,
}

/// A body that cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client has stopped, or the pipe broke.
    #[error("the body was cut")]
    Cut(#[source] Option<io::Error>),
    /// Not pieces.
    #[error(transparent)]
    Pieces(#[from] PieceError),
}

/// The body that a call brings.
pub struct Body {
    pipe: ReadHalf<Pipe>,
    buffer: BytesMut,
    pieces: Pieces,
    rest: Bytes,
}

impl Body {
    /// The next bytes of the content; `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if let Some(content) = self.pieces.take(&mut self.rest)? {
                return Ok(Some(content));
            }
            if self.pieces.ended() {
                return Ok(None);
            }
            let read = read_some(&mut self.pipe, &mut self.buffer).await;
            self.rest = read.map_err(|error| BodyError::Cut(Some(error)))?.ok_or(BodyError::Cut(None))?;
        }
    }
}

/// The handlers of a service for calls with a body, over its state `S`.
pub struct BulkRouter<S> {
    state: Arc<S>,
    handlers: HashMap<u16, Handler>,
}

impl<S: Send + Sync + 'static> BulkRouter<S> {
    /// A router without handlers.
    pub fn new(state: Arc<S>) -> Self {
        Self { state, handlers: HashMap::new() }
    }

    /// Answers method `M`, which brings a body.
    pub fn up<M, E, F, Fut>(mut self, handler: F) -> Self
    where
        M: Method,
        E: std::error::Error + Into<Status> + 'static,
        F: Fn(Arc<S>, Ctx, M::Request, Body) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = (Body, Result<M::Response, E>)> + Send + 'static,
    {
        debug_assert_eq!(M::INFO.flow(), Flow::Up);
        let (state, handler) = (self.state.clone(), Arc::new(handler));
        let run: Handler = Arc::new(move |call, body| {
            let (state, handler) = (state.clone(), handler.clone());
            Box::pin(async move {
                let request = match decode::<M>(&call) {
                    Ok(request) => request,
                    Err(status) => return (body, Err(status)),
                };
                let (body, answer) = handler(state, call.ctx, request, body).await;
                let answer = answer.map(|response| Answer { response: response.encode_to_vec().into(), source: None });
                (body, answer.map_err(into_status))
            })
        });
        self.handlers.insert(M::INFO.id, run);
        self
    }

    /// Answers method `M`, whose response brings a body.
    pub fn down<M, E, F, Fut>(mut self, handler: F) -> Self
    where
        M: Method,
        E: std::error::Error + Into<Status> + 'static,
        F: Fn(Arc<S>, Ctx, M::Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(M::Response, Source), E>> + Send + 'static,
    {
        debug_assert_eq!(M::INFO.flow(), Flow::Down);
        let (state, handler) = (self.state.clone(), Arc::new(handler));
        let run: Handler = Arc::new(move |call, body| {
            let (state, handler) = (state.clone(), handler.clone());
            Box::pin(async move {
                let request = match decode::<M>(&call) {
                    Ok(request) => request,
                    Err(status) => return (body, Err(status)),
                };
                let answer = handler(state, call.ctx, request).await.map_err(into_status);
                let answer = answer.map(|(response, source)| Answer {
                    response: response.encode_to_vec().into(),
                    source: Some(source),
                });
                (body, answer)
            })
        });
        self.handlers.insert(M::INFO.id, run);
        self
    }
}

fn decode<M: Method>(call: &Call) -> Result<M::Request, Status> {
    M::Request::decode(call.body.clone())
        .map_err(|error| Status::invalid(format!("malformed {}: {error}", M::INFO.name)))
}

/// What the pipes of a service share.
struct Server {
    service: &'static str,
    handlers: HashMap<u16, Handler>,
    deps: Deps,
    tls: Option<Acceptor>,
    key: [u8; 32],
}

/// Takes pipes for `service` until shutdown, by TLS if there are certificates for it; those that were taken end by
/// themselves. Returns once it listens.
pub async fn serve<S: Send + Sync + 'static>(
    deps: &Deps,
    service: &'static str,
    at: &BulkAddress,
    tls: &BulkTls,
    router: BulkRouter<S>,
) -> Result<(), BulkError> {
    let (tls, key) = (tls.acceptor(deps)?, deps.secrets.derive(KEY));
    let mut listener = deps.bulk.listen(service, at).await?;
    let server = Arc::new(Server { service, handlers: router.handlers, deps: deps.clone(), tls, key });
    let runtime: Runtime = deps.runtime.clone();
    let slots = Arc::new(Semaphore::new(MAX_PIPES));
    deps.runtime.spawn(async move {
        loop {
            // Never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let pipe = tokio::select! {
                biased;
                () = runtime.shutdown().cancelled() => return,
                pipe = listener.accept() => match pipe {
                    Some(pipe) => pipe,
                    None => return,
                },
            };
            let server = server.clone();
            runtime.spawn(async move {
                match server.answer(pipe).await {
                    Ok(()) => {}
                    Err(error @ (BulkError::Tls(_) | BulkError::Stranger)) => tracing::warn!(%error, "pipe refused"),
                    Err(error) => tracing::debug!(%error, "pipe ended"),
                }
                drop(slot);
            });
        }
    });
    Ok(())
}

impl Server {
    async fn answer(&self, pipe: Pipe) -> Result<(), BulkError> {
        let asked = timeout(CALL_WITHIN, self.call(pipe)).await;
        let (pipe, call) = asked.map_err(|_| BulkError::Malformed("call"))??;
        let (receiver, mut sender) = split(pipe);
        let body = Body { pipe: receiver, buffer: BytesMut::new(), pieces: Pieces::new(), rest: Bytes::new() };
        let call = match Call::from_bus(call) {
            Ok(call) => call,
            Err(status) => return refuse(&mut sender, body, status).await,
        };
        let (method, correlation) = (call.ctx.method, call.ctx.correlation);
        let stop = trace::serving(call.ctx.trace, self.service, method.name);
        let span =
            tracing::info_span!("call", service = self.service, method = method.name, %correlation, trace = Empty);
        let left = Duration::from_millis(call.ctx.deadline_ms.saturating_sub(self.deps.runtime.now_ms()));
        let started = Instant::now();
        let exchange = stop.around(span, timeout(left, self.exchange(call, body, &mut sender))).await;
        let code = match exchange {
            Ok(code) => code?,
            Err(_) => Code::DeadlineExceeded,
        };
        stop.ended(code);
        self.deps.metrics.call(self.service, method.name, code, started.elapsed(), stop.place);
        Ok(())
    }

    /// The call, if whoever makes it has the key.
    async fn call(&self, mut pipe: Pipe) -> Result<(Pipe, bus::Call), BulkError> {
        if let Some(tls) = &self.tls {
            pipe = tls::take(&tls.current().tls, pipe).await?;
        }
        let challenge: [u8; CHALLENGE] = self.deps.runtime.random();
        pipe.write_all(&challenge).await?;
        pipe.flush().await?;
        let mut proof = [0; MAC];
        pipe.read_exact(&mut proof).await?;
        let call = read_head(&mut pipe, "call").await?;
        mac(&self.key, &challenge, &call).verify_slice(&proof).map_err(|_| BulkError::Malformed("proof"))?;
        let call = bus::Call::decode(call).map_err(|_| BulkError::Malformed("call"))?;
        Ok((pipe, call))
    }

    async fn exchange(&self, call: Call, body: Body, sender: &mut WriteHalf<Pipe>) -> Result<Code, BulkError> {
        let correlation_id = call.ctx.correlation.to_string();
        let (body, answered) = match self.handlers.get(&call.ctx.method.id) {
            Some(handler) => handler(call, body).await,
            None => (body, Err(Status::new(Code::Unimplemented, "not a method with a body"))),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(status) => {
                let code = status.code;
                tracing::debug!(?code, reason = status.message, "refused");
                refuse(sender, body, Status { correlation_id, ..status }).await?;
                return Ok(code);
            }
        };
        write_reply(sender, 0, answer.response).await?;
        if let Some(mut source) = answer.source {
            while let Some(content) = source.next().await {
                match content {
                    Ok(content) if content.is_empty() => {}
                    Ok(content) => {
                        sender.write_all(&pieces::header(content.len())).await?;
                        sender.write_all(&content).await?;
                        sender.flush().await?;
                    }
                    // The answer has begun: all that can be said now is that it does not end.
                    Err(status) => {
                        tracing::warn!(reason = status.message, "body cut");
                        return Ok(status.code);
                    }
                }
            }
            sender.write_all(&pieces::END).await?;
        }
        sender.shutdown().await?;
        Ok(Code::Ok)
    }
}

async fn refuse(sender: &mut WriteHalf<Pipe>, mut body: Body, status: Status) -> Result<(), BulkError> {
    write_reply(sender, status.code as u32, status.encode()).await?;
    sender.shutdown().await?;
    let rest = async { while matches!(body.next().await, Ok(Some(_))) {} };
    // Whoever goes on for longer loses the refusal.
    let _ = timeout(LINGER, rest).await;
    Ok(())
}

async fn write_reply(sender: &mut WriteHalf<Pipe>, status: u32, body: Bytes) -> Result<(), BulkError> {
    let reply = bus::Reply { status, body }.encode_to_vec();
    let mut head = (reply.len() as u32).to_be_bytes().to_vec();
    head.extend_from_slice(&reply);
    sender.write_all(&head).await?;
    Ok(sender.flush().await?)
}
