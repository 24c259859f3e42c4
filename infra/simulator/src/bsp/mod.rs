//! An invented business solution provider (BSP), for integrations that declare how to send.
//!
//! It has a JSON API and a form API, and is strict about both. Nothing here does I/O or reads a
//! clock.

mod provider;
pub mod request;

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::faults::{Fault, Faults, Kind, accepted_answer, accepted_as, page};
use crate::fields::{self, Template};
use crate::limits::{ServiceWindows, Window};
use crate::log::ProviderContext;
use crate::receipts::Receipts;
use crate::redelivery::Redelivery;
use crate::sign;
use crate::webhook::{self, Delivery, Outcome};
pub use provider::Bsp;
use request::{Refused, Send};

const SOURCE: &str = "bsp";

/// Settings of an account, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The key expected in `X-Api-Key` (JSON) or `apikey` (form).
    pub api_key: String,
    /// The sender's number.
    pub sender: String,
    /// The secret that signs the webhooks.
    pub webhook_secret: String,
    /// The webhook address; if empty, webhooks wait.
    pub hub_url: String,
    /// The approved templates; `None`: any.
    #[serde(default)]
    pub templates: Option<Vec<Template>>,
    /// Numbers that have opted out.
    #[serde(default)]
    pub opted_out: Vec<String>,
    /// Message limit per second; 0 is no limit.
    #[serde(default)]
    pub messages_per_second: usize,
    /// Length of the service window after the customer last wrote.
    #[serde(default = "a_day")]
    pub window_ms: i64,
    /// Status webhooks.
    #[serde(default)]
    pub receipts: Receipts,
    /// The retry policy of webhooks.
    #[serde(default)]
    pub redelivery: Redelivery,
}

const fn a_day() -> i64 {
    86_400_000
}

/// A message that the BSP has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of acceptance.
    pub at_ms: i64,
    /// Its id.
    pub id: String,
    /// The recipient's number.
    pub to: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The caller's reference.
    pub reference: Option<String>,
    /// The message as it was parsed.
    pub body: Value,
    /// The answer to the caller: `answered`, `held`, `dropped` or `status_<n>`.
    pub answer: String,
    /// The error code with which it will be reported as failed.
    pub failed: Option<i64>,
    /// The statuses that the hub has accepted.
    pub statuses: Vec<&'static str>,
}

/// The control call `customer-writes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerWrites {
    /// The customer's number.
    pub from: String,
    /// The customer's name.
    #[serde(default = "fields::customer")]
    pub name: String,
    /// The text.
    pub text: Option<String>,
    /// Several texts, delivered in one webhook.
    pub texts: Option<Vec<String>>,
    /// An id to use in place of a generated one; with several texts, the id of the first.
    pub id: Option<String>,
    /// Number of copies of the webhook.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether the caller waits for the first attempt.
    #[serde(default = "fields::yes")]
    pub wait: bool,
}

/// The API that a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// JSON requests; each error has its own status.
    Json,
    /// Form requests; most errors are answered with 200.
    Form,
}

/// An account.
#[derive(Debug)]
pub struct Account {
    name: String,
    settings: Settings,
    people: ServiceWindows,
    throughput: Window,
    accepted: Vec<Accepted>,
    by_id: HashMap<String, usize>,
    faults: Faults,
    refused: u64,
    pending: u64,
    given_up: u64,
}

fn refusal(api: Api, refused: &Refused) -> Answer {
    match api {
        Api::Json => Answer::json(
            refused.http,
            json!({"error": {"code": refused.code, "reason": refused.reason}}),
        ),
        // As in such APIs, only authentication and rate limit errors have their own status.
        Api::Form => {
            let http = if matches!(refused.http, 401 | 429 | 500..) { refused.http } else { 200 };
            Answer::json(
                http,
                json!({"status": "error", "code": refused.number, "message": refused.reason}),
            )
        }
    }
}

