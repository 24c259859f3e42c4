//! A tenant's automation: verifies signatures, records deliveries, and answers as scripted.

mod provider;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::log::ProviderContext;
use crate::redelivery::AttemptResult;
use crate::sign;
pub use provider::Automations;

const SOURCE: &str = "automation";

/// Settings of an automation, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The secret that signs the deliveries.
    pub secret: String,
    /// The reply settings; `None`: it does not reply.
    #[serde(default)]
    pub reply: Option<ReplySettings>,
    /// The scripted answers, in order.
    #[serde(default)]
    pub script: Vec<Step>,
}

/// How the automation replies to a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplySettings {
    /// The address of the hub's API.
    pub hub: String,
    /// The tenant's API key.
    pub key: String,
    /// The prefix of the text.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// The condition for a reply.
    #[serde(default)]
    pub on: ReplyOn,
    /// Largest number of attempts.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
}

fn default_prefix() -> String {
    "Echo: ".into()
}
fn default_attempts() -> u32 {
    5
}

/// The condition for a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyOn {
    /// When it acknowledges the delivery.
    #[default]
    Acknowledged,
    /// Also when the script fails the delivery: the automation processed it, but its answer was
    /// lost.
    Always,
}

/// One scripted answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// HTTP status.
    #[serde(default = "default_status")]
    pub status: u16,
    /// Number of deliveries that it answers.
    #[serde(default = "default_times")]
    pub times: u32,
    /// Delay of the answer in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// `Retry-After`.
    #[serde(default)]
    pub retry_after_s: Option<u64>,
    /// Close the connection instead.
    #[serde(default)]
    pub drop: bool,
}

fn default_status() -> u16 {
    200
}
fn default_times() -> u32 {
    1
}

/// A recorded delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of arrival.
    pub at_ms: i64,
    /// `webhook-id`.
    pub webhook_id: Option<String>,
    /// The event type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether the signature is valid.
    pub verified: bool,
    /// The reason why it is not.
    pub reason: Option<String>,
    /// How many times this id has arrived, this time included.
    pub attempt: u32,
    /// Whether the id had been acknowledged before.
    pub duplicate: bool,
    /// The status of the answer; 0 if there was none.
    pub answer: u16,
    /// The body.
    pub body: Value,
}

/// The result of a reply.
#[derive(Clone, Debug, Serialize)]
pub struct Replied {
    /// The time of the last attempt.
    pub at_ms: i64,
    /// The id of the delivery that it answers.
    pub webhook_id: String,
    /// The status of the hub's last answer; 0 if there was none.
    pub status: u16,
    /// Number of attempts.
    pub attempts: u32,
    /// The id of the message that the hub created.
    pub message_id: Option<String>,
}

/// A reply to send through the hub.
#[derive(Clone, Debug)]
pub struct ReplyJob {
    /// The hub's endpoint.
    pub url: String,
    /// The tenant's key.
    pub key: String,
    /// The id of the delivery that it answers, also used as the `Idempotency-Key`.
    pub webhook_id: String,
    /// The request body.
    pub body: Value,
    /// Largest number of attempts.
    pub attempts: u32,
    /// Delay before the first attempt.
    pub after_ms: u64,
}

#[derive(Debug, Default)]
struct Seen {
    count: u32,
    acknowledged: bool,
    body: Value,
}

/// The headers of a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`.
    pub signature: Option<&'a str>,
}

/// An automation.
#[derive(Debug)]
pub struct Automation {
    name: String,
    settings: Settings,
    script: VecDeque<Step>,
    deliveries: Vec<Delivery>,
    replies: Vec<Replied>,
    seen: BTreeMap<String, Seen>,
}

