//! The controller of `Realm`. Each look goes through its three parts, of which none waits for another: [`settings`] for the
//! services, [`keys`] of the gateways, and the [`rollout`] of those. What they find becomes the conditions.

mod keys;
mod rollout;
mod settings;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Resource as _, ResourceExt as _,
    runtime::{
        controller::Action,
        finalizer::{Event, finalizer},
    },
};

use crate::{
    context::Context,
    crd::{Finding, Realm, RealmStatus},
    error::OperatorError,
    federation, objects,
};

/// Keeps a Realm until what the operator made for it is gone.
const FINALIZER: &str = "quicprochat.org/realm";
/// Name in metrics and logs.
const KIND: &str = "realm";
/// Time between two looks at what nobody tells of: gateways while they are replaced, Secrets.
const LOOK: Duration = Duration::from_secs(5);
const SLOW_LOOK: Duration = Duration::from_secs(60);
/// Condition: everything that processes need is there.
const READY: &str = "Ready";
/// Reasons that want a person.
const WARNINGS: [&str; 5] = [settings::TAKEN, settings::NAME_TAKEN, settings::INVALID, keys::INVALID, keys::LOST];

/// What a part has found, and when to look again.
struct Part {
    findings: Vec<Finding>,
    again: Duration,
}

/// Brings everything of `realm` to where its specification says.
pub(crate) async fn reconcile(realm: Arc<Realm>, context: Arc<Context>) -> Result<Action, OperatorError> {
    let namespace = realm.namespace().ok_or(OperatorError::Incomplete("namespace"))?;
    let api: Api<Realm> = Api::namespaced(context.client.clone(), &namespace);
    let key = key(&realm);
    let action = finalizer(&api, FINALIZER, realm, |event| async {
        match event {
            Event::Apply(realm) => apply(&context, &api, &namespace, &realm).await,
            Event::Cleanup(realm) => cleanup(&context, &namespace, &realm).await,
        }
    })
    .await?;
    context.worked(&key);
    Ok(action)
}

/// When to try again.
pub(crate) fn retry(realm: Arc<Realm>, error: &OperatorError, context: Arc<Context>) -> Action {
    context.failed(KIND, &key(&realm), error)
}

fn key(realm: &Realm) -> String {
    format!("{KIND}/{}/{}", realm.namespace().unwrap_or_default(), realm.name_any())
}

async fn apply(context: &Context, api: &Api<Realm>, namespace: &str, realm: &Realm) -> Result<Action, OperatorError> {
    let mut status = realm.status.clone().unwrap_or_default();
    // The ConfigMap says whose the release is, so it comes first.
    let settings = settings::look(context, namespace, realm).await?;
    let mut parts = Vec::new();
    if !settings.is_taken() {
        parts.push(keys::look(context, namespace, realm, &mut status).await);
        parts.push(rollout::look(context, namespace, realm, &mut status).await);
    }
    parts.push(Ok(settings.part));
    let (mut findings, mut again, mut failure) = (Vec::new(), SLOW_LOOK, None);
    for part in parts {
        match part {
            Ok(part) => {
                findings.extend(part.findings);
                again = again.min(part.again);
            }
            // It hides nothing of the other parts; its own condition stays as it was.
            Err(error) => failure = Some(error),
        }
    }
    write(context, api, realm, status, findings).await?;
    match failure {
        Some(error) => Err(error),
        None => Ok(Action::requeue(context.runtime.jittered(again))),
    }
}

/// Tells what is new, and writes the status if that changes it.
async fn write(
    context: &Context,
    api: &Api<Realm>,
    realm: &Realm,
    mut status: RealmStatus,
    mut findings: Vec<Finding>,
) -> Result<(), OperatorError> {
    let before = status.conditions.clone();
    findings.push(ready(&findings, &before));
    let now_ms = context.runtime.now_ms();
    for finding in &findings {
        status.conditions.retain(|condition| condition.type_ != finding.kind);
        status.conditions.push(finding.condition(&before, realm.metadata.generation, now_ms));
    }
    status.conditions.sort_by(|one, other| one.type_.cmp(&other.type_));
    status.observed_generation = realm.metadata.generation;
    if realm.status.as_ref() == Some(&status) {
        return Ok(());
    }
    objects::apply_status(api, &realm.name_any(), &status).await?;
    for finding in findings.iter().filter(|finding| finding.is_news(&before)) {
        let warning = !finding.holds && WARNINGS.contains(&finding.reason);
        context.tell(&realm.object_ref(&()), warning, finding.reason, finding.kind, finding.message.clone()).await;
    }
    Ok(())
}

/// Whether what the processes need is there. Replacements that are under way take nothing from that.
fn ready(findings: &[Finding], before: &[Condition]) -> Finding {
    let needed = [settings::PUBLISHED, keys::READY];
    if let Some(lacking) = findings.iter().find(|finding| !finding.holds && needed.contains(&finding.kind)) {
        return Finding::new(READY, false, lacking.reason, lacking.message.clone());
    }
    let holds = |kind: &str| {
        findings.iter().any(|finding| finding.kind == kind)
            || before.iter().any(|condition| condition.type_ == kind && condition.status == "True")
    };
    if needed.into_iter().all(holds) {
        Finding::new(READY, true, "AsSpecified", "settings and keys are as specified")
    } else {
        Finding::new(READY, false, "Pending", "not everything could be looked at yet")
    }
}

/// Takes away what was made, and lets go of what was held.
async fn cleanup(context: &Context, namespace: &str, realm: &Realm) -> Result<Action, OperatorError> {
    let client = || context.client.clone();
    rollout::let_go(context, namespace, realm).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client(), namespace);
    objects::delete_own(&maps, &settings::name(realm), realm).await?;
    objects::delete_own(&maps, &federation::name(&realm.name_any()), realm).await?;
    let secrets: Api<Secret> = Api::namespaced(client(), namespace);
    objects::delete_own(&secrets, &keys::name(realm), realm).await?;
    tracing::info!(realm = realm.name_any(), "what belonged to a deleted Realm is gone");
    Ok(Action::await_change())
}
