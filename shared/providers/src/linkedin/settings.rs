//! Settings of a LinkedIn application.

use serde::{Deserialize, Serialize};

/// Settings of a LinkedIn application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// URN of the organization or advertising account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// The child application whose challenges are answered; any application if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) application_id: Option<String>,
}
