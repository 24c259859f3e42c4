//! What Twilio's codes mean. Source: README, facts 10 and 16.

use std::time::Duration;

use domain::fault::Fault;
use domain::sender::About;

/// What a code means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) fault: Fault,
    pub(super) about: About,
    /// What to do.
    pub(super) remedy: &'static str,
}

const fn message(remedy: &'static str) -> Known {
    Known { fault: Fault::Permanent, about: About::Message, remedy }
}

const fn account(remedy: &'static str) -> Known {
    Known { fault: Fault::Permanent, about: About::Account, remedy }
}

const fn carrier(remedy: &'static str) -> Known {
    Known { fault: Fault::Permanent, about: About::Carrier, remedy }
}

/// Twilio did nothing, and will do it later.
const fn wait(seconds: u64, remedy: &'static str) -> Known {
    let fault = Fault::RateLimited { retry_after: Duration::from_secs(seconds) };
    Known { fault, about: About::Account, remedy }
}

/// What `code` means, if it is one of those that come with messages and calls.
pub(super) fn known(code: i64) -> Option<Known> {
    Some(match code {
        // The account and who speaks for it.
        10_001 | 20_005 | 30_002 => account("the account is suspended: ask Twilio"),
        20_003 | 20_006 | 20_008 => account(
            "Twilio does not take the credentials: store the account's SID and its auth token, \
             or an API key and its secret",
        ),
        20_404 => account("Twilio does not know the account: look at the setting account"),
        21_219 | 21_608 => carrier("a trial account reaches verified numbers only: upgrade it"),
        // Who it is from.
        21_210 | 21_212 | 21_213 | 21_601 | 21_603 | 21_606 | 21_659..=21_661 => account(
            "the account may not send from that number: look at the settings from and voice_from",
        ),
        21_701 | 21_703..=21_705 => account(
            "the messaging service is not there or has no number: look at the setting \
             messaging_service_sid",
        ),
        21_910 | 63_007 => {
            account("the number is no sender on WhatsApp: look at the setting whatsapp_from")
        }
        21_609 => account("Twilio cannot call the hub: look at PUBLIC_BASE_URL"),
        // Too much at once.
        10_004 => wait(5, "more calls at once than the account may make"),
        14_107 | 20_429 => wait(2, "more requests at once than the account may make"),
        21_611 | 30_001 => wait(
            60,
            "more messages waited than the account may have: send more slowly, or from more \
             numbers",
        ),
        63_018 => wait(60, "more messages than the WhatsApp sender may send"),
        // Who it is to.
        21_211 | 21_217 | 21_265 | 21_401 | 21_421 => {
            message("that is no telephone number: write it with its country")
        }
        21_214 | 21_612 => message("the number cannot be reached from the one it is sent from"),
        21_215 | 21_216 | 21_408 => carrier(
            "the account may not reach that country: allow it in Twilio's geographic permissions",
        ),
        21_266 => message("that is the number it would be sent from"),
        21_610 => message("the person has opted out: they must write START first"),
        21_614 => message("a landline: it takes no messages"),
        30_003 => message("the phone is off or out of reach: try again later"),
        30_004 => message("the person or their carrier blocks messages"),
        30_005 => message("the number does not exist"),
        30_006 => message("a landline, or a carrier that cannot be reached"),
        63_003 | 63_024 => message("the person is not on WhatsApp under that number"),
        // What it says.
        21_602 | 21_619 => message("it says nothing: give a text or a file"),
        21_617 => message("longer than 1600 characters: send it in parts"),
        21_620 | 21_623 => message("the file has no address that Twilio can call"),
        21_655 => carrier("the account has no content template of that id"),
        21_656 => message("the template's variables do not fit: each must say something"),
        21_205 | 21_218 => message("the call has no instructions that Twilio can read"),
        30_007 => message("filtered as unwanted by Twilio or the carrier: change the text"),
        30_008 => message("the carrier refused it without a reason"),
        30_034 => message("the number is not registered for A2P 10DLC"),
        63_005 | 63_013 | 63_021 => message("WhatsApp refused what it says: change it"),
        63_016 => carrier("outside WhatsApp's service window: send a template"),
        63_032 | 63_049 => message("WhatsApp chose not to deliver it to this person"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_codes_are_known_for_what_they_are() {
        for code in [20_003, 21_606, 21_701, 63_007, 30_002] {
            assert_eq!(known(code).unwrap().about, About::Account, "{code}");
            assert_eq!(known(code).unwrap().fault, Fault::Permanent, "{code}");
        }
        for code in [21_408, 21_608, 63_016] {
            assert_eq!(known(code).unwrap().about, About::Carrier, "{code}");
        }
        for code in [21_211, 21_610, 21_614, 21_617, 63_003, 30_003] {
            assert_eq!(known(code).unwrap().about, About::Message, "{code}");
            assert_eq!(known(code).unwrap().fault, Fault::Permanent, "{code}");
        }
        for code in [20_429, 21_611, 30_001, 10_004] {
            let fault = known(code).unwrap().fault;
            assert!(matches!(fault, Fault::RateLimited { .. }), "{code}");
        }
        assert!(known(99_999).is_none());
    }
}
