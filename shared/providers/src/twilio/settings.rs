//! Settings of a Twilio account.

use std::collections::BTreeMap;

use crate::spec::RequestedBy;
use domain::content::Template;
use domain::integration::{DeliveryPolicy, FieldError, Settings};
use domain::{Credentials, Integration};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::verifier::Address;
use crate::settings::PerSecond;
use crate::spec;

/// Settings of a Twilio account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Twilio {
    /// The account, if it differs from the one in the credentials: a subaccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<String>,
    /// URL of the hub as configured at Twilio, if the hub is called at another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
    /// Base URL of the API, if it is not Twilio's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    /// The number that SMS are sent from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<String>,
    /// The messaging service that SMS are sent from, instead of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) messaging_service_sid: Option<String>,
    /// The number of the sender on `WhatsApp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) whatsapp_from: Option<String>,
    /// The number that calls are made from, if not `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) voice_from: Option<String>,
    /// `TwiML` that answers an incoming call; without it, the call is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    voice_twiml: Option<String>,
    /// Names for content templates, each with its id. A name may end with a slash and a language.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) templates: BTreeMap<String, String>,
    /// Delivery policy for a send with an unknown outcome.
    #[serde(default)]
    delivery: DeliveryPolicy,
    /// Messages and calls per second.
    #[serde(default)]
    pub(super) messages_per_second: PerSecond<10>,
}

impl Twilio {
    /// Base URL of the API, without a trailing slash.
    pub(super) fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or("https://api.twilio.com").trim_end_matches('/')
    }

    /// Scheme, host and port of the hub as configured at Twilio, if the settings have a
    /// `public_url`.
    pub(super) fn origin(&self) -> Option<&str> {
        origin(self.public_url.as_deref()?)
    }

    /// Returns the id of a content template that the setting `templates` names; the name with the
    /// language takes precedence.
    pub(super) fn declared_template(&self, template: &Template) -> Option<&str> {
        let in_language = format!("{}/{}", template.name, template.language);
        let sid = self.templates.get(&in_language).or_else(|| self.templates.get(&template.name));
        sid.map(String::as_str)
    }

    /// Returns the account that requests are made for: that of the settings, else that of the
    /// integration, else that of the credentials.
    pub(super) fn account_sid<'a>(
        &'a self,
        integration: &'a Integration,
        credentials: &'a Credentials,
    ) -> Option<&'a str> {
        let owner = credentials.first(super::ACCOUNT_SID).map(ExposeSecret::expose_secret);
        self.account.as_deref().or(integration.account.as_deref()).or(owner)
    }
}

/// Returns whether the integration's setting `templates` names the template.
#[must_use]
pub fn is_declared_template(integration: &Integration, template: &Template) -> bool {
    of(integration).is_some_and(|settings| settings.declared_template(template).is_some())
}

/// Reads the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, FieldError> {
    let mut settings: Twilio = spec::read(given)?;
    let error = |name: &str, reason| Err(FieldError::new(&format!("settings.{name}"), reason));
    if settings.public_url.is_some() && settings.origin().is_none() {
        let reason = "must be a URL such as https://hub.example.com, without a user name and \
                      password";
        return error("public_url", reason);
    }
    for (name, number) in [
        ("from", &mut settings.from),
        ("whatsapp_from", &mut settings.whatsapp_from),
        ("voice_from", &mut settings.voice_from),
    ] {
        let Some(given) = number else { continue };
        match super::address(given) {
            Ok(address) => *given = address,
            // SMS also accept a name or a short code as the sender.
            Err(_) if name == "from" && is_sender(given) => {}
            Err(_) => return error(name, "must be an E.164 phone number such as +15550001111"),
        }
    }
    if let Some(service) = &settings.messaging_service_sid {
        if !is_sid_of(service, "MG") {
            return error("messaging_service_sid", "must be MG followed by 32 hexadecimal digits");
        }
        if settings.from.is_some() {
            return error(
                "messaging_service_sid",
                "cannot be combined with `from`: remove one of the two",
            );
        }
    }
    if !settings.templates.values().all(|sid| is_content_sid(sid)) {
        return error(
            "templates",
            "must map each name to a content template's id: HX followed by 32 hexadecimal digits",
        );
    }
    if settings.voice_twiml.as_deref().is_some_and(|twiml| !is_twiml(twiml)) {
        return error("voice_twiml", "must be TwiML: <Response>...</Response>");
    }
    spec::fields(&settings).map(Settings)
}

