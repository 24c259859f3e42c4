//! Evidence for the checks: what was sent to the hub, what the hub's API shows, and the providers'
//! logs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    load::{CustomerMessage, SendRequest},
    observations::Notified,
};

/// All evidence of a run.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Messages that customers wrote, in order.
    pub(crate) written: Vec<CustomerMessage>,
    /// Messages that tenants and their automations asked the hub to send.
    pub(crate) requested: Vec<SendRequest>,
    /// Conversations from the hub's API.
    pub(crate) conversations: Vec<ListedConversation>,
    /// Outbound messages from the hub's API, by id. `None` if the hub returned 404.
    pub(crate) shown: BTreeMap<String, Option<Message>>,
    /// Messages that the providers accepted, in order.
    pub(crate) sent: Vec<SentMessage>,
    /// Notifications that the automations received, by message id.
    pub(crate) notified: BTreeMap<String, Notified>,
    /// Status changes that moved backward.
    pub(crate) regressions: Vec<String>,
    /// Data that one tenant's key showed of another tenant.
    pub(crate) foreign_reads: Vec<String>,
    /// Provider rules that the hub broke, stuck conversations, and records left in queues.
    pub(crate) violations: Vec<String>,
    /// Addresses of conversations with redriven records, which may be out of order.
    pub(crate) redriven: BTreeSet<String>,
}

/// A conversation as the hub's API shows it to a tenant.
#[derive(Debug, Default)]
pub(crate) struct ListedConversation {
    /// The tenant whose key was used.
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) address: String,
    /// Oldest first.
    pub(crate) messages: Vec<Message>,
}

/// A message as the hub's API shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) inbound: bool,
    pub(crate) text: String,
    pub(crate) status: String,
    pub(crate) provider_id: Option<String>,
    pub(crate) history: Vec<Step>,
}

/// A step of the status history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) status: String,
    pub(crate) at: String,
    pub(crate) attempt: Option<u64>,
    pub(crate) code: Option<String>,
}

/// A message that a provider accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentMessage {
    /// The tenant that owns the account.
    pub(crate) tenant: String,
    pub(crate) address: String,
    pub(crate) text: String,
    /// The provider message id, as the hub stores it.
    pub(crate) id: String,
    /// The message's position in the provider's log.
    pub(crate) seq: u64,
    /// Whether the provider later reported that the message failed.
    pub(crate) failed: bool,
    /// Receipts that the hub has acknowledged. Telegram sends none.
    pub(crate) receipts: BTreeSet<String>,
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

impl Message {
    /// Parses a message from the hub's API.
    pub(crate) fn read(shown: &Value) -> Self {
        let steps = shown.get("history").and_then(Value::as_array).into_iter().flatten();
        let text = |name| text(shown, name);
        Self {
            id: text("id").unwrap_or_default(),
            tenant: text("tenant").unwrap_or_default(),
            inbound: text("direction").as_deref() == Some("inbound"),
            text: text("text").unwrap_or_default(),
            status: text("status").unwrap_or_default(),
            provider_id: text("provider_message_id"),
            history: steps.map(Step::read).collect(),
        }
    }
}

impl Step {
    fn read(shown: &Value) -> Self {
        Self {
            status: text(shown, "status").unwrap_or_default(),
            at: text(shown, "at").unwrap_or_default(),
            attempt: shown.get("attempt").and_then(Value::as_u64),
            code: text(shown, "code"),
        }
    }
}

impl SentMessage {
    /// Parses an entry of the simulated WhatsApp's log.
    pub(crate) fn whatsapp(tenant: &str, entry: &Value) -> Self {
        let receipts = entry.get("statuses").and_then(Value::as_array).into_iter().flatten();
        let text_body = entry.pointer("/body/text/body").and_then(Value::as_str);
        Self {
            tenant: tenant.to_owned(),
            address: text(entry, "to").unwrap_or_default(),
            text: text_body.unwrap_or_default().to_owned(),
            id: text(entry, "wamid").unwrap_or_default(),
            seq: entry.get("seq").and_then(Value::as_u64).unwrap_or_default(),
            failed: entry.get("failed_code").is_some_and(|code| !code.is_null()),
            receipts: receipts.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    /// Parses an entry of the simulated Telegram's log.
    pub(crate) fn telegram(tenant: &str, entry: &Value) -> Self {
        let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (chat, message) = (number("chat_id"), number("message_id"));
        let text_body = entry.pointer("/body/text").and_then(Value::as_str);
        Self {
            tenant: tenant.to_owned(),
            address: chat.to_string(),
            text: text_body.unwrap_or_default().to_owned(),
            id: format!("{chat}:{message}"),
            seq: number("seq"),
            ..Self::default()
        }
    }
}

/// Rank of a status in the order that the hub guarantees.
pub(crate) fn rank(status: &str) -> Option<usize> {
    const ORDER: [&str; 10] = [
        "received",
        "queued",
        "sending",
        "unknown",
        "accepted",
        "sent",
        "expired",
        "failed",
        "delivered",
        "read",
    ];
    ORDER.iter().position(|one| *one == status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_from_the_hubs_api_is_parsed() {
        let message = Message::read(&json!({
            "id": "msg_1", "tenant": "alder", "direction": "outbound", "type": "text",
            "text": "out 1 0", "status": "sent", "provider_message_id": "wamid.1",
            "history": [{"status": "queued", "at": "2026-01-01T00:00:00Z"},
                        {"status": "sending", "at": "2026-01-01T00:00:01Z", "attempt": 1}],
        }));
        assert!(!message.inbound && message.text == "out 1 0");
        assert_eq!(message.provider_id.as_deref(), Some("wamid.1"));
        assert_eq!(message.history[1].attempt, Some(1));
    }

    #[test]
    fn the_logs_of_both_providers_are_parsed() {
        let whatsapp = json!({"seq": 9, "wamid": "wamid.1", "to": "16501", "failed_code": null,
            "body": {"text": {"body": "out 1 0"}}, "statuses": ["sent"]});
        let sent = SentMessage::whatsapp("alder", &whatsapp);
        assert!(sent.text == "out 1 0" && !sent.failed && sent.receipts.contains("sent"));
        let telegram = json!({"seq": 9, "chat_id": 7, "message_id": 3, "body": {"text": "hi"}});
        assert_eq!(SentMessage::telegram("alder", &telegram).id, "7:3");
    }

    #[test]
    fn statuses_are_ranked_in_the_hubs_order() {
        let ranks = ["queued", "sending", "unknown", "accepted", "sent", "failed", "delivered"];
        assert!(ranks.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_eq!(rank("lost"), None);
    }
}
