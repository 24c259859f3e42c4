//! Errors of the commands. Each message is one line, with a remedy where one is known.

use std::path::{Path, PathBuf};

/// Result of a command or a step.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Error that ends a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{program} was not found. {remedy}")]
    Missing { program: String, remedy: &'static str },
    #[error("{step} failed: {detail}")]
    Step { step: String, detail: String },
    #[error(
        "port {port} ({what}) is in use. Stop the program that listens there, or use other ports: --port-offset 100"
    )]
    PortInUse { port: u16, what: &'static str },
    #[error("the hub is not running ({}). Start it with `cargo xtask up`", .0.display())]
    NotRunning(PathBuf),
    #[error("{what} exited unexpectedly. See its log: {}", log.display())]
    Ended { what: &'static str, log: PathBuf },
    #[error("{what} did not respond within {seconds} s. See its log: {}", log.display())]
    Silent { what: &'static str, seconds: u64, log: PathBuf },
    #[error("{method} {url} failed: {detail}")]
    Http { method: &'static str, url: String, detail: String },
    #[error("the demo failed: {0}")]
    Story(String),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    System(#[from] std::io::Error),
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
