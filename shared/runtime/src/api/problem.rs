//! API errors as problem details: <https://www.rfc-editor.org/rfc/rfc9457>.

use domain::Fault;
use domain::ports::PortError;
use domain::sender::SendError;
use domain::tenant::Scope;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

/// An API error: what happened, to what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Error code for programs: stable, snake case.
    pub code: String,
    /// General meaning of the code, for people.
    pub title: &'static str,
    /// Description of the error in this request and how to fix it, for people.
    pub detail: String,
    /// Invalid field of the request.
    pub field: Option<String>,
    /// Seconds after which the request may succeed: the response's `Retry-After`.
    pub retry_after: Option<u64>,
}

/// Body of an error response.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProblemDetails<'a> {
    /// URI of the error type.
    #[serde(rename = "type")]
    kind: String,
    /// General meaning of the error type.
    title: &'a str,
    /// HTTP status.
    status: u16,
    /// Description of the error in this request and how to fix it.
    detail: &'a str,
    /// Error code for programs: stable, snake case.
    code: &'a str,
    /// Invalid field of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// Returns a problem without a field.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, title: &'static str, detail: String) -> Self {
        Self { status, code: code.to_owned(), title, detail, field: None, retry_after: None }
    }

    /// Returns 422 for an invalid field.
    #[must_use]
    pub fn invalid(field: &str, detail: String) -> Self {
        let title = "A field of the request is not valid";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "invalid_field", title, detail).at(field)
    }

    /// Sets the invalid field.
    #[must_use]
    pub fn at(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// Replaces the error code.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        Self { code: code.to_owned(), ..self }
    }

    /// Returns 400 for a body that is not JSON.
    #[must_use]
    pub fn not_json(error: &serde_json::Error) -> Self {
        let detail =
            format!("the body is not JSON: line {}, column {}", error.line(), error.column());
        Self::new(StatusCode::BAD_REQUEST, "not_json", "The body is not JSON", detail)
    }

    /// Returns 413 for a body that is too large.
    #[must_use]
    pub fn too_large() -> Self {
        let detail = "the body is larger than 4.4 MB: send files by URL, and split lists";
        let (status, title) = (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
        Self::new(status, "too_large", title, detail.to_owned())
    }

    /// Returns 401 for a request without an API key.
    #[must_use]
    pub fn no_key() -> Self {
        let detail = "send an API key: `Authorization: Bearer swb_...`".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "no_key", "No API key", detail)
    }

    /// Returns 401 for an API key that has expired.
    #[must_use]
    pub fn key_expired() -> Self {
        let detail = "the API key has expired: use another key, or create one".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "key_expired", "The API key has expired", detail)
    }

    /// Returns 403 for a request from an address that the key does not allow.
    #[must_use]
    pub fn address_not_allowed() -> Self {
        let detail = "the request's IP address is not in the key's `allowed_ips`: send it from an \
                      allowed address, or create a key that allows this one"
            .to_owned();
        let title = "The address has no permission";
        Self::new(StatusCode::FORBIDDEN, "address_not_allowed", title, detail)
    }

    /// Returns 403 for a key without `scope`.
    #[must_use]
    pub fn missing_scope(scope: Scope) -> Self {
        let detail =
            format!("the key does not have the scope `{}`: use a key that has it", scope.as_str());
        Self::new(StatusCode::FORBIDDEN, "missing_scope", "The key has no permission", detail)
    }

    /// Returns 403 for a key other than the platform admin key.
    #[must_use]
    pub fn platform_only() -> Self {
        let detail = "only the platform admin key may do this".to_owned();
        Self::new(StatusCode::FORBIDDEN, "platform_only", "The key has no permission", detail)
    }

    /// Returns 404.
    #[must_use]
    pub fn not_found() -> Self {
        let detail = "there is no such resource, or it belongs to another tenant".to_owned();
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// Returns 405.
    #[must_use]
    pub fn wrong_method() -> Self {
        let detail = "the path does not support this method".to_owned();
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "method_not_allowed", "Method not allowed", detail)
    }

    /// Returns 409 for a field that conflicts with the state of the hub.
    #[must_use]
    pub fn conflict(field: &str, code: &str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, code, "Conflict", detail).at(field)
    }

    /// Returns 500.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "the response could not be created: try again, or read the logs".to_owned();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// Returns the problem for a provider's error: 422 for an invalid field, else 502.
    #[must_use]
    pub fn of_provider(error: &SendError) -> Self {
        match error {
            SendError::Invalid { field, reason } => Self::invalid(field, reason.clone()),
            other => {
                let title = "The provider rejected the request or failed";
                let status = StatusCode::BAD_GATEWAY;
                Self::new(
                    status,
                    "provider_refused",
                    title,
                    format!("{}: {}", other.code(), other.detail()),
                )
            }
        }
    }

    /// Returns the body of the response; `None` if it cannot be written, which is a bug.
    #[must_use]
    pub fn body(&self) -> Option<String> {
        serde_json::to_string(&ProblemDetails {
            kind: format!("urn:switchboard:problem:{}", self.code),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            field: self.field.as_deref(),
        })
        .ok()
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        if let Fault::RateLimited { retry_after } = error.fault {
            let seconds = retry_after.as_secs().max(1);
            let detail = format!("{error}: try again in {seconds} seconds");
            let status = StatusCode::TOO_MANY_REQUESTS;
            let problem = Self::new(status, "rate_limited", "Too many requests", detail);
            return Self { retry_after: Some(seconds), ..problem };
        }
        if error.fault == Fault::Permanent {
            let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "The request is not valid");
            return Self::new(status, "invalid", title, error.to_string());
        }
        let title = "The hub is temporarily unavailable";
        let detail = format!("{error}: nothing is lost; try again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail)
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        Self::of_provider(&error)
    }
}
