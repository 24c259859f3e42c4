//! Keys of the table. The page of the feature lists them.

use std::time::Duration;

use domain::{NotificationId, TenantId};
use jiff::Timestamp;
use table::{Key, Schedule};

/// Retention of notifications, and so the period of their deduplication.
pub const NOTIFICATION_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Schedule of retries. While the endpoint of a tenant with 3,000 messages per second is down, each
/// notification is two writes, and a shard takes 1,000.
pub const RETRIES: Schedule = Schedule { name: "DUE", shards: 16 };

/// Key of a notification.
#[must_use]
pub fn delivery(tenant: &TenantId, id: NotificationId) -> Key {
    Key::new(format!("T#{tenant}#DELIVERY#{id}"), "DELIVERY")
}

/// Key of a scheduled retry.
#[must_use]
pub fn due(tenant: &TenantId, id: NotificationId, at: Timestamp) -> Key {
    RETRIES.key(at, &format!("{tenant}#{id}"))
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
        let ntf: NotificationId = format!("ntf_{zeros}").parse().unwrap();
        let rows = [
            (delivery(&acme, ntf), format!("T#acme#DELIVERY#ntf_{zeros} DELIVERY")),
            (due(&acme, ntf, at), format!("DUE#6 1700000000123#acme#ntf_{zeros}")),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
        let retry = due(&acme, ntf, at);
        assert_eq!(RETRIES.parse(&Schedule::text(&retry)), Some(retry));
        assert_eq!(RETRIES.parse("T#acme#DELIVERY#1|DELIVERY"), None);
    }
}
