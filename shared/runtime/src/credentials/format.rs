//! Format of stored credentials: JSON.

use std::collections::BTreeMap;

use domain::Fault;
use domain::integration::Credentials;
use domain::ports::{PortError, PortResult};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::found::Found;

/// Names and values of an integration's credentials, as they are stored.
pub(super) type Fields = BTreeMap<String, Vec<String>>;

/// Returns credentials as they are stored.
pub(super) fn exposed(credentials: &Credentials) -> Fields {
    let values = |values: &[SecretString]| {
        values.iter().map(|value| value.expose_secret().to_owned()).collect()
    };
    credentials.iter().map(|(name, v)| (name.to_owned(), values(v))).collect()
}

/// Returns stored credentials.
pub(super) fn credentials(fields: Fields) -> Credentials {
    let secrets = |values: Vec<String>| values.into_iter().map(SecretString::from).collect();
    Credentials::new(fields.into_iter().map(|(name, values)| (name, secrets(values))))
}

/// Returns signing secrets as they are stored.
pub(super) fn exposed_secrets(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(ExposeSecret::expose_secret).collect()
}

/// Returns stored signing secrets.
pub(super) fn secrets(text: &SecretString) -> Found<Vec<SecretString>> {
    parsed(text).map(|secrets: Vec<String>| {
        Found::Stored(secrets.into_iter().map(SecretString::from).collect())
    })
}

/// Parses a stored text. The parser's message is left out, because it could quote the secret.
pub(super) fn parsed<T: DeserializeOwned>(text: &SecretString) -> Found<T> {
    match serde_json::from_str(text.expose_secret()) {
        Ok(parsed) => Found::Stored(parsed),
        Err(_) => Found::Unreadable("they have an invalid format: store the credentials again"),
    }
}

/// Returns the text to store.
pub(super) fn text_of(content: &impl Serialize) -> PortResult<String> {
    serde_json::to_string(content).map_err(|_| PortError {
        operation: "write credentials",
        reason: "they cannot be written as JSON".to_owned(),
        fault: Fault::Retryable,
    })
}
