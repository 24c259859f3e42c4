//! Failpoints: deliberate bugs by name, which the simulation must find.
//!
//! They are compiled in only with the feature `failpoints`, which only the simulation enables.
//! Without it [`is_active`] is the constant `false`, so the compiler removes the wrong branch.
//! The crate `fail` (0.5.1) is not used: its failpoints panic, wait or return from a function,
//! and most of these choose between two expressions.

use std::fmt;
use std::str::FromStr;

macro_rules! failpoints {
    ($($variant:ident, $name:literal, $what:literal, $breaks:expr;)*) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failpoint {
            $(#[doc = concat!("`", $name, "`: ", $what, ".")] $variant,)*
        }

        impl Failpoint {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The wrong behaviour, as a sentence without its full stop.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// The invariants of the simulation that it violates. Another one may be violated first.
            #[must_use]
            pub const fn breaks(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &$breaks,)* }
            }
        }
    };
}

failpoints! {
    ScheduleClearedFirst, "schedule-cleared-first",
        "a retry is taken out of the schedule before it is in its queue", ["told"];
    LeaseIgnored, "lease-ignored",
        "a message is claimed while another sender holds it", ["sent-once"];
    SentAgainWhenUnknown, "sent-again-when-unknown",
        "a message without an answer is sent again", ["sent-once"];
    MovedWhenUnknown, "moved-when-unknown",
        "a message without an answer is handed over to the next carrier", ["sent-once"];
    InterruptedSentAgain, "interrupted-sent-again",
        "a message whose sender died is sent again", ["sent-once"];
    InterruptedGivenUp, "interrupted-given-up",
        "a message that may be sent twice is not, once its sender died", ["sent-at-all"];
    FailedClaimGranted, "failed-claim-granted",
        "a claim that failed counts as granted", ["claim-first", "sent-once", "fate-known"];
    EndNotTold, "end-not-told",
        "who finds a message settled does not tell the automation", ["told"];
    AddressInTheHistory, "address-in-the-history",
        "a failure says at which address, and with it a bot's token", ["secrets"];
    DoneBeforeTheWrite, "done-before-the-write",
        "an inbound message that could not be written counts as done",
        ["accepted-once", "told", "one-conversation"];
    EventIdFromTheClock, "event-id-from-the-clock",
        "a repeated event is another one in the record", ["recorded"];
    EffectSkippedOnDuplicate, "effect-skipped-on-duplicate",
        "of an inbound message seen before nothing more is done",
        ["told", "one-conversation", "media"];
    IdFromTheClock, "id-from-the-clock",
        "a repeated webhook makes another message", ["accepted-once"];
    PlaceByTheirClock, "place-by-their-clock",
        "inbound messages are listed by the provider's time, in whole seconds", ["order-in"];
    ArchiveSkipped, "archive-skipped",
        "a batch whose archive failed is done", ["archived"];
    FileForgotten, "file-forgotten",
        "a file that could not be asked for is forgotten", ["media"];
    OlderMessageWins, "older-message-wins",
        "a conversation is brought up to date by an older message", ["one-conversation"];
    StatusOverwritten, "status-overwritten",
        "a late receipt moves a message down", ["never-down", "fate-agrees"];
    ReceiptOverwrittenBySettle, "receipt-overwritten-by-settle",
        "the sender's note moves down what a receipt moved up", ["never-down", "fate-agrees"];
    RestOfTheGroupForgotten, "rest-of-the-group-forgotten",
        "what waits in a batch behind a failed record counts as done",
        ["accepted-once", "fate-known"];
    GroupInParallel, "group-in-parallel",
        "records of one group are worked side by side", ["order-out"];
    SignatureNotChecked, "signature-not-checked",
        "a webhook without the right signature is taken in", ["forged"];
    TenantNotChecked, "tenant-not-checked",
        "a tenant's app may speak for another tenant's account", ["forged", "from-somebody"];
    AnsweredBeforeQueued, "answered-before-queued",
        "a webhook is answered though its events are in no queue", ["accepted-once"];
    RetryForgotten, "retry-forgotten",
        "the next attempt to tell an automation is in no queue", ["told"];
    GroupPerMessage, "group-per-message",
        "a conversation's messages are in groups of their own", ["order-out"];
    KeyForgotten, "key-forgotten",
        "a repeated request under a reserved key makes another message",
        ["idempotent", "fate-known"];
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Failpoint {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|known| known.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|known| known.name()).collect();
            format!("there is no failpoint {name}; there are {}", known.join(", "))
        })
    }
}

#[cfg(feature = "failpoints")]
static ACTIVE: std::sync::OnceLock<Failpoint> = std::sync::OnceLock::new();

/// Activates a failpoint for the rest of the process.
///
/// # Errors
/// If another one is active: a violation could be caused by either.
#[cfg(feature = "failpoints")]
pub fn activate(failpoint: Failpoint) -> Result<(), String> {
    let active = *ACTIVE.get_or_init(|| failpoint);
    if active == failpoint {
        return Ok(());
    }
    Err(format!("{failpoint} cannot be activated: {active} is active; use another process"))
}

/// Whether this failpoint is active.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn is_active(failpoint: Failpoint) -> bool {
    ACTIVE.get() == Some(&failpoint)
}

/// Whether this failpoint is active: never, without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
#[inline]
#[must_use]
pub const fn is_active(_failpoint: Failpoint) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_failpoint_has_a_name_of_its_own_and_is_found_by_it() {
        let names: BTreeSet<_> = Failpoint::ALL.iter().map(|known| known.name()).collect();
        assert_eq!(names.len(), Failpoint::ALL.len());
        for known in Failpoint::ALL {
            assert_eq!(known.name().parse(), Ok(*known));
            assert!(!known.what().is_empty() && !known.breaks().is_empty(), "{known}");
        }
        let error = "nothing".parse::<Failpoint>().unwrap_err();
        assert!(error.contains("nothing") && error.contains("lease-ignored"), "{error}");
    }

    #[cfg(not(feature = "failpoints"))]
    #[test]
    fn without_the_feature_no_failpoint_can_be_active() {
        // A constant, so what it guards is not compiled in.
        const NEVER: bool = !is_active(Failpoint::SignatureNotChecked);
        const { assert!(NEVER) };
    }

    #[cfg(feature = "failpoints")]
    #[test]
    fn one_failpoint_is_active_in_a_process_and_no_other() {
        assert!(!is_active(Failpoint::LeaseIgnored));
        activate(Failpoint::LeaseIgnored).unwrap();
        activate(Failpoint::LeaseIgnored).unwrap();
        let active = Failpoint::ALL.iter().copied().filter(|known| is_active(*known));
        assert_eq!(active.collect::<Vec<_>>(), [Failpoint::LeaseIgnored]);
        let error = activate(Failpoint::KeyForgotten).unwrap_err();
        assert!(error.contains("key-forgotten") && error.contains("lease-ignored"), "{error}");
    }
}
