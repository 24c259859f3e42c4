//! Keys of the table. The page of the feature lists them.

use std::time::Duration;

use domain::{ConversationId, JobId, TenantId};
use jiff::Timestamp;
use table::{Key, List, sortable_micros};

/// Retention of jobs after their end.
pub const JOB_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Retention of a conversation queue after its last use: longer than that of its jobs, because it
/// holds their last position.
pub const CONVERSATION_QUEUE_RETENTION: Duration = Duration::from_hours(60 * 24);

/// Retention of the statistics of an hour.
pub const HOURLY_STATS_RETENTION: Duration = Duration::from_hours(4);

/// Number of shards of the lists of a tenant's conversation queues. One partition of an index takes
/// 1,000 writes per second. A job is written to each list and deleted from it in a transaction, which
/// are four writes: 3,000 jobs per second need 12 shards.
pub const LIST_SHARDS: u8 = 16;

/// Number of shards of a tenant's job counters. One partition takes 1,000 writes per second. A job is
/// counted three times in a transaction and its duration once, which are seven writes: 3,000 jobs per
/// second need 21 shards.
pub const COUNT_SHARDS: u8 = 32;

/// Number of counters in a shard. Transactions that write to the same item at the same time conflict,
/// so there are more counters than partitions.
pub const SHARD_COUNTERS: u8 = 16;

/// Key of a conversation queue, which holds the jobs of a conversation.
#[must_use]
pub fn conversation_queue(tenant: &TenantId, conversation: ConversationId) -> Key {
    Key::new(format!("T#{tenant}#QUEUE#{conversation}"), "LANE")
}

/// Key of a job, by its position in its conversation queue.
#[must_use]
pub fn job(tenant: &TenantId, conversation: ConversationId, position: u64) -> Key {
    Key::new(format!("T#{tenant}#QUEUE#{conversation}"), format!("JOB#{position:012}"))
}

/// Key of the item that maps a job id to its conversation queue and position.
#[must_use]
pub fn job_lookup(tenant: &TenantId, id: JobId) -> Key {
    Key::new(format!("T#{tenant}#JOB#{id}"), "JOB")
}

/// Partitions of a tenant's job statistics.
#[must_use]
pub fn stats_of(tenant: &TenantId) -> List {
    List::sharded(format!("T#{tenant}#COUNT"), COUNT_SHARDS)
}

/// Partition of the job statistics that earlier versions wrote. Its counters still count.
#[must_use]
pub fn earlier_stats_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#QUEUE")
}

/// Key of one of a tenant's job counters.
#[must_use]
pub fn count(tenant: &TenantId, shard: u8, number: u8) -> Key {
    Key::new(stats_of(tenant).shard(shard), format!("COUNT#{number:02}"))
}

/// Key of the counter of a tenant's announced jobs. Only new jobs are counted in it, so that it
/// changes whenever it is written.
#[must_use]
pub fn announced(tenant: &TenantId) -> Key {
    Key::new(stats_of(tenant).shard(0), "COUNT#NEW")
}

/// Key of one shard of the job statistics of the hour of `at`.
#[must_use]
pub fn hour(tenant: &TenantId, shard: u8, at: Timestamp) -> Key {
    Key::new(stats_of(tenant).shard(shard), hour_sort_key(at))
}

/// Sort key of the job statistics of the hour of `at`.
#[must_use]
pub fn hour_sort_key(at: Timestamp) -> String {
    format!("HOUR#{:07}", at.as_second() / 3600)
}

/// Partition of a tenant's slots of waiting workers.
#[must_use]
pub fn waiting_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#WAITING")
}

/// Key of a slot of a waiting worker.
#[must_use]
pub fn waiting(tenant: &TenantId, slot: u32) -> Key {
    Key::new(waiting_of(tenant), format!("{slot:03}"))
}

/// Key of the hub's health.
#[must_use]
pub fn status() -> Key {
    Key::new("STATUS".to_owned(), "STATUS")
}

/// List of a tenant's conversation queues whose head is free, sharded by the conversation.
#[must_use]
pub fn ready_of(tenant: &TenantId) -> List {
    List::sharded(format!("T#{tenant}#READY"), LIST_SHARDS)
}

/// List of a tenant's conversation queues whose head is held, sharded by the conversation.
#[must_use]
pub fn leased_of(tenant: &TenantId) -> List {
    List::sharded(format!("T#{tenant}#HELD"), LIST_SHARDS)
}

