//! The way to a real table, for the tests of the crates that `runtime` stands on.

use aws_types::SdkConfig;

use crate::transport::{self, SdkClient};
use crate::{Error, env};

/// The configuration of an AWS client and the table's name, as the environment has them.
///
/// # Errors
/// If the environment is incomplete.
pub fn table() -> Result<(SdkConfig, String), Error> {
    Ok((crate::aws::config(SdkClient::over(transport::tls()?))?, env::var("TABLE_NAME")?))
}
