//! The resources that people write, and their conditions. What the API server can judge by itself stands in their schemas.

mod peer;
mod realm;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::CustomResourceExt as _;
use serde::Serialize;

pub use peer::{FederationPeer, FederationPeerSpec, FederationPeerStatus, PeerLimits};
pub use realm::{
    Gateways, GatewaysStatus, KeyStage, Keys, KeysStatus, Limits, Mode, Realm, RealmSpec, RealmStatus, Registration,
};

/// Everything of it that is ours, in the order in which it is printed.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![Realm::crd(), FederationPeer::crd()]
}

/// The definitions as YAML, by file name.
pub fn files() -> Result<Vec<(String, String)>, serde_saphyr::ser::Error> {
    let yaml = |definition: &CustomResourceDefinition| {
        Ok((format!("{}.yaml", definition.spec.names.plural), to_yaml(definition)?))
    };
    all().iter().map(yaml).collect()
}

/// Through JSON, so that what is empty is left out and keys stand in one order.
pub(crate) fn to_yaml(value: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    let tree = serde_json::to_value(value).map_err(|error| serde_saphyr::ser::Error::from(error.to_string()))?;
    serde_saphyr::to_string(&tree)
}

/// What a controller has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: &'static str,
    pub(crate) holds: bool,
    /// One word in CamelCase.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(kind: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds, reason, message: message.into() }
    }

    /// As it goes into the status: the time stays that of the last change from true to false or back.
    pub(crate) fn condition(&self, before: &[Condition], generation: Option<i64>, now_ms: u64) -> Condition {
        let status = if self.holds { "True" } else { "False" };
        let same = before.iter().find(|found| found.type_ == self.kind && found.status == status);
        Condition {
            type_: self.kind.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: same.map_or_else(|| time(now_ms), |found| found.last_transition_time.clone()),
        }
    }

    /// Whether people have not been told of this yet.
    pub(crate) fn is_news(&self, before: &[Condition]) -> bool {
        let status = if self.holds { "True" } else { "False" };
        !before.iter().any(|found| found.type_ == self.kind && found.status == status && found.reason == self.reason)
    }
}

/// Unix milliseconds as the API writes them; beyond the year 9999 its end.
pub(crate) fn time(now_ms: u64) -> Time {
    let now = i64::try_from(now_ms).ok().and_then(|now| Timestamp::from_millisecond(now).ok());
    Time(now.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Finding, files, time};

    #[test]
    fn the_chart_has_the_definitions_of_this_source() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/quicprochat/crds");
        for (name, text) in files().unwrap() {
            let found = std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
            assert!(found == text, "{name} is out of date; run: cargo xtask docs");
        }
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let first = Finding::new("Ready", true, "Done", "").condition(&[], Some(1), 1_000);
        let told = Finding::new("Ready", true, "Done", "again");
        let later = told.condition(std::slice::from_ref(&first), Some(2), 5_000);
        assert_eq!((&later.last_transition_time, later.observed_generation), (&time(1_000), Some(2)));
        assert!(!told.is_news(std::slice::from_ref(&first)));
        let turned = Finding::new("Ready", false, "Broken", "");
        assert_eq!(turned.condition(std::slice::from_ref(&first), Some(2), 5_000).last_transition_time, time(5_000));
        assert!(turned.is_news(&[first]));
    }
}
