//! Errors of the Graph API.

use serde_json::{Value, json};

use crate::answer::Answer;

/// An error response of the Graph API.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphError {
    /// HTTP status.
    pub status: u16,
    /// Meta's error code.
    pub code: i64,
    /// Meta's error subcode.
    pub subcode: Option<i64>,
    /// Meta's error type.
    pub kind: &'static str,
    /// The message.
    pub message: String,
    /// `error_data.details`.
    pub details: Option<String>,
    /// `is_transient`.
    pub transient: bool,
}

impl GraphError {
    fn new(status: u16, code: i64, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            subcode: None,
            kind: "OAuthException",
            message: message.into(),
            details: None,
            transient: false,
        }
    }

    /// No token.
    #[must_use]
    pub fn no_token() -> Self {
        Self::new(401, 104, "An access token is required to request this resource")
    }

    /// An invalid token.
    #[must_use]
    pub fn bad_token() -> Self {
        Self::new(401, 190, "Invalid OAuth access token - Cannot parse access token")
    }

    /// An object that does not exist, or that the token may not access.
    #[must_use]
    pub fn no_object(method: &str, id: &str) -> Self {
        Self {
            subcode: Some(33),
            kind: "GraphMethodException",
            ..Self::new(
                400,
                100,
                format!(
                    "Unsupported {} request. Object with ID '{id}' does not exist, cannot be \
                     loaded due to missing permissions, or does not support this operation. \
                     Please read the Graph API documentation at \
                     https://developers.facebook.com/docs/graph-api",
                    method.to_ascii_lowercase()
                ),
            )
        }
    }

    /// A path that does not exist in the Graph API.
    #[must_use]
    pub fn unknown_path(path: &str) -> Self {
        Self::new(400, 2500, format!("Unknown path components: {path}"))
    }

    /// A body that is not JSON.
    #[must_use]
    pub fn no_json() -> Self {
        Self {
            details: Some("The request body is not a JSON object.".into()),
            ..Self::new(400, 100, "(#100) Invalid parameter")
        }
    }

    /// A missing required parameter.
    #[must_use]
    pub fn required(parameter: &str) -> Self {
        Self::new(400, 100, format!("(#100) The parameter {parameter} is required."))
    }

    /// A parameter with an invalid value; `rule` continues the sentence after its name.
    #[must_use]
    pub fn parameter(parameter: &str, rule: &str) -> Self {
        Self::new(400, 100, format!("(#100) Param {parameter} {rule}"))
    }

    /// An unknown key in a parameter.
    #[must_use]
    pub fn unexpected(key: &str, parameter: &str) -> Self {
        Self::new(400, 100, format!("(#100) Unexpected key \"{key}\" on param \"{parameter}\"."))
    }

    /// The error with this code, with its usual details if `details` is `None`.
    #[must_use]
    pub fn numbered(code: i64, details: Option<String>) -> Self {
        let (status, title, usual) = known(code);
        Self {
            details: details.or_else(|| usual.map(Into::into)),
            transient: matches!(code, 2 | 4 | 17 | 80007),
            ..Self::new(status, code, format!("(#{code}) {title}"))
        }
    }

    /// The same error with another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The HTTP response.
    #[must_use]
    pub fn answer(&self, fbtrace_id: &str) -> Answer {
        let mut error = json!({
            "message": self.message,
            "type": self.kind,
            "code": self.code,
            "fbtrace_id": fbtrace_id,
        });
        if let Some(error) = error.as_object_mut() {
            if let Some(subcode) = self.subcode {
                error.insert("error_subcode".into(), json!(subcode));
            }
            if let Some(details) = &self.details {
                let data = json!({"messaging_product": "whatsapp", "details": details});
                error.insert("error_data".into(), data);
            }
            if self.transient {
                error.insert("is_transient".into(), json!(true));
            }
        }
        Answer::json(self.status, json!({"error": error}))
    }
}

/// The `errors[]` element of a failed status webhook.
#[must_use]
pub fn status_error(code: i64) -> Value {
    let (_, title, details) = known(code);
    json!({
        "code": code,
        "title": title,
        "message": title,
        "error_data": {"details": details.unwrap_or(title)},
        "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
    })
}

/// HTTP status, title and usual details of an error code.
fn known(code: i64) -> (u16, &'static str, Option<&'static str>) {
    match code {
        1 => (400, "An unknown error occurred", None),
        2 => (500, "Service temporarily unavailable", None),
        3 => (403, "Application does not have the capability to make this API call", None),
        4 => (429, "Application request limit reached", None),
        10 => (403, "Application does not have permission for this action", None),
        17 => (429, "User request limit reached", None),
        100 => (400, "Invalid parameter", None),
        190 => (401, "Invalid OAuth access token", None),
        200 => (403, "Permissions error", None),
        368 => (403, "Temporarily blocked for policies violations", None),
        80007 => (429, "Rate limit issues", None),
        130_429 => (
            429,
            "Rate limit hit",
            Some(
                "Message failed to send because there were too many messages sent from this \
                 phone number in a short period of time",
            ),
        ),
        131_000 => (500, "Something went wrong", None),
        131_005 => (403, "Access denied", None),
        131_008 => (400, "Required parameter is missing", None),
        131_009 => (400, "Parameter value is not valid", None),
        131_016 => (500, "Service unavailable", None),
        131_021 => (400, "Recipient cannot be sender", None),
        131_026 => (400, "Message undeliverable", Some("Message Undeliverable.")),
        131_031 => (403, "Account has been locked", None),
        131_042 => (400, "Business eligibility payment issue", None),
        131_045 => (500, "Incorrect certificate", None),
        131_047 => (
            400,
            "Re-engagement message",
            Some(
                "Message failed to send because more than 24 hours have passed since the \
                 customer last replied to this number.",
            ),
        ),
        131_048 => (
            400,
            "Spam rate limit hit",
            Some(
                "Message failed to send because there are restrictions on how many messages \
                 can be sent from this phone number.",
            ),
        ),
        131_049 => (400, "Meta chose not to deliver", None),
        131_051 => (400, "Unsupported message type", None),
        131_052 => (400, "Media download error", None),
        131_053 => (400, "Media upload error", None),
        131_056 => (
            429,
            "(Business Account, Consumer Account) pair rate limit hit",
            Some(
                "Message failed to send because there were too many messages sent from this \
                 phone number to the same phone number in a short period of time.",
            ),
        ),
        132_000 => (400, "Number of parameters does not match the expected number of params", None),
        132_001 => (404, "Template name does not exist in the translation", None),
        133_005 => (400, "Two step verification PIN mismatch", None),
        133_010 => (400, "Phone number not registered", None),
        133_016 => (400, "Account register deregister rate limit exceeded", None),
        _ => (400, "Something went wrong", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_token_is_answered_with_metas_error() {
        let answer = GraphError::bad_token().answer("Atrace");
        assert_eq!(answer.status(), 401);
        assert_eq!(
            answer.body(),
            &json!({"error": {
                "message": "Invalid OAuth access token - Cannot parse access token",
                "type": "OAuthException", "code": 190, "fbtrace_id": "Atrace"
            }})
        );
    }

    #[test]
    fn a_numbered_error_contains_its_details() {
        let answer = GraphError::numbered(131_056, None).answer("A");
        assert_eq!(answer.status(), 429);
        let error = &answer.body()["error"];
        assert_eq!(
            error["message"],
            "(#131056) (Business Account, Consumer Account) pair rate limit hit"
        );
        assert_eq!(error["error_data"]["messaging_product"], "whatsapp");
    }
}
