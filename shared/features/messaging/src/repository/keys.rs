//! Keys of the table. The page of the feature lists them.

use std::time::Duration;

use domain::{ConversationId, IntegrationId, MessageId, Provider, TenantId};
use jiff::Timestamp;
use table::{Key, List, sortable_micros};

/// Retention of provider message ids.
pub const REFERENCE_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Retention of idempotency keys.
pub const IDEMPOTENCY_RETENTION: Duration = Duration::from_hours(24);

/// Retention of rate limit counters.
pub const RATE_LIMIT_RETENTION: Duration = Duration::from_hours(1);

/// Key of a conversation.
#[must_use]
pub fn conversation(tenant: &TenantId, id: ConversationId) -> Key {
    Key::new(format!("T#{tenant}#C#{id}"), "CONV")
}

/// Key of a message.
#[must_use]
pub fn message(tenant: &TenantId, id: MessageId) -> Key {
    Key::new(format!("T#{tenant}#MSG#{id}"), "MSG")
}

/// Key of the item that maps a provider message id to the message id.
#[must_use]
pub fn reference(tenant: &TenantId, provider: Provider, provider_message_id: &str) -> Key {
    Key::new(format!("T#{tenant}#REF#{provider}#{provider_message_id}"), "REF")
}

/// Key of the item that maps a provider message id of a custom integration to the message id: two
/// custom integrations may have equal ids.
#[must_use]
pub fn custom_reference(
    tenant: &TenantId,
    integration: IntegrationId,
    provider_message_id: &str,
) -> Key {
    let sk = format!("REF#{integration}");
    Key::new(reference(tenant, Provider::Custom, provider_message_id).pk, sk)
}

/// Key of an idempotency key.
#[must_use]
pub fn idempotency(tenant: &TenantId, hash: &str) -> Key {
    Key::new(format!("T#{tenant}#IDEM#{hash}"), "IDEM")
}

/// Key of the rate limit counter of an identity in the window that starts at `window`, in seconds.
#[must_use]
pub fn rate_limit(tenant: &TenantId, identity: &str, window: i64) -> Key {
    Key::new(format!("T#{tenant}#PACE#{identity}#{window}"), "PACE")
}

/// Index partition that lists a conversation's messages.
#[must_use]
pub fn messages_of(tenant: &TenantId, conversation: ConversationId) -> String {
    format!("T#{tenant}#C#{conversation}")
}

/// Index sort key of a message: by time, then by id.
#[must_use]
pub fn message_sort_key(at: Timestamp, id: MessageId) -> String {
    format!("{}#{id}", sortable_micros(at))
}

/// Number of shards of a tenant's list of conversations: 3,000 conversations per second may become
/// active, each is two writes if it was active before, and a shard takes 1,000.
pub const LIST_SHARDS: u8 = 16;

/// List of a tenant's conversations.
#[must_use]
pub fn conversations_of(tenant: &TenantId) -> List {
    List::sharded(format!("T#{tenant}#CONVS"), LIST_SHARDS)
}

/// Index sort key of a conversation: by the hour of its last activity, so that the index is
/// written at most once an hour for a busy conversation, and not for each message.
#[must_use]
pub fn conversation_sort_key(at: Timestamp, id: ConversationId) -> String {
    format!("{:07}#{id}", at.as_second() / 3600)
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
        let msg: MessageId = format!("msg_{zeros}").parse().unwrap();
        let int: IntegrationId = format!("int_{zeros}").parse().unwrap();
        let p = Provider::WhatsappCloud;
        let rows = [
            (conversation(&acme, conv), format!("T#acme#C#conv_{zeros} CONV")),
            (message(&acme, msg), format!("T#acme#MSG#msg_{zeros} MSG")),
            (reference(&acme, p, "wamid.1"), "T#acme#REF#whatsapp_cloud#wamid.1 REF".to_owned()),
            (custom_reference(&acme, int, "7"), format!("T#acme#REF#custom#7 REF#int_{zeros}")),
            (idempotency(&acme, "ab"), "T#acme#IDEM#ab IDEM".to_owned()),
            (rate_limit(&acme, "number:1", 17), "T#acme#PACE#number:1#17 PACE".to_owned()),
        ];
        for (key, frozen) in rows {
            assert_eq!(format!("{} {}", key.pk, key.sk), frozen);
        }
        assert_eq!(messages_of(&acme, conv), format!("T#acme#C#conv_{zeros}"));
        assert_eq!(message_sort_key(at, msg), format!("1700000000123000#msg_{zeros}"));
        assert_eq!(conversations_of(&acme), List::sharded("T#acme#CONVS".to_owned(), 16));
        assert_eq!(conversation_sort_key(at, conv), format!("0472222#conv_{zeros}"));
    }
}
