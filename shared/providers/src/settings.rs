//! Settings that most providers that the hub sends through have, as in `POST /integrations`.
//!
//! A provider with these settings only uses [`SenderSettings`]. One with others names the fields
//! in its own struct and takes their types and checks from here: serde's `flatten` would lose the
//! name of an invalid field and the list of the known ones, which the API returns.

use domain::integration::DeliveryPolicy;
use domain::sender::SendError;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::http::invalid;

/// Settings of a sending provider; messages per second are limited to `PER_SECOND` by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderSettings<const PER_SECOND: u32> {
    /// The account id that the provider uses in its webhooks. Without one, the integration receives
    /// every webhook that its own secret signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The number or name to send from, if it is not `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Base URL of the provider's API, if it is not the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Delivery policy for a send with an unknown outcome.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages per second.
    #[serde(default)]
    pub messages_per_second: PerSecond<PER_SECOND>,
}

/// Messages per second that an account may send: at least 1, and `DEFAULT` if not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PerSecond<const DEFAULT: u32>(u32);

impl<const DEFAULT: u32> PerSecond<DEFAULT> {
    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const DEFAULT: u32> Default for PerSecond<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u32> Deserialize<'de> for PerSecond<DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            0 => Err(D::Error::custom("must be at least 1")),
            number => Ok(Self(number)),
        }
    }
}

/// Returns the base URL of the provider's API without a trailing slash, for a provider that has
/// none of its own. `missing` says in the error which URL to give.
///
/// # Errors
/// [`SendError::Invalid`] if the setting is missing.
pub(crate) fn base_url(given: Option<&str>, missing: &str) -> Result<String, SendError> {
    let given = given.ok_or_else(|| invalid("settings.base_url", missing))?;
    Ok(given.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::{read, with_defaults};

    fn of(given: &Value) -> Result<SenderSettings<10>, (String, String)> {
        read(given.as_object().unwrap()).map_err(|error| (error.field, error.reason))
    }

    #[test]
    fn every_setting_is_optional_and_has_a_safe_default() {
        let none = of(&json!({})).unwrap();
        assert_eq!(none, SenderSettings::default());
        assert_eq!(
            (none.messages_per_second.get(), none.delivery),
            (10, DeliveryPolicy::AtMostOnce)
        );
        let stored = with_defaults::<SenderSettings<10>>(&serde_json::Map::new()).unwrap();
        let expected = json!({ "delivery": "at_most_once", "messages_per_second": 10 });
        assert_eq!(Value::Object(stored.0), expected);
        let given = json!({ "account": "a", "from": "49155", "base_url": "https://h.example",
            "delivery": "at_least_once", "messages_per_second": 1 });
        assert_eq!(serde_json::to_value(of(&given).unwrap()).unwrap(), given);
    }

    #[test]
    fn an_invalid_setting_is_named_with_what_would_be_valid() {
        for (given, field, reason) in [
            (json!({ "messages_per_second": 0 }), "messages_per_second", "must be at least 1"),
            (
                json!({ "messages_per_second": "1" }),
                "messages_per_second",
                "must be a whole number of at least 0",
            ),
            (
                json!({ "delivery": "x" }),
                "delivery",
                "must be one of: `at_most_once`, `at_least_once`",
            ),
            (json!({ "account": 1 }), "account", "must be a string"),
            (
                json!({ "x": 1 }),
                "x",
                "is not a known field; known are: `account`, `from`, `base_url`, `delivery`, \
                 `messages_per_second`",
            ),
        ] {
            let error = of(&given).unwrap_err();
            assert_eq!(error, (format!("settings.{field}"), reason.to_owned()), "{given}");
        }
    }

    #[test]
    fn a_base_url_has_no_trailing_slash_and_may_be_required() {
        assert_eq!(base_url(Some("https://h.example/"), "").unwrap(), "https://h.example");
        let error = base_url(None, "is missing: give the URL").unwrap_err();
        assert_eq!(error.to_string(), "settings.base_url: is missing: give the URL");
    }
}
