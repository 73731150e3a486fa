//! Programs of others that judge the chart.

use std::path::PathBuf;

use crate::tools;

const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";
const KUBERNETES_VALIDATE: &str = "kubernetes-validate==1.37.0";
const CHECKOV: &str = "checkov==3.3.30";

/// Where they are; `None` where they cannot be had.
pub(super) struct Programs {
    pub(super) helm: Option<PathBuf>,
    pub(super) kubernetes_validate: Option<PathBuf>,
    pub(super) checkov: Option<PathBuf>,
}

impl Programs {
    /// Finds them, and makes what was never made.
    pub(super) fn find() -> Self {
        let of_python = |package, program: &str| Some(tools::python(&[package])?.join(program));
        Self {
            helm: tools::go_tool("helm", HELM),
            kubernetes_validate: of_python(KUBERNETES_VALIDATE, "kubernetes-validate"),
            checkov: of_python(CHECKOV, "checkov"),
        }
    }

    pub(super) fn named(&self) -> [(&'static str, &Option<PathBuf>); 3] {
        [("helm", &self.helm), ("kubernetes-validate", &self.kubernetes_validate), ("checkov", &self.checkov)]
    }
}
