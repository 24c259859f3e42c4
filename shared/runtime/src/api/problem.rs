//! Errors of the API, as problem details: <https://www.rfc-editor.org/rfc/rfc9457>.

use domain::ports::PortError;
use domain::sender::SendError;
use domain::tenant::Scope;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

/// What went wrong, with what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// For programs: stable, snake case.
    pub code: String,
    /// For people: what the code means in general.
    pub title: &'static str,
    /// For people: what happened here and what to do.
    pub detail: String,
    /// The field of the request that is at fault.
    pub field: Option<String>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProblemDetails<'a> {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// What the kind means.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What happened here and what to do.
    detail: &'a str,
    /// For programs: stable, snake case.
    code: &'a str,
    /// The field of the request that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Problem {
    /// A problem without a field.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, title: &'static str, detail: String) -> Self {
        Self { status, code: code.to_owned(), title, detail, field: None }
    }

    /// A field of the request cannot be what it is.
    #[must_use]
    pub fn invalid(field: &str, detail: String) -> Self {
        let title = "A field of the request is not valid";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "invalid_field", title, detail).at(field)
    }

    /// The same, with the field that is at fault.
    #[must_use]
    pub fn at(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    /// The same, under a code of its own.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        Self { code: code.to_owned(), ..self }
    }

    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        let detail =
            format!("the body is not JSON: line {}, column {}", error.line(), error.column());
        Self::new(StatusCode::BAD_REQUEST, "not_json", "The body is not JSON", detail)
    }

    pub(crate) fn too_large() -> Self {
        let detail = "a body may have 4.4 MB: send files by their address, and lists in parts";
        let (status, title) = (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
        Self::new(status, "too_large", title, detail.to_owned())
    }

    pub(crate) fn no_key() -> Self {
        let detail = "send an API key: `Authorization: Bearer swb_...`".to_owned();
        Self::new(StatusCode::UNAUTHORIZED, "no_key", "No API key", detail)
    }

    pub(crate) fn missing_scope(scope: Scope) -> Self {
        let detail = format!("the key lacks the scope `{}`", scope.as_str());
        Self::new(StatusCode::FORBIDDEN, "missing_scope", "The key may not do this", detail)
    }

    pub(crate) fn platform_only() -> Self {
        let detail = "only the platform's own admin key may do this".to_owned();
        Self::new(StatusCode::FORBIDDEN, "platform_only", "The key may not do this", detail)
    }

    pub(crate) fn not_found() -> Self {
        let detail = "nothing of yours has this address".to_owned();
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    pub(crate) fn wrong_method() -> Self {
        let detail = "the path exists, this method on it does not".to_owned();
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::new(status, "method_not_allowed", "Method not allowed", detail)
    }

    pub(crate) fn conflict(field: &str, code: &str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, code, "It is taken", detail).at(field)
    }

    pub(crate) fn internal() -> Self {
        let detail = "the answer could not be written; try again, or look into the logs".to_owned();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    /// The provider did not do what it was asked.
    pub(crate) fn of_provider(error: &SendError) -> Self {
        match error {
            SendError::Invalid { field, reason } => Self::invalid(field, reason.clone()),
            other => {
                let title = "The provider did not do what it was asked";
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

    pub(crate) fn body(&self) -> Option<String> {
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
        let title = "The hub cannot do this at the moment";
        let detail = format!("{error}; nothing is lost, try again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail)
    }
}
