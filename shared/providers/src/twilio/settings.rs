//! Reads the settings of a Twilio account.

use crate::entry::Maker;
use domain::integration::{Flaw, Settings};
use domain::{Credentials, Integration};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::proof::Address;
use crate::entry;

/// Settings of a Twilio account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Twilio {
    /// The account, if it is another than that of the credentials: a subaccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// The address as it stands at Twilio, if the hub is called by another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
}

/// Reads the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, Flaw> {
    let settings = entry::own::<Twilio>(given)?;
    let Settings::Own(own) = &settings else { return Ok(settings) };
    if let Some(url) = own.get("public_url").and_then(Value::as_str)
        && origin(url).is_none()
    {
        let reason = "an address like https://hub.example.com, without name and password";
        return Err(Flaw::new("settings.public_url", reason));
    }
    Ok(settings)
}

/// The account of the settings, or else of the credentials.
pub(super) fn account(
    maker: Maker,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Flaw> {
    let given = entry::account_setting(maker, settings, credentials)?;
    let sid = credentials.first(super::ACCOUNT_SID).map(|sid| sid.expose_secret().to_owned());
    // Whose it is a tenant cannot prove, and without one takes what their own token signs.
    let account = given.or(sid.filter(|_| maker != Maker::Tenant));
    match &account {
        Some(account) if !is_sid(account, "AC") => {
            Err(Flaw::new("settings.account", "an account SID: AC, letters and digits"))
        }
        _ => Ok(account),
    }
}

/// Mistaken credentials are better found before the first webhook than by it.
pub(super) fn check(name: &str, value: &str) -> Result<(), Flaw> {
    let flaw = |reason| Err(Flaw::new(&format!("credentials.{name}"), reason));
    match name {
        super::ACCOUNT_SID if !is_sid(value, "AC") => {
            flaw("an account SID: AC, letters and digits")
        }
        super::API_KEY if !is_sid(value, "SK") => flaw("an API key's SID: SK, letters and digits"),
        _ if value.chars().any(char::is_whitespace) => flaw("has white space in it"),
        _ => Ok(()),
    }
}

fn is_sid(value: &str, prefix: &str) -> bool {
    let rest = value.strip_prefix(prefix).unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_alphanumeric())
}

/// Scheme, host and port by which Twilio knows the hub, if the settings say so.
pub(super) fn public_origin(integration: &Integration) -> Option<String> {
    let settings = entry::settings_of::<Twilio>(integration)?;
    origin(&settings.public_url?).map(ToOwned::to_owned)
}

/// Scheme, host and port of an address, as they are written.
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

    fn settings(value: &Value) -> Result<Settings, Flaw> {
        read(value.as_object().unwrap())
    }

    fn credentials(sid: &str) -> Credentials {
        Credentials::new([(super::super::ACCOUNT_SID.to_owned(), vec![sid.into()])])
    }

    #[test]
    fn settings_may_be_empty_and_an_unknown_one_is_a_flaw() {
        assert!(settings(&json!({})).is_ok());
        assert_eq!(settings(&json!({ "x": 1 })).unwrap_err().field, "settings.x");
    }

    #[test]
    fn the_public_address_is_one_of_the_web_without_a_password() {
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
            let flaw = settings(&json!({ "public_url": bad })).unwrap_err();
            assert_eq!(flaw.field, "settings.public_url", "{bad}");
        }
        assert_eq!(origin("https://H.example:81/a?b=c"), Some("https://H.example:81"));
    }

    #[test]
    fn the_account_is_the_settings_or_the_credentials_or_none() {
        let own = settings(&json!({ "account": "AC2" })).unwrap();
        let none = settings(&json!({})).unwrap();
        let of = |settings: &Settings, sid| account(Maker::Operator, settings, &credentials(sid));
        assert_eq!(of(&own, "AC1"), Ok(Some("AC2".to_owned())));
        assert_eq!(of(&none, "AC1"), Ok(Some("AC1".to_owned())));
        assert_eq!(of(&none, ""), Ok(None));
        // A tenant could name another's.
        assert_eq!(account(Maker::Tenant, &none, &credentials("AC1")), Ok(None));
        for bad in ["", "SK1", "AC", "AC 1"] {
            assert!(of(&settings(&json!({ "account": bad })).unwrap(), "AC1").is_err(), "{bad}");
        }
    }

    #[test]
    fn mixed_up_credentials_are_found_and_never_quoted() {
        assert!(check(super::super::ACCOUNT_SID, "AC12ab").is_ok());
        assert!(check(super::super::API_KEY, "SK12ab").is_ok());
        assert!(check(super::super::AUTH_TOKEN, "12345").is_ok());
        for (name, value) in [
            (super::super::ACCOUNT_SID, "SK12ab"),
            (super::super::API_KEY, "AC12ab"),
            (super::super::AUTH_TOKEN, "12345\n"),
        ] {
            let flaw = check(name, value).unwrap_err();
            assert!(!flaw.to_string().contains("12"), "{flaw}");
        }
    }
}
