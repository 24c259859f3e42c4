//! Settings of a Page or an Instagram account.

use crate::spec::RequestedBy;
use domain::Credentials;
use domain::integration::{FieldError, Settings};

/// Returns the id of the Page or the Instagram account.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<String>, FieldError> {
    let account = crate::spec::account_setting(requested_by, settings, credentials)?;
    if account.as_ref().is_some_and(|id| !id.bytes().all(|c| c.is_ascii_digit())) {
        let reason = "must be the id of the Page or the Instagram account, in digits";
        return Err(FieldError::new("settings.account", reason));
    }
    Ok(account)
}