impl Automation {
    /// Creates an automation without deliveries.
    #[must_use]
    pub fn new(name: &str, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            script: settings.script.clone().into(),
            settings,
            deliveries: Vec::new(),
            replies: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Changes the settings and keeps the deliveries.
    pub fn change(&mut self, settings: Settings) {
        self.script = settings.script.clone().into();
        self.settings = settings;
    }

    /// Removes all deliveries and replies.
    pub fn clear(&mut self) {
        self.deliveries.clear();
        self.replies.clear();
        self.seen.clear();
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.name, kind, fields)
    }

    /// Handles a delivery.
    pub fn receive(
        &mut self,
        context: &mut ProviderContext<'_>,
        headers: Headers<'_>,
        bytes: &[u8],
    ) -> (Answer, Option<ReplyJob>) {
        let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
        let verdict = sign::verify_standard(
            &self.settings.secret,
            headers.id,
            headers.timestamp,
            headers.signature,
            bytes,
            context.now_ms / 1000,
        );
        if let Err(refusal) = verdict {
            let answer = Answer::json(401, json!({"error": refusal.to_string()}));
            self.note(context, headers, body, Some(refusal.to_string()), (0, false), &answer);
            return (answer, None);
        }
        // A verified delivery has an id.
        let id = headers.id.unwrap_or_default().to_owned();
        let seen = self.seen.entry(id.clone()).or_default();
        let changed = seen.count > 0 && seen.body != body;
        seen.count += 1;
        seen.body = body.clone();
        let (attempt, duplicate) = (seen.count, seen.acknowledged);
        if changed {
            let detail = format!("the delivery {id} was repeated with another body");
            self.event(context, "violation", json!({"detail": detail}));
        }
        let (answer, delay_ms) = self.step();
        let acknowledged = (200..300).contains(&answer.status());
        if acknowledged && let Some(seen) = self.seen.get_mut(&id) {
            seen.acknowledged = true;
        }
        let reply = self.reply(&id, &body, acknowledged, delay_ms);
        self.note(context, headers, body, None, (attempt, duplicate), &answer);
        (answer, reply)
    }

    /// The scripted answer, and its delay in milliseconds.
    fn step(&mut self) -> (Answer, u64) {
        let Some(step) = self.script.front_mut() else {
            return (Answer::json(200, json!({})), 0);
        };
        let delay_ms = step.delay_ms;
        let answer = if step.drop {
            Answer::HangUp { after_ms: delay_ms }
        } else {
            Answer::json(step.status, json!({}))
                .retry_after(step.retry_after_s)
                .with_delay(delay_ms)
        };
        step.times = step.times.saturating_sub(1);
        if step.times == 0 {
            self.script.pop_front();
        }
        (answer, delay_ms)
    }

    fn reply(&self, id: &str, body: &Value, acknowledged: bool, delay_ms: u64) -> Option<ReplyJob> {
        let settings = self.settings.reply.as_ref()?;
        if body.get("type").and_then(Value::as_str) != Some("message.received")
            || (settings.on == ReplyOn::Acknowledged && !acknowledged)
        {
            return None;
        }
        let at = |path: &str| body.pointer(path).and_then(Value::as_str);
        let said = at("/data/message/text").map_or_else(
            || format!("[{}]", at("/data/message/type").unwrap_or("message")),
            ToOwned::to_owned,
        );
        Some(ReplyJob {
            url: format!("{}/messages", settings.hub.trim_end_matches('/')),
            key: settings.key.clone(),
            webhook_id: id.to_owned(),
            body: json!({
                "conversation": at("/data/conversation/id"),
                "text": format!("{}{said}", settings.prefix),
                "reply_to": at("/data/message/id"),
            }),
            attempts: settings.attempts.max(1),
            after_ms: delay_ms,
        })
    }

