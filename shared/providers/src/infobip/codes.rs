//! Meaning and remedy of Infobip's status and error codes. Source: README, facts 5 and 11.

use domain::sender::RefusalScope;

/// Retry behavior of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A retry cannot succeed.
    Permanent,
    /// The message was not sent, and a retry may succeed.
    Retryable,
    /// The message was not sent; wait this many seconds unless Infobip says how long.
    Wait(u64),
    /// Infobip already has a message with this id, from an earlier attempt.
    Duplicate,
}

/// Meaning of a code that says more than the HTTP status.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorCode {
    pub(super) meaning: Meaning,
    pub(super) scope: RefusalScope,
    pub(super) remedy: &'static str,
}

/// Returns the scope of the code in a report.
pub(super) fn scope(code: &str) -> RefusalScope {
    known(code).map_or(RefusalScope::Message, |known| known.scope)
}

/// Whether the code says that Infobip already has a message with this id.
pub(super) fn is_duplicate(code: &str) -> bool {
    known(code).is_some_and(|known| known.meaning == Meaning::Duplicate)
}

/// Returns the meaning of one of Infobip's codes: of a rejected request (`UNAUTHORIZED`, `E401`),
/// of a status (`REJECTED_...`) or of an error in a report (`EC_...`).
#[expect(clippy::too_many_lines, reason = "one table of codes")]
pub(super) fn known(code: &str) -> Option<ErrorCode> {
    use Meaning::{Duplicate, Permanent, Retryable, Wait};
    use RefusalScope::{Account, Message, Route};
    let (meaning, scope, remedy) = match code {
        "UNAUTHORIZED" | "E401" => {
            (Permanent, Account, "Infobip does not know the API key. Store a new one.")
        }
        "FORBIDDEN" | "E403" => (
            Permanent,
            Account,
            "The API key may not send WhatsApp messages. Grant it the scope whatsapp:message:send.",
        ),
        "NOT_FOUND" | "E404" => {
            (Permanent, Account, "Infobip does not know the URL. Correct the setting `base_url`.")
        }
        "BAD_REQUEST" | "E400" => (
            Permanent,
            Message,
            "A value in the message is missing or invalid. Correct the message.",
        ),
        "TOO_MANY_REQUESTS" | "E429" => {
            (Wait(5), Account, "The account exceeded Infobip's sending rate.")
        }
        "REJECTED_DUPLICATE_MESSAGE_ID" | "EC_DUPLICATE_REQUEST" => {
            (Duplicate, Message, "Infobip already has a message with this id.")
        }
        "REJECTED_SOURCE" | "EC_SENDER_NOT_REGISTERED" | "EC_MISSING_SENDER_METADATA" => (
            Permanent,
            Account,
            "The sender's number is not registered for this account. Correct the settings `from` \
             and `base_url`.",
        ),
        "REJECTED_SENDER" => (
            Permanent,
            Account,
            "The account has blocked its own sender. Remove it from the blocklist at Infobip.",
        ),
        "REJECTED_NOT_ENOUGH_CREDITS" | "EC_PROVIDER_BILLING_ERROR" => (
            Permanent,
            Account,
            "The account is out of credit or cannot be charged. Top up the account.",
        ),
        "REJECTED_PREPAID_PACKAGE_EXPIRED" => {
            (Permanent, Account, "The account's prepaid credit has expired. Top up the account.")
        }
        "REJECTED_ROUTE_NOT_AVAILABLE" | "REJECTED_NETWORK" | "EC_SERVICE_NOT_ACTIVATED" => (
            Permanent,
            Route,
            "The account is not set up to send to this network. Ask Infobip to set it up.",
        ),
        "REJECTED_DESTINATION_NOT_REGISTERED" => (
            Permanent,
            Route,
            "A trial account can only send to registered numbers. Register the recipient's number \
             at Infobip.",
        ),
        "EC_ACCOUNT_ISSUE"
        | "EC_LIMITED_FUNCTIONALITY"
        | "EC_CONFIGURATION_ERROR"
        | "EC_UNKNOWN_APPLICATION"
        | "EC_UNAUTHORIZED_ACCESS"
        | "EC_FORBIDDEN_ACCESS"
        | "EC_INVALID_WA_ACCOUNT_TYPE" => (
            Permanent,
            Account,
            "The sender's account is restricted or misconfigured. Contact Infobip.",
        ),
        "EC_SPAM_RATE" | "EC_MESSAGE_TYPE_EXHAUSTED" => (
            Permanent,
            Account,
            "The sender reached the limit of its quality rating. Improve the rating first.",
        ),
        "REJECTED_SYSTEM_ERROR" | "UNDELIVERABLE_REJECTED_PLATFORM" => {
            (Retryable, Account, "Infobip had an internal error and did not accept the message.")
        }
        "EC_PROVIDER_INTERNAL_ERROR"
        | "EC_PROVIDER_TIMEOUT"
        | "EC_TEMPORARY_GATEWAY_ERROR"
        | "EC_DEPLOYMENT_CONFIGURATION_ERROR"
        | "EC_INTERNAL_ERROR"
        | "EC_INTERNAL_BAD_MAPPING" => (
            Retryable,
            Account,
            "Infobip or Meta had an internal error. Send the message again later.",
        ),
        "EC_TOO_MANY_REQUESTS" => {
            (Wait(5), Account, "The sender exceeded WhatsApp's sending rate.")
        }
        "REJECTED_DND" | "EC_BLOCKED_USER" | "REJECTED_DESTINATION_BLOCKLISTED" => (
            Permanent,
            Message,
            "The recipient's number is blocked or opted out of these messages.",
        ),
        "EC_MARKETING_OPT_OUT" | "EC_TEMPLATE_BLOCKED_BY_USER" => (
            Permanent,
            Message,
            "The recipient opted out of marketing messages from this business.",
        ),
        "EC_FREQUENCY_CAPPING" => (
            Permanent,
            Message,
            "Meta limits marketing messages to this recipient. Send it again another day.",
        ),
        "REJECTED_FLOODING_FILTER" => (
            Permanent,
            Message,
            "Too many messages were sent to this number within an hour. Send more slowly.",
        ),
        "REJECTED_PREFIX_MISSING" | "REJECTED_DESTINATION" | "MISSING_TO" => (
            Permanent,
            Message,
            "Infobip does not accept the number as a phone number. Correct it.",
        ),
        "EC_UNKNOWN_USER"
        | "EC_PHONE_MATCHING_DISABLED"
        | "EC_UNSUPPORTED_DEVICE"
        | "EC_UNSUPPORTED_MOBILE_APP_VERSION"
        | "EC_DEVICE_REPRODUCTION_ERROR" => (
            Permanent,
            Message,
            "The recipient is not on WhatsApp, has an old version, or has not accepted its terms.",
        ),
        "EC_USER_IDENTITY_CHANGED" => (
            Permanent,
            Message,
            "The recipient's device changed. Confirm their identity at Infobip.",
        ),
        "EC_NO_SESSION" => (
            Permanent,
            Route,
            "More than 24 hours have passed since the recipient's last message. Send a template \
             instead.",
        ),
        "EC_INVALID_TEMPLATE" | "EC_TEMPLATE_NOT_AVAILABLE" | "EC_TEMPLATE_NOT_SYNCED" => (
            Permanent,
            Route,
            "No approved template has this name and language. Correct them, or wait for the \
             approval.",
        ),
        "EC_INVALID_TEMPLATE_ARGS" => {
            (Permanent, Message, "The values do not match the template's variables. Correct them.")
        }
        "EC_MEDIA_HOSTING_ERROR"
        | "EC_MEDIA_UPLOAD_ERROR"
        | "EC_MEDIA_METADATA_ERROR"
        | "EC_MEDIA_UNSUPPORTED" => (
            Permanent,
            Message,
            "Infobip or Meta could not fetch the file. Check its URL, type and size.",
        ),
        "EC_BLOCKED_CONTENT" | "EC_ILLEGAL_TRAFFIC_TYPE" | "SIGNALS_BLOCKED" => {
            (Permanent, Message, "The message's content violates a policy. Change it.")
        }
        "REJECTED_MESSAGE_TOO_LONG" | "EC_BAD_REQUEST" | "EC_DATA_MISMATCH" => {
            (Permanent, Message, "The message's format was rejected. Correct the message.")
        }
        _ => return None,
    };
    Some(ErrorCode { meaning, scope, remedy })
}
