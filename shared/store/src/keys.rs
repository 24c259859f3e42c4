//! Every key in the table.
//!
//! | Item | `pk` | `sk` | Written by |
//! | --- | --- | --- | --- |
//! | Tenant | `T#<tenant>#TENANT` | `TENANT` | api-tenants |
//! | Automation | `T#<tenant>#TENANT` | `AUTOMATION` | api-tenants, consumer-automation |
//! | Route on a channel | `T#<tenant>#TENANT` | `ROUTE#<channel>` | api-integrations |
//! | Tenant, listed | `TENANTS` | `<tenant>` | api-tenants |
//! | Key | `KEY#<id>` | `KEY` | api-tenants |
//! | Key, listed | `T#<tenant>#KEYS` | `<id>` | api-tenants |
//! | Integration | `T#<tenant>#INT` | `<id>` | api-integrations |
//! | Integration, found | `INT#<id>` | `INT` | api-integrations |
//! | How an integration fared | `T#<tenant>#CIRCUIT#<id>` | `CIRCUIT` | senders |
//! | Lock on credentials | `T#<tenant>#LOCK#<provider>` | `LOCK` | api-integrations |
//! | Account, claimed | `ACCOUNT#<provider>#<account>` | `ACCOUNT` | api-integrations |
//! | Operator's place | `PLATFORM#<provider>` | `PLATFORM` | api-integrations |
//! | Webhook path | `PATH#<provider>#<hash>` | `PATH` | api-integrations |
//! | Conversation | `T#<tenant>#C#<id>` | `CONV` | consumer-inbound, api-messages |
//! | Message | `T#<tenant>#MSG#<id>` | `MSG` | all that handle messages |
//! | Provider's name | `T#<tenant>#REF#<provider>#<their id>` | `REF` | senders |
//! | Idempotency key | `T#<tenant>#IDEM#<hash>` | `IDEM` | api-messages |
//! | Notice | `T#<tenant>#DELIVERY#<id>` | `DELIVERY` | consumer-automation |
//! | Retry | `DUE#<shard>` | `<ms>#<tenant>#<id>` | consumer-automation |
//! | Pace | `T#<tenant>#PACE#<identity>#<window>` | `PACE` | senders |
//! | Event | `T#<tenant>#EVENT#<id>` | `EVENT` | consumer-events, consumer-parked |
//! | Parked event, listed | `T#<tenant>#EVENT#<id>` | `PARKED` | consumer-parked |
//! | Proof of one event only | `T#<tenant>#ONCE#<provider>#<hash>` | `ONCE` | consumer-events |
//! | Replay | `T#<tenant>#REPLAY#<id>` | `REPLAY` | api-events, consumer-replay |
//! | Lane: a conversation's jobs | `T#<tenant>#LANE#<conversation>` | `LANE` | consumer-inbound, api-queue, schedule-jobs |
//! | Job | `T#<tenant>#LANE#<conversation>` | `JOB#<place in the lane>` | consumer-inbound, api-queue, schedule-jobs |
//! | Job, found | `T#<tenant>#JOB#<id>` | `JOB` | consumer-inbound |
//! | Jobs, counted | `T#<tenant>#QUEUE` | `COUNT#<shard>` | consumer-inbound, api-queue, schedule-jobs |
//! | Jobs done in an hour | `T#<tenant>#QUEUE` | `HOUR#<hour>` | api-queue |
//! | Tenant that pulls, listed | `PULLING` | `<tenant>` | api-tenants, schedule-jobs |
//! | How the hub is | `STATUS` | `STATUS` | schedule-jobs |
//!
//! One index, `by_parent`, lists what has a parent. Only keys are in it, so an update that
//! moves nothing costs it nothing:
//!
//! | Item | `gsi1pk` | `gsi1sk` |
//! | --- | --- | --- |
//! | Message | `T#<tenant>#C#<conversation>` | `<microseconds>#<id>` |
//! | Conversation | `T#<tenant>#CONVS` | `<hour>#<id>` |
//! | Event | `T#<tenant>#EVENTS` | `<microseconds>#<provider>#<kind>#<id>` |
//! | Parked event, listed | `T#<tenant>#PARKED` | `<microseconds>#<provider>#<kind>#<id>` |
//! | Lane whose first job is free | `T#<tenant>#READY` | `<created>#<expires>#<conversation>#<place>#<job>` |
//! | Lane whose first job is held | `T#<tenant>#HELD` | `<until>#` and as above, and `#<attempt>#<L or W>` |
//!
//! A lane without jobs is in neither list; `L` is a lease, `W` a wait for the next attempt. All
//! times in them are microseconds.

