//! Keys of the table.
//!
//! | Item | `pk` | `sk` | Written by |
//! | --- | --- | --- | --- |
//! | Notification | `T#<tenant>#DELIVERY#<id>` | `DELIVERY` | consumer-automation |
//! | Scheduled retry | `DUE#<shard>` | `<ms>#<tenant>#<id>` | consumer-automation |

use std::time::Duration;

use domain::{NotificationId, TenantId};
use jiff::Timestamp;
use table::Key;

/// Retention of notifications, and so the period of their deduplication.
pub const NOTIFICATION_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Number of shards of the schedule of retries.
pub const DUE_SHARDS: u8 = 4;

/// Key of a notification.
#[must_use]
pub fn delivery(tenant: &TenantId, id: NotificationId) -> Key {
    Key::new(format!("T#{tenant}#DELIVERY#{id}"), "DELIVERY")
}

/// Key of a scheduled retry.
#[must_use]
pub fn due(tenant: &TenantId, id: NotificationId, at: Timestamp) -> Key {
    let id = id.to_string();
    // The last characters of ids are evenly distributed.
    let shard = id.bytes().last().unwrap_or_default() % DUE_SHARDS;
    Key::new(due_shard(shard), format!("{:013}#{tenant}#{id}", at.as_millisecond()))
}

/// Partition of one shard of the schedule.
#[must_use]
pub fn due_shard(shard: u8) -> String {
    format!("DUE#{shard}")
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
            (due(&acme, ntf, at), format!("DUE#0 1700000000123#acme#ntf_{zeros}")),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
    }
}
