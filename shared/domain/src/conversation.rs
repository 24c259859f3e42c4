//! A talk between a tenant and one counterpart over one account.

use std::time::Duration;

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
    /// When the person last wrote, by the provider's clock; never later than
    /// `last_activity_at`. Absent if no provider has proved that they wrote.
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

/// How far the clocks of two machines may be apart. Amazon keeps its own within milliseconds.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Whether `at` is later than `now`, by more than clocks differ.
#[must_use]
pub fn is_later(at: Timestamp, now: Timestamp) -> bool {
    at > now && at.duration_since(now).unsigned_abs() > CLOCK_SKEW
}

impl Conversation {
    /// Whether anything may be sent at `now`, or only what the channel allows outside its
    /// service window. No message opens it for longer than the channel does, counted from
    /// `now`, whatever its date.
    #[must_use]
    pub fn in_service_window(&self, now: Timestamp) -> bool {
        let Some(window) = self.channel.service_window() else { return true };
        self.last_inbound_at.is_some_and(|at| {
            !is_later(at, now) && now.duration_since(at.min(now)).unsigned_abs() < window
        })
    }

    /// The same without a time of the person's last message that cannot be: one later than
    /// the last activity. What the time belongs to is not known then, so it opens nothing.
    #[must_use]
    pub fn repaired(mut self) -> Self {
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

    #[test]
    fn no_date_opens_a_window_for_longer_than_24_hours_or_panics() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let dates = [Timestamp::MIN, Timestamp::MAX, now + 10.hours(), now + 2.hours(), now];
        for wrote in dates {
            let talk = conversation(Channel::Whatsapp, Some(wrote));
            assert_eq!(talk.in_service_window(now), wrote == now, "{wrote}");
            let late = (24..48).map(|hours| now + hours.hours());
            let open = late.filter(|at| talk.in_service_window(*at)).count();
            assert!(open == 0 || talk.clone().repaired().last_inbound_at.is_none(), "{wrote}");
            assert!(!talk.in_service_window(Timestamp::MIN) || wrote == Timestamp::MIN);
            assert!(!talk.in_service_window(Timestamp::MAX) || wrote == Timestamp::MAX);
        }
    }

    #[test]
    fn a_little_difference_between_clocks_shuts_no_window() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let mut talk = conversation(Channel::Whatsapp, Some(now + 50.milliseconds()));
        talk.last_activity_at = now;
        assert!(talk.in_service_window(now));
        assert!(talk.repaired().last_inbound_at.is_some());
    }
}
