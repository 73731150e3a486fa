//! The settings of services that a `Realm` decides, as the environment that their containers take.

use std::collections::BTreeMap;

use qpc_chassis::limits::{InvalidRate, Rate};
use sha2::{Digest as _, Sha256};

use crate::crd::RealmSpec;

/// Processes that read one of them, by their label app.kubernetes.io/component.
pub(crate) const COMPONENTS: [&str; 5] = ["gateway", "auth", "keypackage", "delivery", "blob"];

/// One setting.
struct Setting {
    component: &'static str,
    variable: &'static str,
    value: Value,
}

enum Value {
    Plain(String),
    Rate(String),
}

/// The variables of `spec` with their values. What it leaves out is not among them. Fails at what is no rate.
pub(crate) fn environment(spec: &RealmSpec) -> Result<BTreeMap<String, String>, InvalidRate> {
    let mut environment = BTreeMap::new();
    for Setting { variable, value, .. } in settings(spec) {
        let value = match value {
            Value::Plain(value) => value,
            Value::Rate(value) => value.parse::<Rate>()?.to_string(),
        };
        environment.insert(variable.to_owned(), value);
    }
    Ok(environment)
}

/// A short name for what `component` is told: another one means that its processes must be started again.
pub(crate) fn revision(spec: &RealmSpec, component: &str, environment: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for setting in settings(spec).iter().filter(|setting| setting.component == component) {
        let value = environment.get(setting.variable).map_or("", String::as_str);
        hash.update(format!("{}={value}\n", setting.variable));
    }
    hex::encode(&hash.finalize()[..8])
}

fn settings(spec: &RealmSpec) -> Vec<Setting> {
    let (limits, registration) = (&spec.limits, &spec.registration);
    let number = |value: Option<u32>| value.map(|value| Value::Plain(value.to_string()));
    let rate = |value: &Option<String>| value.clone().map(Value::Rate);
    let mode = registration.mode.map(|mode| Value::Plain(mode.name().to_owned()));
    let all = [
        ("gateway", "QPC_DOMAIN", Some(Value::Plain(spec.domain.clone()))),
        ("auth", "QPC_REGISTRATION", mode),
        ("auth", "QPC_REGISTRATION_WORK", number(registration.work)),
        ("auth", "QPC_DEVICES", number(limits.devices)),
        ("auth", "QPC_SESSION_DAYS", number(limits.session_days)),
        ("auth", "QPC_AUDIT_DAYS", number(limits.audit_days)),
        ("auth", "QPC_TOKENS_PER_DAY", number(limits.tokens_per_day)),
        ("auth", "QPC_REGISTRATIONS_PER_ADDRESS", rate(&limits.registrations_per_address)),
        ("auth", "QPC_LOGIN_FAILURES_PER_NAME", rate(&limits.login_failures_per_name)),
        ("auth", "QPC_LOGIN_FAILURES_PER_ADDRESS", rate(&limits.login_failures_per_address)),
        ("auth", "QPC_NAME_LOOKUPS", rate(&limits.name_lookups)),
        ("auth", "QPC_REPORTS", rate(&limits.reports)),
        ("keypackage", "QPC_KEY_PACKAGE_FETCHES", rate(&limits.key_package_fetches)),
        ("delivery", "QPC_MESSAGE_DAYS", number(limits.message_days)),
        ("delivery", "QPC_GROUP_LEAVES", number(limits.group_leaves)),
        ("delivery", "QPC_SENDS", rate(&limits.sends)),
        ("delivery", "QPC_INBOUND_BYTES", rate(&limits.inbound_bytes)),
        ("delivery", "QPC_GROUPS_FOUNDED", rate(&limits.groups_founded)),
        ("blob", "QPC_BLOB_MAX_MIB", number(limits.blob_max_mib)),
        ("blob", "QPC_BLOB_DAILY_MIB", number(limits.blob_daily_mib)),
        ("blob", "QPC_BLOB_DAYS", number(limits.blob_days)),
    ];
    all.into_iter()
        .filter_map(|(component, variable, value)| Some(Setting { component, variable, value: value? }))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{COMPONENTS, environment, revision, settings};
    use crate::crd::RealmSpec;

    fn full() -> RealmSpec {
        serde_json::from_value(json!({
            "domain": "chat.example",
            "registration": { "mode": "proof-of-work", "work": 15 },
            "limits": {
                "devices": 5, "sessionDays": 7, "auditDays": 30, "messageDays": 14, "groupLeaves": 200,
                "blobMaxMib": 10, "blobDailyMib": 100, "blobDays": 3, "tokensPerDay": 50,
                "sends": "60:1/60s", "inboundBytes": "1M:1K/1s", "groupsFounded": "off",
                "registrationsPerAddress": "1:1/1h", "loginFailuresPerName": "5:5/1h",
                "loginFailuresPerAddress": "50:50/1h", "nameLookups": "10:1/1m", "reports": "2:1/1h",
                "keyPackageFetches": "3:1/1m",
            },
        }))
        .unwrap()
    }

    #[test]
    fn every_variable_is_one_of_a_service() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
        let page = std::fs::read_to_string(page).unwrap();
        let settings = settings(&full());
        assert_eq!(settings.len(), 21, "all limits are set above");
        for setting in settings {
            assert!(page.contains(&format!("| `{}` |", setting.variable)), "{}", setting.variable);
            assert!(COMPONENTS.contains(&setting.component));
        }
    }

    #[test]
    fn what_is_left_out_keeps_the_default_of_the_service() {
        let spec: RealmSpec = serde_json::from_value(json!({ "domain": "chat.example" })).unwrap();
        let environment = environment(&spec).unwrap();
        assert_eq!(environment.into_iter().collect::<Vec<_>>(), [("QPC_DOMAIN".to_owned(), "chat.example".to_owned())]);
    }

    #[test]
    fn only_those_are_started_again_whose_settings_have_changed() {
        let (before, mut after) = (full(), full());
        after.limits.sends = Some("1:1/1s".to_owned());
        let revision = |spec: &RealmSpec, component| revision(spec, component, &environment(spec).unwrap());
        for component in COMPONENTS {
            let changed = revision(&before, component) != revision(&after, component);
            assert_eq!(changed, component == "delivery", "{component}");
        }
        // Another way to write the same rate is no change.
        after.limits.sends = Some("60:1/1m".to_owned());
        assert_eq!(revision(&before, "delivery"), revision(&after, "delivery"));
    }

    #[test]
    fn what_the_schema_lets_through_and_is_no_rate_is_an_error() {
        let mut spec = full();
        spec.limits.sends = Some("0:1/1s".to_owned());
        assert!(environment(&spec).is_err());
    }
}
