//! Keys of the table. The page of the feature lists them.

use std::time::Duration;

use domain::{EventId, Provider, ReplayId, TenantId};
use jiff::Timestamp;
use table::{Key, List, sortable_micros};

use crate::model::Kind;

/// Retention of replays.
pub const REPLAY_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Key of an event.
#[must_use]
pub fn event(tenant: &TenantId, id: EventId) -> Key {
    Key::new(format!("T#{tenant}#EVENT#{id}"), "EVENT")
}

/// Number of shards of a tenant's lists: one tenant may record 3,000 events per second, and a shard
/// takes 1,000.
pub const LIST_SHARDS: u8 = 16;

/// List of a tenant's events.
#[must_use]
pub fn events_of(tenant: &TenantId) -> List {
    List::sharded(format!("T#{tenant}#EVENTS"), LIST_SHARDS)
}

/// List of a tenant's parked events.
#[must_use]
pub fn parked_of(tenant: &TenantId) -> List {
    List::sharded(format!("T#{tenant}#PARKED"), LIST_SHARDS)
}

/// Index sort key of an event: by time, followed by the filter fields.
#[must_use]
pub fn event_sort_key(at: Timestamp, provider: Provider, kind: Kind, id: EventId) -> String {
    format!("{}#{provider}#{}#{id}", sortable_micros(at), kind.as_str())
}

/// Parses the sort key of an event: provider, kind and id.
#[must_use]
pub fn parse_event_sort_key(sort_key: &str) -> Option<(&str, &str, EventId)> {
    let mut parts = sort_key.split('#').skip(1);
    let (provider, kind) = (parts.next()?, parts.next()?);
    Some((provider, kind, parts.next()?.parse().ok()?))
}

/// Key of the list entry of a parked event.
#[must_use]
pub fn parked_list_entry(tenant: &TenantId, id: EventId) -> Key {
    Key::new(format!("T#{tenant}#EVENT#{id}"), "PARKED")
}

/// Key of a single-use token of an event, by its hash.
#[must_use]
pub fn single_use_token(tenant: &TenantId, provider: Provider, hash: &str) -> Key {
    Key::new(format!("T#{tenant}#ONCE#{provider}#{hash}"), "ONCE")
}

/// Key of a replay.
#[must_use]
pub fn replay(tenant: &TenantId, id: ReplayId) -> Key {
    Key::new(format!("T#{tenant}#REPLAY#{id}"), "REPLAY")
}

/// Key of one of the places of a tenant's running replays.
#[must_use]
pub fn replay_slot(tenant: &TenantId, slot: u32) -> Key {
    Key::new(format!("T#{tenant}#REPLAYS"), format!("{slot}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys must never change: items with the old keys would be lost. This test pins them.
    #[test]
    fn keys_are_frozen() {
        let acme: TenantId = "acme".parse().unwrap();
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let zeros = "00000000000000000000000000";
        let event_id: EventId = format!("evt_{zeros}").parse().unwrap();
        let replay_id: ReplayId = format!("replay_{zeros}").parse().unwrap();
        let p = Provider::WhatsappCloud;
        let rows = [
            (event(&acme, event_id), format!("T#acme#EVENT#evt_{zeros} EVENT")),
            (parked_list_entry(&acme, event_id), format!("T#acme#EVENT#evt_{zeros} PARKED")),
            (single_use_token(&acme, p, "ab"), "T#acme#ONCE#whatsapp_cloud#ab ONCE".to_owned()),
            (replay(&acme, replay_id), format!("T#acme#REPLAY#replay_{zeros} REPLAY")),
            (replay_slot(&acme, 1), "T#acme#REPLAYS 1".to_owned()),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
        assert_eq!(events_of(&acme), List::sharded("T#acme#EVENTS".to_owned(), 16));
        assert_eq!(parked_of(&acme), List::sharded("T#acme#PARKED".to_owned(), 16));
        let place = event_sort_key(at, Provider::Stripe, Kind::Other, event_id);
        assert_eq!(place, format!("1700000000123000#stripe#other#evt_{zeros}"));
        assert_eq!(parse_event_sort_key(&place), Some(("stripe", "other", event_id)));
        assert!(place > sortable_micros(at));
        let later = Timestamp::from_microsecond(at.as_microsecond() + 1).unwrap();
        assert!(place < sortable_micros(later));
    }
}
