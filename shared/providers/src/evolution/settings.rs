//! Settings of an Evolution instance.

use domain::integration::{DeliveryPolicy, FieldError, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::settings::PerSecond;

/// Settings of an Evolution instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceSettings {
    /// The instance's name in webhooks, if this integration is the only one that uses the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// The instance to send through, if it is not `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<String>,
    /// Base URL of the Evolution server. Without it, the integration cannot send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base_url: Option<String>,
    /// Presentation of choices.
    #[serde(default)]
    pub(super) buttons: Buttons,
    /// Delivery policy for a send with an unknown outcome.
    #[serde(default)]
    pub(super) delivery: DeliveryPolicy,
    /// Messages per second that the instance may send.
    #[serde(default)]
    pub(super) messages_per_second: PerSecond<1>,
}

/// Presentation of choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Buttons {
    /// A numbered list in the text, which every phone displays.
    #[default]
    Text,
    /// Buttons or a list, which some phones do not display.
    Native,
}

impl InstanceSettings {
    /// Returns the instance to send through.
    pub(super) fn instance(&self) -> Option<&str> {
        self.instance.as_deref().or(self.account.as_deref())
    }
}

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, FieldError> {
    let settings = crate::spec::with_defaults::<InstanceSettings>(given)?;
    let own: InstanceSettings = crate::spec::read(given)?;
    // The name is a segment of a path, which `.` and `..` would change.
    if own.instance.as_deref().is_some_and(|name| matches!(name, "" | "." | "..")) {
        return Err(FieldError::new("settings.instance", "must be the name of an instance"));
    }
    Ok(settings)
}

/// Both credentials are sent in a header.
pub(super) fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let field = format!("credentials.{name}");
        return Err(FieldError::new(
            &field,
            "must only have ASCII letters, digits and symbols, without spaces",
        ));
    }
    Ok(())
}
