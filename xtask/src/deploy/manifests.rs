//! The kustomizations: built, and held against the schemas of Kubernetes and what they say of each other.

use anyhow::Result;

use super::{argument, kustomize, promtool, script, skipped};
use crate::{reaper::Reaper, report::Count};

/// It brings PyYAML.
const VALIDATE: &str = "kubernetes-validate==1.37.0";

pub(super) fn check(reaper: &mut Reaper) -> Result<Count> {
    let Some(kustomize) = kustomize() else { return Ok(skipped("kustomize, which is built by Go")) };
    script(reaper, "manifests.py", &[VALIDATE], &[&argument(Some(&kustomize)), &argument(promtool().as_deref())])
}
