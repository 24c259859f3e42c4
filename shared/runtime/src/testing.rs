//! The way to a real table, for the tests of the crates that `runtime` stands on; and functions
//! in the process of a test.

use std::collections::BTreeMap;

use aws_types::SdkConfig;

use crate::transport::{self, SdkClient};
use crate::{Environment, Error, Kit, env};

/// The configuration of an AWS client and the table's name, as the environment has them.
///
/// # Errors
/// If an environment variable is missing.
pub fn table() -> Result<(SdkConfig, String), Error> {
    let client = SdkClient::over(transport::tls()?);
    Ok((crate::aws::config(&Environment::Process, client)?, env::var("TABLE_NAME")?))
}

/// The kit of a function with these environment variables.
///
/// # Errors
/// If one that every AWS client needs is missing.
pub fn kit(variables: BTreeMap<String, String>) -> Result<Kit, Error> {
    Kit::of(Environment::Given(variables))
}
