//! Settings of an Infobip sender.

use crate::entry::Maker;
use domain::Credentials;
use domain::integration::{self, Flaw};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::entry;

/// Settings of an Infobip sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The sender's number, as Infobip writes it in `to` of what comes in. Without one, the
    /// integration takes whatever its own secret proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// How Infobip proves itself.
    #[serde(default)]
    pub security: Security,
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
    entry::account_setting(maker, settings, credentials)
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
