//! Settings of a shop.

use crate::spec::RequestedBy;
use domain::Credentials;
use domain::integration::{FieldError, Settings};

/// Returns the shop's domain, as Shopify writes it.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    let account = crate::spec::account_setting(requested_by, settings, credentials)?;
    let Some(domain) = account.map(|domain| domain.to_ascii_lowercase()) else { return Ok(None) };
    let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
    if !domain.contains('.') || !domain.bytes().all(fits) {
        return Err(FieldError::new(
            "settings.account",
            "must be the shop's domain, such as name.myshopify.com",
        ));
    }
    Ok(Some(domain))
}
