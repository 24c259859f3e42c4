//! Reads the settings of an instance.

use domain::integration::{DeliveryPolicy, Flaw, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Settings of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Own {
    /// The instance's name as webhooks tell it, if it is this integration's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// The instance to send through, where that is not said by `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<String>,
    /// Where the server is. Without it nothing is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base_url: Option<String>,
    /// How a choice is offered.
    #[serde(default)]
    pub(super) buttons: Buttons,
    /// What to do when a send's outcome is unknown.
    #[serde(default)]
    pub(super) delivery: DeliveryPolicy,
    /// Messages a second the instance may send.
    #[serde(default = "one")]
    pub(super) messages_per_second: u32,
}

const fn one() -> u32 {
    1
}

/// How a choice is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Buttons {
    /// As a numbered list in the text, which every phone shows.
    #[default]
    Text,
    /// As buttons or a list, which some phones do not show.
    Native,
}

impl Own {
    /// The instance to send through.
    pub(super) fn instance(&self) -> Option<&str> {
        self.instance.as_deref().or(self.account.as_deref())
    }
}

/// Reads the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, Flaw> {
    let settings = crate::entry::own::<Own>(given)?;
    let own: Own = crate::entry::read(given)?;
    if own.messages_per_second == 0 {
        return Err(Flaw::new("settings.messages_per_second", "must be at least 1"));
    }
    // It stands in a path, where these two would lead elsewhere.
    if own.instance.as_deref().is_some_and(|name| matches!(name, "" | "." | "..")) {
        return Err(Flaw::new("settings.instance", "must be the name of an instance"));
    }
    Ok(settings)
}

/// Both credentials travel in a header.
pub(super) fn check(name: &str, value: &str) -> Result<(), Flaw> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let field = format!("credentials.{name}");
        return Err(Flaw::new(&field, "must be ASCII letters, digits and signs, without spaces"));
    }
    Ok(())
}
