//! The rules of Infobip's WhatsApp API, for one sender.
//!
//! Nothing here does I/O or reads a clock.

mod provider;
pub mod request;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Body, Reply};
use crate::faults::{Fault, Faults, Kind, accepted_answer, accepted_as, page};
use crate::fields::{self, MediaUpload, Template};
use crate::limits::{ServiceWindows, Window};
use crate::log::ProviderContext;
use crate::receipts::Receipts;
use crate::redelivery::Redelivery;
use crate::sign;
use crate::webhook::{self, Delivery, Outcome};
pub use provider::Infobip;
use request::Send;

const SOURCE: &str = "infobip";

/// Settings of the sender, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The key expected in `Authorization: App <key>`. Senders of one account share it.
    pub api_key: String,
    /// The secret of the webhooks, used as `security` says.
    pub webhook_secret: String,
    /// The authentication of webhooks.
    #[serde(default)]
    pub security: Security,
    /// The address of the subscription's webhooks; if empty, webhooks wait.
    pub hub_url: String,
    /// Whether webhooks to a message's own `notifyUrl` are authenticated too.
    #[serde(default)]
    pub security_on_notify_url: bool,
    /// The approved templates; `None`: any.
    #[serde(default)]
    pub templates: Option<Vec<Template>>,
    /// Numbers that are not on WhatsApp.
    #[serde(default)]
    pub not_on_whatsapp: Vec<String>,
    /// Whether a `messageId` that was used before is refused.
    #[serde(default)]
    pub refuse_duplicate_ids: bool,
    /// The format of errors.
    #[serde(default)]
    pub errors: ErrorFormat,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Delays of reports; `sent` is a report of `PENDING`, `read` a seen report.
    #[serde(default)]
    pub receipts: Receipts,
    /// How long a report waits for others to be batched with it, in milliseconds.
    #[serde(default)]
    pub batch_ms: u64,
    /// The retry policy of webhooks.
    #[serde(default)]
    pub redelivery: Redelivery,
}

/// The authentication of webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Basic authentication; the secret is `user:password`.
    #[default]
    Basic,
    /// An HMAC of the time and the body.
    Hmac,
}

/// The format of errors; Infobip has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorFormat {
    /// `requestError.serviceException`, except that 429 has the newer format.
    #[default]
    Mixed,
    /// `requestError.serviceException`.
    Exception,
    /// `errorCode`.
    Code,
}

/// The limits of a sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Message limit per second; 0 is no limit.
    pub messages_per_second: usize,
    /// `Retry-After` of a 429 in seconds; `None`: the header is absent.
    pub retry_after_s: Option<u64>,
    /// Length of the service window after the customer last wrote.
    pub window_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages_per_second: 0, retry_after_s: None, window_ms: 86_400_000 }
    }
}

/// A message that Infobip has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of acceptance.
    pub at_ms: i64,
    /// Its id: the caller's, if the request names one.
    pub message_id: String,
    /// The customer's number.
    pub to: String,
    /// The last part of the request path.
    #[serde(rename = "type")]
    pub kind: String,
    /// The caller's data, returned in reports.
    pub callback_data: Option<String>,
    /// The message as received.
    pub body: Value,
    /// The answer to the caller: `answered`, `held`, `dropped` or `status_<n>`.
    pub answer: String,
    /// Whether the service window was open.
    pub in_window: bool,
    /// The code with which it will be reported as undeliverable.
    pub failed: Option<i64>,
    /// The reports that the hub has accepted.
    pub statuses: Vec<&'static str>,
}

/// A read receipt that Infobip has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct ReadReceipt {
    /// Time of acceptance.
    pub at_ms: i64,
    /// The customer's message.
    pub message_id: String,
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
    /// A message in Infobip's own format, with its `type`.
    pub message: Option<Value>,
    /// The file of the message.
    pub media: Option<MediaUpload>,
    /// The id of the message that this one replies to.
    pub reply_to: Option<String>,
    /// An id to use in place of a generated one; with several texts, the id of the first.
    pub id: Option<String>,
    /// Number of copies of the webhook.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether the caller waits for the first attempt.
    #[serde(default = "fields::yes")]
    pub wait: bool,
}

