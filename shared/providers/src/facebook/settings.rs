//! Settings of a Page or an Instagram account.

use crate::entry::Maker;
use domain::Credentials;
use domain::integration::{Flaw, Settings};

/// Returns the id of the Page or the Instagram account.
pub(super) fn account(
    maker: Maker,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Flaw> {
    let account = crate::entry::account_setting(maker, settings, credentials)?;
    if account.as_ref().is_some_and(|id| !id.bytes().all(|c| c.is_ascii_digit())) {
        let reason = "must be the id of the Page or the Instagram account, in digits";
        return Err(Flaw::new("settings.account", reason));
    }
    Ok(account)
}
