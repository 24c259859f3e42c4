//! What Infobip's codes mean for us, with what to do in our own words.
//! Source: README, facts 5 and 11.

use domain::sender::About;

/// What may be done about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Trying again cannot help.
    Permanent,
    /// It was not sent, and may be next time.
    Retryable,
    /// It was not sent; wait so many seconds unless Infobip says how long.
    Wait(u64),
    /// Infobip has a message of that id already: it is the one that is sent again.
    Taken,
}

/// A code that says more than the HTTP status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) meaning: Meaning,
    pub(super) about: About,
    pub(super) remedy: &'static str,
}

/// What one of Infobip's codes means: of a refused request (`UNAUTHORIZED`, `E401`), of a
/// status (`REJECTED_...`) or of an error in a report (`EC_...`).
#[expect(clippy::too_many_lines, reason = "a table reads best whole")]
pub(super) fn known(code: &str) -> Option<Known> {
    use About::{Account, Carrier, Message};
    use Meaning::{Permanent, Retryable, Taken, Wait};
    let (meaning, about, remedy) = match code {
        "UNAUTHORIZED" | "E401" => {
            (Permanent, Account, "Infobip does not know the API key. Store a new one.")
        }
        "FORBIDDEN" | "E403" => (
            Permanent,
            Account,
            "The API key may not send WhatsApp messages. Give it the scope whatsapp:message:send.",
        ),
        "NOT_FOUND" | "E404" => {
            (Permanent, Account, "Infobip has no such address. Check base_url.")
        }
        "BAD_REQUEST" | "E400" => {
            (Permanent, Message, "Infobip found a value missing or wrong. Correct the message.")
        }
        "TOO_MANY_REQUESTS" | "E429" => {
            (Wait(5), Account, "The account sends faster than Infobip allows.")
        }
        "REJECTED_DUPLICATE_MESSAGE_ID" | "EC_DUPLICATE_REQUEST" => {
            (Taken, Message, "Infobip has a message of this id already.")
        }
        "REJECTED_SOURCE" | "EC_SENDER_NOT_REGISTERED" | "EC_MISSING_SENDER_METADATA" => (
            Permanent,
            Account,
            "The sender's number is not registered for this account. Check from and base_url.",
        ),
        "REJECTED_SENDER" => {
            (Permanent, Account, "The account has blocked its own sender. Take it off that list.")
        }
        "REJECTED_NOT_ENOUGH_CREDITS" | "EC_PROVIDER_BILLING_ERROR" => {
            (Permanent, Account, "The account is out of credit, or cannot be charged. Top it up.")
        }
        "REJECTED_PREPAID_PACKAGE_EXPIRED" => {
            (Permanent, Account, "The account's prepaid credit has expired. Top it up.")
        }
        "REJECTED_ROUTE_NOT_AVAILABLE" | "REJECTED_NETWORK" | "EC_SERVICE_NOT_ACTIVATED" => (
            Permanent,
            Carrier,
            "The account is not set up to send there. Ask Infobip to set it up.",
        ),
        "REJECTED_DESTINATION_NOT_REGISTERED" => (
            Permanent,
            Carrier,
            "The account is a trial and sends to registered numbers only. Register this one.",
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
            "The sender's account is restricted or wrongly set up. Ask Infobip.",
        ),
        "EC_SPAM_RATE" | "EC_MESSAGE_TYPE_EXHAUSTED" => (
            Permanent,
            Account,
            "The sender has used up what its quality rating allows. Improve the rating first.",
        ),
        "REJECTED_SYSTEM_ERROR" | "UNDELIVERABLE_REJECTED_PLATFORM" => {
            (Retryable, Account, "Infobip had trouble and did not take the message.")
        }
        "EC_PROVIDER_INTERNAL_ERROR"
        | "EC_PROVIDER_TIMEOUT"
        | "EC_TEMPORARY_GATEWAY_ERROR"
        | "EC_DEPLOYMENT_CONFIGURATION_ERROR"
        | "EC_INTERNAL_ERROR"
        | "EC_INTERNAL_BAD_MAPPING" => {
            (Retryable, Account, "Infobip or Meta had trouble. Send it again later.")
        }
        "EC_TOO_MANY_REQUESTS" => {
            (Wait(5), Account, "The sender sends faster than WhatsApp allows.")
        }
        "REJECTED_DND" | "EC_BLOCKED_USER" | "REJECTED_DESTINATION_BLOCKLISTED" => {
            (Permanent, Message, "The person's number is blocked, or wants no such messages.")
        }
        "EC_MARKETING_OPT_OUT" | "EC_TEMPLATE_BLOCKED_BY_USER" => {
            (Permanent, Message, "The person does not want marketing from this business.")
        }
        "EC_FREQUENCY_CAPPING" => {
            (Permanent, Message, "Meta limits marketing to this person. Try again another day.")
        }
        "REJECTED_FLOODING_FILTER" => {
            (Permanent, Message, "Too many messages to this number within an hour.")
        }
        "REJECTED_PREFIX_MISSING" | "REJECTED_DESTINATION" | "MISSING_TO" => {
            (Permanent, Message, "Infobip takes the number for no telephone number. Check it.")
        }
        "EC_UNKNOWN_USER"
        | "EC_PHONE_MATCHING_DISABLED"
        | "EC_UNSUPPORTED_DEVICE"
        | "EC_UNSUPPORTED_MOBILE_APP_VERSION"
        | "EC_DEVICE_REPRODUCTION_ERROR" => (
            Permanent,
            Message,
            "The number is not on WhatsApp, has an old version, or has not accepted its terms.",
        ),
        "EC_USER_IDENTITY_CHANGED" => {
            (Permanent, Message, "The person's device changed. Confirm their identity at Infobip.")
        }
        "EC_NO_SESSION" => (
            Permanent,
            Carrier,
            "More than 24 hours since the person's last message. Send a template instead.",
        ),
        "EC_INVALID_TEMPLATE" | "EC_TEMPLATE_NOT_AVAILABLE" | "EC_TEMPLATE_NOT_SYNCED" => {
            (Permanent, Carrier, "There is no approved template of this name and language.")
        }
        "EC_INVALID_TEMPLATE_ARGS" => {
            (Permanent, Message, "The values do not match the template's variables.")
        }
        "EC_MEDIA_HOSTING_ERROR"
        | "EC_MEDIA_UPLOAD_ERROR"
        | "EC_MEDIA_METADATA_ERROR"
        | "EC_MEDIA_UNSUPPORTED" => {
            (Permanent, Message, "The file could not be fetched. Check its address, type and size.")
        }
        "EC_BLOCKED_CONTENT" | "EC_ILLEGAL_TRAFFIC_TYPE" | "SIGNALS_BLOCKED" => {
            (Permanent, Message, "The message's content was refused by policy.")
        }
        "REJECTED_MESSAGE_TOO_LONG" | "EC_BAD_REQUEST" | "EC_DATA_MISMATCH" => {
            (Permanent, Message, "The message's form was refused. Correct it.")
        }
        _ => return None,
    };
    Some(Known { meaning, about, remedy })
}
