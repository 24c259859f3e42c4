//! Clamping of provider times: an event dated in the future occurred when it was received.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;

use domain::event::{EventKind, InboundEvent, ParsedEvent};
use domain::webhook::{ParsedWebhook, receive};
use domain::{IntegrationId, Provider};
use jiff::{Timestamp, ToSpan};
use providers::example::{self, Example, Seed};

const URL: &str = "https://hub.example.com/webhooks/here";

/// Returns the events of a webhook that was written at `at` and received at [`Seed::FIXED`].
fn parsed(provider: Provider, example: &Example, at: Timestamp) -> Vec<ParsedEvent> {
    let seed = Seed { at, ..Seed::fixed(&example.full_name()) };
    let draft = (example.draft)(&seed);
    let request = example::signed(provider, example, &draft, URL, Seed::FIXED);
    let id = IntegrationId::derived(&["times"]);
    let integration = example::integration(provider, id, "acme".parse().unwrap()).unwrap();
    let credentials = (example::of(provider).credentials)();
    let source = example::webhook(provider, example).source(&integration, &credentials);
    match receive(&*source, &request, Seed::FIXED) {
        Ok(ParsedWebhook::Events(events)) => events,
        _ => Vec::new(),
    }
}

fn into_inbound_event(provider: Provider, event: ParsedEvent, now: Timestamp) -> InboundEvent {
    let (tenant, id) = ("acme".parse().unwrap(), IntegrationId::derived(&["times"]));
    event.into_inbound_event(provider, tenant, id, now, 0)
}

#[test]
fn an_event_dated_in_the_future_occurred_when_it_was_received() {
    let far = Seed::FIXED + (73 * 365 * 24).hours();
    let (mut dated, mut clamped) = (BTreeSet::new(), BTreeSet::new());
    for (provider, example) in example::all() {
        let what = example.full_name();
        let events = parsed(provider, example, Seed::FIXED);
        // A signed time outside the tolerance is rejected, so it is never in the future.
        if events.iter().any(|event| event.occurred_at.is_some()) {
            dated.insert(what.clone());
        }
        for event in parsed(provider, example, far) {
            let provider_time = event.occurred_at;
            let now = Seed::FIXED;
            let event = into_inbound_event(provider, event, now);
            assert!(event.occurred_at.is_none_or(|at| at <= now), "{what}");
            assert!(event.provider_time().is_none_or(|at| at <= now), "{what}");
            let identity_time = provider_time.unwrap_or(Timestamp::UNIX_EPOCH);
            assert_eq!(event.identity_time(), identity_time, "{what}: its id must not change");
            if provider_time.is_some_and(|at| at > now) {
                clamped.insert(what.clone());
                // Events queued by an earlier version have the unclamped time.
                let queued_before =
                    InboundEvent { occurred_at: provider_time, dated: None, ..event.clone() };
                assert_eq!(queued_before.provider_time(), Some(now), "{what}");
                assert_eq!(queued_before.identity_time(), event.identity_time(), "{what}");
                let text = serde_json::to_string(&event).unwrap();
                let read: InboundEvent = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    (read.provider_time(), read.identity_time()),
                    (Some(now), identity_time),
                    "{what}"
                );
            }
        }
    }
    // Messages and receipts of every provider that dates them.
    for (provider, example) in example::all() {
        let is_conversational = parsed(provider, example, Seed::FIXED).into_iter().any(|event| {
            let is_conversational = !matches!(event.kind, EventKind::Other { .. });
            is_conversational && event.occurred_at.is_some()
        });
        let what = example.full_name();
        // Some are dated by the signature's timestamp, which must be current.
        let far = parsed(provider, example, far);
        let is_signature_time =
            !far.is_empty() && far.iter().all(|event| event.occurred_at == Some(Seed::FIXED));
        let is_covered = clamped.contains(&what) || is_signature_time;
        assert!(!is_conversational || is_covered, "{what} is not covered: {clamped:?}");
    }
    assert!(clamped.len() * 2 > dated.len(), "{clamped:?} of {dated:?}");
}

#[test]
fn any_date_can_be_clamped() {
    let raw = serde_json::value::to_raw_value(&1).unwrap();
    for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let event = ParsedEvent::other("1", "id".to_owned(), "name", Some(at), &raw);
        let event = into_inbound_event(Provider::WhatsappCloud, event, Seed::FIXED);
        assert_eq!(event.occurred_at, Some(at.min(Seed::FIXED)));
        assert_eq!(event.provider_time(), event.occurred_at);
    }
}
