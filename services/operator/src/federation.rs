//! The controller of `FederationPeer`. Each peer is judged, and those that pass are published in one ConfigMap of their Realm.
//! Peers are looked at one after the other, so the list that is written is always the whole one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::ListParams,
    runtime::{
        controller::Action,
        finalizer::{Event, finalizer},
    },
};
use serde::Serialize;
use serde_json::json;

use crate::{
    anchors::{Anchors, InvalidAnchors},
    context::Context,
    crd::{FederationPeer, FederationPeerStatus, Finding, Realm},
    error::OperatorError,
    objects::{self, MANAGER, Owner},
};

/// Keeps a peer until it is published no more.
const FINALIZER: &str = "quicprochat.org/federation-peer";
/// Name in metrics and logs.
const KIND: &str = "federationpeer";
/// Condition: the peer stands in the ConfigMap.
const PUBLISHED: &str = "Published";
/// Field of the ConfigMap.
const FIELD: &str = "peers.json";
/// Bytes of it; an object of the API server has at most 1 MiB.
const MAX_BYTES: usize = 900_000;
/// Time between two looks at what nobody tells of.
const LOOK: Duration = Duration::from_secs(300);

/// A peer as it is published.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Published<'a> {
    domain: &'a str,
    trust_anchors: &'a str,
    messages_per_second: u32,
    mib_per_day: u32,
}

/// Why a peer is not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("it is suspended")]
    Suspended,
    #[error("trust anchors: {0}")]
    Anchors(#[from] InvalidAnchors),
    #[error("the peer {0} has this domain")]
    Duplicate(String),
    #[error("it has the domain of the Realm itself")]
    OwnDomain,
    #[error("there is no Realm of this name")]
    NoRealm,
    #[error("the ConfigMap {0} was made by somebody else")]
    NameTaken(String),
    #[error("with all peers the ConfigMap would have {0} bytes, more than {MAX_BYTES}")]
    TooLarge(usize),
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Suspended => "Suspended",
            Self::Anchors(_) => "InvalidTrustAnchors",
            Self::Duplicate(_) => "DuplicateDomain",
            Self::OwnDomain => "OwnDomain",
            Self::NoRealm => "NoRealm",
            Self::NameTaken(_) => "NameTaken",
            Self::TooLarge(_) => "TooLarge",
        }
    }
}

/// Name of the ConfigMap of a Realm.
pub(crate) fn name(realm: &str) -> String {
    format!("{realm}-federation-peers")
}

/// Judges `peer` and publishes it with the others.
pub(crate) async fn reconcile(peer: Arc<FederationPeer>, context: Arc<Context>) -> Result<Action, OperatorError> {
    let namespace = peer.namespace().ok_or(OperatorError::Incomplete("namespace"))?;
    let api: Api<FederationPeer> = Api::namespaced(context.client.clone(), &namespace);
    let key = key(&peer);
    let action = finalizer(&api, FINALIZER, peer, |event| async {
        match event {
            Event::Apply(peer) => apply(&context, &api, &namespace, &peer).await,
            Event::Cleanup(peer) => {
                publish(&context, &api, &namespace, &peer.spec.realm).await?;
                Ok(Action::await_change())
            }
        }
    })
    .await?;
    context.worked(&key);
    Ok(action)
}

/// When to try again.
pub(crate) fn retry(peer: Arc<FederationPeer>, error: &OperatorError, context: Arc<Context>) -> Action {
    context.failed(KIND, &key(&peer), error)
}

fn key(peer: &FederationPeer) -> String {
    format!("{KIND}/{}/{}", peer.namespace().unwrap_or_default(), peer.name_any())
}

type Verdict = Result<Anchors, Refusal>;

async fn apply(
    context: &Context,
    api: &Api<FederationPeer>,
    namespace: &str,
    peer: &FederationPeer,
) -> Result<Action, OperatorError> {
    let now_ms = context.runtime.now_ms();
    let mut verdicts = publish(context, api, namespace, &peer.spec.realm).await?;
    // One that is not in the list was made after it, and comes again.
    let Some(verdict) = verdicts.remove(&peer.name_any()) else { return Ok(Action::requeue(LOOK)) };
    let mut status = peer.status.clone().unwrap_or_default();
    let before = status.conditions.clone();
    let (finding, anchors, again) = match verdict {
        Ok(anchors) => {
            let left = Duration::from_millis(anchors.until_ms.saturating_sub(now_ms));
            let message = format!("in ConfigMap {}", name(&peer.spec.realm));
            (Finding::new(PUBLISHED, true, "Published", message), anchors.ids, LOOK.min(left))
        }
        Err(refusal) => (Finding::new(PUBLISHED, false, refusal.reason(), refusal.to_string()), Vec::new(), LOOK),
    };
    status.conditions.retain(|condition| condition.type_ != PUBLISHED);
    status.conditions.push(finding.condition(&before, peer.metadata.generation, now_ms));
    status.observed_generation = peer.metadata.generation;
    status.anchors = anchors;
    if peer.status.as_ref() != Some(&status) {
        write(context, api, peer, &status, &finding).await?;
    }
    Ok(Action::requeue(context.runtime.jittered(again.max(Duration::from_secs(2)))))
}

async fn write(
    context: &Context,
    api: &Api<FederationPeer>,
    peer: &FederationPeer,
    status: &FederationPeerStatus,
    finding: &Finding,
) -> Result<(), OperatorError> {
    objects::apply_status(api, &peer.name_any(), status).await?;
    let before = peer.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    if finding.is_news(before) {
        let warning = !finding.holds && finding.reason != Refusal::Suspended.reason();
        context.tell(&peer.object_ref(&()), warning, finding.reason, PUBLISHED, finding.message.clone()).await;
    }
    Ok(())
}

