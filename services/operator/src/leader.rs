//! One operator at a time, by a Lease, as client-go elects: whoever sees a Lease that was not renewed for its duration, by its
//! own clock, takes it. The one that cannot renew it steps down before anybody else may take it.
//!
//! A Lease does not exclude two at work for a moment (one whose process was stopped and goes on). So everything that the operator
//! does may be done twice, and what may not, the keys, is written over exactly what was read.

use std::{future::Future, time::Duration};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use qpc_chassis::Runtime;
use tokio::time::Instant;

use crate::{crd::time, error::has_code, metrics::OperatorMetrics, objects::MANAGER};

/// Time without renewal after which another one may take it.
pub(crate) const DURATION: Duration = Duration::from_secs(15);
/// Time without renewal after which the holder steps down.
const STEP_DOWN: Duration = Duration::from_secs(10);
/// Time between two tries.
const RETRY: Duration = Duration::from_secs(2);
/// Time for one try.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// A candidate.
pub(crate) struct Candidate {
    api: Api<Lease>,
    runtime: Runtime,
    name: String,
    identity: String,
    /// The Lease as it was seen last, and since when it looks so.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str, runtime: Runtime) -> Self {
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Self { api: Api::namespaced(client, namespace), runtime, name, identity, seen: None }
    }

    /// Does `work` whenever this candidate is elected, and drops it when it no longer is. Returns on shutdown, with the Lease
    /// given back.
    pub(crate) async fn run<F: Future<Output = ()>>(mut self, metrics: &OperatorMetrics, work: impl Fn() -> F) {
        let shutdown = self.runtime.shutdown().clone();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.acquire() => {}
            }
            tracing::info!(identity = self.identity, "elected");
            metrics.leader.set(1);
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.keep() => tracing::warn!(identity = self.identity, "no longer elected"),
                () = work() => tracing::error!("the controllers have ended"),
            }
            metrics.leader.set(0);
            self.release().await;
        }
    }

    /// Returns when the Lease is held.
    async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "no Lease"),
            }
            tokio::time::sleep(self.runtime.jittered(RETRY)).await;
        }
    }

    /// Returns when it is not, or may be taken soon.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < STEP_DOWN {
            tokio::time::sleep(self.runtime.jittered(RETRY)).await;
            let started = Instant::now();
            match self.attempt().await {
                Ok(true) => renewed = started,
                Ok(false) => return,
                Err(error) => tracing::warn!(%error, "Lease not renewed"),
            }
        }
    }

    /// Gets or renews the Lease; tells whether it is held now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        match tokio::time::timeout(TRY_WITHIN, self.attempt_once()).await {
            Ok(Err(error)) if has_code(&error, 409) => Ok(false),
            Ok(outcome) => outcome,
            Err(_) => Err(kube::Error::Service(format!("no answer within {TRY_WITHIN:?}").into())),
        }
    }

    async fn attempt_once(&mut self) -> Result<bool, kube::Error> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let now = time(self.runtime.now_ms());
        let mut own = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(now.0)),
            renew_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(now.0)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        };
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.api.create(&params, &Lease { metadata, spec: Some(own) }).await?;
            return Ok(true);
        };
        let found = lease.spec.take().unwrap_or_default();
        if found.holder_identity.as_deref() == Some(&*self.identity) {
            own.acquire_time = found.acquire_time.or(own.acquire_time);
            own.lease_transitions = found.lease_transitions;
        } else {
            if !self.is_free(&found) {
                return Ok(false);
            }
            own.lease_transitions = Some(found.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        lease.spec = Some(own);
        // With the version that was read: who was faster wins.
        self.api.replace(&self.name, &params, &lease).await?;
        Ok(true)
    }

    /// Whether nobody holds it, or who does has not renewed it for its duration.
    fn is_free(&mut self, found: &LeaseSpec) -> bool {
        if found.holder_identity.as_deref().is_none_or(str::is_empty) {
            return true;
        }
        let now = Instant::now();
        match &self.seen {
            Some((seen, since)) if seen == found => {
                let duration = u64::try_from(found.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
                now.duration_since(*since) >= Duration::from_secs(duration)
            }
            _ => {
                self.seen = Some((found.clone(), now));
                false
            }
        }
    }

    /// Gives it back, so that nobody has to wait for it.
    async fn release(&mut self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
            if spec.holder_identity.as_deref() != Some(&*self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(|_| ())
        };
        match tokio::time::timeout(TRY_WITHIN, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "Lease not given back"),
            Err(_) => tracing::warn!("Lease not given back in time"),
        }
    }
}
