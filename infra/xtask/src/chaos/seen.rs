//! What the simulator tells while the hub is at work, event by event.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How often the automation tries to send a reply.
pub(crate) const REPLY_ATTEMPTS: u64 = 60;

/// What an automation was told about one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The ids under which its arrival was told and acknowledged.
    pub(crate) received: BTreeSet<String>,
    /// The statuses that were told and acknowledged.
    pub(crate) statuses: BTreeSet<String>,
}

/// How far the automation has come with a reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Whose automation.
    pub(crate) tenant: String,
    pub(crate) text: String,
    /// The messages that the hub said it made of it.
    pub(crate) ids: BTreeSet<String>,
    /// The hub's last answer.
    pub(crate) status: u64,
    attempt: u64,
}

impl Reply {
    /// Whether there will be no other attempt.
    fn is_over(&self) -> bool {
        !matches!(self.status, 0 | 429 | 500..=599) || self.attempt >= REPLY_ATTEMPTS
    }
}

/// Everything the simulator has told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Customers' messages whose webhook the hub has answered with success.
    answered: BTreeSet<String>,
    /// The texts that the automation has been told of.
    texts: BTreeSet<String>,
    /// What the automations know, by message.
    pub(crate) told: BTreeMap<String, Told>,
    /// Their replies, by the notice they answer.
    pub(crate) replies: BTreeMap<String, Reply>,
    /// Messages that the hub accepted, and from whom, in order.
    pub(crate) accepted: Vec<(String, String)>,
    /// Notices that will be replied to.
    promised: BTreeSet<String>,
    /// Rules that the hub broke, and webhooks that were given up.
    pub(crate) complaints: Vec<String>,
    /// Faults of the providers, by kind.
    pub(crate) faults: BTreeMap<(String, String), u64>,
    /// How many messages customers wrote.
    pub(crate) written: u64,
    /// How many messages the providers took.
    pub(crate) taken: u64,
    /// How many the hub has given up, or knows nothing of.
    given_up: u64,
}

impl Seen {
    /// Whether the hub has taken a customer's message in: a wamid or a bot's update.
    pub(crate) fn is_answered(&self, id: &str) -> bool {
        self.answered.contains(id)
    }

    /// Whether an automation knows a customer's text.
    pub(crate) fn is_told(&self, text: &str) -> bool {
        self.texts.contains(text)
    }

    /// How many customers' messages the automations know.
    pub(crate) fn told_texts(&self) -> usize {
        self.texts.len()
    }

    /// How many replies are still on their way to the hub.
    pub(crate) fn open_replies(&self) -> usize {
        let open = |id: &&String| self.replies.get(*id).is_none_or(|reply| !reply.is_over());
        self.promised.iter().filter(open).count()
    }

    /// About how many messages are still to be sent.
    pub(crate) fn open_sends(&self) -> u64 {
        let accepted = u64::try_from(self.accepted.len()).unwrap_or_default();
        accepted.saturating_sub(self.taken + self.given_up)
    }

    /// Takes an event in.
    pub(crate) fn note(&mut self, event: &Value) {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (source, name) = (text("source"), text("name"));
        match text("kind") {
            "customer.wrote" => self.written += 1,
            "send.accepted" => self.taken += 1,
            "fault" => {
                let fault = (source.to_owned(), text("fault").to_owned());
                *self.faults.entry(fault).or_default() += 1;
            }
            "violation" | "webhook.given_up" => self.complaints.push(event.to_string()),
            "webhook.answered" if !(200..300).contains(&number("status")) => {}
            "webhook.answered" if source == "telegram" => {
                self.answered.insert(update(name, number("update_id")));
            }
            "webhook.answered" if text("what") == "message" => {
                let ids = event.get("ids").and_then(Value::as_array).into_iter().flatten();
                self.answered.extend(ids.filter_map(Value::as_str).map(str::to_owned));
            }
            "delivery" => self.delivery(event),
            "reply" => {
                let reply =
                    self.replies.entry(text("webhook_id").to_owned()).or_insert_with(|| Reply {
                        tenant: name.to_owned(),
                        text: text("text").to_owned(),
                        ids: BTreeSet::new(),
                        status: 0,
                        attempt: 0,
                    });
                // A notice that came twice is answered twice: success is not taken back.
                if reply.status != 202 {
                    reply.status = number("status");
                    reply.attempt = number("attempt");
                }
                let id = text("message_id").to_owned();
                if number("status") == 202 && reply.ids.insert(id.clone()) {
                    self.accepted.push((name.to_owned(), id));
                }
            }
            _ => {}
        }
    }

