//! Wake-ups: a device that is not there while something waits for it is told so by the push service of its platform, with a
//! request that says nothing (Web Push, RFC 8030, with VAPID, RFC 8292, and without a body). Neither side of the request can
//! tell from it what waits, how much, or from whom.
//!
//! Every replica walks through the endpoints, some at a time, beginning anywhere; each device that is due is claimed in the
//! database by one of them. Sending a message knows nothing of all that.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use qpc_chassis::{
    Runtime,
    db::DbError,
    outbound::{
        Answer, Destination, InvalidDestination, NoAnswer, Outbound,
        header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue},
    },
    run::Deps,
};
use qpc_crypto::VapidKey;
use qpc_wire::DeviceId;
use tokio::sync::Semaphore;

use crate::{
    Config,
    domain::wake::{MAX_REFUSALS, Verdict, pause, verdict},
    error::Error,
    store::{Due, EndpointState, Store, Times},
    vault::Vault,
};

/// Requests at a time. Whoever does not answer holds one for seconds, and is left alone for longer each time.
const AT_ONCE: usize = 64;
/// Endpoints that are looked at every second.
const PAGE: u64 = 2_000;
/// Shortest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Life of a token, seconds. A push service takes at most 24 hours (RFC 8292 section 2).
const TOKEN_S: u64 = 12 * 60 * 60;
/// Under which name a later wake-up takes the place of one that a push service still has (RFC 8030 section 5.4).
const TOPIC: &str = "wake";
/// Phones that sleep are told of nothing less at once.
const URGENCY: &str = "high";
const FIRST: DeviceId = DeviceId([0; DeviceId::LEN]);
const LAST: DeviceId = DeviceId([u8::MAX; DeviceId::LEN]);

/// How a push service reaches the operator, as a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact(String);

/// A text is no [`Contact`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither mailto:… nor https://…")]
pub struct InvalidContact(String);

impl FromStr for Contact {
    type Err = InvalidContact;

    fn from_str(text: &str) -> Result<Self, InvalidContact> {
        let fits = text.starts_with("mailto:") || text.starts_with("https://");
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && plain).then(|| Self(text.to_owned())).ok_or_else(|| InvalidContact(text.to_owned()))
    }
}

