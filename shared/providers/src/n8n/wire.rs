//! Bodies that a workflow posts, in the hub's own format. Source: README.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::ConversationId;
use domain::content::Content;
use domain::webhook::Rejection;
use serde_json::value::RawValue;

use crate::raw::fit;

/// Maximum length of an idempotency key, in characters.
const MAX_KEY_LENGTH: usize = 255;
/// Maximum length of a reason and of an assignee's name, in characters.
const MAX_TEXT_LENGTH: usize = 1000;

/// Fields of a body.
pub(super) struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

fn invalid(field: &str, reason: &str) -> Rejection {
    Rejection::Invalid(format!("{field}: {reason}"))
}

impl<'a> Fields<'a> {
    /// Reads a body that may have each of the fields `known` once.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn read(body: &'a [u8], known: &[&str]) -> Result<(Self, &'a RawValue), Rejection> {
        let raw: &RawValue =
            serde_json::from_slice(body).map_err(|_| invalid("body", "is not JSON"))?;
        let fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| invalid("body", "is not a JSON object"))?;
        if let Some(unknown) = fields.keys().find(|name| !known.contains(&&***name)) {
            // The name comes from the caller too, and may be anything.
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let plain = unknown.len() <= 64 && unknown.chars().all(word);
            let name = if plain { unknown } else { "a field" };
            return Err(invalid(name, "is not a known field: put other data into metadata"));
        }
        Ok((Self(fields), raw))
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        // Workflows write `null` for a missing value.
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// Returns the conversation's id.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn conversation(&self) -> Result<ConversationId, Rejection> {
        let raw = self.get("conversation").ok_or_else(|| invalid("conversation", "is missing"))?;
        fit(Some(raw)).ok_or_else(|| {
            invalid("conversation", "must be a conversation id, which starts with conv_")
        })
    }

    /// Returns the conversation's epoch when the workflow was notified.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn epoch(&self) -> Result<u64, Rejection> {
        let raw = self.get("epoch").ok_or_else(|| invalid("epoch", "is missing"))?;
        fit(Some(raw)).ok_or_else(|| invalid("epoch", "must be a whole number of 0 or more"))
    }

    /// Returns the answer to the customer: `text` or `content`.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn answer(&self) -> Result<Content, Rejection> {
        match (self.get("text"), self.get("content")) {
            (Some(text), None) => {
                let text = fit::<String>(Some(text)).filter(|text| !text.trim().is_empty());
                let text = text.ok_or_else(|| invalid("text", "must be a non-empty text"))?;
                Ok(Content::Text { text })
            }
            (None, Some(content)) => {
                let content = fit::<Content>(Some(content));
                let content = content.filter(|c| !matches!(c, Content::Unsupported { .. }));
                content.ok_or_else(|| {
                    invalid("content", "must have the format of content in POST /messages")
                })
            }
            (None, None) => Err(invalid("text", "is missing: give text or content")),
            (Some(_), Some(_)) => Err(invalid("text", "must not be combined with content")),
        }
    }

    /// Returns an optional field.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, Rejection> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let text = fit::<String>(Some(raw));
        let text = text.filter(|text| text.chars().count() <= MAX_TEXT_LENGTH);
        text.map(Some).ok_or_else(|| invalid(name, "must be a text of at most 1000 characters"))
    }

    /// Checks the workflow's own data, which is stored unchanged.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn metadata(&self) -> Result<(), Rejection> {
        match self.get("metadata") {
            Some(raw) if !raw.get().starts_with('{') => {
                Err(invalid("metadata", "must be an object"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the idempotency key, if the body has one.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn idempotency_key(&self) -> Result<Option<Cow<'a, str>>, Rejection> {
        let Some(raw) = self.get("idempotency_key") else { return Ok(None) };
        let key = fit::<Cow<'_, str>>(Some(raw));
        let key = key.ok_or_else(|| invalid("idempotency_key", "must be text"))?;
        checked_key("idempotency_key", key).map(Some)
    }
}

/// Returns `key`, if it is a valid idempotency key.
///
/// # Errors
/// [`Rejection::Invalid`]
pub(super) fn checked_key<'a>(field: &str, key: Cow<'a, str>) -> Result<Cow<'a, str>, Rejection> {
    let length = key.chars().count();
    let blank = key.trim().is_empty() || key.chars().any(char::is_control);
    if blank || length > MAX_KEY_LENGTH {
        return Err(invalid(field, "must have 1 to 255 characters without control characters"));
    }
    Ok(key)
}