    fn note(
        &mut self,
        context: &mut ProviderContext<'_>,
        headers: Headers<'_>,
        body: Value,
        reason: Option<String>,
        (attempt, duplicate): (u32, bool),
        answer: &Answer,
    ) {
        let kind = body.get("type").and_then(Value::as_str).map(ToOwned::to_owned);
        let fields = json!({
            "webhook_id": headers.id, "type": kind, "verified": reason.is_none(),
            "reason": reason, "duplicate": duplicate, "attempt": attempt,
            "answer": answer.status(),
            "text": body.pointer("/data/message/text"),
            "status": body.pointer("/data/message/status"),
            "message_id": body.pointer("/data/message/id"),
        });
        let seq = self.event(context, "delivery", fields);
        self.deliveries.push(Delivery {
            seq,
            at_ms: context.now_ms,
            webhook_id: headers.id.map(ToOwned::to_owned),
            kind,
            verified: reason.is_none(),
            reason,
            attempt,
            duplicate,
            answer: answer.status(),
            body,
        });
    }

    /// Records an attempt to reply; `last` if no other follows.
    pub fn replied(
        &mut self,
        context: &mut ProviderContext<'_>,
        job: &ReplyJob,
        attempt: u32,
        how: &AttemptResult,
        last: bool,
    ) {
        let body = how.body.as_ref();
        let message_id =
            body.and_then(|body| body.get("id")).and_then(Value::as_str).map(ToOwned::to_owned);
        let refusal =
            (how.status >= 400).then(|| body.and_then(|body| body.get("detail"))).flatten();
        let fields = json!({
            "webhook_id": job.webhook_id, "conversation": job.body.get("conversation"),
            "attempt": attempt, "status": how.status, "took_ms": how.took_ms,
            "error": how.error, "detail": refusal, "message_id": message_id,
            "text": job.body.get("text"),
        });
        self.event(context, "reply", fields);
        if last {
            self.replies.push(Replied {
                at_ms: context.now_ms,
                webhook_id: job.webhook_id.clone(),
                status: how.status,
                attempts: attempt,
                message_id,
            });
        }
    }