impl Display for Contact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an endpoint was not called, or what came of it not written down.
#[derive(Debug, thiserror::Error)]
enum WakeError {
    /// The endpoint cannot be unsealed.
    #[error(transparent)]
    Sealed(#[from] Error),
    /// It may not be called any more.
    #[error(transparent)]
    Destination(#[from] InvalidDestination),
    /// The contact of the settings does not fit into a header.
    #[error("header: {0}")]
    Header(#[from] InvalidHeaderValue),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// See the module.
pub(crate) struct Waker {
    runtime: Runtime,
    store: Store,
    vault: Arc<Vault>,
    outbound: Outbound,
    key: VapidKey,
    contact: Option<Contact>,
    kept_s: u64,
    after_ms: u64,
    every: Duration,
    free: Arc<Semaphore>,
    /// The device up to which this replica has looked.
    seen: Mutex<DeviceId>,
    sent: Counter,
    failed: Counter,
    removed: Counter,
}

impl Waker {
    /// `None` where nobody is to be woken, or nobody can be.
    pub(crate) fn new(deps: &Deps, store: &Store, vault: &Arc<Vault>, config: &Config) -> Option<Arc<Self>> {
        if !config.wake_ups {
            return None;
        }
        let outbound = match Outbound::new(&config.wake_allow, config.wake_ca.as_ref()) {
            Ok(outbound) => outbound,
            Err(error) => {
                // Messages go on without.
                tracing::warn!(%error, "devices are not woken");
                return None;
            }
        };
        Some(Arc::new(Self {
            runtime: deps.runtime.clone(),
            store: store.clone(),
            vault: vault.clone(),
            outbound,
            key: VapidKey::from_seed(&deps.secrets.derive("delivery/vapid")),
            contact: config.wake_contact.clone(),
            kept_s: config.message_days * 24 * 60 * 60,
            after_ms: config.wake_after_ms,
            every: Duration::from_millis(config.wake_every_ms),
            free: Arc::new(Semaphore::new(AT_ONCE)),
            seen: Mutex::new(DeviceId(deps.runtime.random())),
            sent: deps.metrics.counter("delivery_wakes_sent", "Wake-ups that push services took"),
            failed: deps.metrics.counter("delivery_wakes_failed", "Wake-ups that push services did not take"),
            removed: deps.metrics.counter("delivery_wakes_removed", "Endpoints given up"),
        }))
    }

    /// Parses what a client wants to be woken at.
    pub(crate) fn destination(&self, url: &str) -> Result<Destination, Error> {
        self.outbound.destination(url).map_err(Error::Endpoint)
    }

    /// What clients subscribe with.
    pub(crate) fn server_key(&self) -> Vec<u8> {
        self.key.public()
    }

    /// Milliseconds between two wake-ups of a device at the least.
    pub(crate) fn pause_ms(&self) -> u64 {
        self.every.as_millis() as u64
    }

    /// Looks at the next endpoints and begins to wake whom it finds, as far as there are requests free.
    pub(crate) async fn look(self: Arc<Self>, now_ms: u64) {
        let most = self.free.available_permits();
        if most == 0 {
            return;
        }
        match self.next_due(now_ms, most).await {
            Ok(due) => {
                for due in due {
                    let Ok(permit) = self.free.clone().try_acquire_owned() else { return };
                    let waker = self.clone();
                    self.runtime.spawn(async move {
                        if let Err(error) = waker.wake(due).await {
                            tracing::warn!(%error, "a wake-up came to nothing");
                        }
                        drop(permit);
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "nobody looked for whom to wake"),
        }
    }

    async fn next_due(&self, now_ms: u64, most: usize) -> Result<Vec<Due>, DbError> {
        let after = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.store.endpoints_end(&after, PAGE).await?;
        let times = Times { now_ms, after_ms: self.after_ms };
        let mut due = self.store.claim_due(&after, &end.unwrap_or(LAST), times, most).await?;
        let mut seen = match due.last() {
            // There may be more of them on the same page.
            Some(last) if due.len() == most => last.device,
            _ => end.unwrap_or(FIRST),
        };
        // As long as all fit on a page, nobody waits for the next round.
        if seen == FIRST && after != FIRST {
            let (end, left) = (self.store.endpoints_end(&FIRST, PAGE).await?, most - due.len());
            let to = end.map_or(after, |end| end.min(after));
            let begun = self.store.claim_due(&FIRST, &to, times, left).await?;
            seen = begun.last().filter(|_| begun.len() == left).map_or(to, |last| last.device);
            due.extend(begun);
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(due)
    }

    /// Calls the push service and keeps what came of it.
    async fn wake(&self, due: Due) -> Result<(), WakeError> {
        let answer = match self.call(&due).await {
            Err(WakeError::Destination(_)) => Err(NoAnswer::NotPublic),
            answer => answer?,
        };
        let verdict = match &answer {
            Ok(answer) => verdict(answer.status),
            Err(NoAnswer::NotPublic) => Verdict::Refused,
            Err(_) => Verdict::Later,
        };
        let now_ms = self.runtime.now_ms();
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        tracing::debug!(device = %due.device, status, ?verdict, "wake-up");
        let asked = answer.ok().and_then(|answer| answer.retry_after);
        self.settle(due, verdict, asked, now_ms).await
    }

    async fn settle(
        &self,
        mut due: Due,
        verdict: Verdict,
        asked: Option<Duration>,
        now_ms: u64,
    ) -> Result<(), WakeError> {
        let over = match verdict {
            Verdict::Taken => {
                self.store.settle_woken(&due, now_ms.saturating_add(self.pause_ms())).await?;
                self.sent.inc();
                return Ok(());
            }
            Verdict::Gone => Some(EndpointState::Gone),
            Verdict::Later => {
                due.failures += 1;
                None
            }
            Verdict::Refused => {
                due.refusals += 1;
                (due.refusals >= MAX_REFUSALS).then_some(EndpointState::Refused)
            }
        };
        if let Some(state) = over {
            self.store.settle_over(&due, state, now_ms).await?;
            self.removed.inc();
        } else {
            // Also where a device may be woken as often as there is something.
            let first = self.every.max(FIRST_PAUSE);
            let pause = pause(first, due.failures.max(due.refusals), asked);
            self.store.settle_failed(&due, now_ms.saturating_add(pause.as_millis() as u64)).await?;
        }
        self.failed.inc();
        Ok(())
    }

    async fn call(&self, due: &Due) -> Result<Result<Answer, NoAnswer>, WakeError> {
        let destination = self.outbound.destination(&self.vault.open_endpoint(due.device, &due.sealed)?)?;
        let expires_s = self.runtime.now_ms() / 1000 + TOKEN_S;
        let contact = self.contact.as_ref().map(|contact| contact.0.as_str());
        let mut authorization =
            HeaderValue::try_from(self.key.authorization(&destination.origin(), expires_s, contact))?;
        authorization.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            // As long as what waits.
            (HeaderName::from_static("ttl"), HeaderValue::from(self.kept_s)),
            (HeaderName::from_static("urgency"), HeaderValue::from_static(URGENCY)),
            (HeaderName::from_static("topic"), HeaderValue::from_static(TOPIC)),
        ]);
        Ok(self.outbound.post_nothing(&destination, headers).await)
    }
}

#[cfg(test)]
mod tests {
    use super::Contact;

    #[test]
    fn a_contact_is_an_address_or_a_page() {
        for text in ["mailto:push@example.org", "https://example.org/contact"] {
            assert_eq!(text.parse::<Contact>().unwrap().to_string(), text);
        }
        for text in ["", "push@example.org", "http://example.org", "mailto:a b", "mailto:ä"] {
            assert!(text.parse::<Contact>().is_err(), "{text}");
        }
    }
}
