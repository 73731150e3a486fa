//! What the operator may do at the API server: this and no more. The chart makes a Role of it, for one namespace.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::crd::to_yaml;

/// Stands for the release in the rules of the chart, which fills it in.
pub(crate) const RELEASE_IN_CHART: &str = "{{ .Release.Name }}";

/// The rules for the operator of `release`.
pub fn rules(release: &str) -> Vec<PolicyRule> {
    let keys = format!("{release}-edge-keys");
    vec![
        // Its own kinds: read, mark with a finalizer, write the status.
        rule("quicprochat.org", &["realms", "federationpeers"], &[], &["get", "list", "watch", "patch"]),
        rule("quicprochat.org", &["realms/status", "federationpeers/status"], &[], &["patch"]),
        // An owner reference that blocks deletion wants this of whoever writes it.
        rule("quicprochat.org", &["realms/finalizers"], &[], &["update"]),
        rule("", &["configmaps"], &[], &["get", "create", "patch", "delete"]),
        // No Secret but the one of the keys. Who makes a first one cannot be held to a name.
        rule("", &["secrets"], &[], &["create"]),
        rule("", &["secrets"], &[&keys], &["get", "patch", "delete"]),
        // Marks for the deletion cost.
        rule("", &["pods"], &[], &["list", "patch"]),
        // Pause, and marks of changed settings.
        rule("apps", &["deployments"], &[], &["list", "watch", "patch"]),
        rule("events.k8s.io", &["events"], &[], &["create", "patch"]),
        rule("coordination.k8s.io", &["leases"], &[], &["create"]),
        rule("coordination.k8s.io", &["leases"], &[crate::LEASE], &["get", "update"]),
    ]
}

fn rule(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> PolicyRule {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<String>>();
    PolicyRule {
        api_groups: Some(list(&[group])),
        resources: Some(list(resources)),
        resource_names: (!names.is_empty()).then(|| list(names)),
        verbs: list(verbs),
        non_resource_urls: None,
    }
}

/// The rules as a YAML list.
pub fn yaml(release: &str) -> Result<String, serde_saphyr::ser::Error> {
    to_yaml(&rules(release))
}

#[cfg(test)]
mod tests {
    use super::{RELEASE_IN_CHART, yaml};

    #[test]
    fn the_chart_has_the_rules_of_this_source() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/quicprochat/files/operator-rules.yaml");
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == yaml(RELEASE_IN_CHART).unwrap(), "{path} is out of date; run: cargo xtask docs");
    }
}
