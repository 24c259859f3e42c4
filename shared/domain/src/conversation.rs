//! A talk between a tenant and one counterpart over one account.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::provider::Channel;
use crate::{ContactId, ConversationId, IntegrationId, Provider, TenantId};

/// A talk between a tenant and one counterpart over one account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// Its id: the same for the same four parts, so fifty first messages make one.
    pub id: ConversationId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it travels on.
    pub channel: Channel,
    /// Who carries it.
    pub provider: Provider,
    /// The account it goes over.
    pub integration: IntegrationId,
    /// The account as the provider names it.
    pub account: String,
    /// The person at the other end.
    pub contact: Contact,
    /// When it began.
    pub created_at: Timestamp,
    /// When the last message came or left.
    pub last_activity_at: Timestamp,
    /// When the person last wrote, by the provider's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_inbound_at: Option<Timestamp>,
    /// The provider's id of the person's last message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_inbound_message: Option<String>,
}

/// A person, as one channel knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// Their id: the same for the same tenant, channel and address.
    pub id: ContactId,
    /// Where they are reached: a telephone number without `+`, or a chat id.
    pub address: String,
    /// The name they gave themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The four parts a conversation follows from.
#[derive(Clone, Copy, Debug)]
pub struct Parties<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// What it travels on.
    pub channel: Channel,
    /// The account as the provider names it.
    pub account: &'a str,
    /// The person's address.
    pub counterpart: &'a str,
}

impl Parties<'_> {
    /// The conversation between them.
    #[must_use]
    pub fn conversation(&self) -> ConversationId {
        let Self { tenant, channel, account, counterpart } = self;
        ConversationId::derived(&[tenant.as_str(), channel.as_str(), account, counterpart])
    }

    /// The person.
    #[must_use]
    pub fn contact(&self) -> ContactId {
        let Self { tenant, channel, counterpart, .. } = self;
        ContactId::derived(&[tenant.as_str(), channel.as_str(), counterpart])
    }
}

impl Conversation {
    /// Whether anything may be sent at `now`, or only what the channel allows outside its
    /// service window.
    #[must_use]
    pub fn in_service_window(&self, now: Timestamp) -> bool {
        let Some(window) = self.channel.service_window() else { return true };
        self.last_inbound_at.is_some_and(|at| now.duration_since(at).unsigned_abs() < window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    fn conversation(channel: Channel, last_inbound_at: Option<Timestamp>) -> Conversation {
        let tenant: TenantId = "acme".parse().unwrap();
        let parties = Parties { tenant: &tenant, channel, account: "1", counterpart: "2" };
        Conversation {
            id: parties.conversation(),
            contact: Contact { id: parties.contact(), address: "2".into(), name: None },
            tenant: tenant.clone(),
            channel,
            provider: Provider::Whatsapp,
            integration: IntegrationId::derived(&["x"]),
            account: "1".into(),
            created_at: Timestamp::UNIX_EPOCH,
            last_activity_at: Timestamp::UNIX_EPOCH,
            last_inbound_at,
            last_inbound_message: None,
        }
    }

    #[test]
    fn whatsapps_window_is_open_for_24_hours_after_the_person_wrote() {
        let wrote = Timestamp::UNIX_EPOCH;
        let talk = conversation(Channel::Whatsapp, Some(wrote));
        assert!(talk.in_service_window(wrote + 23.hours()));
        assert!(!talk.in_service_window(wrote + 24.hours()));
        assert!(!conversation(Channel::Whatsapp, None).in_service_window(wrote));
        assert!(conversation(Channel::Telegram, None).in_service_window(wrote));
    }
}
