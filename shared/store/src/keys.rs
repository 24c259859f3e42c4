//! Keys of the table.
//!
//! | Item | `pk` | `sk` | Written by |
//! | --- | --- | --- | --- |
//! | Tenant | `T#<tenant>#TENANT` | `TENANT` | api-tenants |
//! | Automation | `T#<tenant>#TENANT` | `AUTOMATION` | api-tenants, consumer-automation |
//! | Route on a channel | `T#<tenant>#TENANT` | `ROUTE#<channel>` | api-integrations |
//! | Tenant, list entry | `TENANTS` | `<tenant>` | api-tenants |
//! | API key | `KEY#<id>` | `KEY` | api-tenants |
//! | API key, list entry | `T#<tenant>#KEYS` | `<id>` | api-tenants |
//! | Integration | `T#<tenant>#INT` | `<id>` | api-integrations |
//! | Integration by id | `INT#<id>` | `INT` | api-integrations |
//! | Circuit breaker of an integration | `T#<tenant>#CIRCUIT#<id>` | `CIRCUIT` | senders |
//! | Lock on credentials | `T#<tenant>#LOCK#<provider>` | `LOCK` | api-integrations |
//! | Holder of an account | `ACCOUNT#<provider>#<account>` | `ACCOUNT` | api-integrations |
//! | Operator's integration | `PLATFORM#<provider>` | `PLATFORM` | api-integrations |
//! | Integration by webhook path | `PATH#<provider>#<hash>` | `PATH` | api-integrations |
//! | Conversation | `T#<tenant>#C#<id>` | `CONV` | consumer-inbound, api-messages |
//! | Message | `T#<tenant>#MSG#<id>` | `MSG` | all functions that handle messages |
//! | Message by provider message id | `T#<tenant>#REF#<provider>#<provider message id>` | `REF` | senders |
//! | Idempotency key | `T#<tenant>#IDEM#<hash>` | `IDEM` | api-messages |
//! | Notification | `T#<tenant>#DELIVERY#<id>` | `DELIVERY` | consumer-automation |
//! | Scheduled retry | `DUE#<shard>` | `<ms>#<tenant>#<id>` | consumer-automation |
//! | Rate limit counter | `T#<tenant>#PACE#<identity>#<window>` | `PACE` | senders |
//! | Event | `T#<tenant>#EVENT#<id>` | `EVENT` | consumer-events, consumer-parked |
//! | Parked event, list entry | `T#<tenant>#EVENT#<id>` | `PARKED` | consumer-parked |
//! | Single-use token of an event | `T#<tenant>#ONCE#<provider>#<hash>` | `ONCE` | consumer-events |
//! | Replay | `T#<tenant>#REPLAY#<id>` | `REPLAY` | api-events, consumer-replay |
//! | Conversation queue | `T#<tenant>#QUEUE#<conversation>` | `LANE` | consumer-inbound, api-queue, schedule-jobs |
//! | Job | `T#<tenant>#QUEUE#<conversation>` | `JOB#<position in the queue>` | consumer-inbound, api-queue, schedule-jobs |
//! | Job by id | `T#<tenant>#JOB#<id>` | `JOB` | consumer-inbound |
//! | Job counter | `T#<tenant>#QUEUE` | `COUNT#<shard>` | consumer-inbound, api-queue, schedule-jobs |
//! | Completed jobs in an hour | `T#<tenant>#QUEUE` | `HOUR#<hour>` | api-queue |
//! | Tenant that pulls jobs, list entry | `PULLING` | `<tenant>` | api-tenants, schedule-jobs |
//! | Health of the hub | `STATUS` | `STATUS` | schedule-jobs |
//!
//! One index, `by_parent`, lists items by parent. It contains only keys, so an update that does not
//! change them does not write to the index:
//!
//! | Item | `gsi1pk` | `gsi1sk` |
//! | --- | --- | --- |
//! | Message | `T#<tenant>#C#<conversation>` | `<microseconds>#<id>` |
//! | Conversation | `T#<tenant>#CONVS` | `<hour>#<id>` |
//! | Event | `T#<tenant>#EVENTS` | `<microseconds>#<provider>#<kind>#<id>` |
//! | Parked event, list entry | `T#<tenant>#PARKED` | `<microseconds>#<provider>#<kind>#<id>` |
//! | Conversation queue whose head is free | `T#<tenant>#READY` | `<created>#<expires>#<conversation>#<position>#<job>` |
//! | Conversation queue whose head is held | `T#<tenant>#HELD` | `<until>#`, as above, `#<attempt>#<L or W>` |
//!
//! A conversation queue without jobs is in neither list. `L` is a lease, `W` a wait for the next
//! attempt. All times in these keys are in microseconds.

