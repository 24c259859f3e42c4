//! Event records, and their replay.

use std::time::Duration;

use domain::event::{EventKind, InboundEvent};
use domain::task::Parked;
use domain::{EventId, IntegrationId, Provider, ReplayId, Retention, TenantId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How long an event record is kept, and with it the deduplication of redeliveries, unless the
/// operator sets another period.
pub const EVENT_RETENTION: Retention = Retention::days(30);

/// The record of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// The event id: the same for every redelivery.
    pub id: EventId,
    /// The tenant that owns the event.
    pub tenant: TenantId,
    /// The provider that sent the event.
    pub provider: Provider,
    /// The integration of the account; absent if none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<IntegrationId>,
    /// The account id at the provider; may be empty.
    pub account: String,
    /// The event id at the provider.
    pub provider_event_id: String,
    /// The kind of event.
    pub kind: Kind,
    /// The event type: the provider's name for it, or `message.<content>` and `receipt.<status>`.
    pub name: String,
    /// Time that the provider states; absent if it states none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// When the hub first received it.
    pub received_at: Timestamp,
    /// Whether the hub could parse it.
    pub state: State,
    /// Why it could not be parsed or assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of times it was replayed.
    #[serde(default)]
    pub replays: u32,
    /// The last replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replay: Option<LastReplay>,
}

/// The last replay of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastReplay {
    /// The replay.
    pub replay: ReplayId,
    /// When the event was replayed.
    pub at: Timestamp,
}

/// The kind of an event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EventKind")]
pub enum Kind {
    /// A message from a customer.
    Message,
    /// A delivery receipt for an outbound message.
    Receipt,
    /// Any other event.
    Other,
}

impl Kind {
    /// Returns the name used in the API and in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Other => "other",
        }
    }

    /// Returns the kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Message, Self::Receipt, Self::Other].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Whether the hub could parse an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EventState")]
pub enum State {
    /// Parsed and recorded.
    Recorded,
    /// Not parsed, or no integration holds the account; the complete body is kept.
    Parked,
}

impl State {
    /// Returns the name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Parked => "parked",
        }
    }

    /// Returns the state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Recorded, Self::Parked].into_iter().find(|state| state.as_str() == name)
    }
}

/// The body of an event: with its [`EventRecord`], it restores the event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventBody {
    /// The parsed event; absent where the record's name contains everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EventKind>,
    /// See [`InboundEvent::ordering_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// See [`InboundEvent::single_use`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<String>,
    /// See [`InboundEvent::conversation_account`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_account: Option<String>,
    /// See [`InboundEvent::dated`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<Timestamp>,
    /// The JSON that it was parsed from; of a parked event, `{"text"}` or `{"base64"}`.
    pub raw: Box<RawValue>,
}

/// Location of an event's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyLocation {
    /// In the table: the JSON of an [`EventBody`].
    Inline(String),
    /// In the bucket, under this key.
    Object(String),
}

/// An event record and the location of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The record.
    pub record: EventRecord,
    /// Location of the body.
    pub body: BodyLocation,
}

impl EventRecord {
    /// Creates the record of `event`, which was not replayed yet.
    #[must_use]
    pub fn of(event: &InboundEvent) -> Self {
        let (kind, name) = match &event.kind {
            EventKind::Message(message) => {
                (Kind::Message, format!("message.{}", message.content.kind()))
            }
            EventKind::Receipt(receipt) => {
                (Kind::Receipt, format!("receipt.{}", receipt.status.as_str()))
            }
            EventKind::Other { name } => (Kind::Other, name.clone()),
        };
        Self {
            id: event.event_id(),
            tenant: event.tenant.clone(),
            provider: event.provider,
            integration: Some(event.integration),
            account: event.account.clone(),
            provider_event_id: event.id.clone(),
            kind,
            name,
            occurred_at: event.provider_time(),
            received_at: event.received_at,
            state: State::Recorded,
            reason: None,
            replays: 0,
            last_replay: None,
        }
    }

    /// Creates the record of a parked webhook of `tenant`.
    ///
    /// A parked webhook has no event id of the provider. The same bytes with the same reason are
    /// the same event, because a provider sends a webhook again after an error.
    #[must_use]
    pub fn of_parked(parked: &Parked, tenant: &TenantId) -> Self {
        let integration = parked.integration.map(|id| id.to_string()).unwrap_or_default();
        let parts = [
            tenant.as_str(),
            parked.provider.as_str(),
            &integration,
            "parked",
            &parked.reason,
            &parked.body,
        ];
        let id = EventId::derived(&parts);
        Self {
            id,
            tenant: tenant.clone(),
            provider: parked.provider,
            integration: parked.integration,
            account: String::new(),
            provider_event_id: id.to_string(),
            kind: Kind::Other,
            name: "parked".to_owned(),
            occurred_at: None,
            received_at: parked.received_at,
            state: State::Parked,
            reason: Some(parked.reason.clone()),
            replays: 0,
            last_replay: None,
        }
    }

