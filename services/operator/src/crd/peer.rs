//! `FederationPeer`: another installation, and what it may do.
#![allow(clippy::duplicated_attributes, reason = "each column is of the same type")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::realm::DOMAIN;

/// Another installation that messages are exchanged with.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "quicprochat.org",
    version = "v1alpha1",
    kind = "FederationPeer",
    namespaced,
    status = "FederationPeerStatus",
    category = "quicprochat",
    derive = "PartialEq",
    doc = "Another installation of quicprochat: who speaks for it, and what it may do.",
    printcolumn(name = "Realm", type_ = "string", json_path = ".spec.realm"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Published",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Published\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    { "rule": "self.realm == oldSelf.realm", "message": "realm cannot be changed: make another FederationPeer" },
    { "rule": "self.domain == oldSelf.domain", "message": "domain cannot be changed: make another FederationPeer" },
]))]
pub struct FederationPeerSpec {
    /// Realm of this namespace that it is a peer of
    #[schemars(length(min = 1, max = 253))]
    pub realm: String,
    /// Domain of the other installation
    #[schemars(length(min = 1, max = 253), pattern(DOMAIN))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.contains('.')", "message": "a peer has a full domain name" },
    ]))]
    pub domain: String,
    /// Certificates of the authorities that speak for it, PEM
    #[schemars(length(min = 1, max = 65_536))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.contains('-----BEGIN CERTIFICATE-----')", "message": "certificates are given as PEM" },
        { "rule": "!self.contains('PRIVATE KEY')", "message": "private keys do not belong here" },
    ]))]
    pub trust_anchors: String,
    /// What it may do
    #[serde(default)]
    pub limits: PeerLimits,
    /// Takes it out without forgetting it
    #[serde(default)]
    pub suspended: bool,
}

/// What a peer may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerLimits {
    /// Messages a second, from all of its users
    #[serde(default = "PeerLimits::messages_per_second")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages_per_second: u32,
    /// MiB a day, from all of its users
    #[serde(default = "PeerLimits::mib_per_day")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub mib_per_day: u32,
}

impl PeerLimits {
    fn messages_per_second() -> u32 {
        100
    }

    fn mib_per_day() -> u32 {
        1024
    }
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self { messages_per_second: Self::messages_per_second(), mib_per_day: Self::mib_per_day() }
    }
}

/// What the operator has found and done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederationPeerStatus {
    /// Generation of the FederationPeer that the rest is about
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Trust anchors by the beginning of their SHA-256
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<String>,
}
