//! Settings of an Infobip sender.

use crate::entry::Maker;
use domain::Credentials;
use domain::integration::{self, DeliveryPolicy, Flaw};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::address::is_number;
use crate::entry;

/// Settings of an Infobip sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The sender's number, as Infobip writes it in `to` of what comes in. Without one, the
    /// integration takes whatever its own secret proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How Infobip proves itself.
    #[serde(default)]
    pub security: Security,
    /// The personal address of the API, `https://xxxxx.api.infobip.com`. Needed to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The number to send from, if that is not `account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where reports of what is sent go.
    #[serde(default)]
    pub reports: Reports,
    /// What to do when a send's outcome is unknown.
    #[serde(default)]
    pub delivery: DeliveryPolicy,
    /// Messages a second the number may send.
    #[serde(default = "pace")]
    pub messages_per_second: u32,
}

/// What WhatsApp lets a number send unless Meta raised it. Source: README, facts 12.
const fn pace() -> u32 {
    80
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            account: None,
            security: Security::default(),
            base_url: None,
            from: None,
            reports: Reports::default(),
            delivery: DeliveryPolicy::default(),
            messages_per_second: pace(),
        }
    }
}

/// Where reports of what is sent go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reports {
    /// To the address of the subscription, with the proof of its profile.
    #[default]
    Subscription,
    /// To the address that each message names, which only suits where Infobip proves itself
    /// there, too.
    NotifyUrl,
}

/// How Infobip proves itself: what is chosen in the notification profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// `Authorization: Basic`; the secret is `user:password`.
    #[default]
    Basic,
    /// A signature of the time and the body.
    Hmac,
    /// `Authorization: Bearer`.
    Bearer,
}

/// Reads the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<integration::Settings, Flaw> {
    let settings: Settings = entry::read(given)?;
    let number = |name: &str, number: Option<&String>| match number {
        Some(number) if !is_number(number) => {
            Err(Flaw::new(name, "digits with the country's code, as Infobip writes it"))
        }
        _ => Ok(()),
    };
    number("settings.from", settings.from.as_ref())?;
    if settings.base_url.is_some() {
        // A sender's number is sent from; without one, an account may be anything.
        number("settings.account", settings.account.as_ref())?;
        if settings.from.is_none() && settings.account.is_none() {
            return Err(Flaw::new("settings.from", "is missing: the number to send from"));
        }
    }
    if settings.messages_per_second == 0 {
        return Err(Flaw::new("settings.messages_per_second", "at least 1"));
    }
    entry::own::<Settings>(given)
}

/// Whether an address is one that Infobip gives its customers. Source: README, facts.
pub(super) fn is_infobips(address: &str) -> bool {
    let uri = address.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| {
        // Anything else before the host would be read as the host by nobody but people.
        let bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        uri.scheme_str() == Some("https") && bare && host.ends_with(".api.infobip.com")
    })
}

/// The account, and whether the secret suits the way it is used.
pub(super) fn account(
    maker: Maker,
    settings: &integration::Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Flaw> {
    let security = match settings {
        integration::Settings::Own(settings) => entry::read::<Settings>(settings)?.security,
        _ => Security::default(),
    };
    let mut secrets = credentials.all(super::WEBHOOK_SECRET).iter();
    if security == Security::Basic && !secrets.all(|secret| has_password(secret.expose_secret())) {
        let field = format!("credentials.{}", super::WEBHOOK_SECRET);
        return Err(Flaw::new(&field, "must be user:password, for the setting security is basic"));
    }
    let account = entry::account_setting(maker, settings, credentials)?;
    // What it sends from is what people write to.
    let from = || match settings {
        integration::Settings::Own(settings) => settings.get("from")?.as_str().map(str::to_owned),
        _ => None,
    };
    Ok(account.or_else(from))
}

/// Whether a secret is a name and a password, neither empty.
pub(super) fn has_password(secret: &str) -> bool {
    secret.split_once(':').is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
}

/// Both may travel in a header.
pub(super) fn check(name: &str, value: &str) -> Result<(), Flaw> {
    if value.trim().is_empty() || value.chars().any(char::is_control) {
        let field = format!("credentials.{name}");
        return Err(Flaw::new(&field, "must have characters to be seen, and no line breaks"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_infobips_by_its_host_alone() {
        for own in ["https://xk2ab9.api.infobip.com", "https://XK2.API.infobip.com:443/"] {
            assert!(is_infobips(own), "{own}");
        }
        for other in [
            "http://xk2ab9.api.infobip.com",
            "https://api.infobip.com.evil.example",
            "https://evil-api.infobip.com.example/.api.infobip.com",
            "https://xk2.api.infobip.com@evil.example",
            "https://evilapi.infobip.com",
            "",
        ] {
            assert!(!is_infobips(other), "{other}");
        }
    }
}
