//! Reads the settings of a Telegram bot.

use crate::entry::Maker;
use domain::Credentials;
use domain::integration::{Flaw, Settings, TelegramSettings};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

/// Reads the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, Flaw> {
    crate::entry::read::<TelegramSettings>(given).map(Settings::Telegram)
}

/// The bot's id, which is the beginning of its token.
pub(super) fn account(
    _: Maker,
    _: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Flaw> {
    let token = credentials.first(super::BOT_TOKEN);
    let id = token.and_then(|token| super::bot_id(token.expose_secret()));
    id.map(|id| Some(id.to_owned())).ok_or_else(|| {
        let reason = "missing or not a bot's token: digits, a colon, letters";
        Flaw::new("credentials.TELEGRAM_BOT_TOKEN", reason)
    })
}

/// The webhook's secret stands in a header and may stand in a path.
pub(super) fn check(name: &str, value: &str) -> Result<(), Flaw> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if name == super::WEBHOOK_SECRET && (value.len() > 256 || !value.bytes().all(fits)) {
        let field = format!("credentials.{name}");
        return Err(Flaw::new(&field, "1 to 256 of A-Z, a-z, 0-9, - and _"));
    }
    Ok(())
}
