//! The way to a real table, for the tests of the crates that `runtime` stands on.

use aws_types::SdkConfig;

use crate::transport::Transport;
use crate::{Error, env};

/// The configuration of an AWS client and the table's name, as the environment has them.
///
/// # Errors
/// If the environment is incomplete.
pub fn table() -> Result<(SdkConfig, String), Error> {
    Ok((crate::aws::config(&Transport::new()?)?, env::var("TABLE_NAME")?))
}
