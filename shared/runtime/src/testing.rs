//! Helpers for tests: a kit for functions in the process of a test.

use std::collections::BTreeMap;

use crate::{Environment, Error, Kit};

/// Returns the kit of this process.
///
/// # Errors
/// If an environment variable that every AWS client needs is missing.
pub fn process() -> Result<Kit, Error> {
    Kit::of_process()
}

/// Returns the kit of a function with these environment variables.
///
/// # Errors
/// If a variable that every AWS client needs is missing.
pub fn kit(variables: BTreeMap<String, String>) -> Result<Kit, Error> {
    Kit::of(Environment::Given(variables))
}
