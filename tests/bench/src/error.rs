//! Errors of the benchmark.

use std::path::{Path, PathBuf};

/// Result of the benchmark or a step.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Error that ends the benchmark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{step}: {detail}")]
    Step { step: String, detail: String },
    #[error("{what} did not {expected}. Its output:\n{printed}")]
    Silent { what: String, expected: &'static str, printed: String },
    #[error("{what} returned an unexpected response: {answer}")]
    Answer { what: String, answer: String },
    #[error("{0}")]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot create the certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    #[error("cannot create the TLS server: {0}")]
    Tls(#[from] rustls::Error),
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    pub(crate) fn step(step: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Step { step: step.into(), detail: detail.into() }
    }
}
