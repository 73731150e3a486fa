//! What the tasks of one connection share: the connection and its session.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use qpc_chassis::rpc::Identity;
use qpc_wire::{
    CorrelationId, DeviceId, MethodInfo,
    frame::ErrorCode,
    proofs::{BINDING_EXPORTER_LABEL, BINDING_LEN},
    v1::EventType,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use crate::{
    admission::Slot,
    carrier::Connection,
    core::Core,
    push,
    session::{Action, Attachment, Frame, Penalty, Push, PushAction, Session},
};

/// Bytes of requests that one connection may have in memory. Further streams wait with their payload unread, which
/// stops the client by flow control.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// See the module.
pub(crate) struct Link {
    pub(crate) core: Arc<Core>,
    pub(crate) connection: Connection,
    /// TLS exporter to which proofs are bound.
    pub(crate) binding: [u8; BINDING_LEN],
    correlation: [u8; 8],
    session: Mutex<Session>,
    slot: Slot,
    in_flight: AtomicU32,
    pub(crate) request_bytes: Semaphore,
    /// Wakes calls that wait for mail.
    pub(crate) mail: Notify,
    /// Wakes the connection's own task: a session began or ended, a drain began, the last call ended.
    pub(crate) changed: Notify,
}

impl Link {
    /// `None` when the connection is gone already.
    pub(crate) fn new(core: Arc<Core>, connection: Connection, slot: Slot) -> Option<Arc<Self>> {
        let (mut binding, mut correlation) = ([0; BINDING_LEN], [0; 8]);
        connection.export(&mut binding, BINDING_EXPORTER_LABEL)?;
        connection.export(&mut correlation, CorrelationId::EXPORTER_LABEL)?;
        let limits = &core.config.limits;
        let session = Mutex::new(Session::new(limits.max_bad_frames, limits.push_queue));
        Some(Arc::new(Self {
            core,
            connection,
            binding,
            correlation,
            session,
            slot,
            in_flight: AtomicU32::new(0),
            request_bytes: Semaphore::new(MAX_REQUEST_BYTES),
            mail: Notify::new(),
            changed: Notify::new(),
        }))
    }

    /// Lock order: session, then registry.
    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.core.deps.runtime.now_ms()
    }

    pub(crate) fn correlation(&self, request_id: u32) -> CorrelationId {
        CorrelationId::new(self.correlation, request_id)
    }

    pub(crate) fn address_hash(&self, now_ms: u64) -> Bytes {
        self.slot.network().hash(&self.core.address_key, now_ms)
    }

    pub(crate) fn on_request(self: &Arc<Self>, frame: &Frame) -> Action {
        let now_ms = self.now_ms();
        let mut session = self.session();
        let ended = session.on_timeout(now_ms);
        let action = session.on_request(frame, now_ms);
        if let Some(identity) = ended {
            self.end(session, &identity);
        }
        action
    }

    /// Counts a bad frame and closes the connection when it was one too many; else returns the code for its stream.
    pub(crate) fn on_bad_frame(&self, code: ErrorCode) -> ErrorCode {
        self.core.metrics.bad_frames.inc();
        let penalty = self.session().on_bad_frame(code);
        match penalty {
            Penalty::ResetStream(code) => code,
            Penalty::CloseConnection(code) => {
                tracing::info!(connection = %self.correlation(0), "closed for abuse");
                self.close(code);
                code
            }
        }
    }

    /// Binds the connection to a device. An error says how many connections the device may have.
    pub(crate) fn attach(self: &Arc<Self>, attachment: Attachment) -> Result<bool, usize> {
        let device = attachment.identity.device;
        let mut session = self.session();
        if let Err(most) = self.core.registry.attach(device, self) {
            session.on_attach_answer(None);
            return Err(most);
        }
        if !session.on_attach_answer(Some(attachment)) {
            self.core.registry.detach(&device, self);
            return Ok(false);
        }
        self.slot.set_anonymous(false);
        self.core.metrics.sessions.inc();
        self.changed.notify_one();
        Ok(true)
    }

    /// Takes the connection from the device, which `session` has forgotten already.
    fn detach(self: &Arc<Self>, identity: &Identity) {
        self.core.registry.detach(&identity.device, self);
        self.slot.set_anonymous(true);
        self.core.metrics.sessions.dec();
        self.changed.notify_one();
        self.mail.notify_waiters();
        self.core.leave(identity.device);
    }

    /// Ends the session if its time has come.
    pub(crate) fn expire(self: &Arc<Self>) {
        let mut session = self.session();
        if let Some(identity) = session.on_timeout(self.now_ms()) {
            self.end(session, &identity);
        }
    }

    /// Ends the session of a device from outside.
    pub(crate) fn revoke(self: &Arc<Self>, device: &DeviceId) {
        let mut session = self.session();
        if let Some(identity) = session.on_revoked(device) {
            self.end(session, &identity);
        }
    }

    /// Tells the client that its session is over.
    fn end(self: &Arc<Self>, mut session: MutexGuard<'_, Session>, identity: &Identity) {
        self.detach(identity);
        let action = session.on_push(Push::bare(EventType::SessionEnded));
        drop(session);
        self.after_push(action);
    }

    /// A service has answered. A client that has ended its session itself needs no push to know.
    pub(crate) fn on_response(self: &Arc<Self>, info: &MethodInfo, status: u8, request: &[u8]) {
        let mut session = self.session();
        if let Some(identity) = session.on_response(info, status, request) {
            self.detach(&identity);
        }
    }

    /// Sends an event to the client, as soon as it reads.
    pub(crate) fn push(self: &Arc<Self>, event: Push) {
        if matches!(event.event, EventType::Mailbox | EventType::PullAgain) {
            self.mail.notify_waiters();
        }
        let action = self.session().on_push(event);
        self.after_push(action);
    }

    fn after_push(self: &Arc<Self>, action: PushAction) {
        match action {
            PushAction::StartWriter => self.core.deps.runtime.spawn(push::write_all(self.clone())),
            PushAction::Queued => {}
            PushAction::Dropped => {
                self.core.metrics.pushes_dropped.inc();
            }
        }
    }

    /// Asks the client to leave.
    pub(crate) fn drain(self: &Arc<Self>) {
        if self.session().on_drain() {
            self.push(self.core.drain_push());
            self.mail.notify_waiters();
            self.changed.notify_one();
        }
    }

    /// The connection is gone.
    pub(crate) fn closed(self: &Arc<Self>) {
        let mut session = self.session();
        if let Some(identity) = session.on_closed() {
            self.detach(&identity);
        }
        drop(session);
        self.slot.set_anonymous(false);
        self.mail.notify_waiters();
    }

    pub(crate) fn close(&self, code: ErrorCode) {
        self.connection.close(code as u32, b"");
    }

    /// When the connection's task has to look at the clock.
    pub(crate) fn timer(&self) -> Option<Instant> {
        let expiry = self.session().expires_at_ms().map(|at_ms| {
            let left = at_ms.saturating_sub(self.now_ms()).clamp(1, MAX_TIMER_MS);
            Instant::now() + Duration::from_millis(left)
        });
        match (expiry, self.core.drain_until()) {
            (Some(expiry), Some(drain)) => Some(expiry.min(drain)),
            (one, other) => one.or(other),
        }
    }

    /// Counts a call until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.core.metrics.streams.inc();
        InFlight(self.clone())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }
}

/// The longest sleep of a connection's task; the clock may be set meanwhile.
const MAX_TIMER_MS: u64 = 60 * 60 * 1000;

/// A call in flight.
pub(crate) struct InFlight(Arc<Link>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.fetch_sub(1, Ordering::AcqRel) - 1;
        self.0.core.metrics.streams.dec();
        if left == 0 && self.0.core.drain_until().is_some() {
            self.0.changed.notify_one();
        }
    }
}
