//! A conversation between a tenant and one customer over one account.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::provider::Channel;
use crate::{ContactId, ConversationId, IntegrationId, Provider, TenantId};

/// A conversation between a tenant and one customer over one account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// The conversation id, derived from tenant, channel, account and customer address: concurrent
    /// first messages create one conversation.
    pub id: ConversationId,
    /// The tenant that owns the conversation.
    pub tenant: TenantId,
    /// The channel.
    pub channel: Channel,
    /// The provider of the account.
    pub provider: Provider,
    /// The integration of the account.
    pub integration: IntegrationId,
    /// The account id at the provider.
    pub account: String,
    /// The customer.
    pub contact: Contact,
    /// When the conversation was created.
    pub created_at: Timestamp,
    /// When the last message was received or sent.
    pub last_activity_at: Timestamp,
    /// When the customer last wrote, by the provider's clock; never later than `last_activity_at`.
    /// Absent if no message from the customer has been verified by a provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_inbound_at: Option<Timestamp>,
    /// The provider message id of the customer's last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_inbound_message: Option<String>,
}

/// A customer: a phone number on every channel that uses phone numbers, or an identity on one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// The contact id, derived from tenant and phone number; of another identity, from tenant,
    /// channel and address.
    pub id: ContactId,
    /// The customer's address as the provider writes it: a phone number with or without `+`, or a
    /// chat id.
    pub address: String,
    /// The display name that the customer chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The four values that a conversation id is derived from.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The channel.
    pub channel: Channel,
    /// The account id at the provider.
    pub account: &'a str,
    /// The customer's address.
    pub counterpart: &'a str,
}

impl Parties<'_> {
    /// Returns the conversation id.
    #[must_use]
    pub fn conversation(&self) -> ConversationId {
        let Self { tenant, channel, account, counterpart } = self;
        ConversationId::derived(&[tenant.as_str(), channel.as_str(), account, counterpart])
    }

    /// Returns the contact id of the customer: the same for every notation of a phone number, on
    /// every channel that uses phone numbers.
    #[must_use]
    pub fn contact(&self) -> ContactId {
        let Self { tenant, channel, counterpart, .. } = self;
        let address = Address::on(*channel, counterpart);
        let namespace = match address {
            // Ids were once derived for each channel. This name keeps those of WhatsApp numbers.
            Address::Phone(_) => Channel::Whatsapp,
            Address::Identity(_) => *channel,
        };
        ContactId::derived(&[tenant.as_str(), namespace.as_str(), address.without_plus()])
    }
}

/// The largest expected difference between the clocks of two machines. Amazon keeps its own within
/// milliseconds.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Whether `at` is later than `now` by more than [`CLOCK_SKEW`].
#[must_use]
pub fn is_later(at: Timestamp, now: Timestamp) -> bool {
    at > now && at.duration_since(now).unsigned_abs() > CLOCK_SKEW
}

impl Conversation {
    /// Whether the service window, which each message of the customer opens for `window`, is open at
    /// `now`. No message opens it for longer, counted from `now`, whatever its timestamp.
    #[must_use]
    pub fn in_service_window(&self, now: Timestamp, window: Duration) -> bool {
        self.last_inbound_at.is_some_and(|at| {
            !is_later(at, now) && now.duration_since(at.min(now)).unsigned_abs() < window
        })
    }

