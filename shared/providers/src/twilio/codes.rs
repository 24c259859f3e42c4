//! Meaning and remedy of Twilio's error codes. Source: README, facts 10 and 16.

use std::time::Duration;

use domain::fault::Fault;
use domain::sender::RefusalScope;

/// Meaning of an error code.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorCode {
    pub(super) fault: Fault,
    pub(super) scope: RefusalScope,
    /// Remedy: the action of the operator or tenant.
    pub(super) remedy: &'static str,
}

const fn message(remedy: &'static str) -> ErrorCode {
    ErrorCode { fault: Fault::Permanent, scope: RefusalScope::Message, remedy }
}

const fn account(remedy: &'static str) -> ErrorCode {
    ErrorCode { fault: Fault::Permanent, scope: RefusalScope::Account, remedy }
}

const fn route(remedy: &'static str) -> ErrorCode {
    ErrorCode { fault: Fault::Permanent, scope: RefusalScope::Route, remedy }
}

/// Twilio did not process the request; it can be sent again after `seconds`.
const fn wait(seconds: u64, remedy: &'static str) -> ErrorCode {
    let fault = Fault::RateLimited { retry_after: Duration::from_secs(seconds) };
    ErrorCode { fault, scope: RefusalScope::Account, remedy }
}

/// Returns the scope of the error code in a receipt.
pub(super) fn scope(code: &str) -> RefusalScope {
    let known = code.parse().ok().and_then(known);
    known.map_or(RefusalScope::Message, |known| known.scope)
}

/// Returns the meaning of `code`, if it is one of the codes returned for messages and calls.
pub(super) fn known(code: i64) -> Option<ErrorCode> {
    Some(match code {
        // The account and its credentials.
        10_001 | 20_005 | 30_002 => {
            account("Twilio suspended the account. Contact Twilio support.")
        }
        20_003 | 20_006 | 20_008 => account(
            "Twilio rejected the credentials. Store the account SID and its auth token, or an API \
             key and its secret.",
        ),
        20_404 => account("Twilio does not know the account. Correct the setting `account`."),
        21_219 | 21_608 => {
            route("A trial account can only send to verified numbers. Upgrade the account.")
        }
        // The sender.
        21_210 | 21_212 | 21_213 | 21_601 | 21_603 | 21_606 | 21_659..=21_661 => account(
            "The account may not send from this number. Correct the settings `from` and \
             `voice_from`.",
        ),
        21_701 | 21_703..=21_705 => account(
            "The messaging service does not exist or has no number. Correct the setting \
             `messaging_service_sid`.",
        ),
        21_910 | 63_007 => {
            account("The number is not a WhatsApp sender. Correct the setting `whatsapp_from`.")
        }
        21_609 => account(
            "Twilio rejected the status callback URL. Set PUBLIC_BASE_URL to the hub's public URL.",
        ),
        // Rate limits.
        10_004 => wait(5, "The account exceeded its limit of concurrent calls."),
        14_107 | 20_429 => wait(2, "The account exceeded its limit of concurrent requests."),
        21_611 | 30_001 => wait(
            60,
            "Twilio's queue for the account is full. Send more slowly, or from more numbers.",
        ),
        63_018 => wait(60, "The WhatsApp sender exceeded its rate limit."),
        // The recipient.
        21_211 | 21_217 | 21_265 | 21_401 | 21_421 => {
            message("`to` is not a valid phone number. Use E.164, such as +15551234567.")
        }
        21_214 | 21_612 => {
            message("The sender cannot reach this number. Send from another number.")
        }
        21_215 | 21_216 | 21_408 => route(
            "The account may not send to this country. Allow it in Twilio's geographic \
             permissions.",
        ),
        21_266 => message("`to` is the sender's own number. Use another recipient."),
        21_610 => {
            message("The recipient has opted out. They must send START to receive messages again.")
        }
        21_614 => message("The number is a landline and cannot receive messages."),
        30_003 => message("The phone is off or out of reach. Send the message again later."),
        30_004 => message("The recipient or their carrier blocks the message."),
        30_005 => message("The number does not exist."),
        30_006 => message("The number is a landline, or its carrier cannot be reached."),
        63_003 | 63_024 => message("The number is not registered with WhatsApp."),
        // The content.
        21_602 | 21_619 => message("The message is empty. Add a text or a file."),
        21_617 => message("The message is longer than 1600 characters. Split it."),
        21_620 | 21_623 => message("Twilio cannot fetch the file. Use a public URL."),
        21_655 => route("The account has no content template with this id."),
        21_656 => {
            message("The template's variables are invalid. Give every variable a non-empty value.")
        }
        21_205 | 21_218 => {
            message("The call has no valid TwiML. Correct `call.twiml` or `call.url`.")
        }
        30_007 => {
            message("Twilio or the carrier filtered the message as unwanted. Change the text.")
        }
        30_008 => message("The carrier rejected the message and gave no reason."),
        30_034 => {
            message("The sender's number is not registered for A2P 10DLC. Register it at Twilio.")
        }
        63_005 | 63_013 | 63_021 => message("WhatsApp rejected the content. Change the message."),
        63_016 => route("WhatsApp's service window is closed. Send a template."),
        63_032 | 63_049 => message("WhatsApp chose not to deliver the message to this recipient."),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_error_codes_have_the_right_scope_and_fault() {
        for code in [20_003, 21_606, 21_701, 63_007, 30_002] {
            assert_eq!(known(code).unwrap().scope, RefusalScope::Account, "{code}");
            assert_eq!(known(code).unwrap().fault, Fault::Permanent, "{code}");
        }
        for code in [21_408, 21_608, 63_016] {
            assert_eq!(known(code).unwrap().scope, RefusalScope::Route, "{code}");
        }
        for code in [21_211, 21_610, 21_614, 21_617, 63_003, 30_003] {
            assert_eq!(known(code).unwrap().scope, RefusalScope::Message, "{code}");
            assert_eq!(known(code).unwrap().fault, Fault::Permanent, "{code}");
        }
        for code in [20_429, 21_611, 30_001, 10_004] {
            let fault = known(code).unwrap().fault;
            assert!(matches!(fault, Fault::RateLimited { .. }), "{code}");
        }
        assert!(known(99_999).is_none());
    }
}