    /// Replaces an impossible time, one later than the hub received the event, by the time of
    /// receipt: an earlier version stored the provider's time unchanged.
    ///
    /// For display only. A replay needs the stored time, because the id of a message is derived
    /// from it.
    #[must_use]
    pub fn repaired(mut self) -> Self {
        self.occurred_at = self.occurred_at.map(|at| at.min(self.received_at));
        self
    }

    /// Whether the record or its body may have expired at `now`.
    #[must_use]
    pub fn is_expired(&self, retention: Retention, now: Timestamp) -> bool {
        // The table and the bucket delete late, and not at the same time.
        retention.oldest(now).is_some_and(|oldest| self.received_at < oldest)
    }

    /// Restores the event for `replay`; `None` for a parked webhook, which was never an event.
    #[must_use]
    pub fn event(&self, body: EventBody, replay: ReplayId) -> Option<InboundEvent> {
        if self.state == State::Parked {
            return None;
        }
        let kind = match (body.kind, self.kind) {
            (Some(kind), _) => kind,
            (None, Kind::Other) => EventKind::Other { name: self.name.clone() },
            (None, _) => return None,
        };
        Some(InboundEvent {
            v: InboundEvent::VERSION,
            tenant: self.tenant.clone(),
            integration: self.integration?,
            provider: self.provider,
            account: self.account.clone(),
            id: self.provider_event_id.clone(),
            occurred_at: self.occurred_at,
            dated: body.dated,
            received_at: self.received_at,
            ingested: false,
            kind,
            ordering_key: body.ordering_key,
            single_use: body.single_use,
            conversation_account: body.conversation_account,
            replay: Some(replay),
            raw: body.raw,
        })
    }
}

impl EventBody {
    /// Creates the body of `event`.
    #[must_use]
    pub fn of(event: &InboundEvent) -> Self {
        let kind = match &event.kind {
            EventKind::Other { .. } => None,
            kind => Some(kind.clone()),
        };
        Self {
            kind,
            ordering_key: event.ordering_key.clone(),
            single_use: event.single_use.clone(),
            conversation_account: event.conversation_account.clone(),
            dated: event.dated,
            raw: event.raw.clone(),
        }
    }
}

/// Filter for events. Times are compared with [`EventRecord::received_at`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventFilter {
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The event type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Received at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Received before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl EventFilter {
    /// Whether `provider` and `kind`, which are part of a record's key, match.
    #[must_use]
    pub fn matches_key(&self, provider: &str, kind: &str) -> bool {
        self.provider.is_none_or(|own| own.as_str() == provider)
            && self.kind.is_none_or(|own| own.as_str() == kind)
    }

    /// Whether the attributes that are not part of the key match.
    #[must_use]
    pub fn matches_record(&self, record: &EventRecord) -> bool {
        self.name.as_ref().is_none_or(|own| *own == record.name)
            && self.state.is_none_or(|own| own == record.state)
    }
}

/// The order in which records are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Last received first.
    NewestFirst,
    /// First received first.
    OldestFirst,
}

/// Largest number of replays of a tenant that run at the same time. Each publishes up to a hundred
/// events at once, which wait for the same consumers as new events.
pub const MAX_RUNNING_REPLAYS: u32 = 2;

/// Time without progress after which a replay no longer counts as running. Longer than the retries
/// of one page take.
pub const REPLAY_LEASE: Duration = Duration::from_mins(15);

/// A replay of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// The replay id.
    pub id: ReplayId,
    /// The tenant that owns the events.
    pub tenant: TenantId,
    /// The filter that selects the events.
    pub filter: EventFilter,
    /// The status.
    pub status: ReplayStatus,
    /// Number of events found so far.
    pub matched: u64,
    /// Number of events published so far; events that cannot be restored are not published.
    pub published: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last progressed.
    pub updated_at: Timestamp,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Replay {
    /// Whether the replay counts as running at `now`: it is not finished, and has made progress
    /// lately.
    #[must_use]
    pub fn counts_as_running(&self, now: Timestamp) -> bool {
        self.status == ReplayStatus::Running && self.updated_at + REPLAY_LEASE > now
    }
}

/// The status of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStatus {
    /// In progress.
    Running,
    /// Every event found was published.
    Done,
    /// A page could not be processed. Redriving the dead letter continues the replay.
    Failed,
}

impl ReplayStatus {
    /// Returns the name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Returns the status with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed].into_iter().find(|s| s.as_str() == name)
    }
}

