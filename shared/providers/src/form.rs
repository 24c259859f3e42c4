//! Form bodies: `application/x-www-form-urlencoded`.
//!
//! <https://url.spec.whatwg.org/#application/x-www-form-urlencoded>

/// The largest number of fields that are parsed: the largest form that a provider documents has a
/// few dozen, and a mail's headers are fields too.
pub const MAX_FIELDS: usize = 1_000;

/// Parses a posted form into its decoded fields, in order; `None` if it has more than `most` bytes
/// or [`MAX_FIELDS`] fields. Both are checked before any field is decoded, because the sender is
/// not verified yet.
#[must_use]
pub fn read(body: &[u8], most: usize) -> Option<Vec<(String, String)>> {
    let fits = |body: &&[u8]| body.split(|byte| *byte == b'&').nth(MAX_FIELDS).is_none();
    Some(body).filter(|body| body.len() <= most).filter(fits).map(decode)
}

/// Parses a form of any size into its decoded fields, in order. For query strings, whose length API
/// Gateway limits; use [`read`] for posted forms.
#[must_use]
pub fn decode(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// Encodes the fields as a form.
#[must_use]
pub fn encode(fields: &[(String, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Returns the first field `name`.
#[must_use]
pub fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_with_too_many_bytes_or_fields_is_not_parsed() {
        let fields = vec!["a=1"; MAX_FIELDS].join("&");
        assert_eq!(read(fields.as_bytes(), fields.len()).unwrap().len(), MAX_FIELDS);
        assert!(read(fields.as_bytes(), fields.len() - 1).is_none());
        let more = format!("{fields}&");
        assert!(read(more.as_bytes(), more.len()).is_none());
        assert_eq!(read(b"", 0), Some(Vec::new()));
    }
}
