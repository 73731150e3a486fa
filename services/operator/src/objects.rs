//! Objects that the operator writes: by server-side apply, marked as its own, and taken away again only if they are.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    crd::Realm,
    error::{OperatorError, has_code},
};

/// Name under which fields are owned.
pub(crate) const MANAGER: &str = "qpc-operator";

/// What is told apart by labels.
const INSTANCE: &str = "app.kubernetes.io/instance";
const COMPONENT: &str = "app.kubernetes.io/component";

/// The release that a Realm is about.
pub(crate) fn release(realm: &Realm) -> String {
    realm.spec.release.clone().unwrap_or_else(|| realm.name_any())
}

/// Metadata of an object that goes with its Realm.
pub(crate) fn metadata(realm: &Realm, name: &str) -> Result<Value, OperatorError> {
    let owner = realm.controller_owner_ref(&()).ok_or(OperatorError::Incomplete("uid"))?;
    Ok(json!({
        "name": name,
        "labels": {
            "app.kubernetes.io/name": "quicprochat",
            "app.kubernetes.io/part-of": "quicprochat",
            "app.kubernetes.io/managed-by": MANAGER,
            INSTANCE: release(realm),
        },
        "ownerReferences": [owner],
    }))
}

/// To whom an object belongs that has a name of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// To this Realm.
    This,
    /// To another Realm.
    Other,
    /// To whoever made it by hand.
    Nobody,
}

pub(crate) fn owner(meta: &ObjectMeta, realm: &Realm) -> Owner {
    let is_realm = |owner: &&OwnerReference| owner.kind == Realm::kind(&()) && owner.controller == Some(true);
    match meta.owner_references.iter().flatten().find(is_realm) {
        None => Owner::Nobody,
        Some(found) if Some(&found.uid) == realm.meta().uid.as_ref() => Owner::This,
        Some(_) => Owner::Other,
    }
}

/// Writes the fields of `object` and nothing else, as `manager`.
pub(crate) async fn apply<K>(api: &Api<K>, name: &str, manager: &str, object: &Value) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(object)).await
}

/// The same for the status.
pub(crate) async fn apply_status<K, S>(api: &Api<K>, name: &str, status: &S) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
    S: Serialize,
{
    let object = json!({ "apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": status });
    api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await
}

/// Deletes an object if it belongs to `realm`. One that is gone is no error.
pub(crate) async fn delete_own<K>(api: &Api<K>, name: &str, realm: &Realm) -> Result<bool, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let Some(found) = api.get_opt(name).await? else { return Ok(false) };
    if owner(found.meta(), realm) != Owner::This {
        return Ok(false);
    }
    // Not one that somebody has made under this name since.
    let preconditions = Preconditions { uid: found.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Chooses the objects of one part of a release, or of all parts.
pub(crate) fn selector(release: &str, component: Option<&str>) -> ListParams {
    let component = component.map(|component| format!(",{COMPONENT}={component}")).unwrap_or_default();
    ListParams::default().labels(&format!("{INSTANCE}={release}{component}"))
}

/// The part of a release that an object is.
pub(crate) fn component(meta: &ObjectMeta) -> Option<&str> {
    meta.labels.as_ref()?.get(COMPONENT).map(String::as_str)
}

/// The release that an object is part of.
pub(crate) fn instance(meta: &ObjectMeta) -> Option<&str> {
    meta.labels.as_ref()?.get(INSTANCE).map(String::as_str)
}
