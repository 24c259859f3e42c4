//! Retention tests: the operator sets how long events and messages are kept.

use std::time::Duration;

use domain::event::InboundEvent;
use domain::ports::Clock;
use domain::{Provider, Retention};
use events::model::{BodyLocation, EventBody, EventRecord, StoredEvent};
use events::ports::EventLog;
use messaging::ports::{Inbox, Outbox, Outgoing};
use testkit::sample;

use crate::common::World;

const LEASE: Duration = Duration::from_secs(30);

fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

fn stored(event: &InboundEvent) -> StoredEvent {
    let body = serde_json::to_string(&EventBody::of(event)).unwrap();
    StoredEvent { record: EventRecord::of(event), body: BodyLocation::Inline(body) }
}

#[tokio::test]
async fn events_expire_after_thirty_days_or_what_the_operator_sets() {
    for (retention, kept) in [
        (None, false),
        (Some(Retention::days(60)), true),
        (Some(Retention::days(30)), false),
        (Some(Retention::FOREVER), true),
    ] {
        let world = World::standard().await;
        let store = world.table.keeping(retention).events;
        let stripe = sample::receive_only(&world.acme, Provider::Stripe, Some("acct_1"));
        let event = sample::other_event(&stripe, "evt_1", "invoice.paid", world.clock.now());
        let record = stored(&event);
        // A single-use token is kept as long as its event: a second item.
        store.record_event(&record, Some("token")).await.unwrap();
        world.clock.advance(days(45));
        let now = world.clock.now();
        assert_eq!(record.record.is_expired(store.retention(), now), !kept, "{retention:?}");
        let expired = world.table.delete_expired("events", now);
        assert_eq!(expired, if kept { 0 } else { 2 }, "{retention:?}");
    }
}

#[tokio::test]
async fn messages_are_kept_for_ever_unless_the_operator_sets_a_retention() {
    for (retention, expected) in
        [(None, 0), (Some(Retention::FOREVER), 0), (Some(Retention::days(30)), 3)]
    {
        let world = World::standard().await;
        let store = world.table.keeping(retention).messages;
        let now = world.clock.now();
        let inbound = sample::message_from(&world.whatsapp, "+15551234567", "in", now);
        store.record(&inbound).await.unwrap();
        store.enqueue(&sample::outbound(&world.whatsapp, "queued", now)).await.unwrap();
        // A sender can be faster than the request that queued the message.
        let claimed = sample::outbound(&world.whatsapp, "claimed", now);
        store.claim(&sample::task(&claimed), "token", now, LEASE, false).await.unwrap();
        store.enqueue(&claimed).await.unwrap();
        world.clock.advance(days(29));
        assert_eq!(world.table.delete_expired("messaging", world.clock.now()), 0, "{retention:?}");
        world.clock.advance(days(2));
        let expired = world.table.delete_expired("messaging", world.clock.now());
        assert_eq!(expired, expected, "{retention:?}");
    }
}
