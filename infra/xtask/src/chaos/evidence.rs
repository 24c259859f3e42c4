//! What there is to judge by: what was put in, what the hub shows, what the providers know.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    load::{Asked, Written},
    seen::Told,
};

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// What customers wrote, in order.
    pub(crate) written: Vec<Written>,
    /// What tenants and their automations asked the hub to send.
    pub(crate) asked: Vec<Asked>,
    /// The conversations that the hub lists.
    pub(crate) talks: Vec<Listed>,
    /// The messages to send, as the hub shows each by itself. Nothing: it knows no such message.
    pub(crate) shown: BTreeMap<String, Option<Message>>,
    /// What the providers took, in order.
    pub(crate) carried: Vec<Carried>,
    /// What the automations know, by message.
    pub(crate) told: BTreeMap<String, Told>,
    /// Messages whose status was seen to go down.
    pub(crate) fallen: Vec<String>,
    /// What one tenant's key showed of another's.
    pub(crate) trespasses: Vec<String>,
    /// Rules of the providers that the hub broke, talks that got stuck, records that were lost
    /// on the way.
    pub(crate) complaints: Vec<String>,
    /// Talks some of whose records were redriven, and so may be out of order.
    pub(crate) redriven: BTreeSet<String>,
}

/// A conversation as a tenant's key shows it.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Whose key.
    pub(crate) tenant: String,
    pub(crate) id: String,
    pub(crate) address: String,
    /// Oldest first.
    pub(crate) messages: Vec<Message>,
}

/// A message as the hub shows it.
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

/// A state it has been in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) status: String,
    pub(crate) at: String,
    pub(crate) attempt: Option<u64>,
    pub(crate) code: Option<String>,
}

/// A message that a provider took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// Whose account.
    pub(crate) tenant: String,
    pub(crate) address: String,
    pub(crate) text: String,
    /// The provider's id, as the hub would write it.
    pub(crate) id: String,
    /// The provider's place for it.
    pub(crate) seq: u64,
    /// Whether the provider said later that it failed.
    pub(crate) failed: bool,
    /// The receipts that the hub has taken. Telegram sends none.
    pub(crate) receipts: BTreeSet<String>,
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

impl Message {
    /// Reads what the hub's API shows.
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

impl Carried {
    /// Reads an entry of WhatsApp's own log.
    pub(crate) fn whatsapp(tenant: &str, entry: &Value) -> Self {
        let receipts = entry.get("statuses").and_then(Value::as_array).into_iter().flatten();
        let said = entry.pointer("/body/text/body").and_then(Value::as_str);
        Self {
            tenant: tenant.to_owned(),
            address: text(entry, "to").unwrap_or_default(),
            text: said.unwrap_or_default().to_owned(),
            id: text(entry, "wamid").unwrap_or_default(),
            seq: entry.get("seq").and_then(Value::as_u64).unwrap_or_default(),
            failed: entry.get("failed_code").is_some_and(|code| !code.is_null()),
            receipts: receipts.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    /// Reads an entry of Telegram's.
    pub(crate) fn telegram(tenant: &str, entry: &Value) -> Self {
        let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (chat, message) = (number("chat_id"), number("message_id"));
        let said = entry.pointer("/body/text").and_then(Value::as_str);
        Self {
            tenant: tenant.to_owned(),
            address: chat.to_string(),
            text: said.unwrap_or_default().to_owned(),
            id: format!("{chat}:{message}"),
            seq: number("seq"),
            ..Self::default()
        }
    }
}

/// How far a status is, as the hub promises to order them.
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
    fn a_message_is_read_as_the_hub_shows_it() {
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
    fn both_providers_logs_are_read() {
        let whatsapp = json!({"seq": 9, "wamid": "wamid.1", "to": "16501", "failed_code": null,
            "body": {"text": {"body": "out 1 0"}}, "statuses": ["sent"]});
        let carried = Carried::whatsapp("alder", &whatsapp);
        assert!(carried.text == "out 1 0" && !carried.failed && carried.receipts.contains("sent"));
        let telegram = json!({"seq": 9, "chat_id": 7, "message_id": 3, "body": {"text": "hi"}});
        assert_eq!(Carried::telegram("alder", &telegram).id, "7:3");
    }

    #[test]
    fn the_order_of_statuses_is_the_hubs() {
        let ranks = ["queued", "sending", "unknown", "accepted", "sent", "failed", "delivered"];
        assert!(ranks.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_eq!(rank("lost"), None);
    }
}
