//! The Secret of the keys that gateways share. It is written with the version that was read, so that of two operators that
//! both believe to work one is refused.

use std::time::Duration;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Resource as _, ResourceExt as _, api::PostParams};
use serde_json::json;

use super::{LOOK, Part, SLOW_LOOK, rollout, settings::TAKEN};
use crate::{
    context::Context,
    crd::{Finding, KeyStage, KeysStatus, Realm, RealmStatus},
    error::OperatorError,
    keyring::{Key, Keyring, Next},
    objects::{self, MANAGER, Owner},
};

/// Condition: gateways find keys.
pub(super) const READY: &str = "KeysReady";
/// Condition: no replacement of keys is under way.
pub(super) const ROTATED: &str = "KeysRotated";
/// Reason: what is in the Secret are no keys.
pub(super) const INVALID: &str = "InvalidKeys";
/// Reason: keys were there, and are gone.
pub(super) const LOST: &str = "KeysLost";
/// Field of the Secret.
const FIELD: &str = "keys";

/// Name of the Secret.
pub(super) fn name(realm: &Realm) -> String {
    format!("{}-edge-keys", objects::release(realm))
}

pub(super) async fn look(
    context: &Context,
    namespace: &str,
    realm: &Realm,
    status: &mut RealmStatus,
) -> Result<Part, OperatorError> {
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let now_ms = context.runtime.now_ms();
    let fresh = || Key::new(context.runtime.random());
    let Some(secret) = secrets.get_opt(&name(realm)).await? else {
        let ring = Keyring::first(fresh(), now_ms, realm.spec.keys.rotate.as_deref());
        create(&secrets, realm, &ring).await?;
        return Ok(made(&ring, status));
    };
    if objects::owner(secret.meta(), realm) == Owner::Other {
        let message = format!("the Secret {} belongs to another Realm", name(realm));
        return Ok(Part { findings: vec![Finding::new(READY, false, TAKEN, message)], again: SLOW_LOOK });
    }
    let lines = secret.data.as_ref().and_then(|data| data.get(FIELD)).map(|bytes| String::from_utf8_lossy(&bytes.0));
    let ring = match Keyring::parse(&lines.unwrap_or_default(), secret.annotations(), now_ms) {
        Ok(ring) => ring,
        Err(error) => {
            // Not overwritten: gateways may still run with what was in it.
            let finding = Finding::new(READY, false, INVALID, format!("{}: {error}", name(realm)));
            return Ok(Part { findings: vec![finding], again: SLOW_LOOK });
        }
    };
    let ready = ring.stage != KeyStage::Spreading || rollout::all_ready(context, namespace, realm).await?;
    match ring.next(&realm.spec.keys, now_ms, ready, fresh) {
        Next::Write(next, change) => {
            replace(&secrets, realm, &next, &secret).await?;
            context.metrics.key_steps.inc();
            tracing::info!(realm = realm.name_any(), ?change, current = next.current().id(), "keys");
            Ok(found(&next, LOOK, "", status))
        }
        Next::Wait(until) => {
            if !Keyring::is_recorded(secret.annotations()) {
                // Keys from elsewhere. From now on it stands there when they came.
                replace(&secrets, realm, &ring, &secret).await?;
            }
            let again = until.map_or(SLOW_LOOK, |until| Duration::from_millis(until.saturating_sub(now_ms)));
            Ok(found(&ring, again.clamp(LOOK, SLOW_LOOK), "", status))
        }
        Next::ForGateways => Ok(found(&ring, LOOK, "; a gateway is not ready, and may not have it", status)),
    }
}

/// A first Secret. Not by apply, which would write over one that came in between.
async fn create(secrets: &Api<Secret>, realm: &Realm, ring: &Keyring) -> Result<(), OperatorError> {
    let mut metadata = objects::metadata(realm, &name(realm))?;
    metadata["annotations"] = json!(ring.annotations());
    let secret = serde_json::from_value(json!({ "metadata": metadata, "stringData": { FIELD: ring.lines() } }))?;
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    secrets.create(&params, &secret).await?;
    Ok(())
}

/// Writes `ring` over what was read as `before`, and over nothing else.
async fn replace(secrets: &Api<Secret>, realm: &Realm, ring: &Keyring, before: &Secret) -> Result<(), OperatorError> {
    let mut metadata = match objects::owner(before.meta(), realm) {
        Owner::This => objects::metadata(realm, &name(realm))?,
        // Keys that people brought are theirs, and stay when the Realm goes.
        Owner::Nobody | Owner::Other => json!({ "name": name(realm) }),
    };
    metadata["annotations"] = json!(ring.annotations());
    metadata["uid"] = json!(before.uid());
    metadata["resourceVersion"] = json!(before.resource_version());
    let data = ByteString(ring.lines().into_bytes());
    let object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": { FIELD: data } });
    objects::apply(secrets, &name(realm), MANAGER, &object).await?;
    Ok(())
}

/// What is said of a first key. If there were keys before, clients notice that they are gone.
fn made(ring: &Keyring, status: &mut RealmStatus) -> Part {
    let lost = status.keys.is_some();
    let mut part = found(ring, LOOK, "", status);
    if lost {
        let message = "the Secret was gone and a new key was made: sessions are not resumed, and gateways that have not \
                       read it yet do not understand the others";
        part.findings.retain(|finding| finding.kind != ROTATED);
        part.findings.push(Finding::new(ROTATED, false, LOST, message));
    }
    part
}

fn found(ring: &Keyring, again: Duration, besides: &str, status: &mut RealmStatus) -> Part {
    let accepted = ring.accepted();
    status.keys = Some(KeysStatus {
        stage: ring.stage,
        current: ring.current().id(),
        accepted: u32::try_from(accepted).unwrap_or(u32::MAX),
    });
    let (holds, reason, message) = match ring.stage {
        KeyStage::Steady => (true, "Steady", "no replacement is under way"),
        KeyStage::Spreading => (false, "Spreading", "the next key is on its way to all gateways"),
        KeyStage::Retiring => (false, "Retiring", "the next key is current, the one before is still accepted"),
    };
    let message = format!("{message}{besides}");
    let ready = format!("key {} is current, {accepted} are accepted", ring.current().id());
    let findings = vec![Finding::new(READY, true, "Present", ready), Finding::new(ROTATED, holds, reason, message)];
    Part { findings, again }
}
