//! Why a reconciliation is tried again. What only a person can mend is no error but a condition.

use std::io;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("API server: {0}")]
    Api(#[from] kube::Error),
    #[error("finalizer: {0}")]
    Finalizer(#[source] Box<kube::runtime::finalizer::Error<OperatorError>>),
    #[error("an object of the API server has no {0}")]
    Incomplete(&'static str),
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("settings of the API server: {0}")]
    Kubeconfig(#[from] kube::config::InferConfigError),
    #[error("observability pages: {0}")]
    Observe(#[source] io::Error),
}

impl From<kube::runtime::finalizer::Error<OperatorError>> for OperatorError {
    fn from(error: kube::runtime::finalizer::Error<OperatorError>) -> Self {
        Self::Finalizer(Box::new(error))
    }
}

impl OperatorError {
    /// Whether somebody else was faster, which is no failure.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Api(error) => has_code(error, 409),
            Self::Finalizer(error) => match &**error {
                kube::runtime::finalizer::Error::ApplyFailed(error)
                | kube::runtime::finalizer::Error::CleanupFailed(error) => error.is_conflict(),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Whether the API server answered so.
pub(crate) fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
