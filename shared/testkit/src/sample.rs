//! Sample tenants, integrations, messages and events.

use std::collections::BTreeMap;

use domain::content::{Content, Media};
use domain::conversation::{Contact, Conversation, Parties};
use domain::event::{EventKind, InboundEvent, InboundMessage, Receipt};
use domain::integration::{Integration, Settings};
use domain::message::{Direction, Message, Status, Step};
use domain::provider::Channel;
use domain::task::{OutboundAction, OutboundTask, SendTask, VERSION};
use domain::{ConversationId, IntegrationId, MessageId, Provider, TenantId};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The customer's WhatsApp id.
pub const PERSON: &str = "4915550009999";

/// A tenant id; the operator's if `name` is not a valid id.
#[must_use]
pub fn tenant(name: &str) -> TenantId {
    name.parse().unwrap_or_else(|_| TenantId::platform())
}

/// A WhatsApp integration of `tenant` for the number `account`.
#[must_use]
pub fn whatsapp(tenant: &TenantId, account: Option<&str>) -> Integration {
    let settings = json!({
        "graph_version": "v26.0", "base_url": "https://graph.test", "delivery": "at_most_once",
        "messages_per_second": 80,
    });
    let mut whatsapp = integration(tenant, Provider::WhatsappCloud, &settings, account);
    if let Some(account) = account {
        whatsapp.settings.0.insert("phone_number_id".to_owned(), account.into());
    }
    whatsapp
}

/// A Telegram integration of `tenant` for the bot `account`.
#[must_use]
pub fn telegram(tenant: &TenantId, account: Option<&str>) -> Integration {
    let settings = json!({
        "base_url": "https://telegram.test", "delivery": "at_most_once",
        "messages_per_second": 30,
    });
    integration(tenant, Provider::Telegram, &settings, account)
}

/// An integration of `tenant` at a provider whose events are only recorded.
#[must_use]
pub fn receive_only(tenant: &TenantId, provider: Provider, account: Option<&str>) -> Integration {
    integration(tenant, provider, &json!({}), account)
}

fn integration(
    tenant: &TenantId,
    provider: Provider,
    settings: &Value,
    account: Option<&str>,
) -> Integration {
    let name = account.unwrap_or_default();
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&[tenant.as_str(), provider.as_str(), name]),
        tenant: tenant.clone(),
        provider,
        settings: Settings(settings.as_object().cloned().unwrap_or_default()),
        account: account.map(ToOwned::to_owned),
        hints: BTreeMap::new(),
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

/// The same integration with delivery at least once: it resends messages that may have been sent.
#[must_use]
pub fn at_least_once(mut integration: Integration) -> Integration {
    integration.settings.0.insert("delivery".to_owned(), "at_least_once".into());
    integration
}

/// The channel of an integration; WhatsApp, if its provider has none.
fn channel(integration: &Integration) -> Channel {
    integration.provider.channels().first().copied().unwrap_or(Channel::Whatsapp)
}

/// The text `name` in the conversation with `person`, as workers get it in a job.
#[must_use]
pub fn message_from(integration: &Integration, person: &str, name: &str, at: Timestamp) -> Message {
    let conversation = conversation_id(integration, person);
    Message { conversation, ..outbound(integration, name, at) }
}

/// The conversation between the account of `integration` and `person`, which a message has just
/// started.
#[must_use]
pub fn conversation(integration: &Integration, person: &str, at: Timestamp) -> Conversation {
    let account = integration.account.clone().unwrap_or_default();
    let parties = parties(integration, &account, person);
    Conversation {
        id: parties.conversation(),
        tenant: integration.tenant.clone(),
        channel: channel(integration),
        provider: integration.provider,
        integration: integration.id,
        contact: Contact { id: parties.contact(), address: person.to_owned(), name: None },
        created_at: at,
        last_activity_at: at,
        last_inbound_at: Some(at),
        last_inbound_message: Some("wamid.first".to_owned()),
        account: account.clone(),
    }
}

fn parties<'a>(integration: &'a Integration, account: &'a str, person: &'a str) -> Parties<'a> {
    let (tenant, channel) = (&integration.tenant, channel(integration));
    Parties { tenant, channel, account, counterpart: person }
}

