//! HTTP requests and responses, as several providers need them.

use std::time::Duration;

use bytes::Bytes;
use domain::sender::SendError;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns the wait of a `Retry-After` header that is given in seconds.
///
/// A date is ignored, because it needs a clock; none of the providers sends one.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Creates the error for a field of `POST /messages` that the provider could not accept.
pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> SendError {
    SendError::Invalid { field, reason: reason.into() }
}

/// Builds a POST request with a JSON body. Errors contain neither `url` nor the token.
pub(crate) fn post_json(
    url: &str,
    bearer: Option<&SecretString>,
    body: &impl Serialize,
) -> Result<Request<Bytes>, SendError> {
    // Only a number that JSON cannot represent could fail, and numbers are checked before.
    let body = serde_json::to_vec(body).map_err(|_| invalid("body", "cannot be JSON-encoded"))?;
    let request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
    build(request, bearer, body.into())
}

/// Builds a GET request.
pub(crate) fn get(url: &str, bearer: Option<&SecretString>) -> Result<Request<Bytes>, SendError> {
    build(Request::get(url), bearer, Bytes::new())
}

fn build(
    mut request: http::request::Builder,
    bearer: Option<&SecretString>,
    body: Bytes,
) -> Result<Request<Bytes>, SendError> {
    if let Some(token) = bearer {
        let value = secret_value(&format!("Bearer {}", token.expose_secret()))?;
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(body).map_err(|_| invalid("settings.base_url", "does not form a valid URL"))
}

/// Sets the header `Authorization` to a key under the provider's own scheme.
pub(crate) fn authorized(
    mut request: Request<Bytes>,
    scheme: &str,
    key: &SecretString,
) -> Result<Request<Bytes>, SendError> {
    let value = secret_value(&format!("{scheme} {}", key.expose_secret()))?;
    request.headers_mut().insert(header::AUTHORIZATION, value);
    Ok(request)
}

/// Creates a header value that contains a secret: its debug output is "Sensitive".
pub(crate) fn secret_value(value: &str) -> Result<HeaderValue, SendError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| invalid("credentials", "must contain only characters valid in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Percent-encodes text as one path segment: everything but letters, digits and `-._~`.
///
/// <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>
pub(crate) fn encode_path_segment(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            part.push(char::from(byte));
        } else {
            part.push('%');
            part.push_str(&hex::encode_upper([byte]));
        }
    }
    part
}

/// Parses the body of a successful response.
pub(crate) fn read<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, SendError> {
    serde_json::from_slice(response.body()).map_err(|_| SendError::Unreadable)
}

/// Checks that `text` has between 1 and `most` characters.
pub(crate) fn check_length(field: &'static str, text: &str, most: usize) -> Result<(), SendError> {
    if text.trim().is_empty() {
        return Err(invalid(field, "must not be empty"));
    }
    check_max_length(field, text, most)
}

/// Checks that `text` has at most `most` characters.
pub(crate) fn check_max_length(
    field: &'static str,
    text: &str,
    most: usize,
) -> Result<(), SendError> {
    // No text has more characters than bytes.
    if text.len() > most && text.chars().count() > most {
        return Err(invalid(field, format!("must have at most {most} characters")));
    }
    Ok(())
}

/// Checks that the URL of a file is an http or https URL, which the provider can fetch.
pub(crate) fn check_media_url(url: Option<&str>) -> Result<&str, SendError> {
    let url = url.ok_or_else(|| invalid("media.url", "is required: the URL of the file"))?;
    let uri = url.parse::<http::Uri>().ok();
    let is_web = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    if is_web { Ok(url) } else { Err(invalid("media.url", "must be an http or https URL")) }
}

/// Checks that latitude and longitude are in range.
pub(crate) fn check_coordinates(location: &domain::content::Location) -> Result<(), SendError> {
    if !(-90.0..=90.0).contains(&location.latitude) {
        return Err(invalid("location.latitude", "must be between -90 and 90 degrees"));
    }
    if !(-180.0..=180.0).contains(&location.longitude) {
        return Err(invalid("location.longitude", "must be between -180 and 180 degrees"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_and_a_date_is_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert("retry-after", HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        let date = HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT");
        headers.insert("retry-after", date);
        assert_eq!(retry_after(&headers), None);
    }

    #[test]
    fn a_token_appears_neither_in_a_request_nor_in_an_error() {
        let token = SecretString::from("very-secret");
        let request = get("https://example.com/", Some(&token)).unwrap();
        assert!(!format!("{request:?}").contains("very-secret"));
        let error = get("not an address very-secret", None).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("very-secret"));
        let error = get("https://example.com/", Some(&"very-secret\n".into())).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("very-secret"));
    }

    #[test]
    fn an_encoded_path_segment_stays_one_segment() {
        assert_eq!(
            encode_path_segment("wamid.a/b==?#% é-_~"),
            "wamid.a%2Fb%3D%3D%3F%23%25%20%C3%A9-_~"
        );
    }

    #[test]
    fn lengths_are_counted_in_characters_not_bytes() {
        assert!(check_length("text", "ääää", 4).is_ok());
        assert!(check_length("text", "äääää", 4).is_err());
        assert!(check_length("text", " ", 4).is_err());
    }

    #[test]
    fn the_url_of_a_file_must_be_http_or_https() {
        assert!(check_media_url(Some("https://example.com/a.png")).is_ok());
        for bad in [None, Some(""), Some("file:///etc/passwd"), Some("/a.png"), Some("https://")] {
            assert!(check_media_url(bad).is_err(), "{bad:?}");
        }
    }
}