/// Head of a conversation queue, which is the first job, and its state. The queue's index sort key
/// contains all of it, so that listing the queues needs no further reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    /// When the job was created.
    pub created_at: Timestamp,
    /// When the job expires.
    pub expires_at: Timestamp,
    /// Conversation of the queue.
    pub conversation: ConversationId,
    /// Position of the job in the queue.
    pub position: u64,
    /// Job id.
    pub job: JobId,
    /// Lease or wait, if any.
    pub lease: Option<Lease>,
}

/// Lease of the head, or its wait for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// When the lease or the wait ends.
    pub until: Timestamp,
    /// Number of attempts started.
    pub attempt: u32,
    /// Whether this is a lease; else it is a wait for the next attempt.
    pub leased: bool,
}

impl std::fmt::Display for QueuePosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(lease) = &self.lease {
            write!(f, "{}#", sortable_micros(lease.until))?;
        }
        let (created, expires) =
            (sortable_micros(self.created_at), sortable_micros(self.expires_at));
        write!(f, "{created}#{expires}#{}#{:012}#{}", self.conversation, self.position, self.job)?;
        if let Some(lease) = &self.lease {
            write!(f, "#{:02}#{}", lease.attempt, if lease.leased { 'L' } else { 'W' })?;
        }
        Ok(())
    }
}

/// Parses the index sort key of a conversation queue.
#[must_use]
pub fn parse_queue_position(text: &str) -> Option<QueuePosition> {
    let time = |text: &str| Timestamp::from_microsecond(text.parse().ok()?).ok();
    let parts: Vec<&str> = text.split('#').collect();
    let (first, lease) = match *parts.as_slice() {
        [until, .., attempt, kind] if parts.len() == 8 => {
            let leased = match kind {
                "L" => true,
                "W" => false,
                _ => return None,
            };
            let lease = Lease { until: time(until)?, attempt: attempt.parse().ok()?, leased };
            (1, Some(lease))
        }
        _ if parts.len() == 5 => (0, None),
        _ => return None,
    };
    let [created, expires, conversation, position, job] = *parts.get(first..first + 5)? else {
        return None;
    };
    Some(QueuePosition {
        created_at: time(created)?,
        expires_at: time(expires)?,
        conversation: conversation.parse().ok()?,
        position: position.parse().ok()?,
        job: job.parse().ok()?,
        lease,
    })
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
        let conv: ConversationId = format!("conv_{zeros}").parse().unwrap();
        let job_id: JobId = format!("job_{zeros}").parse().unwrap();
        let rows = [
            (conversation_queue(&acme, conv), format!("T#acme#QUEUE#conv_{zeros} LANE")),
            (job(&acme, conv, 17), format!("T#acme#QUEUE#conv_{zeros} JOB#000000000017")),
            (job_lookup(&acme, job_id), format!("T#acme#JOB#job_{zeros} JOB")),
            (count(&acme, 0, 7), "T#acme#COUNT COUNT#07".to_owned()),
            (count(&acme, 31, 15), "T#acme#COUNT#31 COUNT#15".to_owned()),
            (announced(&acme), "T#acme#COUNT COUNT#NEW".to_owned()),
            (hour(&acme, 0, at), "T#acme#COUNT HOUR#0472222".to_owned()),
            (hour(&acme, 31, at), "T#acme#COUNT#31 HOUR#0472222".to_owned()),
            (waiting(&acme, 7), "T#acme#WAITING 007".to_owned()),
            (status(), "STATUS STATUS".to_owned()),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
        assert_eq!(ready_of(&acme), List::sharded("T#acme#READY".to_owned(), 16));
        assert_eq!(leased_of(&acme), List::sharded("T#acme#HELD".to_owned(), 16));
        assert_eq!(stats_of(&acme), List::sharded("T#acme#COUNT".to_owned(), 32));
        assert_eq!(earlier_stats_of(&acme), "T#acme#QUEUE");
        let later = Timestamp::from_microsecond(at.as_microsecond() + 1).unwrap();
        let free = QueuePosition {
            created_at: at,
            expires_at: later,
            conversation: conv,
            position: 17,
            job: job_id,
            lease: None,
        };
        let written =
            format!("1700000000123000#1700000000123001#conv_{zeros}#000000000017#job_{zeros}");
        assert_eq!(free.to_string(), written);
        let held = |leased| QueuePosition {
            lease: Some(Lease { until: later, attempt: 3, leased }),
            ..free.clone()
        };
        assert_eq!(held(true).to_string(), format!("1700000000123001#{written}#03#L"));
        assert_eq!(held(false).to_string(), format!("1700000000123001#{written}#03#W"));
        for place in [free.clone(), held(true), held(false)] {
            assert_eq!(parse_queue_position(&place.to_string()), Some(place));
        }
        assert_eq!(parse_queue_position(&format!("{written}#03")), None);
    }
}
