//! Forms, as browsers and providers post them: `application/x-www-form-urlencoded`.
//!
//! <https://url.spec.whatwg.org/#application/x-www-form-urlencoded>

/// The fields of a form, decoded, in order.
#[must_use]
pub fn decode(body: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// The fields as a form.
#[must_use]
pub fn encode(fields: &[(String, String)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The first field `name`.
#[must_use]
pub fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
