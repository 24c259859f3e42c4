//! A request to a provider or to the control API.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Uri};
use serde::de::DeserializeOwned;

/// A refused control call: status and reason.
pub type Refusal = (u16, String);

/// Refuses a call with 400 and the reason.
#[must_use]
pub fn bad_request(reason: String) -> Refusal {
    (400, reason)
}

/// Refuses a path that does not exist.
#[must_use]
pub fn not_found() -> Refusal {
    (404, "no such control call".to_owned())
}

/// Refuses a method.
#[must_use]
pub fn method_not_allowed() -> Refusal {
    (405, "this control call does not support the method".to_owned())
}

/// A query string.
#[derive(Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    fn of(uri: &Uri) -> Self {
        let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The address as received.
    pub uri: &'a Uri,
    /// The segments of the path, decoded.
    pub path: &'a [&'a str],
    /// The query string.
    pub query: Query,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a Bytes,
    /// The address at which the caller reaches the simulator: `http://127.0.0.1:8788`.
    pub base: String,
}

impl<'a> Request<'a> {
    /// Builds a request; `path` is the decoded path of `uri`, split at the slashes.
    #[must_use]
    pub fn new(
        method: &'a Method,
        uri: &'a Uri,
        path: &'a [&'a str],
        headers: &'a HeaderMap,
        body: &'a Bytes,
    ) -> Self {
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        let base = format!("http://{}", host.unwrap_or("127.0.0.1"));
        Self { method, uri, path, query: Query::of(uri), headers, body, base }
    }

    /// The header `name`, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The header `Authorization`.
    #[must_use]
    pub fn authorization(&self) -> Option<&'a str> {
        self.header(AUTHORIZATION.as_str())
    }

    /// The body of a control call; an empty one is an empty object.
    ///
    /// # Errors
    /// If it is not what the call expects.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| (400, error.to_string()))
    }

    /// Whether the query selects `value` under `name`, or does not filter by `name`.
    #[must_use]
    pub fn matches_filter(&self, name: &str, value: Option<&str>) -> bool {
        self.query.get(name).is_none_or(|wanted| value == Some(wanted))
    }
}

/// The decoded path of an address.
#[must_use]
pub fn decoded_path(path: &str) -> String {
    // The query string parser decodes a single value too; a plus must stay a plus.
    let escaped = path.replace('+', "%2B").replace('=', "%3D").replace('&', "%26");
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map_or_else(String::new, |(path, _)| path.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded() {
        assert_eq!(decoded_path("/bot1%3Aa+b/getMe"), "/bot1:a+b/getMe");
    }
}