impl Account {
    /// Creates an account without state.
    #[must_use]
    pub fn new(name: &str, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            people: ServiceWindows::default(),
            throughput: Window::default(),
            accepted: Vec::new(),
            by_id: HashMap::new(),
            faults: Faults::default(),
            refused: 0,
            pending: 0,
            given_up: 0,
        }
    }

    /// Changes the settings and keeps the state.
    pub fn change(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.name, kind, fields)
    }

    fn refuse(&mut self, context: &mut ProviderContext<'_>, api: Api, refused: &Refused) -> Answer {
        self.refused += 1;
        let fields =
            json!({"status": refused.http, "code": refused.code, "detail": refused.reason});
        self.event(context, "send.refused", fields);
        refusal(api, refused)
    }

    /// Handles a request to send. `key` is the API key of the request.
    pub fn send(
        &mut self,
        context: &mut ProviderContext<'_>,
        api: Api,
        key: Option<&str>,
        kind: &str,
        bytes: &[u8],
    ) -> Outcome {
        if key != Some(self.settings.api_key.as_str()) {
            return self.refuse(context, api, &Refused::KEY).into();
        }
        let read = match api {
            Api::Json => request::json(kind, bytes),
            Api::Form => request::form(kind, bytes),
        };
        let send = match read.and_then(|send| self.may_send(context.now_ms, send)) {
            Ok(send) => send,
            Err(refused) => return self.refuse(context, api, &refused).into(),
        };
        let fault = self.faults.next(&send.to);
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.accepts()) {
            self.faults.consume(&send.to);
            let answer = fault_answer(api, fault);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": send.to});
            self.event(context, "fault", fields);
            return answer.into();
        }
        let wait_ms =
            self.throughput.wait_ms(context.now_ms, self.settings.messages_per_second, 1000);
        if wait_ms > 0 {
            let seconds = u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000);
            return self.refuse(context, api, &Refused::PACE).retry_after(Some(seconds)).into();
        }
        self.throughput.take(context.now_ms);
        self.accept(context, api, send, fault.as_ref())
    }

    fn may_send(&self, now_ms: i64, send: Send) -> Result<Send, Refused> {
        if send.from != self.settings.sender {
            return Err(Refused::SENDER);
        }
        if self.settings.opted_out.contains(&send.to) {
            return Err(Refused::OPTED_OUT);
        }
        match (&send.template, &self.settings.templates) {
            (Some((name, language)), Some(approved)) => {
                let known = |one: &Template| one.name == *name && one.language == *language;
                if !approved.iter().any(known) {
                    return Err(Refused::TEMPLATE);
                }
            }
            (None, _) if !self.window_open(now_ms, &send.to) => return Err(Refused::WINDOW),
            _ => {}
        }
        Ok(send)
    }

    fn accept(
        &mut self,
        context: &mut ProviderContext<'_>,
        api: Api,
        send: Send,
        fault: Option<&Fault>,
    ) -> Outcome {
        let id = format!("bsp-{}-{}", context.ids.started_ms(), context.ids.serial());
        let ok = match api {
            Api::Json => Answer::json(202, json!({"data": {"id": id, "state": "queued"}})),
            Api::Form => Answer::json(200, json!({"status": "submitted", "messageId": id})),
        };
        let failed = fault.filter(|fault| fault.kind == Kind::FailLater);
        let failed = failed.map(|fault| fault.code.unwrap_or(4404));
        let name = accepted_as(fault);
        let answer = accepted_answer(ok, fault, |_, fault| page(fault));
        if let Some(fault) = fault {
            self.faults.consume(&send.to);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": send.to});
            self.event(context, "fault", fields);
        }
        let fields = json!({"id": id, "to": send.to, "type": send.kind, "text": send.text,
                            "reference": send.reference, "answer": name, "failed": failed});
        let seq = self.event(context, "send.accepted", fields);
        self.by_id.insert(id.clone(), self.accepted.len());
        let mut deliveries = Vec::new();
        for planned in self.settings.receipts.plan(failed.is_some(), 0) {
            let events = planned.statuses.iter().map(|(state, after_ms)| {
                let at_ms = context.now_ms + i64::try_from(*after_ms).unwrap_or(0);
                let code = failed.map(|code| code.to_string());
                json!({"id": format!("evt-{}", context.ids.serial()), "type": "message.status",
                       "at": time(at_ms), "status": {"message": id, "reference": send.reference,
                       "recipient": send.to, "state": state, "code": code}})
            });
            let body = json!({"events": events.collect::<Vec<_>>()});
            deliveries.push(Delivery {
                id: context.ids.serial(),
                what: "status",
                after_ms: planned.after_ms,
                body: Some(body.to_string().into()),
                reported: planned.statuses.iter().map(|(state, _)| (id.clone(), *state)).collect(),
                redeliver: true,
                ..Delivery::default()
            });
        }
        self.pending += deliveries.len() as u64;
        self.accepted.push(Accepted {
            seq,
            at_ms: context.now_ms,
            id,
            to: send.to,
            kind: send.kind,
            reference: send.reference,
            body: send.body,
            answer: name,
            failed,
            statuses: Vec::new(),
        });
        Outcome { answer, deliveries }
    }

    /// Whether the service window of `to` is open.
    #[must_use]
    pub fn window_open(&self, now_ms: i64, to: &str) -> bool {
        self.people.is_open(now_ms, to, self.settings.window_ms)
    }

    /// A customer writes. Returns the ids of the messages, and the webhooks.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
    ) -> Result<(Vec<String>, Vec<Delivery>), String> {
        if !request::is_number(&order.from) {
            return Err("from: must contain digits only".into());
        }
        let texts = match (&order.text, &order.texts) {
            (Some(one), None) => std::slice::from_ref(one),
            (None, Some(several)) => several,
            _ => return Err("give exactly one of text, texts".into()),
        };
        let (mut ids, mut events) = (Vec::new(), Vec::new());
        for text in texts {
            let given = order.id.clone().filter(|_| ids.is_empty());
            let id =
                given.unwrap_or_else(|| format!("in-{}", context.ids.wamid_inbound(&order.from)));
            let fields = json!({"id": id, "from": order.from, "type": "text", "text": text});
            self.event(context, "customer.wrote", fields);
            events.push(json!({"id": format!("evt-{id}"), "type": "message.in",
                "at": time(context.now_ms), "message": {"id": id, "from": order.from,
                "to": self.settings.sender, "name": order.name, "kind": "text", "text": text}}));
            ids.push(id);
        }
        self.people.set(&order.from, Some(context.now_ms));
        let delivery = Delivery {
            what: "message",
            body: Some(json!({"events": events}).to_string().into()),
            reported: ids.iter().map(|id| (id.clone(), "received")).collect(),
            redeliver: true,
            ..Delivery::default()
        };
        let deliveries = webhook::copies(context, &delivery, order.repeat);
        self.pending += deliveries.len() as u64;
        Ok((ids, deliveries))
    }

    /// Signs and delivers the webhook that the control API asks for.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn webhook(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &webhook::RawWebhook,
    ) -> Result<Vec<Delivery>, String> {
        let deliveries = order.deliveries(context)?;
        self.pending += deliveries.len() as u64;
        Ok(deliveries)
    }

    /// The account's summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "name": self.name, "accepted": self.accepted.len(), "refused": self.refused,
            "pending_webhooks": self.pending, "given_up": self.given_up,
            "faults": self.faults.remaining(),
        })
    }

    /// The messages that the BSP has accepted.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }
}