    /// The deliveries, filtered by `kind`, with totals over all of them.
    #[must_use]
    pub fn report(&self, kind: Option<&str>) -> Value {
        let wanted = |delivery: &&Delivery| kind.is_none() || delivery.kind.as_deref() == kind;
        let chosen: Vec<&Delivery> = self.deliveries.iter().filter(wanted).collect();
        let verified = chosen.iter().filter(|delivery| delivery.verified);
        let unique: std::collections::BTreeSet<_> =
            verified.clone().map(|delivery| &delivery.webhook_id).collect();
        json!({
            "total": chosen.len(),
            "unique": unique.len(),
            "duplicates": verified.filter(|delivery| delivery.duplicate).count(),
            "rejected": chosen.iter().filter(|delivery| !delivery.verified).count(),
            "deliveries": chosen,
            "replies": self.replies,
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::answer::Reply;
    use crate::ids::Ids;
    use crate::log::Log;

    const NOW_S: i64 = 1_795_000_000;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    struct World {
        ids: Ids,
        log: Log,
        automation: Automation,
    }

    impl World {
        fn new(settings: Value) -> Self {
            let settings = serde_json::from_value(settings).unwrap();
            Self {
                ids: Ids::new(1),
                log: Log::default(),
                automation: Automation::new("demo", settings),
            }
        }

        fn deliver(&mut self, id: &str, at_s: i64, body: &Value) -> (Answer, Option<ReplyJob>) {
            let bytes = body.to_string();
            let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            let tag = hmac::sign(&key, format!("{id}.{at_s}.{bytes}").as_bytes());
            let signature = format!("v1,{}", STANDARD.encode(tag.as_ref()));
            let at = at_s.to_string();
            let headers =
                Headers { id: Some(id), timestamp: Some(&at), signature: Some(&signature) };
            let mut context =
                ProviderContext { now_ms: NOW_S * 1000, ids: &mut self.ids, log: &mut self.log };
            self.automation.receive(&mut context, headers, bytes.as_bytes())
        }
    }

    fn message(text: &str) -> Value {
        json!({"type": "message.received", "timestamp": "2026-11-21T02:36:07Z", "data": {
            "message": {"id": "msg_1", "type": "text", "text": text},
            "conversation": {"id": "conv_1"}}})
    }

    #[test]
    fn a_signed_delivery_is_acknowledged_and_a_duplicate_is_counted() {
        let mut world = World::new(json!({"secret": SECRET}));
        for _ in 0..2 {
            assert_eq!(world.deliver("ntf_1", NOW_S, &message("a")).0.status(), 200);
        }
        let report = world.automation.report(None);
        assert_eq!(
            (&report["total"], &report["unique"], &report["duplicates"]),
            (&json!(2), &json!(1), &json!(1))
        );
        assert_eq!(report["deliveries"][1]["attempt"], 2);
        assert_eq!(world.automation.report(Some("message.status"))["total"], 0);
    }

    #[test]
    fn a_stale_or_unsigned_delivery_is_refused() {
        let mut world = World::new(json!({"secret": SECRET}));
        assert_eq!(world.deliver("ntf_1", NOW_S - 301, &message("a")).0.status(), 401);
        let mut context =
            ProviderContext { now_ms: NOW_S * 1000, ids: &mut world.ids, log: &mut world.log };
        let (answer, reply) = world.automation.receive(&mut context, Headers::default(), b"{}");
        assert_eq!((answer.status(), reply.is_none()), (401, true));
        let report = world.automation.report(None);
        assert_eq!((&report["rejected"], &report["unique"]), (&json!(2), &json!(0)));
    }

    #[test]
    fn the_script_answers_in_order() {
        let mut world = World::new(json!({"secret": SECRET, "script": [
            {"status": 500, "times": 2}, {"status": 503, "retry_after_s": 2},
            {"status": 410}, {"drop": true}]}));
        let mut answer = || world.deliver("ntf_1", NOW_S, &message("a")).0;
        assert_eq!([answer().status(), answer().status()], [500, 500]);
        assert!(matches!(answer(), Answer::Reply(Reply { retry_after_s: Some(2), .. })));
        assert_eq!(answer().status(), 410);
        assert_eq!(answer(), Answer::HangUp { after_ms: 0 });
        assert_eq!(answer().status(), 200);
        assert_eq!(world.automation.report(None)["duplicates"], 0);
    }

    #[test]
    fn a_reply_uses_the_delivery_id_as_idempotency_key() {
        let reply = json!({"hub": "http://hub/", "key": "sk"});
        let mut world = World::new(json!({"secret": SECRET, "reply": reply,
                                          "script": [{"status": 500}]}));
        assert!(world.deliver("ntf_1", NOW_S, &message("a")).1.is_none());
        let job = world.deliver("ntf_1", NOW_S, &message("a")).1.unwrap();
        assert_eq!((job.url.as_str(), job.webhook_id.as_str()), ("http://hub/messages", "ntf_1"));
        assert_eq!(
            job.body,
            json!({"conversation": "conv_1", "text": "Echo: a", "reply_to": "msg_1"})
        );
        assert!(world.deliver("ntf_1", NOW_S, &message("a")).1.is_some());
        let status = json!({"type": "message.status", "data": {}});
        assert!(world.deliver("ntf_2", NOW_S, &status).1.is_none());
    }

    #[test]
    fn an_automation_can_reply_although_its_answer_is_lost() {
        let reply = json!({"hub": "http://hub", "key": "sk", "on": "always"});
        let mut world = World::new(json!({"secret": SECRET, "reply": reply,
                                          "script": [{"drop": true}]}));
        assert!(world.deliver("ntf_1", NOW_S, &message("a")).1.is_some());
    }

    #[test]
    fn the_same_id_with_another_body_is_a_violation() {
        let mut world = World::new(json!({"secret": SECRET}));
        world.deliver("ntf_1", NOW_S, &message("a"));
        world.deliver("ntf_1", NOW_S, &message("b"));
        let (events, _) = world.log.since(0, 100);
        assert!(events.iter().any(|event| event["kind"] == "violation"));
    }
}