/// A webhook that the hub must refuse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgery {
    /// The kind of forgery.
    pub kind: ForgeryKind,
    /// Its text.
    #[serde(default = "forged_text")]
    pub text: String,
}

fn forged_text() -> String {
    "I am not Infobip".into()
}

/// The kinds of forged webhooks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeryKind {
    /// Authenticated with another secret.
    WrongSecret,
    /// Not authenticated.
    NoProof,
}

/// A report that has not been delivered yet.
#[derive(Clone, Debug)]
struct Report {
    due_ms: i64,
    url: Option<String>,
    seen: bool,
    status: &'static str,
    message_id: String,
    entry: Value,
}

/// A sender: a number of the account.
#[derive(Debug)]
pub struct Sender {
    number: String,
    settings: Settings,
    people: ServiceWindows,
    received: BTreeSet<String>,
    throughput: Window,
    accepted: Vec<Accepted>,
    by_id: HashMap<String, usize>,
    reads: Vec<ReadReceipt>,
    media: BTreeMap<String, (String, Bytes)>,
    reports: Vec<Report>,
    faults: Faults,
    refused: u64,
    pending: u64,
    given_up: u64,
}

/// The status of a message in Infobip's terms: group, its name, id and name.
/// <https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes>
fn status(id: i64) -> Value {
    let (group, group_name, name) = match id {
        5 => (3, "DELIVERED", "DELIVERED_TO_HANDSET"),
        7 => (1, "PENDING", "PENDING_ENROUTE"),
        9 => (2, "UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED"),
        11 => (5, "REJECTED", "REJECTED_SOURCE"),
        12 => (5, "REJECTED", "REJECTED_NOT_ENOUGH_CREDITS"),
        14 => (5, "REJECTED", "REJECTED_DESTINATION_BLOCKLISTED"),
        20 => (5, "REJECTED", "REJECTED_FLOODING_FILTER"),
        21 => (5, "REJECTED", "REJECTED_SYSTEM_ERROR"),
        23 => (5, "REJECTED", "REJECTED_DUPLICATE_MESSAGE_ID"),
        52 => (5, "REJECTED", "REJECTED_DESTINATION"),
        _ => (5, "REJECTED", "UNDELIVERABLE_REJECTED_PLATFORM"),
    };
    json!({"groupId": group, "groupName": group_name, "id": id, "name": name,
           "description": "As the name says"})
}

/// The error of an undelivered message; same source.
fn error(id: Option<i64>) -> Value {
    let Some(id) = id else {
        return json!({"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR",
                      "description": "No Error", "permanent": false});
    };
    let (name, permanent) = match id {
        7002 => ("EC_UNKNOWN_USER", true),
        7003 => ("EC_BLOCKED_USER", true),
        7009 => ("EC_INVALID_TEMPLATE", true),
        7010 => ("EC_NO_SESSION", true),
        7013 => ("EC_MEDIA_HOSTING_ERROR", false),
        7033 => ("EC_MARKETING_OPT_OUT", true),
        7050 => ("EC_PROVIDER_INTERNAL_ERROR", false),
        _ => ("EC_INTERNAL_ERROR", true),
    };
    json!({"groupId": 1, "groupName": "CLIENT_ERRORS", "id": id, "name": name,
           "description": "As the name says", "permanent": permanent})
}

fn time(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// An error in the given format. `code` is Infobip's name of the status.
#[must_use]
pub fn refusal(
    format: ErrorFormat,
    http: u16,
    code: &str,
    text: &str,
    errors: Option<Value>,
) -> Answer {
    let newer = format == ErrorFormat::Code || (format == ErrorFormat::Mixed && http == 429);
    let body = if newer {
        let violations: Vec<_> = errors
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(property, why)| json!({"property": property, "violation": why}))
            .collect();
        json!({"errorCode": format!("E{http}"), "description": text, "action": "",
               "violations": violations, "resources": []})
    } else {
        let mut exception = json!({"messageId": code, "text": text});
        if let (Some(errors), Some(fields)) = (errors, exception.as_object_mut()) {
            fields.insert("validationErrors".into(), errors);
        }
        json!({"requestError": {"serviceException": exception}})
    };
    Answer::json(http, body)
}

