//! What a connection may do next: a state machine without I/O, clock or tasks. Its carrier (`stream`, `calls`, `quic`)
//! tells it what has happened and does what it answers.
//!
//! ```text
//!              SessionAttach            accepted
//!  Anonymous ────────────────▶ Attaching ────────▶ Attached
//!      ▲                           │ refused           │ expired, revoked, SessionEnd
//!      └───────────────────────────┴───────────────────┘          (any) ──▶ Closed
//! ```

mod queue;

use prost::Message as _;
use qpc_chassis::rpc::Identity;
use qpc_wire::{
    Access, Code, DeviceId, Flow, Method, MethodInfo, Owner, Status,
    frame::{ErrorCode, REQUEST_HEADER, RequestHeader},
    methods::{self, FetchWait, Ping, SessionAttach, SessionEnd},
    v1::{EventType, SessionEndRequest},
};
use sha2::{Digest, Sha256};

use self::queue::PushQueue;
pub(crate) use self::queue::{Push, PushAction};

/// A request frame whose header is fine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) info: &'static MethodInfo,
    pub(crate) request_id: u32,
    pub(crate) payload_len: usize,
    /// Whether the payload is worth keeping; a call that will be refused costs no memory.
    pub(crate) keep: bool,
}

/// What to do with a whole request.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Answer with the same bytes.
    Echo,
    /// Ask auth, then report to [`Session::on_attach_answer`].
    Attach,
    /// Wait for mail at the edge, then answer.
    AwaitMail(Identity),
    /// Let the owning service answer, then report to [`Session::on_response`].
    Forward(Option<Identity>),
    /// Let the owning service answer, and pass a body on.
    Stream(Identity),
    Refuse(Status),
}

/// What a bad frame costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Penalty {
    ResetStream(ErrorCode),
    CloseConnection(ErrorCode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Anonymous,
    Attaching,
    Attached(Attachment),
    Closed,
}

/// What binds a connection to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The device.
    pub(crate) identity: Identity,
    /// When its session ends, Unix milliseconds.
    pub(crate) expires_at_ms: u64,
    /// SHA-256 of the session token: a device may have several sessions.
    pub(crate) token_hash: [u8; 32],
}

/// See the module.
pub(crate) struct Session {
    state: State,
    bad_frames: u32,
    max_bad_frames: u32,
    drain_said: bool,
    pushes: PushQueue,
}

impl Session {
    pub(crate) fn new(max_bad_frames: u32, push_queue: usize) -> Self {
        Self {
            state: State::Anonymous,
            bad_frames: 0,
            max_bad_frames,
            drain_said: false,
            pushes: PushQueue::new(push_queue),
        }
    }

    /// A header has arrived. An error is to be reported to [`Self::on_bad_frame`].
    pub(crate) fn on_frame(&self, header: &[u8; REQUEST_HEADER], now_ms: u64) -> Result<Frame, ErrorCode> {
        let header = RequestHeader::decode(header).map_err(|_| ErrorCode::Oversized)?;
        let info = methods::by_id(header.method)
            .filter(|info| info.access != Access::Service)
            .ok_or(ErrorCode::UnknownMethod)?;
        let keep = info.access == Access::Anonymous || self.identity(now_ms).is_some();
        Ok(Frame { info, request_id: header.request_id, payload_len: header.payload_len, keep })
    }

    /// The payload is there as well.
    pub(crate) fn on_request(&mut self, frame: &Frame, now_ms: u64) -> Action {
        let identity = self.identity(now_ms);
        if !frame.keep {
            return Action::Refuse(unauthenticated());
        }
        match (frame.info.id, identity, self.state) {
            (id, ..) if id == Ping::INFO.id => Action::Echo,
            (id, _, State::Anonymous) if id == SessionAttach::INFO.id => {
                self.state = State::Attaching;
                Action::Attach
            }
            (id, ..) if id == SessionAttach::INFO.id => {
                Action::Refuse(Status::new(Code::FailedPrecondition, "the connection is attached already"))
            }
            (id, Some(identity), _) if id == FetchWait::INFO.id => Action::AwaitMail(identity),
            (_, None, _) if frame.info.access == Access::Device => Action::Refuse(unauthenticated()),
            _ if frame.info.owner == Owner::Gateway => {
                Action::Refuse(Status::new(Code::Unimplemented, "not answered by this gateway"))
            }
            (_, Some(identity), _) if frame.info.flow() != Flow::Frames => Action::Stream(identity),
            (_, identity, _) => Action::Forward(identity),
        }
    }

