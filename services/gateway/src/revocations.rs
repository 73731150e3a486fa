//! Revoked devices lose their sessions here. A doorbell to all gateways says so at once. As it may be lost (G3), the
//! gateway also follows auth's feed of revocations; presence plays no part, since it knows one gateway of a device only.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use qpc_chassis::rpc::Client;
use qpc_wire::{
    DeviceId, Status,
    methods::RevokedSince,
    v1::{RevokedSinceRequest, RevokedSinceResponse},
};
use tokio::time::{Instant, sleep, timeout};

use crate::core::Core;

/// Time until auth is asked again after it did not answer.
const RETRY: Duration = Duration::from_millis(500);
/// Time that auth gets for an answer, so that one that is lost costs no more.
const ANSWER: Duration = Duration::from_secs(1);
/// Longest wait at the start for auth, which may start at the same time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Answers of auth read in one look; what is left comes with the next.
const MAX_PAGES: usize = 100;
/// How long a revocation is remembered: longer than a SessionAttach may take, which auth may have approved just before.
const REMEMBER: Duration = Duration::from_secs(30);
/// Revocations remembered.
const MAX_REMEMBERED: usize = 1_000;

/// See the module.
pub(crate) struct Revocations {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Sequence of the last revocation that was heard; `None` until auth has said where the feed is.
    cursor: Option<u64>,
    recent: VecDeque<(Instant, DeviceId)>,
}

impl Revocations {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, state: Mutex::default() }
    }

    /// Whether a session that begins now would be ended by a revocation that comes later.
    pub(crate) fn watching(&self) -> bool {
        self.state().cursor.is_some()
    }

    /// Whether it was heard after `since` that `device` was revoked, or that its sessions have ended.
    pub(crate) fn heard_since(&self, since: Instant, device: &DeviceId) -> bool {
        self.state().recent.iter().any(|(at, revoked)| *at >= since && revoked == device)
    }

    fn remember(&self, device: DeviceId) {
        let now = Instant::now();
        let mut state = self.state();
        while state.recent.front().is_some_and(|(at, _)| now - *at > REMEMBER) || state.recent.len() >= MAX_REMEMBERED {
            state.recent.pop_front();
        }
        state.recent.push_back((now, device));
    }

    async fn ask(&self, after: u64) -> Result<RevokedSinceResponse, Status> {
        // Less than the call's own deadline, which is a time of day and must bear clocks that differ.
        let request = RevokedSinceRequest { after };
        let answer = timeout(ANSWER, self.client.call_unasked::<RevokedSince>(&request)).await;
        answer.unwrap_or_else(|_| Err(Status::unavailable("auth does not answer", 0)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the feed until the last connection has left. Returns once it has begun, or when auth is not there: it begins
/// later then, and no session before it.
pub(crate) async fn start(core: &Arc<Core>) {
    let core = core.clone();
    let first = timeout(FIRST_LOOK, core.look()).await;
    if !matches!(first, Ok(Ok(()))) {
        tracing::info!("auth is not there yet, sessions wait for it");
    }
    core.clone().deps.runtime.spawn(async move {
        let every = Duration::from_millis(core.config.revocations_ms.into());
        let mut pause = if core.revocations.watching() { every } else { RETRY.min(every) };
        loop {
            tokio::select! {
                () = core.empty.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = match core.look().await {
                Ok(()) => every,
                Err(error) => {
                    tracing::warn!(%error, "revocations unknown, asking again");
                    RETRY.min(every)
                }
            };
        }
    });
}

impl Core {
    /// Ends all sessions of a revoked device here, and keeps one from beginning that auth approved before.
    pub(crate) fn revoke(&self, device: DeviceId) {
        // In this order, and the other way round in SessionAttach: one of both sees the other.
        self.revocations.remember(device);
        for link in self.registry.of(&device) {
            link.revoke(&device);
        }
    }

    /// Reads what is new in the feed; at first, only where it ends.
    async fn look(&self) -> Result<(), Status> {
        for _ in 0..MAX_PAGES {
            let Some(cursor) = self.revocations.state().cursor else {
                let head = self.revocations.ask(u64::MAX).await?.head;
                self.revocations.state().cursor = Some(head);
                return Ok(());
            };
            let news = self.revocations.ask(cursor).await?;
            for revocation in &news.revocations {
                match DeviceId::try_from(&revocation.device_id) {
                    Ok(device) => self.revoke(device),
                    Err(error) => tracing::error!(%error, "auth named a device that is none"),
                }
            }
            let next = match news.revocations.last() {
                Some(last) => last.seq,
                // Auth's database was restored, and numbers that were heard will be given again: hear all of them.
                None if news.head < cursor => 0,
                None => return Ok(()),
            };
            self.revocations.state().cursor = Some(next);
        }
        Ok(())
    }
}