/// The error of a missing or wrong API key.
#[must_use]
pub fn unauthorized() -> Answer {
    refusal(ErrorFormat::Mixed, 401, "UNAUTHORIZED", "Invalid login details", None)
}

impl Sender {
    /// Creates the sender without state.
    #[must_use]
    pub fn new(number: &str, settings: Settings) -> Self {
        Self {
            number: number.to_owned(),
            settings,
            people: ServiceWindows::default(),
            received: BTreeSet::new(),
            throughput: Window::default(),
            accepted: Vec::new(),
            by_id: HashMap::new(),
            reads: Vec::new(),
            media: BTreeMap::new(),
            reports: Vec::new(),
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

    /// The number.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Whether the header `Authorization` holds the sender's key.
    #[must_use]
    pub fn is_key(&self, authorization: Option<&str>) -> bool {
        let key = authorization.and_then(|value| value.strip_prefix("App "));
        key.is_some_and(|key| !key.is_empty() && key == self.settings.api_key)
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.number, kind, fields)
    }

    fn refuse(
        &mut self,
        context: &mut ProviderContext<'_>,
        http: u16,
        code: &str,
        text: &str,
        errors: Option<Value>,
    ) -> Answer {
        self.refused += 1;
        let fields = json!({"status": http, "code": code, "detail": errors});
        self.event(context, "send.refused", fields);
        refusal(self.settings.errors, http, code, text, errors)
    }

    /// `POST /whatsapp/1/message/{kind}`, after authentication.
    pub fn send(&mut self, context: &mut ProviderContext<'_>, kind: &str, bytes: &[u8]) -> Outcome {
        let body = serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
        match request::check(kind, &body) {
            None => self.refuse(context, 404, "NOT_FOUND", "Not found", None).into(),
            Some(Err(errors)) => {
                let errors = Some(errors.to_json());
                self.refuse(context, 400, "BAD_REQUEST", "Bad request", errors).into()
            }
            Some(Ok(sends)) => self.send_all(context, &sends, kind == "template"),
        }
    }

    fn send_all(
        &mut self,
        context: &mut ProviderContext<'_>,
        sends: &[Send],
        bulk: bool,
    ) -> Outcome {
        let to = sends.first().map_or("", |send| &send.to);
        let fault = self.faults.next(to);
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.accepts()) {
            self.faults.consume(to);
            let answer = self.fault_answer(fault, sends, bulk);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": to});
            self.event(context, "fault", fields);
            return answer.into();
        }
        let limit = self.settings.limits.messages_per_second;
        if self.throughput.wait_ms(context.now_ms, limit, 1000) > 0 {
            let text = "Too many requests sent.";
            let answer = self.refuse(context, 429, "TOO_MANY_REQUESTS", text, None);
            return answer.retry_after(self.settings.limits.retry_after_s).into();
        }
        let (mut states, mut deliveries) = (Vec::new(), Vec::new());
        for send in sends {
            self.throughput.take(context.now_ms);
            let (state, reports) = self.accept(context, send, fault.as_ref());
            states.push(state);
            deliveries.extend(reports);
        }
        let ok = answer(states, bulk);
        let answer = accepted_answer(ok, fault.as_ref(), |_, fault| page(fault));
        if let Some(fault) = &fault {
            self.faults.consume(to);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": to});
            self.event(context, "fault", fields);
        }
        Outcome { answer, deliveries }
    }

    fn general_error(&self, http: u16) -> Answer {
        let text = "Something went wrong. Please contact support.";
        refusal(self.settings.errors, http, "GENERAL_ERROR", text, None)
    }

    fn fault_answer(&self, fault: &Fault, sends: &[Send], bulk: bool) -> Answer {
        let format = self.settings.errors;
        match fault.kind {
            Kind::RateLimited => {
                let text = "Too many requests sent.";
                let answer = refusal(format, 429, "TOO_MANY_REQUESTS", text, None);
                answer.retry_after(Some(fault.retry_after_s.unwrap_or(1)))
            }
            // A status in an answer of 200: that is how Infobip reports that it has refused a
            // message.
            Kind::Error if fault.code.is_some() => {
                let id = fault.code.unwrap_or_default();
                let states = sends.iter().map(|send| {
                    state(&send.to, send.message_id.as_deref().unwrap_or("refused"), id)
                });
                answer(states.collect(), bulk)
            }
            Kind::Error => {
                let code = fault.description.as_deref().unwrap_or("BAD_REQUEST");
                let answer = refusal(format, fault.status.unwrap_or(400), code, code, None);
                answer.retry_after(fault.retry_after_s)
            }
            Kind::Page => page(fault),
            Kind::Status => {
                self.general_error(fault.status.unwrap_or(500)).retry_after(fault.retry_after_s)
            }
            _ => Answer::HangUp { after_ms: 0 },
        }
    }