use std::time::Duration;

use domain::provider::Channel;
use domain::record::Kind;
use domain::{
    ConversationId, EventId, IntegrationId, JobId, KeyId, MessageId, NotificationId, Provider,
    ReplayId, TenantId,
};
use jiff::Timestamp;

/// Retention of provider message ids.
pub const KEEP_REFERENCES: Duration = Duration::from_hours(30 * 24);
/// Retention of notifications, and so the period of their deduplication.
pub const KEEP_NOTIFICATIONS: Duration = Duration::from_hours(30 * 24);
/// Retention of idempotency keys.
pub const KEEP_IDEMPOTENCY: Duration = Duration::from_hours(24);
/// Retention of rate limit counters.
pub const KEEP_PACE: Duration = Duration::from_hours(1);
/// Retention of replays.
pub const KEEP_REPLAYS: Duration = Duration::from_hours(30 * 24);
/// Retention of jobs after their end.
pub const KEEP_JOBS: Duration = Duration::from_hours(30 * 24);
/// Retention of a conversation queue after its last use: longer than that of its jobs, because it
/// holds their last position.
pub const KEEP_CONVERSATION_QUEUES: Duration = Duration::from_hours(60 * 24);
/// Retention of the figures of an hour.
pub const KEEP_HOURS: Duration = Duration::from_hours(4);
/// Number of shards of a tenant's job counter.
pub const COUNT_SHARDS: u8 = 64;
/// Number of shards of the schedule of retries.
pub const DUE_SHARDS: u8 = 4;

/// The primary key of one item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Partition key.
    pub pk: String,
    /// Sort key.
    pub sk: String,
}

fn key(pk: String, sk: impl Into<String>) -> Key {
    Key { pk, sk: sk.into() }
}

/// Key of a tenant.
#[must_use]
pub fn tenant(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}#TENANT"), "TENANT")
}

/// Key of a tenant's automation.
#[must_use]
pub fn automation(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}#TENANT"), "AUTOMATION")
}

/// Key of a tenant's route on a channel.
#[must_use]
pub fn route(tenant: &TenantId, channel: Channel) -> Key {
    key(format!("T#{tenant}#TENANT"), format!("ROUTE#{channel}"))
}

/// Key of an integration's circuit breaker.
#[must_use]
pub fn circuit(tenant: &TenantId, id: IntegrationId) -> Key {
    key(format!("T#{tenant}#CIRCUIT#{id}"), "CIRCUIT")
}

/// Key of a tenant in the list of all tenants.
#[must_use]
pub fn tenant_listed(tenant: &str) -> Key {
    key("TENANTS".to_owned(), tenant)
}

/// Key of an API key.
#[must_use]
pub fn api_key(id: KeyId) -> Key {
    key(format!("KEY#{id}"), "KEY")
}

/// Key of an API key in its tenant's list.
#[must_use]
pub fn api_key_listed(tenant: &TenantId, id: KeyId) -> Key {
    key(api_keys_of(tenant), id.to_string())
}

/// Partition that lists a tenant's API keys.
#[must_use]
pub fn api_keys_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#KEYS")
}

/// Key of an integration.
#[must_use]
pub fn integration(tenant: &TenantId, id: IntegrationId) -> Key {
    key(integrations_of(tenant), id.to_string())
}

/// Partition that lists a tenant's integrations.
#[must_use]
pub fn integrations_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#INT")
}

/// Key of the item that maps an integration id to its tenant.
#[must_use]
pub fn integration_found(id: IntegrationId) -> Key {
    key(format!("INT#{id}"), "INT")
}

/// Key of the lock on a tenant's credentials for a provider.
#[must_use]
pub fn credentials_lock(tenant: &TenantId, provider: Provider) -> Key {
    key(format!("T#{tenant}#LOCK#{provider}"), "LOCK")
}