use std::time::Duration;

use domain::provider::Channel;
use domain::record::Kind;
use domain::{
    ConversationId, DeliveryId, EventId, IntegrationId, JobId, KeyId, MessageId, Provider,
    ReplayId, TenantId,
};
use jiff::Timestamp;

/// How long a provider's name for a message leads to ours.
pub const KEEP_REFERENCES: Duration = Duration::from_hours(30 * 24);
/// How long a notice is known, and with it that it was told.
pub const KEEP_DELIVERIES: Duration = Duration::from_hours(30 * 24);
/// How long an idempotency key stands for its message.
pub const KEEP_IDEMPOTENCY: Duration = Duration::from_hours(24);
/// How long a count of messages in a window is of use to anyone.
pub const KEEP_PACE: Duration = Duration::from_hours(1);
/// How long a replay is shown.
pub const KEEP_REPLAYS: Duration = Duration::from_hours(30 * 24);
/// How long a job is shown after its end.
pub const KEEP_JOBS: Duration = Duration::from_hours(30 * 24);
/// How long a lane is kept after its last use: longer than its jobs, whose places go on from it.
pub const KEEP_LANES: Duration = Duration::from_hours(60 * 24);
/// How long the figures of an hour are of use to anyone.
pub const KEEP_HOURS: Duration = Duration::from_hours(4);
/// Items the number of a tenant's jobs is spread over.
pub const COUNT_SHARDS: u8 = 64;
/// Partitions the schedule of retries is spread over.
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

/// A tenant.
#[must_use]
pub fn tenant(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}#TENANT"), "TENANT")
}

/// How a tenant's automation is told.
#[must_use]
pub fn automation(tenant: &TenantId) -> Key {
    key(format!("T#{tenant}#TENANT"), "AUTOMATION")
}

/// Which integrations carry a tenant's messages on a channel.
#[must_use]
pub fn route(tenant: &TenantId, channel: Channel) -> Key {
    key(format!("T#{tenant}#TENANT"), format!("ROUTE#{channel}"))
}

/// How an integration fared.
#[must_use]
pub fn circuit(tenant: &TenantId, id: IntegrationId) -> Key {
    key(format!("T#{tenant}#CIRCUIT#{id}"), "CIRCUIT")
}

/// A tenant in the list of all.
#[must_use]
pub fn tenant_listed(tenant: &str) -> Key {
    key("TENANTS".to_owned(), tenant)
}

/// An API key.
#[must_use]
pub fn api_key(id: KeyId) -> Key {
    key(format!("KEY#{id}"), "KEY")
}

/// An API key in its tenant's list.
#[must_use]
pub fn api_key_listed(tenant: &TenantId, id: KeyId) -> Key {
    key(api_keys_of(tenant), id.to_string())
}

/// The partition that lists a tenant's API keys.
#[must_use]
pub fn api_keys_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#KEYS")
}

/// An integration.
#[must_use]
pub fn integration(tenant: &TenantId, id: IntegrationId) -> Key {
    key(integrations_of(tenant), id.to_string())
}

/// The partition that lists a tenant's integrations.
#[must_use]
pub fn integrations_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#INT")
}

/// Leads from an integration's id to its tenant.
#[must_use]
pub fn integration_found(id: IntegrationId) -> Key {
    key(format!("INT#{id}"), "INT")
}

/// The right to change a tenant's credentials at a provider.
#[must_use]
pub fn credentials_lock(tenant: &TenantId, provider: Provider) -> Key {
    key(format!("T#{tenant}#LOCK#{provider}"), "LOCK")
}

/// Who holds an account at a provider.
#[must_use]
pub fn account(provider: Provider, account: &str) -> Key {
    key(format!("ACCOUNT#{provider}#{account}"), "ACCOUNT")
}

/// The operator's own integration at a provider.
#[must_use]
pub fn platform(provider: Provider) -> Key {
    key(format!("PLATFORM#{provider}"), "PLATFORM")
}

