//! Helpers for tests: a real table for the crates that `runtime` depends on, and functions in the
//! process of a test.

use std::collections::BTreeMap;

use aws_types::SdkConfig;

use crate::transport::{self, SdkClient};
use crate::{Environment, Error, Kit, env};

/// Returns the AWS configuration and the name of the table from the environment.
///
/// # Errors
/// If an environment variable is missing.
pub fn table() -> Result<(SdkConfig, String), Error> {
    let client = SdkClient::over(transport::tls()?);
    Ok((crate::aws::config(&Environment::Process, client)?, env::var("TABLE_NAME")?))
}

/// Returns the kit of a function with these environment variables.
///
/// # Errors
/// If a variable that every AWS client needs is missing.
pub fn kit(variables: BTreeMap<String, String>) -> Result<Kit, Error> {
    Kit::of(Environment::Given(variables))
}