/// Key of the item that maps an account at a provider to its holder.
#[must_use]
pub fn account(provider: Provider, account: &str) -> Key {
    key(format!("ACCOUNT#{provider}#{account}"), "ACCOUNT")
}

/// Key of the operator's own integration at a provider.
#[must_use]
pub fn platform(provider: Provider) -> Key {
    key(format!("PLATFORM#{provider}"), "PLATFORM")
}

/// Key of the item that maps the hash of a webhook path's secret to the integration.
#[must_use]
pub fn path(provider: Provider, hash: &str) -> Key {
    key(format!("PATH#{provider}#{hash}"), "PATH")
}

/// Key of a conversation.
#[must_use]
pub fn conversation(tenant: &TenantId, id: ConversationId) -> Key {
    key(format!("T#{tenant}#C#{id}"), "CONV")
}

/// Key of a message.
#[must_use]
pub fn message(tenant: &TenantId, id: MessageId) -> Key {
    key(format!("T#{tenant}#MSG#{id}"), "MSG")
}

/// Key of the item that maps a provider message id to the message id.
#[must_use]
pub fn reference(tenant: &TenantId, provider: Provider, provider_message_id: &str) -> Key {
    key(format!("T#{tenant}#REF#{provider}#{provider_message_id}"), "REF")
}

/// Key of an idempotency key.
#[must_use]
pub fn idempotency(tenant: &TenantId, hash: &str) -> Key {
    key(format!("T#{tenant}#IDEM#{hash}"), "IDEM")
}

/// Key of a notification.
#[must_use]
pub fn delivery(tenant: &TenantId, id: NotificationId) -> Key {
    key(format!("T#{tenant}#DELIVERY#{id}"), "DELIVERY")
}

/// Key of a scheduled retry.
#[must_use]
pub fn due(tenant: &TenantId, id: NotificationId, at: Timestamp) -> Key {
    let id = id.to_string();
    // The last characters of ids are evenly distributed.
    let shard = id.bytes().last().unwrap_or_default() % DUE_SHARDS;
    key(due_shard(shard), format!("{:013}#{tenant}#{id}", at.as_millisecond()))
}

/// Partition of one shard of the schedule.
#[must_use]
pub fn due_shard(shard: u8) -> String {
    format!("DUE#{shard}")
}

/// Key of the rate limit counter of an identity in the window that starts at `window`, in seconds.
#[must_use]
pub fn pace(tenant: &TenantId, identity: &str, window: i64) -> Key {
    key(format!("T#{tenant}#PACE#{identity}#{window}"), "PACE")
}

/// Index partition that lists a conversation's messages.
#[must_use]
pub fn messages_of(tenant: &TenantId, conversation: ConversationId) -> String {
    format!("T#{tenant}#C#{conversation}")
}

/// Index sort key of a message: by time, then by id.
#[must_use]
pub fn message_place(at: Timestamp, id: MessageId) -> String {
    format!("{:016}#{id}", at.as_microsecond())
}

/// Index partition that lists a tenant's conversations.
#[must_use]
pub fn conversations_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#CONVS")
}

/// Index sort key of a conversation: by the hour of its last activity, so that the index is
/// written at most once an hour for a busy conversation, and not for each message.
#[must_use]
pub fn conversation_place(at: Timestamp, id: ConversationId) -> String {
    format!("{:07}#{id}", at.as_second() / 3600)
}