/// The id of that conversation.
#[must_use]
pub fn conversation_id(integration: &Integration, person: &str) -> ConversationId {
    let account = integration.account.clone().unwrap_or_default();
    parties(integration, &account, person).conversation()
}

/// A text accepted from the tenant at `at`, before the first attempt.
#[must_use]
pub fn outbound(integration: &Integration, name: &str, at: Timestamp) -> Message {
    Message {
        id: MessageId::derived_at(at, &[integration.tenant.as_str(), name]),
        tenant: integration.tenant.clone(),
        conversation: conversation_id(integration, PERSON),
        channel: channel(integration),
        provider: integration.provider,
        integration: integration.id,
        direction: Direction::Outbound,
        content: Content::Text { text: name.to_owned() },
        status: Status::Queued,
        provider_message_id: None,
        reply_to: None,
        created_at: at,
        occurred_at: None,
        history: vec![Step::plain(Status::Queued, at)],
    }
}

/// The task to send `message` within a day.
#[must_use]
pub fn task(message: &Message) -> SendTask {
    SendTask {
        failover: domain::task::FailoverPlan::default(),
        message: message.clone(),
        to: PERSON.to_owned(),
        reply_to: None,
        expires_at: message.created_at + std::time::Duration::from_hours(24),
    }
}

/// The body of the queue record that requests to send `message`.
#[must_use]
pub fn job(message: &Message) -> OutboundTask {
    OutboundTask { v: VERSION, action: OutboundAction::Send(Box::new(task(message))) }
}

/// A receipt of `status` for the message with this `provider_message_id`.
#[must_use]
pub fn receipt(status: Status, provider_message_id: &str) -> Receipt {
    Receipt {
        provider_message_id: provider_message_id.to_owned(),
        reference: None,
        status,
        code: None,
        detail: None,
    }
}

/// A text from `person`, received at `at`.
#[must_use]
pub fn text_event(
    integration: &Integration,
    person: &str,
    id: &str,
    at: Timestamp,
) -> InboundEvent {
    message_event(integration, person, id, at, Content::Text { text: format!("text of {id}") })
}

/// An image from `person`, received at `at`.
#[must_use]
pub fn image_event(
    integration: &Integration,
    person: &str,
    id: &str,
    at: Timestamp,
) -> InboundEvent {
    let media = Media {
        provider_media_id: Some(format!("media-of-{id}")),
        mime_type: Some("image/jpeg".to_owned()),
        ..Media::default()
    };
    message_event(integration, person, id, at, Content::Image { media })
}

/// A message from `person`, received at `at`.
#[must_use]
pub fn message_event(
    integration: &Integration,
    person: &str,
    id: &str,
    at: Timestamp,
    content: Content,
) -> InboundEvent {
    let message = InboundMessage {
        channel: None,
        provider_message_id: id.to_owned(),
        from: person.to_owned(),
        name: Some("Zoë Müller".to_owned()),
        content,
        reply_to: None,
    };
    event(integration, id, at, EventKind::Message(message))
}

/// A receipt, received at `at`.
#[must_use]
pub fn receipt_event(integration: &Integration, receipt: Receipt, at: Timestamp) -> InboundEvent {
    let id = format!("{}:{}", receipt.provider_message_id, receipt.status.as_str());
    event(integration, &id, at, EventKind::Receipt(receipt))
}

/// An event that the hub only records, received at `at`.
#[must_use]
pub fn other_event(integration: &Integration, id: &str, name: &str, at: Timestamp) -> InboundEvent {
    event(integration, id, at, EventKind::Other { name: name.to_owned() })
}

fn event(integration: &Integration, id: &str, at: Timestamp, kind: EventKind) -> InboundEvent {
    let raw = serde_json::value::to_raw_value(&serde_json::json!({ "id": id })).unwrap_or_default();
    InboundEvent {
        conversation_account: None,
        v: InboundEvent::VERSION,
        tenant: integration.tenant.clone(),
        integration: integration.id,
        provider: integration.provider,
        account: integration.account.clone().unwrap_or_default(),
        id: id.to_owned(),
        occurred_at: Some(at),
        dated: None,
        received_at: at,
        ingested: false,
        kind,
        ordering_key: None,
        single_use: None,
        replay: None,
        raw,
    }
}