/// A replay and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPosition {
    /// The replay.
    pub replay: Replay,
    /// Cursor of the next page; empty at the start.
    pub cursor: String,
    /// Cursor of the previous page; `None` before there was one.
    pub before: Option<String>,
}

/// A published page of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPage {
    /// Cursor of the page.
    pub from: String,
    /// Cursor of the next page; `None` if this was the last.
    pub next: Option<String>,
    /// Number of events found.
    pub matched: u64,
    /// Number of events published.
    pub published: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind) -> InboundEvent {
        InboundEvent {
            v: InboundEvent::VERSION,
            tenant: TenantId::platform(),
            integration: IntegrationId::derived(&["i"]),
            provider: Provider::Stripe,
            account: "acct_1".to_owned(),
            conversation_account: Some("int_1".to_owned()),
            id: "evt_1".to_owned(),
            occurred_at: None,
            dated: None,
            received_at: Timestamp::from_second(1_795_176_000).unwrap(),
            ingested: false,
            kind,
            ordering_key: Some("in_1".to_owned()),
            single_use: Some("token".to_owned()),
            replay: None,
            raw: RawValue::from_string(r#"{ "a":1.0 }"#.to_owned()).unwrap(),
        }
    }

    #[test]
    fn an_event_is_restored_from_its_record_and_body() {
        let message = domain::event::InboundMessage {
            channel: None,
            provider_message_id: "m".to_owned(),
            from: "1".to_owned(),
            name: None,
            content: domain::Content::Text { text: "hi".to_owned() },
            reply_to: None,
        };
        let kinds =
            [EventKind::Other { name: "invoice.paid".to_owned() }, EventKind::Message(message)];
        for (kind, name) in kinds.into_iter().zip(["invoice.paid", "message.text"]) {
            let event = event(kind);
            let record = EventRecord::of(&event);
            assert_eq!(record.name, name);
            let body = serde_json::to_string(&EventBody::of(&event)).unwrap();
            let replay = ReplayId::derived(&["r"]);
            let again = record.event(serde_json::from_str(&body).unwrap(), replay).unwrap();
            assert_eq!(again.event_id(), event.event_id());
            assert_ne!(again.deduplication_id(), event.deduplication_id());
            let again = InboundEvent { replay: None, ..again };
            let text = |event: &InboundEvent| serde_json::to_string(event).unwrap();
            assert_eq!(text(&again), text(&event), "byte for byte");
        }
    }

    #[test]
    fn a_replayed_event_that_was_dated_in_the_future_keeps_the_time_of_its_identity() {
        let received_at = Timestamp::from_second(1_795_176_000).unwrap();
        let dated = Some(received_at + Duration::from_hours(1));
        let message = EventKind::Other { name: "invoice.paid".to_owned() };
        let event = InboundEvent { occurred_at: Some(received_at), dated, ..event(message) };
        let body = serde_json::to_string(&EventBody::of(&event)).unwrap();
        let replay = ReplayId::derived(&["r"]);
        let again = EventRecord::of(&event).event(serde_json::from_str(&body).unwrap(), replay);
        let again = again.unwrap();
        assert_eq!(again.identity_time(), event.identity_time());
        assert_eq!(again.provider_time(), Some(received_at), "it did not happen in the future");
    }

    #[test]
    fn the_same_parked_webhook_has_one_record_and_restores_no_event() {
        let parked = |second, body: &str| Parked {
            v: domain::task::VERSION,
            provider: Provider::Stripe,
            integration: None,
            tenant: None,
            reason: "line 1, column 1".to_owned(),
            received_at: Timestamp::from_second(second).unwrap(),
            body: body.to_owned(),
        };
        let tenant = TenantId::platform();
        let record = EventRecord::of_parked(&parked(1, "e30="), &tenant);
        assert_eq!(record.id, EventRecord::of_parked(&parked(2, "e30="), &tenant).id);
        assert_ne!(record.id, EventRecord::of_parked(&parked(1, "e31="), &tenant).id);
        let raw = RawValue::NULL.to_owned();
        let body = EventBody {
            kind: None,
            ordering_key: None,
            single_use: None,
            conversation_account: None,
            dated: None,
            raw,
        };
        assert!(record.event(body, ReplayId::derived(&["r"])).is_none());
    }

    #[test]
    fn names_parse_back() {
        for kind in [Kind::Message, Kind::Receipt, Kind::Other] {
            assert_eq!(Kind::from_name(kind.as_str()), Some(kind));
        }
        for state in [State::Recorded, State::Parked] {
            assert_eq!(State::from_name(state.as_str()), Some(state));
        }
        for status in [ReplayStatus::Running, ReplayStatus::Done, ReplayStatus::Failed] {
            assert_eq!(ReplayStatus::from_name(status.as_str()), Some(status));
        }
    }
}