/// Leads from the hash of a webhook path's secret to the integration.
#[must_use]
pub fn path(provider: Provider, hash: &str) -> Key {
    key(format!("PATH#{provider}#{hash}"), "PATH")
}

/// A conversation.
#[must_use]
pub fn conversation(tenant: &TenantId, id: ConversationId) -> Key {
    key(format!("T#{tenant}#C#{id}"), "CONV")
}

/// A message.
#[must_use]
pub fn message(tenant: &TenantId, id: MessageId) -> Key {
    key(format!("T#{tenant}#MSG#{id}"), "MSG")
}

/// Leads from a provider's message id to ours.
#[must_use]
pub fn reference(tenant: &TenantId, provider: Provider, theirs: &str) -> Key {
    key(format!("T#{tenant}#REF#{provider}#{theirs}"), "REF")
}

/// What an idempotency key stands for.
#[must_use]
pub fn idempotency(tenant: &TenantId, hash: &str) -> Key {
    key(format!("T#{tenant}#IDEM#{hash}"), "IDEM")
}

/// A notice to an automation.
#[must_use]
pub fn delivery(tenant: &TenantId, id: DeliveryId) -> Key {
    key(format!("T#{tenant}#DELIVERY#{id}"), "DELIVERY")
}

/// A retry in the schedule.
#[must_use]
pub fn due(tenant: &TenantId, id: DeliveryId, at: Timestamp) -> Key {
    let id = id.to_string();
    // The last characters of an id are spread evenly.
    let shard = id.bytes().last().unwrap_or_default() % DUE_SHARDS;
    key(due_shard(shard), format!("{:013}#{tenant}#{id}", at.as_millisecond()))
}

/// One partition of the schedule.
#[must_use]
pub fn due_shard(shard: u8) -> String {
    format!("DUE#{shard}")
}

/// How many messages an identity sent in the window that began at `window`, in seconds.
#[must_use]
pub fn pace(tenant: &TenantId, identity: &str, window: i64) -> Key {
    key(format!("T#{tenant}#PACE#{identity}#{window}"), "PACE")
}

/// Where a conversation's messages are listed.
#[must_use]
pub fn messages_of(tenant: &TenantId, conversation: ConversationId) -> String {
    format!("T#{tenant}#C#{conversation}")
}

/// A message's place in that list: by time, then by id.
#[must_use]
pub fn message_place(at: Timestamp, id: MessageId) -> String {
    format!("{:016}#{id}", at.as_microsecond())
}

/// Where a tenant's conversations are listed.
#[must_use]
pub fn conversations_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#CONVS")
}

/// A conversation's place in that list: by the hour of its last activity, so that a lively
/// one moves there once an hour and not with each message.
#[must_use]
pub fn conversation_place(at: Timestamp, id: ConversationId) -> String {
    format!("{:07}#{id}", at.as_second() / 3600)
}

/// An event.
#[must_use]
pub fn event(tenant: &TenantId, id: EventId) -> Key {
    key(format!("T#{tenant}#EVENT#{id}"), "EVENT")
}

/// Where a tenant's events are listed.
#[must_use]
pub fn events_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#EVENTS")
}

/// Where a tenant's parked events are listed.
#[must_use]
pub fn parked_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#PARKED")
}

/// An event's place in these lists: by time, and with what is filtered by.
#[must_use]
pub fn event_place(at: Timestamp, provider: Provider, kind: Kind, id: EventId) -> String {
    format!("{}#{provider}#{}#{id}", event_time(at), kind.as_str())
}

/// Before every place of an event received at `at`, and after every earlier one.
#[must_use]
pub fn event_time(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
}

/// What an event's place says of it: provider, kind and id.
#[must_use]
pub fn read_event_place(place: &str) -> Option<(&str, &str, EventId)> {
    let mut parts = place.split('#').skip(1);
    let (provider, kind) = (parts.next()?, parts.next()?);
    Some((provider, kind, parts.next()?.parse().ok()?))
}

/// What lists a parked event once more.
#[must_use]
pub fn parked_listed(tenant: &TenantId, id: EventId) -> Key {
    key(format!("T#{tenant}#EVENT#{id}"), "PARKED")
}

/// What may prove one event only, by its hash.
#[must_use]
pub fn once(tenant: &TenantId, provider: Provider, hash: &str) -> Key {
    key(format!("T#{tenant}#ONCE#{provider}#{hash}"), "ONCE")
}

