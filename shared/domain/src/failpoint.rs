//! Failpoints: deliberate bugs, by name, that the simulation must find.
//!
//! They are compiled in only with the feature `failpoints`, which only the simulation enables.
//! Without it [`is_active`] is the constant `false`, so the compiler removes the buggy branch.
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
            /// Every failpoint.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns a description of the bug: a sentence without its full stop.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            /// Returns the invariants of the simulation that the bug violates. Another invariant
            /// may be violated first.
            #[must_use]
            pub const fn breaks(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &$breaks,)* }
            }
        }
    };
}

failpoints! {
    ScheduleClearedFirst, "schedule-cleared-first",
        "a retry is removed from the schedule before it is in its queue", ["notified"];
    LeaseIgnored, "lease-ignored",
        "a message is claimed while another sender holds it", ["sent-once"];
    SentAgainWhenUnknown, "sent-again-when-unknown",
        "a message whose outcome is unknown is sent again", ["sent-once"];
    MovedWhenUnknown, "moved-when-unknown",
        "a message whose outcome is unknown fails over to the next integration", ["sent-once"];
    InterruptedSentAgain, "interrupted-sent-again",
        "a message whose sender crashed is sent again", ["sent-once"];
    InterruptedGivenUp, "interrupted-given-up",
        "a message that may be duplicated is not retried after its sender crashed", ["sent-at-all"];
    FailedClaimGranted, "failed-claim-granted",
        "a failed claim counts as granted", ["claim-first", "sent-once", "fate-known"];
    EndNotTold, "end-not-told",
        "a sender that finds a message settled does not notify the automation", ["notified"];
    AddressInTheHistory, "address-in-the-history",
        "an error in the history contains the URL, and with it the bot token", ["secrets"];
    DoneBeforeTheWrite, "done-before-the-write",
        "an inbound message that could not be written counts as processed",
        ["accepted-once", "notified", "one-conversation"];
    EventIdFromTheClock, "event-id-from-the-clock",
        "a redelivered event gets another id in the record", ["recorded"];
    EffectSkippedOnDuplicate, "effect-skipped-on-duplicate",
        "processing of a duplicate inbound message stops early",
        ["notified", "one-conversation", "media"];
    IdFromTheClock, "id-from-the-clock",
        "a redelivered webhook creates another message", ["accepted-once"];
    PlaceByTheirClock, "place-by-their-clock",
        "inbound messages are listed by the provider's time, in whole seconds", ["order-in"];
    ArchiveSkipped, "archive-skipped",
        "a batch whose archive write failed counts as processed", ["archived"];
    FileForgotten, "file-forgotten",
        "media whose fetch could not be queued is dropped", ["media"];
    OlderMessageWins, "older-message-wins",
        "a conversation is updated by an older message", ["one-conversation"];
    StatusOverwritten, "status-overwritten",
        "a late receipt moves a message's status back", ["never-down", "fate-agrees"];
    ReceiptOverwrittenBySettle, "receipt-overwritten-by-settle",
        "a sender's outcome overwrites a later receipt", ["never-down", "fate-agrees"];
    RestOfTheGroupForgotten, "rest-of-the-group-forgotten",
        "records behind a failed record of their group count as processed",
        ["accepted-once", "fate-known"];
    GroupInParallel, "group-in-parallel",
        "records of one group are processed in parallel", ["order-out"];
    SignatureNotChecked, "signature-not-checked",
        "a webhook with an invalid signature is accepted", ["forged"];
    TenantNotChecked, "tenant-not-checked",
        "a tenant's app can send events for another tenant's account", ["forged", "no-phantom-messages"];
    AnsweredBeforeQueued, "answered-before-queued",
        "a webhook is answered although its events are not in a queue", ["accepted-once"];
    RetryForgotten, "retry-forgotten",
        "the next delivery attempt of a notification is not queued", ["notified"];
    GroupPerMessage, "group-per-message",
        "each message of a conversation is in its own group", ["order-out"];
    KeyForgotten, "key-forgotten",
        "a repeated request with a reserved idempotency key creates another message",
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
            format!("unknown failpoint {name}; must be one of: {}", known.join(", "))
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
    fn every_failpoint_has_a_unique_name_and_is_found_by_it() {
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
        // A constant, so the code behind it is not compiled in.
        const NEVER: bool = !is_active(Failpoint::SignatureNotChecked);
        const { assert!(NEVER) };
    }

    #[cfg(feature = "failpoints")]
    #[test]
    fn only_one_failpoint_is_active_in_a_process() {
        assert!(!is_active(Failpoint::LeaseIgnored));
        activate(Failpoint::LeaseIgnored).unwrap();
        activate(Failpoint::LeaseIgnored).unwrap();
        let active = Failpoint::ALL.iter().copied().filter(|known| is_active(*known));
        assert_eq!(active.collect::<Vec<_>>(), [Failpoint::LeaseIgnored]);
        let error = activate(Failpoint::KeyForgotten).unwrap_err();
        assert!(error.contains("key-forgotten") && error.contains("lease-ignored"), "{error}");
    }
}
