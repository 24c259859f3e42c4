//! Events from providers, in a form that is the same for every provider.

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

/// An event as a provider's parser returns it, not assigned to a tenant yet.
#[derive(Clone, Debug)]
pub struct ParsedEvent {
    /// The account id at the provider.
    pub account: String,
    /// The event id: the same for every redelivery, unique within provider and account.
    pub id: String,
    /// Time that the provider states, if it states one.
    pub occurred_at: Option<Timestamp>,
    /// What happened.
    pub kind: EventKind,
    /// Ordering key: events of one account with the same key are processed in the order of arrival.
    /// A customer's address, an order, a subscription. `None` if the order does not matter.
    pub ordering_key: Option<String>,
    /// A single-use part of its authentication, such as Mailgun's token: another event with the
    /// same value is a forgery.
    pub single_use: Option<String>,
    /// The part of the body that it was parsed from, byte for byte.
    pub raw: Box<RawValue>,
}

impl ParsedEvent {
    /// Creates an event of the kind `Other` with the provider's name for it and no ordering key.
    #[must_use]
    pub fn other(
        account: &str,
        id: String,
        name: &str,
        at: Option<Timestamp>,
        raw: &RawValue,
    ) -> Self {
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

    /// Sets the ordering key.
    #[must_use]
    pub fn ordered_by(self, key: impl Into<String>) -> Self {
        Self { ordering_key: Some(key.into()), ..self }
    }

    /// Creates the event of `tenant`, the `place`th of a request received at `now`. Events of one
    /// request get times a microsecond apart, so that lists keep their order.
    ///
    /// Every event from a provider is created here, so no provider's time is later than the hub's.
    #[must_use]
    pub fn into_inbound_event(
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
            conversation_account: None,
            id: self.id,
            occurred_at: self.occurred_at.map(|at| at.min(received_at)),
            dated: self.occurred_at.filter(|dated| *dated > received_at),
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

/// An event of a tenant: the body of a record in an inbound queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InboundEvent {
    /// Version of the format.
    pub v: u8,
    /// The tenant, derived from the verified account and from nothing else.
    pub tenant: TenantId,
    /// The integration of the account.
    pub integration: IntegrationId,
    /// The provider that sent it.
    pub provider: Provider,
    /// The account id at the provider.
    pub account: String,
    /// The key of its conversations, where it is not the account: see
    /// [`Integration::line`](crate::Integration::conversation_account).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_account: Option<String>,
    /// The event id at the provider; the same for every redelivery.
    pub id: String,
    /// Time that the provider states, if it states one, but no later than `received_at`: a time in
    /// the future is replaced by the time of receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// The provider's own time, where it is later than `received_at`. Used only to derive the
    /// message id, which is the same for every redelivery whenever that is received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<Timestamp>,
    /// When the webhook function received it; events of one request are a microsecond apart, in
    /// order.
    pub received_at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// See [`ParsedEvent::ordering_key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// See [`ParsedEvent::single_use`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_use: Option<String>,
    /// The replay that published the event, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayId>,
    /// Whether it was ingested through the API with an API key, not sent by a provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ingested: bool,
    /// The part of the body that it was parsed from, byte for byte.
    pub raw: Box<RawValue>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A message from a customer.
    Message(InboundMessage),
    /// A delivery receipt for an outbound message.
    Receipt(Receipt),
    /// Another event, which is recorded and not processed further.
    Other {
        /// The provider's name for the event.
        name: String,
    },
}

/// A message from a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboundMessage {
    /// The channel; `None` if the provider has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The provider message id.
    pub provider_message_id: String,
    /// The customer's address.
    pub from: String,
    /// The customer's display name.
    pub name: Option<String>,
    /// The content.
    pub content: Content,
    /// The provider message id of the message it replies to.
    pub reply_to: Option<String>,
}

/// A delivery receipt: the status of an outbound message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The provider message id.
    pub provider_message_id: String,
    /// The hub's message id, if the provider returns the reference that was sent with the message.
    pub reference: Option<MessageId>,
    /// The new status.
    pub status: Status,
    /// The provider's error code, if the message failed.
    pub code: Option<String>,
    /// What the error code means and what to do.
    pub detail: Option<String>,
}

impl InboundEvent {
    /// The version of the format that this build writes.
    pub const VERSION: u8 = 1;

    /// Returns when it happened by the provider's clock, but no later than it was received; `None`
    /// if the provider states no time.
    ///
    /// The limit is applied here as well, because records written by an earlier version contain the
    /// provider's time unchanged.
    #[must_use]
    pub fn provider_time(&self) -> Option<Timestamp> {
        self.occurred_at.map(|at| at.min(self.received_at))
    }

    /// Returns the time that the message id is derived from: the provider's own, however wrong.
    /// Without one, the epoch: unlike the time of receipt, it is the same for every redelivery.
    #[must_use]
    pub fn identity_time(&self) -> Timestamp {
        self.dated.or(self.occurred_at).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Returns the id of the event record: the same for every redelivery.
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

    /// Returns the deduplication id of the event's effect: the same for every redelivery, and a
    /// different one for each replay.
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

    /// Returns the message group in which the event keeps its order.
    #[must_use]
    pub fn ordering_group(&self) -> String {
        let key = self.ordering_key.as_deref().unwrap_or(&self.id);
        let parts = [self.tenant.as_str(), self.provider.as_str(), &self.account, key];
        EventId::derived(&parts).to_string()
    }

    /// Returns the parties of the conversation that `message` belongs to; `None` if the provider
    /// has no channels.
    #[must_use]
    pub fn parties<'a>(&'a self, message: &'a InboundMessage) -> Option<Parties<'a>> {
        let channel = message.channel.or_else(|| self.provider.channels().first().copied())?;
        let account = self.conversation_account.as_deref().unwrap_or(&self.account);
        Some(Parties { tenant: &self.tenant, channel, account, counterpart: &message.from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: Timestamp = Timestamp::constant(1_795_176_000, 0);

    fn into_inbound_event(occurred_at: Option<Timestamp>, received_at: Timestamp) -> InboundEvent {
        let raw = RawValue::from_string("1".to_owned()).unwrap();
        let event = ParsedEvent::other("acct_1", "evt_1".to_owned(), "name", occurred_at, &raw);
        let integration = IntegrationId::derived(&["i"]);
        event.into_inbound_event(
            Provider::Stripe,
            TenantId::platform(),
            integration,
            received_at,
            0,
        )
    }

    #[test]
    fn an_event_without_a_time_has_none_and_its_ids_are_stable() {
        let event = into_inbound_event(None, RECEIVED);
        assert_eq!((event.occurred_at, event.dated, event.provider_time()), (None, None, None));
        let text = serde_json::to_string(&event).unwrap();
        assert!(!text.contains("occurred_at"), "{text}");
        let read: InboundEvent = serde_json::from_str(&text).unwrap();
        let redelivered = into_inbound_event(None, RECEIVED + Duration::from_mins(1));
        for same in [read, redelivered] {
            assert_eq!(same.occurred_at, None);
            assert_eq!(same.event_id(), event.event_id());
            assert_eq!(same.identity_time(), Timestamp::UNIX_EPOCH);
        }
    }

    #[test]
    fn an_event_that_states_the_epoch_has_a_time() {
        let event = into_inbound_event(Some(Timestamp::UNIX_EPOCH), RECEIVED);
        assert_eq!(event.provider_time(), Some(Timestamp::UNIX_EPOCH));
    }
}
