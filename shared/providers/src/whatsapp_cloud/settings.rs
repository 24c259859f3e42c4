//! Settings of a WhatsApp number.

use crate::spec::RequestedBy;
use domain::Credentials;
use domain::integration::{FieldError, Settings, WhatsappSettings};
use serde_json::{Map, Value};

/// Reads and validates the settings.
pub(super) fn read(given: &Map<String, Value>) -> Result<Settings, FieldError> {
    let settings: WhatsappSettings = crate::spec::read(given)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    let parts = settings.graph_version.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    if !parts.is_some_and(|(major, minor)| digits(major) && digits(minor)) {
        return Err(FieldError::new(
            "settings.graph_version",
            "must be a Graph API version such as v26.0",
        ));
    }
    Ok(Settings::WhatsappCloud(settings))
}

/// Returns the number's id at Meta. Only the operator's own app may have none.
pub(super) fn account(
    requested_by: RequestedBy,
    settings: &Settings,
    _: &Credentials,
) -> Result<Option<String>, FieldError> {
    let Settings::WhatsappCloud(settings) = settings else { return Ok(None) };
    let field = "settings.phone_number_id";
    match &settings.phone_number_id {
        Some(id) if !id.is_empty() && id.bytes().all(|c| c.is_ascii_digit()) => {
            Ok(Some(id.clone()))
        }
        Some(_) => {
            Err(FieldError::new(field, "must be the digits that Meta shows as Phone number ID"))
        }
        None if requested_by == RequestedBy::Hub => Ok(None),
        None => Err(FieldError::new(field, "is missing: give the number's id at Meta")),
    }
}
