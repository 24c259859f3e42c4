//! Settings of a Telegram bot.

use domain::integration::{DeliveryPolicy, FieldError, Settings};
use domain::{Credentials, Provider};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::spec::{self, RequestedBy};

/// Settings of a bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BotSettings {
    /// Base URL of the Bot API.
    #[serde(default = "bot_api_url")]
    pub(super) base_url: String,
    /// What to do when the outcome of a send is unknown.
    #[serde(default)]
    delivery: DeliveryPolicy,
    /// Messages per second that the bot may send, over all chats.
    #[serde(default = "messages_per_second")]
    pub(super) messages_per_second: u32,
}

/// Base URL of the Bot API.
const BOT_API_URL: &str = "https://api.telegram.org";

fn bot_api_url() -> String {
    BOT_API_URL.to_owned()
}

const fn messages_per_second() -> u32 {
    30
}

/// Whether a base URL is Telegram's.
pub(super) fn is_bot_api_url(base_url: &str) -> bool {
    base_url == BOT_API_URL
}

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, FieldError> {
    spec::tagged(Provider::Telegram, &spec::read::<BotSettings>(given)?)
}

/// Returns the bot's id, which is the first part of its token.
pub(super) fn account(
    _: RequestedBy,
    _: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    let token = credentials.first(super::BOT_TOKEN);
    let id = token.and_then(|token| super::bot_id(token.expose_secret()));
    id.map(|id| Some(id.to_owned())).ok_or_else(|| {
        let reason = "is missing or is not a bot token: give the one BotFather shows, such as \
                      123456789:AA...";
        FieldError::new("credentials.TELEGRAM_BOT_TOKEN", reason)
    })
}

/// The webhook secret is sent in a header and may be part of a path.
pub(super) fn check(name: &str, value: &str) -> Result<(), FieldError> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if name == super::WEBHOOK_SECRET && (value.len() > 256 || !value.bytes().all(fits)) {
        let field = format!("credentials.{name}");
        return Err(FieldError::new(
            &field,
            "must have 1 to 256 characters of A-Z, a-z, 0-9, - and _",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_default_to_telegrams_own_server() {
        let settings = read(&Map::new()).unwrap();
        let expected = serde_json::json!({
            "provider": "telegram", "base_url": "https://api.telegram.org",
            "delivery": "at_most_once", "messages_per_second": 30,
        });
        assert_eq!(Value::Object(settings.0), expected);
        let misspelled = Map::from_iter([("basurl".to_owned(), "x".into())]);
        assert!(read(&misspelled).is_err());
    }
}