/// Returns the settings of an integration; `None` if they belong to another provider.
pub(super) fn of(integration: &Integration) -> Option<Twilio> {
    spec::settings_of::<Twilio>(integration)
}

/// Returns the account from the settings, or else from the credentials.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    let given = spec::account_setting(requested_by, settings, credentials)?;
    let sid = credentials.first(super::ACCOUNT_SID).map(|sid| sid.expose_secret().to_owned());
    // A tenant cannot prove that it owns the account. Without an account, the integration
    // receives whatever its own token signs.
    let account = given.or(sid.filter(|_| requested_by != RequestedBy::Tenant));
    match &account {
        Some(account) if !is_sid(account, "AC") => Err(FieldError::new(
            "settings.account",
            "must be an account SID: AC followed by letters and digits",
        )),
        _ => Ok(account),
    }
}

/// Finds swapped or mistyped credentials when they are stored, before the first webhook fails.
pub(super) fn check(name: &str, value: &str) -> Result<(), FieldError> {
    let error = |reason| Err(FieldError::new(&format!("credentials.{name}"), reason));
    match name {
        super::ACCOUNT_SID if !is_sid(value, "AC") => {
            error("must be an account SID: AC followed by letters and digits")
        }
        super::API_KEY if !is_sid(value, "SK") => {
            error("must be the SID of an API key: SK followed by letters and digits")
        }
        _ if value.chars().any(char::is_whitespace) => error("must not contain white space"),
        _ => Ok(()),
    }
}