    /// Accepts a message, unless Infobip's own answer refuses it.
    fn accept(
        &mut self,
        context: &mut ProviderContext<'_>,
        send: &Send,
        fault: Option<&Fault>,
    ) -> (Value, Vec<Delivery>) {
        let fresh = || format!("infobip-{}", context.ids.serial());
        let message_id = send.message_id.clone().unwrap_or_else(fresh);
        let twice = self.settings.refuse_duplicate_ids && self.by_id.contains_key(&message_id);
        if twice {
            self.refused += 1;
            let fields = json!({"status": 200, "code": 23, "to": send.to});
            self.event(context, "send.refused", fields);
            return (state(&send.to, &message_id, 23), Vec::new());
        }
        let in_window = self.window_open(context.now_ms, &send.to);
        let failed = self.failure(send, in_window, fault);
        let name = accepted_as(fault);
        let fields = json!({
            "message_id": message_id, "to": send.to, "type": send.kind, "text": send.text,
            "callback_data": send.callback_data, "answer": name, "failed": failed,
        });
        let seq = self.event(context, "send.accepted", fields);
        self.by_id.insert(message_id.clone(), self.accepted.len());
        self.accepted.push(Accepted {
            seq,
            at_ms: context.now_ms,
            message_id: message_id.clone(),
            to: send.to.clone(),
            kind: send.kind.clone(),
            callback_data: send.callback_data.clone(),
            body: send.body.clone(),
            answer: name,
            in_window,
            failed,
            statuses: Vec::new(),
        });
        let deliveries = self.plan_reports(context, send, &message_id, failed);
        (state(&send.to, &message_id, 7), deliveries)
    }

    /// The code with which Infobip will report the message as undeliverable although it answered
    /// 200.
    fn failure(&self, send: &Send, in_window: bool, fault: Option<&Fault>) -> Option<i64> {
        if let Some(fault) = fault.filter(|fault| fault.kind == Kind::FailLater) {
            return Some(fault.code.unwrap_or(7002));
        }
        if self.settings.not_on_whatsapp.contains(&send.to) {
            return Some(7002);
        }
        if let (Some((name, language)), Some(approved)) = (&send.template, &self.settings.templates)
            && !approved.iter().any(|one| one.name == *name && one.language == *language)
        {
            return Some(7009);
        }
        (!in_window && send.template.is_none()).then_some(7010)
    }

