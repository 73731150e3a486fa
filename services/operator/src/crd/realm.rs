//! `Realm`: what all processes of one installation agree on.
#![allow(clippy::duplicated_attributes, reason = "each column is of the same type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels of at most 63 letters, digits and hyphens, with dots.
pub(super) const DOMAIN: &str = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$";
/// BURST:REFILL/TIME or off; see docs/reference/limits.md.
macro_rules! rate {
    () => {
        r"^(off|[1-9][0-9]{0,11}[KMG]?:[1-9][0-9]{0,11}[KMG]?/[1-9][0-9]{0,8}(ms|s|m|h))$"
    };
}

/// One installation: its domain, its limits, its keys.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "quicprochat.org",
    version = "v1alpha1",
    kind = "Realm",
    namespaced,
    status = "RealmStatus",
    category = "quicprochat",
    derive = "PartialEq",
    doc = "One installation of quicprochat: its domain, its limits, its keys.",
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Keys", type_ = "string", json_path = ".status.keys.stage"),
    printcolumn(name = "Gateways", type_ = "integer", json_path = ".status.gateways.ready"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "has(self.release) == has(oldSelf.release) && (!has(self.release) || self.release == oldSelf.release)",
      "message": "release cannot be changed: make another Realm" },
]))]
pub struct RealmSpec {
    /// Release whose processes this is about, as in their label app.kubernetes.io/instance; the name of the Realm when left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 53), pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub release: Option<String>,
    /// Domain of the server, as it is announced
    #[schemars(length(min = 1, max = 253), pattern(DOMAIN))]
    pub domain: String,
    /// Who may register
    #[serde(default)]
    pub registration: Registration,
    /// Limits of the services; what is left out keeps the default of the service
    #[serde(default)]
    pub limits: Limits,
    /// Keys that the gateways share
    #[serde(default)]
    pub keys: Keys,
    /// How gateways are replaced
    #[serde(default)]
    pub gateways: Gateways,
}

/// Who may register.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "!has(self.work) || (has(self.mode) && self.mode == 'proof-of-work')", "message": "work is for the mode proof-of-work" },
]))]
pub struct Registration {
    /// The default of the service when left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Bits of the work; each doubles it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub work: Option<u32>,
}

/// See docs/decisions/0033-who-may-register.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Open,
    ProofOfWork,
    InviteOnly,
    Closed,
}

impl Mode {
    /// As `--registration` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ProofOfWork => "proof-of-work",
            Self::InviteOnly => "invite-only",
            Self::Closed => "closed",
        }
    }
}

/// Limits that are settings of the services. Rates are written BURST:REFILL/TIME, or off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Devices of an account
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub devices: Option<u32>,
    /// Life of a session
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub session_days: Option<u32>,
    /// The audit log is kept
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub audit_days: Option<u32>,
    /// An undelivered message is kept
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub message_days: Option<u32>,
    /// Devices of a group
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 100_000))]
    pub group_leaves: Option<u32>,
    /// MiB of the largest file
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub blob_max_mib: Option<u32>,
    /// MiB that an account may bring on one day
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub blob_daily_mib: Option<u32>,
    /// A file is kept after its last use
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub blob_days: Option<u32>,
    /// Tokens for sealed messages that an account gets in a day
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub tokens_per_day: Option<u32>,
    /// Rate of messages of one device to one group
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub sends: Option<String>,
    /// Rate of bytes of messages to one mailbox
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub inbound_bytes: Option<String>,
    /// Rate of groups founded by one account
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub groups_founded: Option<String>,
    /// Rate of new accounts of one address
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub registrations_per_address: Option<String>,
    /// Rate of failed logins of one name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub login_failures_per_name: Option<String>,
    /// Rate of failed logins of one address
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub login_failures_per_address: Option<String>,
    /// Rate of usernames looked up by one account
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub name_lookups: Option<String>,
    /// Rate of reports by one account
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub reports: Option<String>,
    /// Rate of KeyPackages fetched by one account of each device
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), pattern(rate!()))]
    pub key_package_fetches: Option<String>,
}

/// Keys that the gateways share, and when they are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keys {
    /// Days until the current key is replaced; 0 is never
    #[serde(default = "Keys::rotate_days")]
    #[schemars(range(min = 0, max = 3650))]
    pub rotate_days: u32,
    /// Seconds from the writing of a new key until it is current: the time that the nodes take to bring it to all gateways
    #[serde(default = "Keys::spread_seconds")]
    #[schemars(range(min = 60, max = 86_400))]
    pub spread_seconds: u32,
    /// Hours for which a key that was replaced is still accepted: the life of tickets and tokens made with it
    #[serde(default = "Keys::overlap_hours")]
    #[schemars(range(min = 1, max = 720))]
    pub overlap_hours: u32,
    /// Any other text than before replaces the current key now
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub rotate: Option<String>,
}

impl Keys {
    fn rotate_days() -> u32 {
        30
    }

    fn spread_seconds() -> u32 {
        300
    }

    fn overlap_hours() -> u32 {
        24
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            rotate_days: Self::rotate_days(),
            spread_seconds: Self::spread_seconds(),
            overlap_hours: Self::overlap_hours(),
            rotate: None,
        }
    }
}

/// How gateways are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateways {
    /// Whether the next gateway is replaced only when clients of the one before have come back
    #[serde(default = "Gateways::paced")]
    pub paced: bool,
    /// New connections a second, of all gateways together, above which clients are still coming back
    #[serde(default = "Gateways::settled_rate")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub settled_rate: u32,
    /// Seconds below that rate until the next gateway is replaced
    #[serde(default = "Gateways::settle_seconds")]
    #[schemars(range(min = 5, max = 3600))]
    pub settle_seconds: u32,
}

impl Gateways {
    fn paced() -> bool {
        true
    }

    fn settled_rate() -> u32 {
        50
    }

    fn settle_seconds() -> u32 {
        15
    }
}

impl Default for Gateways {
    fn default() -> Self {
        Self { paced: true, settled_rate: Self::settled_rate(), settle_seconds: Self::settle_seconds() }
    }
}

/// What the operator has found and done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RealmStatus {
    /// Generation of the Realm that the rest is about
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeysStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<GatewaysStatus>,
}

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeysStatus {
    pub stage: KeyStage,
    /// Beginning of the SHA-256 of the current key
    pub current: String,
    /// Keys that are accepted, with the current one
    pub accepted: u32,
}

/// How far a replacement of the keys is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyStage {
    /// No replacement is going on.
    Steady,
    /// The next key is accepted, and on its way to all gateways.
    Spreading,
    /// The next key is current, and the one before still accepted.
    Retiring,
}

/// Where the gateways are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewaysStatus {
    pub desired: i32,
    pub updated: i32,
    pub ready: i32,
}