    /// Auth has answered [`Action::Attach`], with `None` when it refused. Tells whether the session holds now.
    pub(crate) fn on_attach_answer(&mut self, accepted: Option<Attachment>) -> bool {
        if self.state != State::Attaching {
            return false;
        }
        self.state = match accepted {
            Some(attachment) => State::Attached(attachment),
            None => State::Anonymous,
        };
        accepted.is_some()
    }

    /// A service has answered `request`. Returns the device whose session is over by that: the one of this connection
    /// only, and not by a repetition that ended another one.
    pub(crate) fn on_response(&mut self, info: &MethodInfo, status: u8, request: &[u8]) -> Option<Identity> {
        if info.id != SessionEnd::INFO.id || status != Code::Ok as u8 {
            return None;
        }
        let ended = SessionEndRequest::decode(request).ok()?;
        match self.state {
            State::Attached(Attachment { token_hash, .. }) if token_hash == token_hash_of(&ended.session_token) => {
                self.detach()
            }
            _ => None,
        }
    }

    /// A bad frame was read.
    pub(crate) fn on_bad_frame(&mut self, code: ErrorCode) -> Penalty {
        self.bad_frames = self.bad_frames.saturating_add(1);
        if self.bad_frames >= self.max_bad_frames {
            Penalty::CloseConnection(ErrorCode::Abuse)
        } else {
            Penalty::ResetStream(code)
        }
    }

    /// Something for the client. See [`PushAction`].
    pub(crate) fn on_push(&mut self, push: Push) -> PushAction {
        if self.state == State::Closed { PushAction::Dropped } else { self.pushes.push(push) }
    }

    /// The push writer has nothing in hand. `None` ends it; [`PushAction::StartWriter`] asks for the next one.
    pub(crate) fn next_push(&mut self) -> Option<Push> {
        self.pushes.next()
    }

    /// A push was given up on the way: the client is to fetch once it reads again.
    pub(crate) fn on_push_lost(&mut self) {
        self.pushes.owe_pull_again();
    }

    /// Time has passed. Returns the device whose session has expired; [`Self::on_push`] its end.
    pub(crate) fn on_timeout(&mut self, now_ms: u64) -> Option<Identity> {
        match self.state {
            State::Attached(Attachment { expires_at_ms, .. }) if now_ms >= expires_at_ms => self.detach(),
            _ => None,
        }
    }

    /// The session of `device` was revoked. Returns the identity if it was that of this connection.
    pub(crate) fn on_revoked(&mut self, device: &DeviceId) -> Option<Identity> {
        match self.state {
            State::Attached(Attachment { identity, .. }) if identity.device == *device => self.detach(),
            _ => None,
        }
    }

    /// The gateway drains. True the first time: then the client has to be told.
    pub(crate) fn on_drain(&mut self) -> bool {
        !std::mem::replace(&mut self.drain_said, true)
    }

    /// Whether the client was told to leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.drain_said
    }

    /// The connection is gone. Returns the device that was attached.
    pub(crate) fn on_closed(&mut self) -> Option<Identity> {
        let attached = self.detach();
        self.state = State::Closed;
        self.pushes.clear();
        attached
    }

    /// The attached device, unless its session is over.
    pub(crate) fn identity(&self, now_ms: u64) -> Option<Identity> {
        match self.state {
            State::Attached(Attachment { identity, expires_at_ms, .. }) if now_ms < expires_at_ms => Some(identity),
            _ => None,
        }
    }

    /// When [`Self::on_timeout`] has something to do, Unix milliseconds.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        match self.state {
            State::Attached(Attachment { expires_at_ms, .. }) => Some(expires_at_ms),
            _ => None,
        }
    }

    fn detach(&mut self) -> Option<Identity> {
        let State::Attached(attachment) = self.state else { return None };
        self.state = State::Anonymous;
        Some(attachment.identity)
    }
}