/// A replay.
#[must_use]
pub fn replay(tenant: &TenantId, id: ReplayId) -> Key {
    key(format!("T#{tenant}#REPLAY#{id}"), "REPLAY")
}

/// A conversation's jobs.
#[must_use]
pub fn lane(tenant: &TenantId, conversation: ConversationId) -> Key {
    key(format!("T#{tenant}#LANE#{conversation}"), "LANE")
}

/// A job, by its place in its lane.
#[must_use]
pub fn job(tenant: &TenantId, conversation: ConversationId, place: u64) -> Key {
    key(format!("T#{tenant}#LANE#{conversation}"), format!("JOB#{place:012}"))
}

/// Leads from a job's id to its place.
#[must_use]
pub fn job_found(tenant: &TenantId, id: JobId) -> Key {
    key(format!("T#{tenant}#JOB#{id}"), "JOB")
}

/// The partition of a tenant's figures.
#[must_use]
pub fn figures_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#QUEUE")
}

/// One part of the number of a tenant's jobs.
#[must_use]
pub fn count(tenant: &TenantId, shard: u8) -> Key {
    key(figures_of(tenant), format!("COUNT#{shard:02}"))
}

/// What was done in the hour of `at`.
#[must_use]
pub fn hour(tenant: &TenantId, at: Timestamp) -> Key {
    key(figures_of(tenant), format!("HOUR#{:07}", at.as_second() / 3600))
}

/// A tenant in the list of those whose workers pull.
#[must_use]
pub fn pulling(tenant: &str) -> Key {
    key("PULLING".to_owned(), tenant)
}

/// How the hub is.
#[must_use]
pub fn status() -> Key {
    key("STATUS".to_owned(), "STATUS")
}

/// Where a tenant's lanes are listed whose first job is free.
#[must_use]
pub fn ready_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#READY")
}

/// Where a tenant's lanes are listed whose first job is held.
#[must_use]
pub fn held_of(tenant: &TenantId) -> String {
    format!("T#{tenant}#HELD")
}

/// Microseconds, so that they sort as text.
#[must_use]
pub fn micros(at: Timestamp) -> String {
    format!("{:016}", at.as_microsecond().max(0))
}

/// The first job of a lane, and how it stands: all of it is in the lane's place in the index, so
/// that whoever lists lanes need not read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePlace {
    /// When the job was made.
    pub created_at: Timestamp,
    /// When it is too late to begin it.
    pub expires_at: Timestamp,
    /// Whose lane it is.
    pub conversation: ConversationId,
    /// Its place in the lane.
    pub place: u64,
    /// Its id.
    pub job: JobId,
    /// What holds it, if something does.
    pub hold: Option<Hold>,
}

/// What holds the first job of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until when.
    pub until: Timestamp,
    /// Attempts begun.
    pub attempt: u32,
    /// Whether it is a lease; else it is a wait for the next attempt.
    pub leased: bool,
}

impl std::fmt::Display for LanePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(hold) = &self.hold {
            write!(f, "{}#", micros(hold.until))?;
        }
        let (created, expires) = (micros(self.created_at), micros(self.expires_at));
        write!(f, "{created}#{expires}#{}#{:012}#{}", self.conversation, self.place, self.job)?;
        if let Some(hold) = &self.hold {
            write!(f, "#{:02}#{}", hold.attempt, if hold.leased { 'L' } else { 'W' })?;
        }
        Ok(())
    }
}