    /// Corrects what an earlier version stored. The contact id is derived again, because it once
    /// depended on how a provider writes a phone number. An impossible time of the customer's last
    /// message, one later than the last activity, is cleared: the message it belongs to is unknown,
    /// so it does not open the service window.
    #[must_use]
    pub fn repaired(mut self) -> Self {
        let parties = Parties {
            tenant: &self.tenant,
            channel: self.channel,
            account: &self.account,
            counterpart: &self.contact.address,
        };
        self.contact.id = parties.contact();
        if self.last_inbound_at.is_some_and(|at| is_later(at, self.last_activity_at)) {
            self.last_inbound_at = None;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    const WINDOW: Duration = Duration::from_hours(24);

    fn new_conversation(channel: Channel, last_inbound_at: Option<Timestamp>) -> Conversation {
        let tenant: TenantId = "acme".parse().unwrap();
        let parties = Parties { tenant: &tenant, channel, account: "1", counterpart: "2" };
        Conversation {
            id: parties.conversation(),
            contact: Contact { id: parties.contact(), address: "2".into(), name: None },
            tenant: tenant.clone(),
            channel,
            provider: Provider::WhatsappCloud,
            integration: IntegrationId::derived(&["x"]),
            account: "1".into(),
            created_at: Timestamp::UNIX_EPOCH,
            last_activity_at: Timestamp::UNIX_EPOCH,
            last_inbound_at,
            last_inbound_message: None,
        }
    }

    #[test]
    fn the_service_window_is_open_from_when_the_customer_wrote_until_it_is_over() {
        let wrote = Timestamp::UNIX_EPOCH;
        let conversation = new_conversation(Channel::Whatsapp, Some(wrote));
        assert!(conversation.in_service_window(wrote + 23.hours(), WINDOW));
        assert!(!conversation.in_service_window(wrote + 24.hours(), WINDOW));
        assert!(!new_conversation(Channel::Whatsapp, None).in_service_window(wrote, WINDOW));
    }

    #[test]
    fn no_timestamp_opens_the_service_window_for_longer_than_24_hours_or_panics() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let times = [Timestamp::MIN, Timestamp::MAX, now + 10.hours(), now + 2.hours(), now];
        for wrote in times {
            let conversation = new_conversation(Channel::Whatsapp, Some(wrote));
            assert_eq!(conversation.in_service_window(now, WINDOW), wrote == now, "{wrote}");
            let late = (24..48).map(|hours| now + hours.hours());
            let open = late.filter(|at| conversation.in_service_window(*at, WINDOW)).count();
            assert!(
                open == 0 || conversation.clone().repaired().last_inbound_at.is_none(),
                "{wrote}"
            );
            assert!(
                !conversation.in_service_window(Timestamp::MIN, WINDOW) || wrote == Timestamp::MIN
            );
            assert!(
                !conversation.in_service_window(Timestamp::MAX, WINDOW) || wrote == Timestamp::MAX
            );
        }
    }

    #[test]
    fn a_phone_number_is_one_contact_on_every_channel_and_in_every_notation() {
        let tenant: TenantId = "acme".parse().unwrap();
        let contact = |channel, counterpart| {
            Parties { tenant: &tenant, channel, account: "1", counterpart }.contact()
        };
        // The id that WhatsApp numbers have always had.
        let expected = ContactId::derived(&["acme", "whatsapp", "15551234567"]);
        for (channel, counterpart) in [
            (Channel::Whatsapp, "15551234567"),
            (Channel::Whatsapp, "+15551234567"),
            (Channel::Sms, "+15551234567"),
            (Channel::Voice, "+15551234567"),
        ] {
            assert_eq!(contact(channel, counterpart), expected, "{channel} {counterpart}");
        }
        let chat = ContactId::derived(&["acme", "telegram", "15551234567"]);
        assert_eq!(contact(Channel::Telegram, "15551234567"), chat, "a chat id is not a number");
        let group = ContactId::derived(&["acme", "whatsapp", "120363025246125486@g.us"]);
        assert_eq!(contact(Channel::Whatsapp, "120363025246125486@g.us"), group);
    }

    #[test]
    fn a_conversation_id_depends_on_how_the_provider_writes_the_address() {
        let tenant: TenantId = "acme".parse().unwrap();
        let parties = |channel, counterpart| {
            Parties { tenant: &tenant, channel, account: "1", counterpart }.conversation()
        };
        for (channel, counterpart) in
            [(Channel::Whatsapp, "15551234567"), (Channel::Whatsapp, "+15551234567")]
        {
            let parts = ["acme", channel.as_str(), "1", counterpart];
            assert_eq!(parties(channel, counterpart), ConversationId::derived(&parts));
        }
    }

    #[test]
    fn a_contact_id_stored_by_an_earlier_version_is_derived_again() {
        let mut conversation = new_conversation(Channel::Sms, None);
        conversation.contact.address = "+15551234567".to_owned();
        conversation.contact.id = ContactId::derived(&["acme", "sms", "+15551234567"]);
        let expected = ContactId::derived(&["acme", "whatsapp", "15551234567"]);
        assert_eq!(conversation.repaired().contact.id, expected);
    }

    #[test]
    fn clock_skew_does_not_close_the_service_window() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let mut conversation = new_conversation(Channel::Whatsapp, Some(now + 50.milliseconds()));
        conversation.last_activity_at = now;
        assert!(conversation.in_service_window(now, WINDOW));
        assert!(conversation.repaired().last_inbound_at.is_some());
    }
}