impl Push {
    /// An event without fields.
    pub(crate) fn bare(event: EventType) -> Self {
        Self { event, body: bytes::Bytes::new() }
    }
}

/// How a connection remembers its token.
pub(crate) fn token_hash_of(session_token: &[u8]) -> [u8; 32] {
    Sha256::digest(session_token).into()
}

fn unauthenticated() -> Status {
    Status::new(Code::Unauthenticated, "attach a session first")
}

#[cfg(test)]
mod tests {
    use qpc_wire::{
        AccountId,
        methods::{BlobGet, BlobPut, Enqueue, Fetch, OpaqueLoginStart},
    };

    use super::*;

    const NOW: u64 = 1_000;
    const LATER: u64 = 5_000;

    fn identity() -> Identity {
        Identity { account: AccountId([1; 16]), device: DeviceId([2; 16]) }
    }

    fn attachment() -> Attachment {
        Attachment { identity: identity(), expires_at_ms: LATER, token_hash: token_hash_of(b"token") }
    }

    fn header(method: u16, len: u32) -> [u8; REQUEST_HEADER] {
        let mut header = [0; REQUEST_HEADER];
        header[..2].copy_from_slice(&method.to_be_bytes());
        header[5] = 7;
        header[6..].copy_from_slice(&len.to_be_bytes());
        header
    }

    fn session() -> Session {
        Session::new(3, 4)
    }

    fn attached() -> Session {
        let mut session = session();
        assert_eq!(call(&mut session, SessionAttach::INFO, NOW), Action::Attach);
        assert!(session.on_attach_answer(Some(attachment())));
        session
    }

    fn call(session: &mut Session, info: MethodInfo, now_ms: u64) -> Action {
        let frame = session.on_frame(&header(info.id, 0), now_ms).unwrap();
        session.on_request(&frame, now_ms)
    }

