//! Settings of a shop.

use crate::entry::Maker;
use domain::Credentials;
use domain::integration::{Flaw, Settings};

/// Returns the shop's domain, as Shopify writes it.
pub(super) fn account(
    maker: Maker,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, Flaw> {
    let account = crate::entry::account_setting(maker, settings, credentials)?;
    let Some(domain) = account.map(|domain| domain.to_ascii_lowercase()) else { return Ok(None) };
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    if !domain.contains('.') || !domain.bytes().all(fits) {
        return Err(Flaw::new(
            "settings.account",
            "must be the shop's domain, such as name.myshopify.com",
        ));
    }
    Ok(Some(domain))
}
