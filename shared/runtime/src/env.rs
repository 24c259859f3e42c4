//! Environment variables. No other module reads them.

use crate::Error;

/// Returns the variable `name`.
///
/// # Errors
/// If it is missing or empty; the error names it. A function fails at init, not while it processes
/// a message.
pub fn var(name: &'static str) -> Result<String, Error> {
    optional(name).ok_or_else(|| missing(name))
}

pub(crate) fn missing(name: &str) -> Error {
    format!("the environment variable {name} is missing").into()
}

/// Returns the variable `name`, if it is set and not empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "only this module reads the environment")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}
