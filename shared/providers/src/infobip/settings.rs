//! Settings of an Infobip sender.

use crate::spec::RequestedBy;
use domain::Credentials;
use domain::integration::{self, DeliveryPolicy, FieldError};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::address::is_number;
use crate::settings::PerSecond;
use crate::spec;

/// Settings of an Infobip sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The sender's number, as Infobip writes it in `to` of incoming messages. Without one, the
    /// integration receives whatever its own secret authenticates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Authentication of Infobip's webhooks.
    #[serde(default)]
    pub security: Security,
    /// Base URL of the account's API, `https://xxxxx.api.infobip.com`. Needed to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The number to send from, if it is not `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Destination of delivery reports.
    #[serde(default)]
    pub reports: Reports,
    /// Delivery policy for a send with an unknown outcome.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages per second that the number may send.
    #[serde(default)]
    pub messages_per_second: PerSecond<PACE>,
}

/// WhatsApp's default rate, unless Meta raised it. Source: README, facts 12.
const PACE: u32 = 80;

/// Destination of delivery reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reports {
    /// The URL of the subscription, authenticated as in its notification profile.
    #[default]
    Subscription,
    /// The URL in each message; only use it where Infobip authenticates those requests too.
    NotifyUrl,
}

/// Authentication of Infobip's webhooks, as chosen in the notification profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// `Authorization: Basic`; the secret is `user:password`.
    #[default]
    Basic,
    /// A signature of the timestamp and the body.
    Hmac,
    /// `Authorization: Bearer`.
    Bearer,
}

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<integration::Settings, FieldError> {
    let settings: Settings = spec::read(given)?;
    let number = |name: &str, number: Option<&String>| match number {
        Some(number) if !is_number(number) => Err(FieldError::new(
            name,
            "must be the country code and number in digits, such as 4915550001111",
        )),
        _ => Ok(()),
    };
    number("settings.from", settings.from.as_ref())?;
    if settings.base_url.is_some() {
        // An integration that sends has a number as its account; one that only receives may have
        // any text.
        number("settings.account", settings.account.as_ref())?;
        if settings.from.is_none() && settings.account.is_none() {
            return Err(FieldError::new(
                "settings.from",
                "is missing: give the number to send from",
            ));
        }
    }
    spec::with_defaults::<Settings>(given)
}

/// Whether a URL is one that Infobip gives its customers. Source: README, facts.
pub(super) fn is_infobip_url(address: &str) -> bool {
    let uri = address.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| {
        // A user name in the URL could make it look like another host.
        let bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        uri.scheme_str() == Some("https") && bare && host.ends_with(".api.infobip.com")
    })
}

/// Returns the account, and checks that the secret fits the setting `security`.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &integration::Settings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    let security = spec::read::<Settings>(&settings.0)?.security;
    let mut secrets = credentials.all(super::WEBHOOK_SECRET).iter();
    if security == Security::Basic && !secrets.all(|secret| has_password(secret.expose_secret())) {
        let field = format!("credentials.{}", super::WEBHOOK_SECRET);
        return Err(FieldError::new(
            &field,
            "must be user:password, because the setting `security` is basic",
        ));
    }
    let account = spec::account_setting(requested_by, settings, credentials)?;
    // The number it sends from is the number that receives messages.
    let from = || settings.0.get("from")?.as_str().map(str::to_owned);
    Ok(account.or_else(from))
}

/// Whether a secret is a user name and a password, neither empty.
pub(super) fn has_password(secret: &str) -> bool {
    secret.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
}

/// Both credentials are sent in a header.
pub(super) fn check(name: &str, value: &str) -> Result<(), FieldError> {
    if value.trim().is_empty() || value.chars().any(char::is_control) {
        let field = format!("credentials.{name}");
        return Err(FieldError::new(&field, "must not be blank and must not have line breaks"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_infobips_by_its_host_only() {
        for own in ["https://xk2ab9.api.infobip.com", "https://XK2.API.infobip.com:443/"] {
            assert!(is_infobip_url(own), "{own}");
        }
        for other in [
            "http://xk2ab9.api.infobip.com",
            "https://api.infobip.com.evil.example",
            "https://evil-api.infobip.com.example/.api.infobip.com",
            "https://xk2.api.infobip.com@evil.example",
            "https://evilapi.infobip.com",
            "",
        ] {
            assert!(!is_infobip_url(other), "{other}");
        }
    }
}