/// Key of an event.
#[must_use]
pub fn event(tenant: &TenantId, id: EventId) -> Key {
    key(format!("T#{tenant}#EVENT#{id}"), "EVENT")
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
pub fn event_place(at: Timestamp, provider: Provider, kind: Kind, id: EventId) -> String {
    format!("{}#{provider}#{}#{id}", event_time(at), kind.as_str())
}

/// Sort key bound: before the events received at `at`, after all earlier events.
#[must_use]
pub fn event_time(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
}

/// Parses the sort key of an event: provider, kind and id.
#[must_use]
pub fn read_event_place(place: &str) -> Option<(&str, &str, EventId)> {
    let mut parts = place.split('#').skip(1);
    let (provider, kind) = (parts.next()?, parts.next()?);
    Some((provider, kind, parts.next()?.parse().ok()?))
}

/// Key of the list entry of a parked event.
#[must_use]
pub fn parked_listed(tenant: &TenantId, id: EventId) -> Key {
    key(format!("T#{tenant}#EVENT#{id}"), "PARKED")
}

/// Key of a single-use token of an event, by its hash.
#[must_use]
pub fn once(tenant: &TenantId, provider: Provider, hash: &str) -> Key {
    key(format!("T#{tenant}#ONCE#{provider}#{hash}"), "ONCE")
}

/// Key of a replay.
#[must_use]
pub fn replay(tenant: &TenantId, id: ReplayId) -> Key {
    key(format!("T#{tenant}#REPLAY#{id}"), "REPLAY")
}

/// Key of a conversation queue, which holds the jobs of a conversation.
#[must_use]
pub fn conversation_queue(tenant: &TenantId, conversation: ConversationId) -> Key {
    key(format!("T#{tenant}#QUEUE#{conversation}"), "LANE")
}

/// Key of a job, by its position in its conversation queue.
#[must_use]
pub fn job(tenant: &TenantId, conversation: ConversationId, place: u64) -> Key {
    key(format!("T#{tenant}#QUEUE#{conversation}"), format!("JOB#{place:012}"))
}

/// Key of the item that maps a job id to its conversation queue and position.
#[must_use]
pub fn job_found(tenant: &TenantId, id: JobId) -> Key {
    key(format!("T#{tenant}#JOB#{id}"), "JOB")
}

/// Partition of a tenant's job figures.
#[must_use]
pub fn figures_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#QUEUE")
}

/// Key of one shard of a tenant's job counter.
#[must_use]
pub fn count(tenant: &TenantId, shard: u8) -> Key {
    key(figures_of(tenant), format!("COUNT#{shard:02}"))
}

/// Key of the job figures of the hour of `at`.
#[must_use]
pub fn hour(tenant: &TenantId, at: Timestamp) -> Key {
    key(figures_of(tenant), format!("HOUR#{:07}", at.as_second() / 3600))
}

/// Key of a tenant in the list of tenants that pull jobs.
#[must_use]
pub fn pulling(tenant: &str) -> Key {
    key("PULLING".to_owned(), tenant)
}

/// Key of the hub's health.
#[must_use]
pub fn status() -> Key {
    key("STATUS".to_owned(), "STATUS")
}

/// Index partition that lists a tenant's conversation queues whose head is free.
#[must_use]
pub fn ready_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#READY")
}

/// Index partition that lists a tenant's conversation queues whose head is held.
#[must_use]
pub fn held_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#HELD")
}

/// Microseconds since the Unix epoch, as sortable text.
#[must_use]
pub fn micros(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
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
    pub place: u64,
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
            write!(f, "{}#", micros(lease.until))?;
        }
        let (created, expires) = (micros(self.created_at), micros(self.expires_at));
        write!(f, "{created}#{expires}#{}#{:012}#{}", self.conversation, self.place, self.job)?;
        if let Some(lease) = &self.lease {
            write!(f, "#{:02}#{}", lease.attempt, if lease.leased { 'L' } else { 'W' })?;
        }
        Ok(())
    }
}