/// What a lane's place says.
#[must_use]
pub fn read_lane_place(text: &str) -> Option<LanePlace> {
    let time = |text: &str| Timestamp::from_microsecond(text.parse().ok()?).ok();
    let parts: Vec<&str> = text.split('#').collect();
    let (first, hold) = match *parts.as_slice() {
        [until, .., attempt, kind] if parts.len() == 8 => {
            let leased = match kind {
                "L" => true,
                "W" => false,
                _ => return None,
            };
            let hold = Hold { until: time(until)?, attempt: attempt.parse().ok()?, leased };
            (1, Some(hold))
        }
        _ if parts.len() == 5 => (0, None),
        _ => return None,
    };
    let [created, expires, conversation, place, job] = *parts.get(first..first + 5)? else {
        return None;
    };
    Some(LanePlace {
        created_at: time(created)?,
        expires_at: time(expires)?,
        conversation: conversation.parse().ok()?,
        place: place.parse().ok()?,
        job: job.parse().ok()?,
        hold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys are the one thing that can never be changed: items written under the old ones
    /// would be lost. This test says what they are.
    #[test]
    fn keys_are_frozen() {
        let acme: TenantId = "acme".parse().unwrap();
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let zeros = "00000000000000000000000000";
        let int: IntegrationId = format!("int_{zeros}").parse().unwrap();
        let conv: ConversationId = format!("conv_{zeros}").parse().unwrap();
        let msg: MessageId = format!("msg_{zeros}").parse().unwrap();
        let evt: DeliveryId = format!("evt_{zeros}").parse().unwrap();
        let k: KeyId = format!("key_{zeros}").parse().unwrap();
        let event_id: EventId = format!("event_{zeros}").parse().unwrap();
        let replay_id: ReplayId = format!("replay_{zeros}").parse().unwrap();
        let job_id: JobId = format!("job_{zeros}").parse().unwrap();
        let p = Provider::Whatsapp;
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
            (credentials_lock(&acme, p), "T#acme#LOCK#whatsapp LOCK".to_owned()),
            (account(p, "1"), "ACCOUNT#whatsapp#1 ACCOUNT".to_owned()),
            (platform(p), "PLATFORM#whatsapp PLATFORM".to_owned()),
            (path(p, "ab"), "PATH#whatsapp#ab PATH".to_owned()),
            (conversation(&acme, conv), format!("T#acme#C#conv_{zeros} CONV")),
            (message(&acme, msg), format!("T#acme#MSG#msg_{zeros} MSG")),
            (reference(&acme, p, "wamid.1"), "T#acme#REF#whatsapp#wamid.1 REF".to_owned()),
            (idempotency(&acme, "ab"), "T#acme#IDEM#ab IDEM".to_owned()),
            (delivery(&acme, evt), format!("T#acme#DELIVERY#evt_{zeros} DELIVERY")),
            (due(&acme, evt, at), format!("DUE#0 1700000000123#acme#evt_{zeros}")),
            (pace(&acme, "number:1", 17), "T#acme#PACE#number:1#17 PACE".to_owned()),
            (event(&acme, event_id), format!("T#acme#EVENT#event_{zeros} EVENT")),
            (parked_listed(&acme, event_id), format!("T#acme#EVENT#event_{zeros} PARKED")),
            (once(&acme, p, "ab"), "T#acme#ONCE#whatsapp#ab ONCE".to_owned()),
            (replay(&acme, replay_id), format!("T#acme#REPLAY#replay_{zeros} REPLAY")),
            (lane(&acme, conv), format!("T#acme#LANE#conv_{zeros} LANE")),
            (job(&acme, conv, 17), format!("T#acme#LANE#conv_{zeros} JOB#000000000017")),
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
        assert_eq!(place, format!("1700000000123000#stripe#other#event_{zeros}"));
        assert_eq!(read_event_place(&place), Some(("stripe", "other", event_id)));
        assert!(place > event_time(at));
        let later = Timestamp::from_microsecond(at.as_microsecond() + 1).unwrap();
        assert!(place < event_time(later));
        assert_eq!(conversation_place(at, conv), format!("0472222#conv_{zeros}"));
        assert_eq!(ready_of(&acme), "T#acme#READY");
        assert_eq!(held_of(&acme), "T#acme#HELD");
        let free = LanePlace {
            created_at: at,
            expires_at: later,
            conversation: conv,
            place: 17,
            job: job_id,
            hold: None,
        };
        let written =
            format!("1700000000123000#1700000000123001#conv_{zeros}#000000000017#job_{zeros}");
        assert_eq!(free.to_string(), written);
        let held = |leased| LanePlace {
            hold: Some(Hold { until: later, attempt: 3, leased }),
            ..free.clone()
        };
        assert_eq!(held(true).to_string(), format!("1700000000123001#{written}#03#L"));
        assert_eq!(held(false).to_string(), format!("1700000000123001#{written}#03#W"));
        for place in [free.clone(), held(true), held(false)] {
            assert_eq!(read_lane_place(&place.to_string()), Some(place));
        }
        assert_eq!(read_lane_place(&format!("{written}#03")), None);
    }
}