/// Writes the list of a Realm's peers; returns what was decided about each, by name.
async fn publish(
    context: &Context,
    api: &Api<FederationPeer>,
    namespace: &str,
    realm: &str,
) -> Result<BTreeMap<String, Verdict>, OperatorError> {
    let mut peers = api.list(&ListParams::default()).await?.items;
    peers.retain(|peer| peer.spec.realm == realm && peer.metadata.deletion_timestamp.is_none());
    // The older of two keeps a domain.
    peers.sort_by_key(|peer| (peer.creation_timestamp(), peer.name_any()));
    let refused = |refusal: &Refusal| peers.iter().map(|peer| (peer.name_any(), Err(refusal.clone()))).collect();
    let realms: Api<Realm> = Api::namespaced(context.client.clone(), namespace);
    let found = realms.get_opt(realm).await?.filter(|realm| realm.metadata.deletion_timestamp.is_none());
    // Without the Realm its ConfigMap is gone, or on its way.
    let Some(found) = found else { return Ok(refused(&Refusal::NoRealm)) };
    let verdicts = judge(&peers, &found.spec.domain, context.runtime.now_ms());
    let text = text(&peers, &verdicts)?;
    if text.len() > MAX_BYTES {
        return Ok(refused(&Refusal::TooLarge(text.len())));
    }
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let name = name(realm);
    let before = maps.get_opt(&name).await?;
    if before.as_ref().is_some_and(|map| objects::owner(map.meta(), &found) != Owner::This) {
        return Ok(refused(&Refusal::NameTaken(name)));
    }
    if before.and_then(|map| map.data?.remove(FIELD)) != Some(text.clone()) {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": objects::metadata(&found, &name)?,
            "data": { FIELD: text },
        });
        objects::apply(&maps, &name, MANAGER, &object).await?;
        tracing::info!(realm, peers = verdicts.values().filter(|verdict| verdict.is_ok()).count(), "peers published");
    }
    Ok(verdicts)
}

/// Decides about `peers`, which are of one Realm and in order of age.
fn judge(peers: &[FederationPeer], own_domain: &str, now_ms: u64) -> BTreeMap<String, Verdict> {
    let mut domains: BTreeMap<&str, String> = BTreeMap::new();
    let mut verdicts = BTreeMap::new();
    for peer in peers {
        let (spec, name) = (&peer.spec, peer.name_any());
        let verdict = if spec.domain == own_domain {
            Err(Refusal::OwnDomain)
        } else if let Some(first) = domains.get(&*spec.domain) {
            Err(Refusal::Duplicate(first.clone()))
        } else {
            domains.insert(&spec.domain, name.clone());
            if spec.suspended {
                Err(Refusal::Suspended)
            } else {
                Anchors::parse(&spec.trust_anchors, now_ms).map_err(Refusal::from)
            }
        };
        verdicts.insert(name, verdict);
    }
    verdicts
}

/// The list, in order of domains, so that the same peers make the same text.
fn text(peers: &[FederationPeer], verdicts: &BTreeMap<String, Verdict>) -> Result<String, serde_json::Error> {
    let published = peers.iter().filter_map(|peer| {
        let anchors = verdicts.get(&peer.name_any())?.as_ref().ok()?;
        Some(Published {
            domain: &peer.spec.domain,
            trust_anchors: &anchors.pem,
            messages_per_second: peer.spec.limits.messages_per_second,
            mib_per_day: peer.spec.limits.mib_per_day,
        })
    });
    let mut published: Vec<Published<'_>> = published.collect();
    published.sort_by_key(|peer| peer.domain);
    serde_json::to_string_pretty(&published)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Refusal, judge, text};
    use crate::{
        anchors::{
            InvalidAnchors,
            tests::{NOW, authority},
        },
        crd::{FederationPeer, FederationPeerSpec},
    };

    fn peer(name: &str, domain: &str, anchors: &str) -> FederationPeer {
        let spec: FederationPeerSpec =
            serde_json::from_value(json!({ "realm": "main", "domain": domain, "trustAnchors": anchors })).unwrap();
        FederationPeer::new(name, spec)
    }

    #[test]
    fn only_peers_that_pass_are_published() {
        let good = authority(2030);
        let mut suspended = peer("s", "s.example", &good);
        suspended.spec.suspended = true;
        let peers = [
            peer("b", "b.example", &good),
            peer("a", "a.example", &good),
            peer("again", "a.example", &good),
            peer("old", "old.example", &authority(2026)),
            peer("self", "chat.example", &good),
            suspended,
        ];
        let verdicts = judge(&peers, "chat.example", NOW);
        assert_eq!(verdicts["again"], Err(Refusal::Duplicate("a".to_owned())));
        assert_eq!(verdicts["old"], Err(Refusal::Anchors(InvalidAnchors::Expired(1))));
        assert_eq!((&verdicts["self"], &verdicts["s"]), (&Err(Refusal::OwnDomain), &Err(Refusal::Suspended)));
        let list: Vec<Value> = serde_json::from_str(&text(&peers, &verdicts).unwrap()).unwrap();
        let domains: Vec<&Value> = list.iter().map(|peer| &peer["domain"]).collect();
        assert_eq!(domains, ["a.example", "b.example"]);
        assert_eq!((&list[0]["messagesPerSecond"], &list[0]["mibPerDay"]), (&json!(100), &json!(1024)));
        assert_eq!(list[0]["trustAnchors"].as_str().map(str::trim), Some(good.trim()));
    }
}