pub(super) fn is_sid(value: &str, prefix: &str) -> bool {
    let rest = value.strip_prefix(prefix).unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// Whether `value` is a SID with this prefix and 32 hexadecimal digits.
fn is_sid_of(value: &str, prefix: &str) -> bool {
    let rest = value.strip_prefix(prefix).unwrap_or_default();
    rest.len() == 32 && rest.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Whether `value` is the id of a content template.
pub(super) fn is_content_sid(value: &str) -> bool {
    is_sid_of(value, "HX")
}

/// A short code, or a name of at most 11 letters and digits.
fn is_sender(value: &str) -> bool {
    let code = (5..=6).contains(&value.len()) && value.bytes().all(|c| c.is_ascii_digit());
    let plain = value.bytes().all(|c| c.is_ascii_alphanumeric() || b" -_&".contains(&c));
    let letters = value.bytes().any(|c| c.is_ascii_alphabetic());
    code || (plain && letters && value.len() <= 11)
}

/// Whether `text` looks like `TwiML`. Source: README, facts 18.
pub(super) fn is_twiml(text: &str) -> bool {
    let text = text.trim();
    let text = match text.strip_prefix("<?xml") {
        Some(declared) => declared.split_once("?>").map_or("", |(_, rest)| rest.trim_start()),
        None => text,
    };
    text == "<Response/>" || (text.starts_with("<Response>") && text.ends_with("</Response>"))
}

/// Returns the scheme, host and port of the hub as configured at Twilio, if the settings have a
/// `public_url`.
pub(super) fn public_origin(integration: &Integration) -> Option<String> {
    of(integration)?.origin().map(ToOwned::to_owned)
}

/// Returns the `TwiML` that answers incoming calls, if the settings have any.
pub(super) fn voice_answer(integration: &Integration) -> Option<String> {
    of(integration)?.voice_twiml
}

/// Returns the scheme, host and port of a URL, unchanged.
fn origin(url: &str) -> Option<&str> {
    let address = Address::read(url)?;
    let web = matches!(address.scheme, "https://" | "http://");
    let plain = url.bytes().all(|c| c.is_ascii_graphic());
    let known = web && plain && !address.host.is_empty() && address.userinfo.is_empty();
    url.strip_suffix(address.rest).filter(|_| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: &Value) -> Result<Settings, FieldError> {
        read(value.as_object().unwrap())
    }

    fn credentials(sid: &str) -> Credentials {
        Credentials::new([(super::super::ACCOUNT_SID.to_owned(), vec![sid.into()])])
    }

    #[test]
    fn settings_may_be_empty_and_an_unknown_setting_is_an_error() {
        assert!(settings(&json!({})).is_ok());
        assert_eq!(settings(&json!({ "x": 1 })).unwrap_err().field, "settings.x");
    }

    #[test]
    fn public_url_must_be_a_web_url_without_a_password() {
        for good in ["https://h.example", "http://h.example:8080/webhooks/sms", "https://[::1]:1/"]
        {
            assert!(settings(&json!({ "public_url": good })).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h.example",
            "ftp://h.example",
            "https://",
            "https://u:p@h.example",
            "https://h ex",
        ] {
            let error = settings(&json!({ "public_url": bad })).unwrap_err();
            assert_eq!(error.field, "settings.public_url", "{bad}");
        }
        assert_eq!(origin("https://H.example:81/a?b=c"), Some("https://H.example:81"));
    }

    #[test]
    fn sender_numbers_are_validated_and_normalized() {
        let sid = |prefix: &str| format!("{prefix}0123456789abcdef0123456789abcdef");
        let read = settings(&json!({
            "from": "1 555 000-1111", "whatsapp_from": "whatsapp:+15550001111",
            "templates": { "hello/de": sid("HX") }, "voice_twiml": "<Response/>",
        }));
        let Settings(own) = read.unwrap();
        assert_eq!(own["from"], "+15550001111");
        assert_eq!(own["whatsapp_from"], "+15550001111");
        assert_eq!(own["delivery"], "at_most_once");
        assert_eq!(own["messages_per_second"], 10);
        assert!(!own.contains_key("base_url"));
        for good in [
            json!({ "from": "MyShop" }),
            json!({ "from": "12345" }),
            json!({ "messaging_service_sid": sid("MG") }),
            json!({ "voice_twiml": "<?xml version=\"1.0\"?>\n<Response><Hangup/></Response>" }),
        ] {
            assert!(settings(&good).is_ok(), "{good}");
        }
        for (field, bad) in [
            ("from", json!({ "from": "a long name of a shop" })),
            ("from", json!({ "from": "1234567" })),
            ("whatsapp_from", json!({ "whatsapp_from": "MyShop" })),
            ("voice_from", json!({ "voice_from": "MyShop" })),
            ("messaging_service_sid", json!({ "messaging_service_sid": "MG1" })),
            (
                "messaging_service_sid",
                json!({ "from": "MyShop", "messaging_service_sid": sid("MG") }),
            ),
            ("templates", json!({ "templates": { "hello": "HX1" } })),
            ("voice_twiml", json!({ "voice_twiml": "Hello" })),
            ("voice_twiml", json!({ "voice_twiml": "<Response>" })),
            ("messages_per_second", json!({ "messages_per_second": 0 })),
        ] {
            assert_eq!(settings(&bad).unwrap_err().field, format!("settings.{field}"), "{bad}");
        }
    }

    #[test]
    fn account_comes_from_the_settings_then_the_credentials() {
        let own = settings(&json!({ "account": "AC2" })).unwrap();
        let none = settings(&json!({})).unwrap();
        let of =
            |settings: &Settings, sid| account(RequestedBy::Operator, settings, &credentials(sid));
        assert_eq!(of(&own, "AC1"), Ok(Some("AC2".to_owned())));
        assert_eq!(of(&none, "AC1"), Ok(Some("AC1".to_owned())));
        assert_eq!(of(&none, ""), Ok(None));
        // A tenant could name another tenant's account.
        assert_eq!(account(RequestedBy::Tenant, &none, &credentials("AC1")), Ok(None));
        for bad in ["", "SK1", "AC", "AC 1"] {
            assert!(of(&settings(&json!({ "account": bad })).unwrap(), "AC1").is_err(), "{bad}");
        }
    }

    #[test]
    fn swapped_credentials_are_rejected_and_never_quoted() {
        assert!(check(super::super::ACCOUNT_SID, "AC12ab").is_ok());
        assert!(check(super::super::API_KEY, "SK12ab").is_ok());
        assert!(check(super::super::AUTH_TOKEN, "12345").is_ok());
        for (name, value) in [
            (super::super::ACCOUNT_SID, "SK12ab"),
            (super::super::API_KEY, "AC12ab"),
            (super::super::AUTH_TOKEN, "12345\n"),
        ] {
            let error = check(name, value).unwrap_err();
            assert!(!error.to_string().contains("12"), "{error}");
        }
    }
}
