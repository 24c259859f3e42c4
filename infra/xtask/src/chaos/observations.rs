//! Observations from the simulator's event log during the run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Most attempts of an automation to send a reply.
pub(crate) const REPLY_ATTEMPTS: u64 = 60;

/// Notifications about one message that an automation acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notified {
    /// Ids of the `message.received` notifications.
    pub(crate) received: BTreeSet<String>,
    /// Statuses in the `message.status` notifications.
    pub(crate) statuses: BTreeSet<String>,
}

/// A reply of an automation.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The automation's tenant.
    pub(crate) tenant: String,
    pub(crate) text: String,
    /// Message ids that the hub returned.
    pub(crate) ids: BTreeSet<String>,
    /// Status of the hub's last response.
    pub(crate) status: u64,
    attempt: u64,
}

impl Reply {
    /// Whether there will be no further attempt.
    fn is_over(&self) -> bool {
        !matches!(self.status, 0 | 429 | 500..=599) || self.attempt >= REPLY_ATTEMPTS
    }
}

/// All observations so far.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// Customer messages whose webhook the hub has acknowledged.
    answered: BTreeSet<String>,
    /// Texts that the automations were notified of.
    texts: BTreeSet<String>,
    /// Notifications by message id.
    pub(crate) notified: BTreeMap<String, Notified>,
    /// Replies by the id of the notification.
    pub(crate) replies: BTreeMap<String, Reply>,
    /// Tenant and id of each message that the hub accepted, in order.
    pub(crate) accepted: Vec<(String, String)>,
    /// Ids of notifications that will get a reply.
    awaiting_reply: BTreeSet<String>,
    /// Provider rules that the hub broke, and webhooks that the simulator stopped retrying.
    pub(crate) violations: Vec<String>,
    /// Provider faults by provider and kind.
    pub(crate) faults: BTreeMap<(String, String), u64>,
    /// Number of messages from customers.
    pub(crate) written: u64,
    /// Number of messages that the providers accepted.
    pub(crate) provider_accepted: u64,
    /// Number of messages that ended as `failed` or `unknown`.
    undelivered: u64,
}

impl Observations {
    /// Whether the hub acknowledged a customer's message, given by its wamid or by [`update`].
    pub(crate) fn is_answered(&self, id: &str) -> bool {
        self.answered.contains(id)
    }

    /// Whether an automation was notified of a customer's text.
    pub(crate) fn is_notified(&self, text: &str) -> bool {
        self.texts.contains(text)
    }

    /// Number of customer messages that the automations were notified of.
    pub(crate) fn notified_texts(&self) -> usize {
        self.texts.len()
    }

    /// Number of replies that the hub has yet to accept.
    pub(crate) fn open_replies(&self) -> usize {
        let open = |id: &&String| self.replies.get(*id).is_none_or(|reply| !reply.is_over());
        self.awaiting_reply.iter().filter(open).count()
    }

    /// Approximate number of messages that are still to be sent.
    pub(crate) fn open_sends(&self) -> u64 {
        let accepted = u64::try_from(self.accepted.len()).unwrap_or_default();
        accepted.saturating_sub(self.provider_accepted + self.undelivered)
    }

    /// Records an event of the simulator's log.
    pub(crate) fn note(&mut self, event: &Value) {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (source, name) = (text("source"), text("name"));
        match text("kind") {
            "customer.wrote" => self.written += 1,
            "send.accepted" => self.provider_accepted += 1,
            "fault" => {
                let fault = (source.to_owned(), text("fault").to_owned());
                *self.faults.entry(fault).or_default() += 1;
            }
            "violation" | "webhook.given_up" => self.violations.push(event.to_string()),
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
                // A duplicate notification gets a second reply; keep the success of the first.
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
            self.violations.push(event.to_string());
            return;
        }
        if !(200..300).contains(&answer) {
            return;
        }
        let notified = self.notified.entry(text("message_id").to_owned()).or_default();
        if text("type") == "message.received" {
            let id = text("webhook_id").to_owned();
            notified.received.insert(id.clone());
            self.awaiting_reply.insert(id);
            self.texts.insert(text("text").to_owned());
        } else {
            let status = text("status").to_owned();
            let lost = matches!(status.as_str(), "failed" | "unknown");
            if notified.statuses.insert(status) && lost {
                self.undelivered += 1;
            }
        }
    }
}

/// Key of a bot's update for [`Observations::is_answered`].
pub(crate) fn update(bot: &str, id: u64) -> String {
    format!("{bot}/{id}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(events: &[Value]) -> Observations {
        let mut seen = Observations::default();
        for event in events {
            seen.note(event);
        }
        seen
    }

    #[test]
    fn a_message_is_acknowledged_when_its_webhook_succeeds() {
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
    fn a_reply_is_open_until_the_hub_accepts_it_or_attempts_run_out() {
        let notified = json!({"source": "automation", "name": "a", "kind": "delivery",
            "type": "message.received", "verified": true, "answer": 200, "webhook_id": "ntf_1",
            "message_id": "msg_1", "text": "in 0 0"});
        let reply = |status: u64, attempt: u64| {
            json!({"source": "automation", "name": "a", "kind": "reply", "webhook_id": "ntf_1",
                   "text": "Echo: in 0 0", "status": status, "attempt": attempt,
                   "message_id": "msg_2"})
        };
        assert_eq!(seen(std::slice::from_ref(&notified)).open_replies(), 1);
        assert_eq!(seen(&[notified.clone(), reply(503, 1)]).open_replies(), 1);
        let done = seen(&[notified.clone(), reply(503, 1), reply(202, 2), reply(0, 1)]);
        assert_eq!(done.open_replies(), 0);
        assert!(done.is_notified("in 0 0") && done.replies["ntf_1"].ids.contains("msg_2"));
        assert_eq!(seen(&[notified, reply(503, REPLY_ATTEMPTS)]).open_replies(), 0);
    }

    #[test]
    fn a_send_is_open_until_a_provider_accepts_it_or_it_fails() {
        let replied = |notification: &str, id: &str| {
            json!({"source": "automation", "name": "a", "kind": "reply", "webhook_id": notification,
                   "text": "t", "status": 202, "attempt": 1, "message_id": id})
        };
        let notified = json!({"source": "automation", "name": "a", "kind": "delivery",
            "type": "message.status", "verified": true, "answer": 200, "webhook_id": "ntf_9",
            "message_id": "msg_1", "status": "failed"});
        let provider_accepted = json!({"source": "whatsapp", "kind": "send.accepted"});
        let events = [
            replied("ntf_1", "msg_1"),
            replied("ntf_2", "msg_2"),
            replied("ntf_3", "msg_3"),
            notified.clone(),
            notified,
            provider_accepted,
        ];
        let open: Vec<u64> = (1..=events.len()).map(|n| seen(&events[..n]).open_sends()).collect();
        assert_eq!(open, [1, 2, 3, 2, 2, 1]);
    }

    #[test]
    fn violations_of_the_hub_are_recorded() {
        let seen = seen(&[
            json!({"source": "telegram", "kind": "violation", "detail": "no"}),
            json!({"source": "automation", "kind": "delivery", "verified": false}),
            json!({"source": "whatsapp", "kind": "fault", "fault": "drop"}),
        ]);
        assert_eq!(seen.violations.len(), 2);
        assert_eq!(seen.faults[&("whatsapp".to_owned(), "drop".to_owned())], 1);
    }
}
