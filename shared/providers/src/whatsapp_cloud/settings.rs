//! Settings of a WhatsApp number.

use domain::integration::{DeliveryPolicy, FieldError, Settings};
use domain::{Credentials, Provider};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::spec::{self, RequestedBy};

/// Settings of a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NumberSettings {
    /// The phone number id at Meta; absent only for the operator's own app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phone_number_id: Option<String>,
    /// Graph API version, such as `v26.0`.
    #[serde(default = "graph_version")]
    pub(super) graph_version: String,
    /// Base URL of the Graph API.
    #[serde(default = "graph_url")]
    pub(super) base_url: String,
    /// What to do when the outcome of a send is unknown.
    #[serde(default)]
    delivery: DeliveryPolicy,
    /// Messages per second that the number may send: 80 unless Meta raised the limit.
    #[serde(default = "messages_per_second")]
    pub(super) messages_per_second: u32,
}

/// Base URL of the Graph API.
const GRAPH_URL: &str = "https://graph.facebook.com";

fn graph_version() -> String {
    "v26.0".to_owned()
}

fn graph_url() -> String {
    GRAPH_URL.to_owned()
}

const fn messages_per_second() -> u32 {
    80
}

/// Whether a base URL is Meta's.
pub(super) fn is_graph_url(base_url: &str) -> bool {
    base_url == GRAPH_URL
}

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, FieldError> {
    let settings: NumberSettings = spec::read(given)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let parts = settings.graph_version.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    if !parts.is_some_and(|(major, minor)| digits(major) && digits(minor)) {
        return Err(FieldError::new(
            "settings.graph_version",
            "must be a Graph API version such as v26.0",
        ));
    }
    spec::tagged(Provider::WhatsappCloud, &settings)
}

/// Returns the number's id at Meta. Only the operator's own app may have none.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &Settings,
    _: &Credentials,
) -> Result<Option<String>, FieldError> {
    let Some(settings) = settings.read::<NumberSettings>() else { return Ok(None) };
    let field = "settings.phone_number_id";
    match settings.phone_number_id {
        Some(id) if !id.is_empty() && id.bytes().all(|c| c.is_ascii_digit()) => Ok(Some(id)),
        Some(_) => {
            Err(FieldError::new(field, "must be the digits that Meta shows as Phone number ID"))
        }
        None if requested_by == RequestedBy::Hub => Ok(None),
        None => Err(FieldError::new(field, "is missing: give the number's id at Meta")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_default_to_the_current_graph_api() {
        let settings = read(&Map::new()).unwrap();
        let expected = serde_json::json!({
            "provider": "whatsapp_cloud", "graph_version": "v26.0",
            "base_url": "https://graph.facebook.com", "delivery": "at_most_once",
            "messages_per_second": 80,
        });
        assert_eq!(Value::Object(settings.0), expected);
    }
}
