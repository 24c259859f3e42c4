//! What a provider tells us, in the hub's own words.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::content::Content;
use crate::conversation::Parties;
use crate::failpoint::{self, Failpoint};
use crate::message::Status;
use crate::provider::Channel;
use crate::{ConversationId, EventId, IntegrationId, MessageId, Provider, ReplayId, TenantId};

/// One thing that happened, as a provider's parser reads it: no tenant yet.
#[derive(Clone, Debug)]
pub struct ParsedEvent {
    /// The account it happened to, as the provider names it.
    pub account: String,
    /// Equal across the provider's redeliveries, unique within provider and account.
    pub id: String,
    /// When, by the provider's clock.
    pub occurred_at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// Events of one account with the same key are worked in the order in which they came: a
    /// counterpart, an order, a subscription. `None` if it stands alone.
    pub ordering_key: Option<String>,
    /// Something of its proof that may prove one event only, such as Mailgun's token: another
    /// event with it is a forgery.
    pub single_use: Option<String>,
    /// The part of the body it was read from, byte for byte.
    pub raw: Box<RawValue>,
}

impl ParsedEvent {
    /// Something the hub keeps, `name`d as its provider does, that stands alone.
    #[must_use]
    pub fn other(account: &str, id: String, name: &str, at: Timestamp, raw: &RawValue) -> Self {
        Self {
            account: account.to_owned(),
            id,
            occurred_at: at,
            kind: EventKind::Other { name: name.to_owned() },
            ordering_key: None,
            single_use: None,
            raw: raw.to_owned(),
        }
    }

    /// The same, in order with others of `key`.
    #[must_use]
    pub fn ordered_by(self, key: impl Into<String>) -> Self {
        Self { ordering_key: Some(key.into()), ..self }
    }

    /// The event of `tenant`'s, the `place`th of a request that came in at `now`: a microsecond
    /// apart, so that what came in one request keeps its order in lists.
    ///
    /// Every event from outside is made here, so that no time from outside is later than ours.
    #[must_use]
    pub fn stamped(
        self,
        provider: Provider,
        tenant: TenantId,
        integration: IntegrationId,
        now: Timestamp,
        place: u64,
    ) -> InboundEvent {
        let received_at = now + Duration::from_micros(place);
        InboundEvent {
            v: InboundEvent::VERSION,
            tenant,
            integration,
            provider,
            account: self.account,
            line: None,
            id: self.id,
            occurred_at: self.occurred_at.min(received_at),
            dated: Some(self.occurred_at).filter(|dated| *dated > received_at),
            received_at,
            ingested: false,
            kind: self.kind,
            ordering_key: self.ordering_key,
            single_use: self.single_use,
            replay: None,
            raw: self.raw,
        }
    }
}

/// One thing that happened to one tenant: the body of a record in an inbound queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InboundEvent {
    /// Version of this shape.
    pub v: u8,
    /// Whose it is: follows from the verified account, never from anything else.
    pub tenant: TenantId,
    /// The integration that holds the account.
    pub integration: IntegrationId,
    /// Who told us.
    pub provider: Provider,
    /// The account it happened to.
    pub account: String,
    /// What its conversations are kept under, where that is not the account: see
    /// [`Integration::line`](crate::Integration::line).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Equal across redeliveries.
    pub id: String,
    /// When, by the provider's clock, and no later than `received_at`: what is dated in the
    /// future happened when it was received.
    pub occurred_at: Timestamp,
    /// The provider's own time, where that is later than `received_at`. Only the message's id
    /// follows from it: that is the same for each redelivery, whenever it is received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<Timestamp>,
    /// When our edge took it in; events of one request are a microsecond apart, in order.
    pub received_at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// As [`ParsedEvent::ordering_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// As [`ParsedEvent::single_use`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<String>,
    /// The replay that brings it again, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayId>,
    /// Whether a program brought it, with a key of the hub, and no provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ingested: bool,
    /// The part of the body it was read from, byte for byte.
    pub raw: Box<RawValue>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A person wrote.
    Message(InboundMessage),
    /// A provider says how far one of our messages has come.
    Receipt(Receipt),
    /// Something we know and do not act on.
    Other {
        /// The provider's name for it.
        name: String,
    },
}

/// What a person wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboundMessage {
    /// What it travelled on; `None` where the provider has one channel only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The provider's id of the message.
    pub provider_message_id: String,
    /// Their address.
    pub from: String,
    /// The name they gave themselves.
    pub name: Option<String>,
    /// What they wrote.
    pub content: Content,
    /// The provider's id of the message it answers.
    pub reply_to: Option<String>,
}

/// How far one of our messages has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider's id of the message.
    pub provider_message_id: String,
    /// Our id, where the provider gives back what we sent along.
    pub reference: Option<MessageId>,
    /// The state it reached.
    pub status: Status,
    /// The provider's code, if it failed.
    pub code: Option<String>,
    /// What the code means and what to do.
    pub detail: Option<String>,
}

impl InboundEvent {
    /// The version this build writes.
    pub const VERSION: u8 = 1;

    /// When the provider says that it happened, and no later than it was received; `None` if
    /// the provider gives no time.
    ///
    /// Clamped here as well: an earlier version left the provider's time as it was in the
    /// records that it wrote.
    #[must_use]
    pub fn told_at(&self) -> Option<Timestamp> {
        let told = self.occurred_at != Timestamp::UNIX_EPOCH;
        told.then(|| self.occurred_at.min(self.received_at))
    }

    /// The time that the message's id follows from: the provider's own, however wrong.
    #[must_use]
    pub fn identity_time(&self) -> Timestamp {
        self.dated.unwrap_or(self.occurred_at)
    }

    /// Its id in the record: the same for each redelivery.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        if failpoint::is_active(Failpoint::EventIdFromTheClock) {
            return EventId::derived_at(self.received_at, &self.identity());
        }
        EventId::derived(&self.identity())
    }

    fn identity(&self) -> [&str; 4] {
        [self.tenant.as_str(), self.provider.as_str(), &self.account, &self.id]
    }

    /// Key of the effect of this event: the same for each redelivery, and another for each
    /// replay.
    #[must_use]
    pub fn deduplication_id(&self) -> String {
        match self.replay {
            None => ConversationId::derived(&self.identity()).to_string(),
            Some(replay) => {
                let [tenant, provider, account, id] = self.identity();
                let replay = replay.to_string();
                EventId::derived(&[tenant, provider, account, id, &replay]).to_string()
            }
        }
    }

    /// What it is kept in order with.
    #[must_use]
    pub fn ordering_group(&self) -> String {
        let key = self.ordering_key.as_deref().unwrap_or(&self.id);
        let parts = [self.tenant.as_str(), self.provider.as_str(), &self.account, key];
        EventId::derived(&parts).to_string()
    }

    /// The conversation `message` belongs to; `None` if the hub has no conversations with this
    /// provider.
    #[must_use]
    pub fn parties<'a>(&'a self, message: &'a InboundMessage) -> Option<Parties<'a>> {
        let channel = message.channel.or_else(|| self.provider.channels().first().copied())?;
        let account = self.line.as_deref().unwrap_or(&self.account);
        Some(Parties { tenant: &self.tenant, channel, account, counterpart: &message.from })
    }
}
