//! Keys of the table.
//!
//! | Item | `pk` | `sk` | Written by |
//! | --- | --- | --- | --- |
//! | Event | `T#<tenant>#EVENT#<id>` | `EVENT` | consumer-events, consumer-parked |
//! | Parked event, list entry | `T#<tenant>#EVENT#<id>` | `PARKED` | consumer-parked |
//! | Single-use token of an event | `T#<tenant>#ONCE#<provider>#<hash>` | `ONCE` | consumer-events |
//! | Replay | `T#<tenant>#REPLAY#<id>` | `REPLAY` | api-events, consumer-replay |
//!
//! One index, `by_parent`, lists items by parent. It contains only keys, so an update that does not
//! change them does not write to the index:
//!
//! | Item | `gsi1pk` | `gsi1sk` |
//! | --- | --- | --- |
//! | Event | `T#<tenant>#EVENTS` | `<microseconds>#<provider>#<kind>#<id>` |
//! | Parked event, list entry | `T#<tenant>#PARKED` | `<microseconds>#<provider>#<kind>#<id>` |

use std::time::Duration;

use domain::record::Kind;
use domain::{EventId, Provider, ReplayId, TenantId};
use jiff::Timestamp;
use table::Key;

/// Retention of replays.
pub const REPLAY_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Key of an event.
#[must_use]
pub fn event(tenant: &TenantId, id: EventId) -> Key {
    Key::new(format!("T#{tenant}#EVENT#{id}"), "EVENT")
}

/// Index partition that lists a tenant's events.
#[must_use]
pub fn events_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#EVENTS")
}

/// Index partition that lists a tenant's parked events.
#[must_use]
pub fn parked_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#PARKED")
}

/// Index sort key of an event: by time, followed by the filter fields.
#[must_use]
pub fn event_sort_key(at: Timestamp, provider: Provider, kind: Kind, id: EventId) -> String {
    format!("{}#{provider}#{}#{id}", event_time(at), kind.as_str())
}

/// Sort key bound: before the events received at `at`, after all earlier events.
#[must_use]
pub fn event_time(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
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
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
        assert_eq!(events_of(&acme), "T#acme#EVENTS");
        assert_eq!(parked_of(&acme), "T#acme#PARKED");
        let place = event_sort_key(at, Provider::Stripe, Kind::Other, event_id);
        assert_eq!(place, format!("1700000000123000#stripe#other#evt_{zeros}"));
        assert_eq!(parse_event_sort_key(&place), Some(("stripe", "other", event_id)));
        assert!(place > event_time(at));
        let later = Timestamp::from_microsecond(at.as_microsecond() + 1).unwrap();
        assert!(place < event_time(later));
    }
}
