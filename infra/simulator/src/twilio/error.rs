//! Twilio's error codes, both in API responses and in status callbacks.

use serde_json::{Map, Value, json};

use crate::answer::Answer;

/// An error response of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Twilio's error code.
    pub code: i64,
    /// Twilio's error text.
    pub message: String,
}

impl ApiError {
    /// The error with this code, with its usual status and text. `what` is the value that the text
    /// names.
    #[must_use]
    pub fn numbered(code: i64, what: &str) -> Self {
        let (status, message) = match code {
            20_003 => (401, "Authenticate".to_owned()),
            20_404 => (404, format!("The requested resource {what} was not found")),
            20_429 => (429, "Too Many Requests".to_owned()),
            21_201 => (400, "No 'To' number is specified".to_owned()),
            21_205 => (400, "Url is not a valid URL".to_owned()),
            21_210 => (
                400,
                format!(
                    "The source phone number provided, {what}, is not yet verified for your account."
                ),
            ),
            21_211 => (400, format!("The 'To' number {what} is not a valid phone number.")),
            21_212 => (
                400,
                format!(
                    "The 'From' number {what} is not a valid phone number, shortcode, or \
                     alphanumeric sender ID."
                ),
            ),
            21_213 => (400, "'From' phone number is required".to_owned()),
            21_215 => (
                400,
                format!("Account not authorized to call {what}: geographic permissions are off."),
            ),
            21_218 => (400, format!("ApplicationSid {what} is not valid")),
            21_266 => (400, "'To' and 'From' number cannot be the same".to_owned()),
            21_408 => (
                400,
                format!(
                    "Permission to send an SMS has not been enabled for the region indicated by \
                     the 'To' number: {what}."
                ),
            ),
            21_602 => (400, "Message body is required.".to_owned()),
            21_603 => (400, "A 'From' phone number is required.".to_owned()),
            21_604 => (400, "A 'To' phone number is required.".to_owned()),
            21_606 => (
                400,
                format!(
                    "The From phone number {what} is not a valid, SMS-capable inbound phone \
                     number or short code for your account."
                ),
            ),
            21_609 => (400, "The 'StatusCallback' URL is not a valid URL.".to_owned()),
            21_610 => (400, "Attempt to send to unsubscribed recipient".to_owned()),
            21_611 => (
                429,
                format!(
                    "The 'From' number {what} has exceeded the maximum number of queued messages"
                ),
            ),
            21_614 => (400, format!("'To' number is not a valid mobile number: {what}")),
            21_617 => {
                (400, "The concatenated message body exceeds the 1600 character limit.".to_owned())
            }
            21_620 => (400, "Invalid media URL(s)".to_owned()),
            21_623 => (400, "Number of media files exceeds allowed limit".to_owned()),
            21_655 => (400, "The ContentSid is Invalid".to_owned()),
            21_656 => (400, "The Content Variables parameter is invalid.".to_owned()),
            21_701 => (400, format!("The Messaging Service {what} does not exist.")),
            21_910 => (
                400,
                "Invalid From and To pair. From and To should be of the same channel".to_owned(),
            ),
            63_007 => {
                (400, "Twilio could not find a Channel with the specified From address".to_owned())
            }
            _ => (400, format!("Error {code}")),
        };
        Self { status, code, message }
    }

    /// The same error with another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The error response.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut body = Map::new();
        body.insert("code".into(), json!(self.code));
        if self.code == 20_003 {
            body.insert("detail".into(), json!("Your AccountSid or AuthToken was incorrect."));
        }
        body.insert("message".into(), json!(self.message));
        let more_info = format!("https://www.twilio.com/docs/errors/{}", self.code);
        body.insert("more_info".into(), json!(more_info));
        body.insert("status".into(), json!(self.status));
        Answer::json(self.status, Value::Object(body))
    }
}

/// The final status of an accepted message that fails with this code: `undelivered` if a carrier or
/// channel refused it, `failed` if Twilio gave it up.
#[must_use]
pub fn late_status(code: i64) -> &'static str {
    match code {
        30_003..=30_008 | 30_034 | 63_003 | 63_016 | 63_024 => "undelivered",
        _ => "failed",
    }
}
