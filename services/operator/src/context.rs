//! What reconciliations share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::{
        controller::Action,
        events::{Event, EventType, Recorder},
    },
};
use qpc_chassis::Runtime;

use crate::{error::OperatorError, metrics::OperatorMetrics, pace::Looks, scrape::Scrape};

/// Pause after a failure, doubled with each further one.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(300);
/// Objects whose failures are remembered; further ones are tried again after the longest pause.
const MAX_FAILING: usize = 1_000;

/// See the module.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: OperatorMetrics,
    /// Asks gateways for their connections.
    pub(crate) scrape: Arc<dyn Scrape>,
    /// What was seen of the gateways of each Realm, by its uid.
    pub(crate) looks: Mutex<BTreeMap<String, Looks>>,
    failures: Mutex<BTreeMap<String, u32>>,
}

impl Context {
    pub(crate) fn new(
        client: Client,
        runtime: Runtime,
        recorder: Recorder,
        metrics: OperatorMetrics,
        scrape: Arc<dyn Scrape>,
    ) -> Self {
        let (looks, failures) = Default::default();
        Self { client, runtime, recorder, metrics, scrape, looks, failures }
    }

    /// Tells people. An event that is lost is no failure: the condition says the same.
    pub(crate) async fn tell(&self, about: &ObjectReference, warning: bool, reason: &str, action: &str, note: String) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(%error, reason, "event not written");
        }
    }

    /// What `key` names was reconciled.
    pub(crate) fn worked(&self, key: &str) {
        self.metrics.reconciled("ok");
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// It was not; says when to try again.
    pub(crate) fn failed(&self, kind: &'static str, key: &str, error: &OperatorError) -> Action {
        Action::requeue(self.runtime.jittered(self.delay(kind, key, error)))
    }

    /// The longest that it may take until then.
    pub(crate) fn delay(&self, kind: &'static str, key: &str, error: &OperatorError) -> Duration {
        if error.is_conflict() {
            // Somebody wrote in between; what they wrote is looked at at once.
            self.metrics.reconciled("conflict");
            return RETRY;
        }
        self.metrics.reconciled("error");
        tracing::warn!(%error, kind, key, "not reconciled");
        self.pause(key)
    }

    fn pause(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_FAILING && !failures.contains_key(key) {
            return MAX_RETRY;
        }
        let count = failures.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        RETRY.saturating_mul(2u32.saturating_pow(*count)).min(MAX_RETRY)
    }
}
