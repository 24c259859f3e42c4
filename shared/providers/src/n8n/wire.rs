//! The bodies a workflow posts: shapes of our own. Source: README.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::ConversationId;
use domain::content::Content;
use domain::webhook::Rejection;
use serde_json::value::RawValue;

use crate::raw::fit;

/// The longest idempotency key, in characters.
const LONGEST_KEY: usize = 255;
/// The longest reason and the longest name of a person, in characters.
const LONGEST_TEXT: usize = 1000;

/// The fields of a body.
pub(super) struct Fields<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

fn invalid(field: &str, reason: &str) -> Rejection {
    Rejection::Invalid(format!("{field}: {reason}"))
}

impl<'a> Fields<'a> {
    /// Reads a body that may have the fields `known`, each once.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn read(body: &'a [u8], known: &[&str]) -> Result<(Self, &'a RawValue), Rejection> {
        let raw: &RawValue =
            serde_json::from_slice(body).map_err(|_| invalid("body", "is not JSON"))?;
        let fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| invalid("body", "is not a JSON object"))?;
        if let Some(unknown) = fields.keys().find(|name| !known.contains(&&***name)) {
            // A name is the caller's own too, and may be anything.
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let plain = unknown.len() <= 64 && unknown.chars().all(word);
            let name = if plain { unknown } else { "a field" };
            return Err(invalid(name, "is not known; further data belongs in metadata"));
        }
        Ok((Self(fields), raw))
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        // `null` is what a workflow writes for what it does not have.
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// The conversation it is about.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn conversation(&self) -> Result<ConversationId, Rejection> {
        let raw = self.get("conversation").ok_or_else(|| invalid("conversation", "is missing"))?;
        fit(Some(raw))
            .ok_or_else(|| invalid("conversation", "must be an id that begins with conv_"))
    }

    /// The conversation's epoch at which the workflow was told.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn epoch(&self) -> Result<u64, Rejection> {
        let raw = self.get("epoch").ok_or_else(|| invalid("epoch", "is missing"))?;
        fit(Some(raw)).ok_or_else(|| invalid("epoch", "must be a whole number, 0 or more"))
    }

    /// What the person is to be answered: `text`, or `content`.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn answer(&self) -> Result<Content, Rejection> {
        match (self.get("text"), self.get("content")) {
            (Some(text), None) => {
                let text = fit::<String>(Some(text)).filter(|text| !text.trim().is_empty());
                let text = text.ok_or_else(|| invalid("text", "must be text, and not empty"))?;
                Ok(Content::Text { text })
            }
            (None, Some(content)) => {
                let content = fit::<Content>(Some(content));
                let content = content.filter(|c| !matches!(c, Content::Unsupported { .. }));
                content.ok_or_else(|| invalid("content", "must be content as in POST /messages"))
            }
            (None, None) => Err(invalid("text", "is missing, and so is content")),
            (Some(_), Some(_)) => Err(invalid("text", "must not stand beside content")),
        }
    }

    /// A field that may be left out.
    ///
    /// # Errors
    /// [`Rejection::Invalid`]
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, Rejection> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let text = fit::<String>(Some(raw));
        let text = text.filter(|text| text.chars().count() <= LONGEST_TEXT);
        text.map(Some).ok_or_else(|| invalid(name, "must be text of 1000 characters at most"))
    }

    /// Data of the workflow's own, which is kept as it is.
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

    /// The idempotency key, if the body has it.
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

/// `key`, if it may be one.
///
/// # Errors
/// [`Rejection::Invalid`]
pub(super) fn checked_key<'a>(field: &str, key: Cow<'a, str>) -> Result<Cow<'a, str>, Rejection> {
    let length = key.chars().count();
    let blank = key.trim().is_empty() || key.chars().any(char::is_control);
    if blank || length > LONGEST_KEY {
        return Err(invalid(field, "must have 1 to 255 characters, none of them a control"));
    }
    Ok(key)
}
