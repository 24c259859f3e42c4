//! The environment: the one place that reads it.

use crate::Error;

/// The variable `name`.
///
/// # Errors
/// If it is missing or empty, naming it. A function without it fails at init, not in the
/// middle of a message.
pub fn var(name: &'static str) -> Result<String, Error> {
    optional(name).ok_or_else(|| missing(name))
}

pub(crate) fn missing(name: &str) -> Error {
    format!("the environment variable {name} is missing").into()
}

/// The variable `name`, if it is there and not empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}
