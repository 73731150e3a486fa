//! Settings of the services: a ConfigMap that their containers take their environment from, and a mark in the templates of
//! the Deployments, whose change makes Kubernetes start the pods again.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;

use super::{Part, SLOW_LOOK};
use crate::{
    context::Context,
    crd::{Finding, Realm},
    error::OperatorError,
    objects::{self, MANAGER, Owner},
    settings::{COMPONENTS, environment, revision},
};

/// Condition: the settings are where the services find them.
pub(super) const PUBLISHED: &str = "SettingsPublished";
/// Reason: another Realm has the release.
pub(super) const TAKEN: &str = "ReleaseTaken";
/// Reason: the ConfigMap was made by somebody else.
pub(super) const NAME_TAKEN: &str = "NameTaken";
/// Reason: a setting is none.
pub(super) const INVALID: &str = "InvalidSettings";
/// In the template of a Deployment, what its pods were told when they started.
const REVISION: &str = "quicprochat.org/settings-revision";

/// What was found of the settings.
pub(super) struct Settings {
    pub(super) part: Part,
}

impl Settings {
    fn found(holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        let finding = Finding::new(PUBLISHED, holds, reason, message);
        Self { part: Part { findings: vec![finding], again: SLOW_LOOK } }
    }

    /// Whether the release belongs to another Realm, which leaves nothing to do here.
    pub(super) fn is_taken(&self) -> bool {
        self.part.findings.iter().any(|finding| finding.reason == TAKEN)
    }
}

/// Name of the ConfigMap.
pub(super) fn name(realm: &Realm) -> String {
    format!("{}-realm", objects::release(realm))
}

pub(super) async fn look(context: &Context, namespace: &str, realm: &Realm) -> Result<Settings, OperatorError> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), namespace);
    let name = name(realm);
    let found = maps.get_opt(&name).await?;
    match found.as_ref().map(|map| objects::owner(map.meta(), realm)) {
        Some(Owner::Other) => {
            let message = format!("the release {} belongs to another Realm", objects::release(realm));
            return Ok(Settings::found(false, TAKEN, message));
        }
        Some(Owner::Nobody) => {
            let message = format!("a ConfigMap {name} is there that no Realm has made");
            return Ok(Settings::found(false, NAME_TAKEN, message));
        }
        Some(Owner::This) | None => {}
    }
    let data = match environment(&realm.spec) {
        Ok(data) => data,
        Err(error) => return Ok(Settings::found(false, INVALID, error.to_string())),
    };
    if found.is_none_or(|map| map.data.unwrap_or_default() != data) {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": objects::metadata(realm, &name)?,
            "data": data,
        });
        objects::apply(&maps, &name, MANAGER, &object).await?;
    }
    restart(context, namespace, realm, &data).await?;
    let message = format!("{} settings in ConfigMap {name}", data.len());
    Ok(Settings::found(true, "Published", message))
}

/// Has the pods of those Deployments started again that were told otherwise.
async fn restart(
    context: &Context,
    namespace: &str,
    realm: &Realm,
    environment: &std::collections::BTreeMap<String, String>,
) -> Result<(), OperatorError> {
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    for deployment in deployments.list(&objects::selector(&objects::release(realm), None)).await? {
        let Some(component) = objects::component(deployment.meta()).filter(|found| COMPONENTS.contains(found)) else {
            continue;
        };
        let revision = revision(&realm.spec, component, environment);
        let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        let told = template.and_then(|meta| meta.annotations.as_ref()?.get(REVISION));
        if told == Some(&revision) {
            continue;
        }
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            // With its uid, so that one that is gone is not made anew.
            "metadata": { "name": deployment.name_any(), "uid": deployment.uid() },
            "spec": { "template": { "metadata": { "annotations": { REVISION: revision } } } },
        });
        objects::apply(&deployments, &deployment.name_any(), MANAGER, &object).await?;
        tracing::info!(deployment = deployment.name_any(), component, "settings have changed");
    }
    Ok(())
}