/// Parses the index sort key of a conversation queue.
#[must_use]
pub fn read_queue_position(text: &str) -> Option<QueuePosition> {
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
    let [created, expires, conversation, place, job] = *parts.get(first..first + 5)? else {
        return None;
    };
    Some(QueuePosition {
        created_at: time(created)?,
        expires_at: time(expires)?,
        conversation: conversation.parse().ok()?,
        place: place.parse().ok()?,
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
        let int: IntegrationId = format!("int_{zeros}").parse().unwrap();
        let conv: ConversationId = format!("conv_{zeros}").parse().unwrap();
        let msg: MessageId = format!("msg_{zeros}").parse().unwrap();
        let ntf: NotificationId = format!("ntf_{zeros}").parse().unwrap();
        let k: KeyId = format!("key_{zeros}").parse().unwrap();
        let event_id: EventId = format!("evt_{zeros}").parse().unwrap();
        let replay_id: ReplayId = format!("replay_{zeros}").parse().unwrap();
        let job_id: JobId = format!("job_{zeros}").parse().unwrap();
        let p = Provider::WhatsappCloud;
        let rows = [
            (tenant(&acme), "T#acme#TENANT TENANT".to_owned()),
            (automation(&acme), "T#acme#TENANT AUTOMATION".to_owned()),
            (route(&acme, Channel::Whatsapp), "T#acme#TENANT ROUTE#whatsapp".to_owned()),
            (circuit(&acme, int), format!("T#acme#CIRCUIT#int_{zeros} CIRCUIT")),
            (tenant_listed("acme"), "TENANTS acme".to_owned()),
            (api_key(k), format!("KEY#key_{zeros} KEY")),
            (api_key_listed(&acme, k), format!("T#acme#KEYS key_{zeros}")),
            (integration(&acme, int), format!("T#acme#INT int_{zeros}")),
            (integration_found(int), format!("INT#int_{zeros} INT")),
            (credentials_lock(&acme, p), "T#acme#LOCK#whatsapp_cloud LOCK".to_owned()),
            (account(p, "1"), "ACCOUNT#whatsapp_cloud#1 ACCOUNT".to_owned()),
            (platform(p), "PLATFORM#whatsapp_cloud PLATFORM".to_owned()),
            (path(p, "ab"), "PATH#whatsapp_cloud#ab PATH".to_owned()),
            (conversation(&acme, conv), format!("T#acme#C#conv_{zeros} CONV")),
            (message(&acme, msg), format!("T#acme#MSG#msg_{zeros} MSG")),
            (reference(&acme, p, "wamid.1"), "T#acme#REF#whatsapp_cloud#wamid.1 REF".to_owned()),
            (idempotency(&acme, "ab"), "T#acme#IDEM#ab IDEM".to_owned()),
            (delivery(&acme, ntf), format!("T#acme#DELIVERY#ntf_{zeros} DELIVERY")),
            (due(&acme, ntf, at), format!("DUE#0 1700000000123#acme#ntf_{zeros}")),
            (pace(&acme, "number:1", 17), "T#acme#PACE#number:1#17 PACE".to_owned()),
            (event(&acme, event_id), format!("T#acme#EVENT#evt_{zeros} EVENT")),
            (parked_listed(&acme, event_id), format!("T#acme#EVENT#evt_{zeros} PARKED")),
            (once(&acme, p, "ab"), "T#acme#ONCE#whatsapp_cloud#ab ONCE".to_owned()),
            (replay(&acme, replay_id), format!("T#acme#REPLAY#replay_{zeros} REPLAY")),
            (conversation_queue(&acme, conv), format!("T#acme#QUEUE#conv_{zeros} LANE")),
            (job(&acme, conv, 17), format!("T#acme#QUEUE#conv_{zeros} JOB#000000000017")),
            (job_found(&acme, job_id), format!("T#acme#JOB#job_{zeros} JOB")),
            (count(&acme, 7), "T#acme#QUEUE COUNT#07".to_owned()),
            (hour(&acme, at), "T#acme#QUEUE HOUR#0472222".to_owned()),
            (pulling("acme"), "PULLING acme".to_owned()),
            (status(), "STATUS STATUS".to_owned()),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
        assert_eq!(messages_of(&acme, conv), format!("T#acme#C#conv_{zeros}"));
        assert_eq!(message_place(at, msg), format!("1700000000123000#msg_{zeros}"));
        assert_eq!(conversations_of(&acme), "T#acme#CONVS");
        assert_eq!(events_of(&acme), "T#acme#EVENTS");
        assert_eq!(parked_of(&acme), "T#acme#PARKED");
        let place = event_place(at, Provider::Stripe, Kind::Other, event_id);
        assert_eq!(place, format!("1700000000123000#stripe#other#evt_{zeros}"));
        assert_eq!(read_event_place(&place), Some(("stripe", "other", event_id)));
        assert!(place > event_time(at));
        let later = Timestamp::from_microsecond(at.as_microsecond() + 1).unwrap();
        assert!(place < event_time(later));
        assert_eq!(conversation_place(at, conv), format!("0472222#conv_{zeros}"));
        assert_eq!(ready_of(&acme), "T#acme#READY");
        assert_eq!(held_of(&acme), "T#acme#HELD");
        let free = QueuePosition {
            created_at: at,
            expires_at: later,
            conversation: conv,
            place: 17,
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
            assert_eq!(read_queue_position(&place.to_string()), Some(place));
        }
        assert_eq!(read_queue_position(&format!("{written}#03")), None);
    }
}
