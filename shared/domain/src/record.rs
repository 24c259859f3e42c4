//! What the hub keeps of everything that happened, and how it is worked again.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{EventKind, InboundEvent};
use crate::job::Parked;
use crate::{EventId, IntegrationId, Provider, ReplayId, TenantId};

/// How long an event is in the record, and with it that it was seen.
pub const KEEP_EVENTS: Duration = Duration::from_hours(30 * 24);

/// One thing that happened, as the hub has it in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Its id: the same for each redelivery.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who told us.
    pub provider: Provider,
    /// The integration that holds the account; absent if none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integration: Option<IntegrationId>,
    /// The account it happened to, as the provider names it; may be empty.
    pub account: String,
    /// The provider's id of it.
    pub provider_event_id: String,
    /// What kind of thing.
    pub kind: Kind,
    /// What happened: the provider's name for it, or `message.<content>` and
    /// `receipt.<status>`.
    pub name: String,
    /// When, by the provider's clock; the epoch if it gives no time.
    pub occurred_at: Timestamp,
    /// When the hub took it in first.
    pub received_at: Timestamp,
    /// Whether the hub could read it.
    pub state: State,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was worked again.
    #[serde(default)]
    pub replays: u32,
    /// When it was worked again last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replay: Option<LastReplay>,
}

/// When something was worked again last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastReplay {
    /// By which replay.
    pub replay: ReplayId,
    /// When.
    pub at: Timestamp,
}

/// What kind of thing happened.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EventKind")]
pub enum Kind {
    /// A person wrote.
    Message,
    /// A provider said how far a message has come.
    Receipt,
    /// Anything else.
    Other,
}

impl Kind {
    /// The name in the API and in keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receipt => "receipt",
            Self::Other => "other",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Message, Self::Receipt, Self::Other].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Whether the hub could read an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "EventState")]
pub enum State {
    /// It could.
    Recorded,
    /// It could not, or nobody holds the account; it is kept whole.
    Parked,
}

impl State {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Parked => "parked",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Recorded, Self::Parked].into_iter().find(|state| state.as_str() == name)
    }
}

/// What an event brought: with its [`EventRecord`] it is the event again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventBody {
    /// What happened; absent where the record's name says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<EventKind>,
    /// As [`InboundEvent::ordering_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// As [`InboundEvent::single_use`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<String>,
    /// As [`InboundEvent::line`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// What it was read from; of what is parked, `{"text"}` or `{"base64"}`.
    pub raw: Box<RawValue>,
}

/// Where an event's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPlace {
    /// Beside the record: the JSON of an [`EventBody`].
    Here(String),
    /// In the bucket, under this key.
    Object(String),
}

/// A record, and where its body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The record.
    pub record: EventRecord,
    /// Its body's place.
    pub body: BodyPlace,
}

impl EventRecord {
    /// The record of `event`, worked for the first time.
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
            occurred_at: event.told_at().unwrap_or(Timestamp::UNIX_EPOCH),
            received_at: event.received_at,
            state: State::Recorded,
            reason: None,
            replays: 0,
            last_replay: None,
        }
    }

    /// The record of what `tenant` was sent and nobody could read.
    ///
    /// It has no id of the provider's: the same bytes for the same reason are the same event,
    /// for a provider that heard of trouble sends them again.
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
            occurred_at: Timestamp::UNIX_EPOCH,
            received_at: parked.received_at,
            state: State::Parked,
            reason: Some(parked.reason.clone()),
            replays: 0,
            last_replay: None,
        }
    }

    /// Whether it may be gone at `now`, or a part of it.
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        // Both the table and the bucket forget late, and not at the same time.
        self.received_at + KEEP_EVENTS < now
    }

    /// The event itself, to be worked by `replay`; `None` if it was never one.
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
            dated: None,
            received_at: self.received_at,
            ingested: false,
            kind,
            ordering_key: body.ordering_key,
            single_use: body.single_use,
            line: body.line,
            replay: Some(replay),
            raw: body.raw,
        })
    }
}

impl EventBody {
    /// The body of `event`.
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
            line: event.line.clone(),
            raw: event.raw.clone(),
        }
    }
}

/// Which events are meant. Times are those of [`EventRecord::received_at`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventFilter {
    /// From this provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Received at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Received before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl EventFilter {
    /// Whether `provider` and `kind`, which stand in a record's place, fit.
    #[must_use]
    pub fn fits_place(&self, provider: &str, kind: &str) -> bool {
        self.provider.is_none_or(|own| own.as_str() == provider)
            && self.kind.is_none_or(|own| own.as_str() == kind)
    }

    /// Whether what stands only in `record` itself fits.
    #[must_use]
    pub fn fits_record(&self, record: &EventRecord) -> bool {
        self.name.as_ref().is_none_or(|own| *own == record.name)
            && self.state.is_none_or(|own| own == record.state)
    }
}

/// In which order records are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received last comes first.
    NewestFirst,
    /// Received first comes first.
    OldestFirst,
}

/// Many events that are worked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Whose events.
    pub tenant: TenantId,
    /// Which of them.
    pub filter: EventFilter,
    /// How it stands.
    pub status: ReplayStatus,
    /// How many events were found so far.
    pub matched: u64,
    /// How many of them were published so far: what cannot be read back is not.
    pub published: u64,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStatus {
    /// It is under way.
    Running,
    /// Everything that it found is published.
    Done,
    /// A page could not be worked; its dead letter goes on with it.
    Failed,
}

impl ReplayStatus {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Running, Self::Done, Self::Failed].into_iter().find(|s| s.as_str() == name)
    }
}

/// A replay, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPlace {
    /// The replay.
    pub replay: Replay,
    /// Where its next page begins; empty at the beginning.
    pub cursor: String,
    /// Where its last page began; `None` before there was one.
    pub before: Option<String>,
}

/// A page of a replay that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayPage {
    /// Where it began.
    pub from: String,
    /// Where the next one begins; `None` if it was the last.
    pub next: Option<String>,
    /// How many events were found.
    pub matched: u64,
    /// How many were published.
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
            line: Some("int_1".to_owned()),
            id: "evt_1".to_owned(),
            occurred_at: Timestamp::UNIX_EPOCH,
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
    fn an_event_can_be_had_back_from_its_record_and_body() {
        let message = crate::event::InboundMessage {
            channel: None,
            provider_message_id: "m".to_owned(),
            from: "1".to_owned(),
            name: None,
            content: crate::Content::Text { text: "hi".to_owned() },
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
            assert_eq!(text(&again), text(&event), "to the byte");
        }
    }

    #[test]
    fn what_is_parked_twice_is_one_and_no_event() {
        let parked = |second, body: &str| Parked {
            v: crate::job::VERSION,
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
        let body = EventBody { kind: None, ordering_key: None, single_use: None, line: None, raw };
        assert!(record.event(body, ReplayId::derived(&["r"])).is_none());
    }

    #[test]
    fn names_read_back_as_they_were_written() {
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