fn fault_answer(api: Api, fault: &Fault) -> Answer {
    match fault.kind {
        Kind::RateLimited => {
            let answer = refusal(api, &Refused::PACE);
            answer.retry_after(Some(fault.retry_after_s.unwrap_or(1)))
        }
        Kind::Error => {
            let http = fault.status.unwrap_or(422);
            let number = fault.code.unwrap_or(Refused::BLOCKED.number);
            refusal(api, &Refused { http, number, ..Refused::BLOCKED })
                .retry_after(fault.retry_after_s)
        }
        Kind::Page => page(fault),
        Kind::Status => {
            let http = fault.status.unwrap_or(500);
            refusal(api, &Refused { http, ..Refused::INTERNAL }).retry_after(fault.retry_after_s)
        }
        _ => Answer::HangUp { after_ms: 0 },
    }
}

fn time(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn proof(secret: &str, now_ms: i64, body: &Bytes) -> Vec<(&'static str, String)> {
    let at = (now_ms / 1000).to_string();
    let mut signed = format!("{at}.").into_bytes();
    signed.extend_from_slice(body);
    vec![
        ("content-type", "application/json".to_owned()),
        ("x-bsp-timestamp", at),
        ("x-bsp-signature", format!("sha256={}", sign::hmac_hex(secret, &signed))),
    ]
}

#[cfg(test)]
mod tests;
