//! Settings of a Telegram bot.

use crate::spec::RequestedBy;
use domain::Credentials;
use domain::integration::{FieldError, Settings, TelegramSettings};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, FieldError> {
    crate::spec::read::<TelegramSettings>(given).map(Settings::Telegram)
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