    fn delivery(&mut self, event: &Value) {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let answer = event.get("answer").and_then(Value::as_u64).unwrap_or_default();
        if event.get("verified").and_then(Value::as_bool) != Some(true) {
            self.complaints.push(event.to_string());
            return;
        }
        if !(200..300).contains(&answer) {
            return;
        }
        let told = self.told.entry(text("message_id").to_owned()).or_default();
        if text("type") == "message.received" {
            let id = text("webhook_id").to_owned();
            told.received.insert(id.clone());
            self.promised.insert(id);
            self.texts.insert(text("text").to_owned());
        } else {
            let status = text("status").to_owned();
            let lost = matches!(status.as_str(), "failed" | "unknown");
            if told.statuses.insert(status) && lost {
                self.given_up += 1;
            }
        }
    }
}

/// A bot's update, as [`Seen::is_answered`] knows it.
pub(crate) fn update(bot: &str, id: u64) -> String {
    format!("{bot}/{id}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(events: &[Value]) -> Seen {
        let mut seen = Seen::default();
        for event in events {
            seen.note(event);
        }
        seen
    }

    #[test]
    fn a_message_is_answered_when_its_webhook_was() {
        let seen = seen(&[
            json!({"source": "whatsapp", "kind": "webhook.answered", "what": "message",
                   "status": 503, "ids": ["w1"]}),
            json!({"source": "whatsapp", "kind": "webhook.answered", "what": "message",
                   "status": 200, "ids": ["w2"]}),
            json!({"source": "telegram", "name": "7", "kind": "webhook.answered",
                   "status": 200, "update_id": 5}),
        ]);
        assert!(!seen.is_answered("w1") && seen.is_answered("w2"));
        assert!(seen.is_answered(&update("7", 5)) && !seen.is_answered(&update("8", 5)));
    }

    #[test]
    fn a_reply_is_open_until_the_hub_has_it_or_it_is_given_up() {
        let told = json!({"source": "automation", "name": "a", "kind": "delivery",
            "type": "message.received", "verified": true, "answer": 200, "webhook_id": "evt_1",
            "message_id": "msg_1", "text": "in 0 0"});
        let reply = |status: u64, attempt: u64| {
            json!({"source": "automation", "name": "a", "kind": "reply", "webhook_id": "evt_1",
                   "text": "Echo: in 0 0", "status": status, "attempt": attempt,
                   "message_id": "msg_2"})
        };
        assert_eq!(seen(std::slice::from_ref(&told)).open_replies(), 1);
        assert_eq!(seen(&[told.clone(), reply(503, 1)]).open_replies(), 1);
        let done = seen(&[told.clone(), reply(503, 1), reply(202, 2), reply(0, 1)]);
        assert_eq!(done.open_replies(), 0);
        assert!(done.is_told("in 0 0") && done.replies["evt_1"].ids.contains("msg_2"));
        assert_eq!(seen(&[told, reply(503, REPLY_ATTEMPTS)]).open_replies(), 0);
    }

    #[test]
    fn a_send_is_open_until_a_provider_has_it_or_the_hub_has_given_it_up() {
        let replied = |notice: &str, id: &str| {
            json!({"source": "automation", "name": "a", "kind": "reply", "webhook_id": notice,
                   "text": "t", "status": 202, "attempt": 1, "message_id": id})
        };
        let told = json!({"source": "automation", "name": "a", "kind": "delivery",
            "type": "message.status", "verified": true, "answer": 200, "webhook_id": "evt_9",
            "message_id": "msg_1", "status": "failed"});
        let taken = json!({"source": "whatsapp", "kind": "send.accepted"});
        let events = [
            replied("evt_1", "msg_1"),
            replied("evt_2", "msg_2"),
            replied("evt_3", "msg_3"),
            told.clone(),
            told,
            taken,
        ];
        let open: Vec<u64> = (1..=events.len()).map(|n| seen(&events[..n]).open_sends()).collect();
        assert_eq!(open, [1, 2, 3, 2, 2, 1]);
    }

    #[test]
    fn what_the_hub_does_wrong_is_kept() {
        let seen = seen(&[
            json!({"source": "telegram", "kind": "violation", "detail": "no"}),
            json!({"source": "automation", "kind": "delivery", "verified": false}),
            json!({"source": "whatsapp", "kind": "fault", "fault": "drop"}),
        ]);
        assert_eq!(seen.complaints.len(), 2);
        assert_eq!(seen.faults[&("whatsapp".to_owned(), "drop".to_owned())], 1);
    }
}
