//! Times from outside: whatever a provider dates in the future happened when it was received.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;

use domain::event::{EventKind, InboundEvent, ParsedEvent};
use domain::webhook::{Delivery, receive};
use domain::{IntegrationId, Provider};
use jiff::{Timestamp, ToSpan};
use providers::example::{self, Example, Seed};

const URL: &str = "https://hub.example.com/webhooks/here";

/// What a webhook brings that was written at `at` and received at [`Seed::FIXED`].
fn parsed(provider: Provider, example: &Example, at: Timestamp) -> Vec<ParsedEvent> {
    let seed = Seed { at, ..Seed::fixed(&example.full_name()) };
    let draft = (example.draft)(&seed);
    let request = example::signed(provider, example, &draft, URL, Seed::FIXED);
    let id = IntegrationId::derived(&["times"]);
    let integration = example::integration(provider, id, "acme".parse().unwrap()).unwrap();
    let credentials = (example::of(provider).credentials)();
    let source = example::webhook(provider, example).source(&integration, &credentials);
    match receive(&*source, &request, Seed::FIXED) {
        Ok(Delivery::Events(events)) => events,
        _ => Vec::new(),
    }
}

fn stamped(provider: Provider, event: ParsedEvent, now: Timestamp) -> InboundEvent {
    let (tenant, id) = ("acme".parse().unwrap(), IntegrationId::derived(&["times"]));
    event.stamped(provider, tenant, id, now, 0)
}

#[test]
fn whatever_a_provider_dates_in_the_future_happened_when_it_was_received() {
    let far = Seed::FIXED + (73 * 365 * 24).hours();
    let (mut dating, mut clamped) = (BTreeSet::new(), BTreeSet::new());
    for (provider, example) in example::all() {
        let what = example.full_name();
        let times = parsed(provider, example, Seed::FIXED).into_iter();
        // A signed time is refused if it is not ours, and so never in the future.
        if times.map(|event| event.occurred_at).any(|at| at != Timestamp::UNIX_EPOCH) {
            dating.insert(what.clone());
        }
        for event in parsed(provider, example, far) {
            let told = event.occurred_at;
            let now = Seed::FIXED;
            let event = stamped(provider, event, now);
            assert!(event.occurred_at <= now, "{what}");
            assert!(event.told_at().is_none_or(|at| at <= now), "{what}");
            assert_eq!(event.identity_time(), told, "{what}: its id stays the same");
            if told > now {
                clamped.insert(what.clone());
                // An earlier version queued it as it was told.
                let before = InboundEvent { occurred_at: told, dated: None, ..event.clone() };
                assert_eq!(before.told_at(), Some(now), "{what}");
                assert_eq!(before.identity_time(), event.identity_time(), "{what}");
                let text = serde_json::to_string(&event).unwrap();
                let read: InboundEvent = serde_json::from_str(&text).unwrap();
                assert_eq!((read.told_at(), read.identity_time()), (Some(now), told), "{what}");
            }
        }
    }
    // What people write and how far messages come, of every provider that says when.
    for (provider, example) in example::all() {
        let talks = parsed(provider, example, Seed::FIXED).into_iter().any(|event| {
            let talks = !matches!(event.kind, EventKind::Other { .. });
            talks && event.occurred_at != Timestamp::UNIX_EPOCH
        });
        let what = example.full_name();
        // Some are dated by what proves them, which must be of our time.
        let far = parsed(provider, example, far);
        let is_proof = !far.is_empty() && far.iter().all(|event| event.occurred_at == Seed::FIXED);
        let is_tried = clamped.contains(&what) || is_proof;
        assert!(!talks || is_tried, "{what} is not tried: {clamped:?}");
    }
    assert!(clamped.len() * 2 > dating.len(), "{clamped:?} of {dating:?}");
}

#[test]
fn no_date_is_too_far_off() {
    let raw = serde_json::value::to_raw_value(&1).unwrap();
    for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let event = ParsedEvent::other("1", "id".to_owned(), "name", at, &raw);
        let event = stamped(Provider::Whatsapp, event, Seed::FIXED);
        assert!(event.occurred_at <= Seed::FIXED);
        assert_eq!(event.told_at().is_none(), at == Timestamp::UNIX_EPOCH);
    }
}