    fn code(action: Action) -> Code {
        match action {
            Action::Refuse(status) => status.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_is_judged_before_its_payload() {
        let session = session();
        assert_eq!(session.on_frame(&header(900, 1 << 20 | 1), NOW).unwrap_err(), ErrorCode::Oversized);
        assert_eq!(session.on_frame(&header(999, 0), NOW).unwrap_err(), ErrorCode::UnknownMethod);
        for info in methods::TABLE.iter().filter(|info| info.access == Access::Service) {
            assert_eq!(attached().on_frame(&header(info.id, 0), NOW).unwrap_err(), ErrorCode::UnknownMethod);
        }
        let frame = session.on_frame(&header(900, 5), NOW).unwrap();
        assert_eq!((frame.request_id, frame.payload_len, frame.keep), (7, 5, true));
        assert!(!session.on_frame(&header(200, 5), NOW).unwrap().keep);
    }

    #[test]
    fn an_anonymous_connection_gets_only_what_is_open() {
        let mut session = session();
        assert_eq!(call(&mut session, Ping::INFO, NOW), Action::Echo);
        assert_eq!(call(&mut session, OpaqueLoginStart::INFO, NOW), Action::Forward(None));
        for info in methods::TABLE.iter().filter(|info| info.access == Access::Device) {
            assert_eq!(code(call(&mut session, *info, NOW)), Code::Unauthenticated, "{}", info.name);
        }
    }

    #[test]
    fn a_call_refused_at_its_header_stays_refused() {
        let mut session = session();
        let frame = session.on_frame(&header(Enqueue::INFO.id, 0), NOW).unwrap();
        call(&mut session, SessionAttach::INFO, NOW);
        session.on_attach_answer(Some(attachment()));
        // Its payload was thrown away, so nothing may be forwarded.
        assert_eq!(code(session.on_request(&frame, NOW)), Code::Unauthenticated);
    }

    #[test]
    fn an_attached_connection_calls_as_its_device() {
        let mut session = attached();
        assert_eq!(call(&mut session, Fetch::INFO, NOW), Action::Forward(Some(identity())));
        assert_eq!(call(&mut session, FetchWait::INFO, NOW), Action::AwaitMail(identity()));
        assert_eq!(call(&mut session, OpaqueLoginStart::INFO, NOW), Action::Forward(Some(identity())));
        assert_eq!(call(&mut session, BlobPut::INFO, NOW), Action::Stream(identity()));
        assert_eq!(call(&mut session, BlobGet::INFO, NOW), Action::Stream(identity()));
    }

    #[test]
    fn one_attach_at_a_time_and_none_on_top() {
        let mut session = session();
        assert_eq!(call(&mut session, SessionAttach::INFO, NOW), Action::Attach);
        assert_eq!(code(call(&mut session, SessionAttach::INFO, NOW)), Code::FailedPrecondition);
        assert!(!session.on_attach_answer(None));
        assert_eq!(call(&mut session, SessionAttach::INFO, NOW), Action::Attach);
        assert!(session.on_attach_answer(Some(attachment())));
        assert_eq!(code(call(&mut session, SessionAttach::INFO, NOW)), Code::FailedPrecondition);
    }

    #[test]
    fn an_attach_answered_after_the_end_does_not_hold() {
        let mut session = session();
        call(&mut session, SessionAttach::INFO, NOW);
        assert_eq!(session.on_closed(), None);
        assert!(!session.on_attach_answer(Some(attachment())));
        assert_eq!(session.on_push(Push::bare(EventType::Mailbox)), PushAction::Dropped);
    }

    #[test]
    fn a_session_ends_at_its_time_by_revocation_or_by_the_client() {
        let mut session = attached();
        assert_eq!(session.on_timeout(LATER - 1), None);
        assert_eq!(code(call(&mut session, Fetch::INFO, LATER)), Code::Unauthenticated);
        assert_eq!(session.on_timeout(LATER), Some(identity()));
        assert_eq!(session.on_timeout(LATER), None);

        let mut session = attached();
        assert_eq!(session.on_revoked(&DeviceId([9; 16])), None);
        assert_eq!(session.on_revoked(&identity().device), Some(identity()));
        assert_eq!(call(&mut session, SessionAttach::INFO, NOW), Action::Attach);

        let mut session = attached();
        let ending = |token: &'static str| {
            SessionEndRequest { session_token: token.into(), ..Default::default() }.encode_to_vec()
        };
        assert_eq!(session.on_response(&SessionEnd::INFO, Code::Internal as u8, &ending("token")), None);
        assert_eq!(session.on_response(&Fetch::INFO, 0, &ending("token")), None);
        assert_eq!(session.on_response(&SessionEnd::INFO, 0, &ending("another")), None);
        assert_eq!(session.on_response(&SessionEnd::INFO, 0, &ending("token")), Some(identity()));
        assert_eq!(code(call(&mut session, Fetch::INFO, NOW)), Code::Unauthenticated);
    }

    #[test]
    fn garbage_costs_a_stream_and_too_much_of_it_the_connection() {
        let mut session = session();
        assert_eq!(session.on_bad_frame(ErrorCode::Malformed), Penalty::ResetStream(ErrorCode::Malformed));
        assert_eq!(session.on_bad_frame(ErrorCode::TooSlow), Penalty::ResetStream(ErrorCode::TooSlow));
        assert_eq!(session.on_bad_frame(ErrorCode::Malformed), Penalty::CloseConnection(ErrorCode::Abuse));
    }

    #[test]
    fn drain_is_said_once() {
        let mut session = session();
        assert!(session.on_drain());
        assert!(!session.on_drain());
    }
}