    fn plan_reports(
        &mut self,
        context: &mut ProviderContext<'_>,
        send: &Send,
        message_id: &str,
        failed: Option<i64>,
    ) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for planned in self.settings.receipts.plan(failed.is_some(), 0) {
            for (status, at_ms) in &planned.statuses {
                let at_ms = context.now_ms + i64::try_from(*at_ms).unwrap_or(0);
                let due_ms = context.now_ms + i64::try_from(planned.after_ms).unwrap_or(0);
                let seen = *status == "read";
                let entry = self.report(send, message_id, status, failed, context.now_ms, at_ms);
                self.reports.push(Report {
                    due_ms,
                    url: send.notify_url.clone(),
                    seen,
                    status,
                    message_id: message_id.to_owned(),
                    entry,
                });
                deliveries.push(Delivery {
                    id: context.ids.serial(),
                    what: if seen { "seen" } else { "delivery" },
                    after_ms: planned.after_ms + self.settings.batch_ms,
                    url: send.notify_url.clone(),
                    redeliver: true,
                    ..Delivery::default()
                });
            }
        }
        self.pending += deliveries.len() as u64;
        deliveries
    }

    fn report(
        &self,
        send: &Send,
        message_id: &str,
        what: &str,
        failed: Option<i64>,
        sent_ms: i64,
        at_ms: i64,
    ) -> Value {
        if what == "read" {
            return json!({"messageId": message_id, "from": self.number, "to": send.to,
                          "sentAt": time(sent_ms), "seenAt": time(at_ms)});
        }
        let id = match what {
            "sent" => 7,
            "failed" => 9,
            _ => 5,
        };
        json!({
            "bulkId": format!("bulk-{message_id}"), "messageId": message_id, "to": send.to,
            "sentAt": time(sent_ms), "doneAt": time(at_ms), "messageCount": 1,
            "callbackData": send.callback_data,
            "price": {"pricePerMessage": 0.01, "currency": "EUR"},
            "status": status(id), "error": error(failed),
        })
    }

    /// Whether the service window of `to` is open.
    #[must_use]
    pub fn window_open(&self, now_ms: i64, to: &str) -> bool {
        self.people.is_open(now_ms, to, self.settings.limits.window_ms)
    }

    /// A customer writes. Returns the ids of the messages, and the webhooks. `base` is the address
    /// from which files are downloaded.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
        base: &str,
    ) -> Result<(Vec<String>, Vec<Delivery>), String> {
        if order.from.is_empty() || !order.from.bytes().all(|c| c.is_ascii_digit()) {
            return Err("from: must contain digits only".into());
        }
        let text = |text: &String| json!({"type": "TEXT", "text": text});
        let mut messages = match (&order.text, &order.texts, &order.message) {
            (Some(one), None, None) => vec![text(one)],
            (None, Some(several), None) => several.iter().map(text).collect(),
            (None, None, Some(message)) => vec![message.clone()],
            _ => return Err("give exactly one of text, texts, message".into()),
        };
        if let (Some(upload), Some(Value::Object(message))) = (&order.media, messages.first_mut()) {
            let id = context.ids.media();
            self.media.insert(id.clone(), (upload.mime_type.clone(), upload.bytes()?));
            let place = format!("{base}/whatsapp/1/senders/{}/media/{id}", self.number);
            message.insert("url".into(), json!(place));
        }
        let mut ids = Vec::new();
        let mut results = Vec::new();
        for mut message in messages {
            let given = order.id.clone().filter(|_| ids.is_empty());
            let id = given.unwrap_or_else(|| context.ids.wamid_inbound(&order.from));
            if let (Some(answered), Some(fields)) = (&order.reply_to, message.as_object_mut()) {
                fields.insert("context".into(), json!({"from": self.number, "id": answered}));
            }
            let fields = json!({"message_id": id, "from": order.from, "type": message.get("type"),
                                "text": message.get("text")});
            self.event(context, "customer.wrote", fields);
            results.push(json!({
                "from": order.from, "to": self.number, "integrationType": "WHATSAPP",
                "receivedAt": time(context.now_ms), "messageId": id, "pairedMessageId": null,
                "callbackData": null, "message": message, "contact": {"name": order.name},
                "price": {"pricePerMessage": 0, "currency": "EUR"},
            }));
            self.received.insert(id.clone());
            ids.push(id);
        }
        self.people.set(&order.from, Some(context.now_ms));
        let count = results.len();
        let body = json!({"results": results, "messageCount": count, "pendingMessageCount": 0});
        let delivery = Delivery {
            what: "message",
            body: Some(body.to_string().into()),
            reported: ids.iter().map(|id| (id.clone(), "received")).collect(),
            redeliver: true,
            ..Delivery::default()
        };
        let deliveries = webhook::copies(context, &delivery, order.repeat);
        self.pending += deliveries.len() as u64;
        Ok((ids, deliveries))
    }

    /// Authenticates and delivers the webhook that the control API asks for.
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

    /// A webhook that the hub must refuse.
    pub fn forge(&mut self, context: &mut ProviderContext<'_>, order: &Forgery) -> Delivery {
        let id = context.ids.wamid_inbound("4915550000000");
        let body: Bytes = json!({"results": [{
            "from": "4915550000000", "to": self.number, "integrationType": "WHATSAPP",
            "receivedAt": time(context.now_ms), "messageId": id,
            "message": {"type": "TEXT", "text": order.text},
        }]})
        .to_string()
        .into();
        let forged = match order.kind {
            ForgeryKind::NoProof => Vec::new(),
            ForgeryKind::WrongSecret => {
                proof(self.settings.security, "not:the-secret", context.now_ms, &body)
            }
        };
        self.pending += 1;
        Delivery {
            id: context.ids.serial(),
            what: "forged",
            body: Some(body),
            reported: vec![(id, "received")],
            forged: Some(forged),
            ..Delivery::default()
        }
    }

    /// `POST /whatsapp/1/senders/{sender}/message/{messageId}/read`
    pub fn read(&mut self, context: &mut ProviderContext<'_>, message_id: &str) -> Answer {
        if !self.received.contains(message_id) {
            return self.refuse(context, 404, "NOT_FOUND", "Message not found", None);
        }
        self.event(context, "read", json!({"message_id": message_id}));
        self.reads.push(ReadReceipt { at_ms: context.now_ms, message_id: message_id.to_owned() });
        Answer::json(200, json!({}))
    }

    /// `GET /whatsapp/1/senders/{sender}/media/{mediaId}`
    #[must_use]
    pub fn download(&self, media_id: &str) -> Answer {
        match self.media.get(media_id) {
            Some((mime, bytes)) => Answer::Reply(Reply {
                status: 200,
                retry_after_s: None,
                body: Body::File { mime: mime.clone(), bytes: bytes.clone() },
                delay_ms: 0,
            }),
            None => refusal(self.settings.errors, 404, "NOT_FOUND", "Media not found", None),
        }
    }

    /// The ids of the files that customers sent.
    pub fn media_ids(&self) -> impl Iterator<Item = &str> {
        self.media.keys().map(String::as_str)
    }

    /// The sender's entry in `GET /whatsapp/1/senders/quality`.
    #[must_use]
    pub fn quality(&self, now_ms: i64) -> Value {
        json!({"sender": self.number, "qualityRating": "HIGH", "status": "CONNECTED",
               "currentLimit": "LIMIT_10K", "lastUpdated": time(now_ms)})
    }

    /// The sender's summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "number": self.number, "accepted": self.accepted.len(), "refused": self.refused,
            "read_receipts": self.reads.len(), "pending_webhooks": self.pending,
            "given_up": self.given_up, "faults": self.faults.remaining(),
        })
    }

    /// The messages that Infobip has accepted.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// The read receipts that Infobip has accepted.
    #[must_use]
    pub fn reads(&self) -> &[ReadReceipt] {
        &self.reads
    }

    /// Collects the reports that are due into one webhook.
    fn collect_due(&mut self, now_ms: i64, delivery: &mut Delivery) {
        let seen = delivery.what == "seen";
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reports)
            .into_iter()
            .partition(|one| one.due_ms <= now_ms && one.seen == seen && one.url == delivery.url);
        self.reports = rest;
        if due.is_empty() {
            return;
        }
        let results: Vec<_> = due.iter().map(|one| &one.entry).collect();
        delivery.body = Some(json!({"results": results}).to_string().into());
        delivery.reported = due.iter().map(|one| (one.message_id.clone(), one.status)).collect();
    }
}

fn state(to: &str, message_id: &str, id: i64) -> Value {
    json!({"to": to, "messageCount": 1, "messageId": message_id, "status": status(id)})
}

fn answer(mut states: Vec<Value>, bulk: bool) -> Answer {
    if bulk {
        return Answer::json(200, json!({"messages": states, "bulkId": "2034072219640523073"}));
    }
    Answer::json(200, states.pop().unwrap_or(Value::Null))
}

fn proof(
    security: Security,
    secret: &str,
    now_ms: i64,
    body: &Bytes,
) -> Vec<(&'static str, String)> {
    match security {
        Security::Basic => {
            vec![("authorization", format!("Basic {}", STANDARD.encode(secret)))]
        }
        Security::Hmac => {
            let mut signed = now_ms.to_string().into_bytes();
            signed.extend_from_slice(body);
            vec![
                ("x-ib-exchange-req-timestamp", now_ms.to_string()),
                ("x-ib-exchange-req-signature", sign::hmac_hex(secret, &signed)),
            ]
        }
    }
}

#[cfg(test)]
mod tests;
