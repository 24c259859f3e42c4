//! The rules of the WhatsApp Cloud API, for one business phone number.
//!
//! Nothing here does I/O or reads a clock.

pub mod error;
mod provider;
pub mod request;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Body, Reply};
use crate::faults::{Fault, Faults, Kind, accepted_answer, accepted_as, page};
use crate::fields::{self, MediaUpload, Template};
use crate::limits::{Bucket, ServiceWindows, Window};
use crate::log::ProviderContext;
use crate::receipts::{self, Receipts};
use crate::redelivery::Redelivery;
use crate::sign;
use error::GraphError;
pub use provider::WhatsApp;
use request::{Request, Send};

const SOURCE: &str = "whatsapp";

/// Lifetime of a download URL in seconds.
const DOWNLOAD_S: i64 = 300;

/// Settings of the number, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The access token.
    pub token: String,
    /// The secret that signs webhooks.
    pub app_secret: String,
    /// The token of the webhook verification handshake.
    pub verify_token: String,
    /// The webhook address; if empty, webhooks wait.
    pub hub_url: String,
    /// The number in display format.
    #[serde(default = "default_display")]
    pub display_phone_number: String,
    /// The verified name of the business.
    #[serde(default = "default_name")]
    pub verified_name: String,
    /// The id of the `WhatsApp` Business Account.
    #[serde(default = "default_waba")]
    pub waba_id: String,
    /// Whether the number is registered, which it must be to send.
    #[serde(default = "fields::yes")]
    pub registered: bool,
    /// The PIN that registration requires; `None`: any.
    #[serde(default)]
    pub pin: Option<String>,
    /// The approved templates; `None`: any.
    #[serde(default)]
    pub templates: Option<Vec<Template>>,
    /// Numbers that are not on WhatsApp.
    #[serde(default)]
    pub not_on_whatsapp: Vec<String>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Status webhooks.
    #[serde(default)]
    pub receipts: Receipts,
    /// The retry policy of webhooks.
    #[serde(default)]
    pub redelivery: Redelivery,
    /// Seed of the order of shuffled webhooks.
    #[serde(default = "fields::seed")]
    pub seed: u64,
}

fn default_display() -> String {
    "15550783881".into()
}
fn default_name() -> String {
    "Test Shop".into()
}
fn default_waba() -> String {
    "102290129340398".into()
}

/// The limits of a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Message limit per second; 0 is no limit.
    pub messages_per_second: usize,
    /// Burst of messages to one customer.
    pub pair_burst: u32,
    /// Interval in milliseconds at which the burst to a customer is refilled by one; 0 is no limit.
    pub pair_interval_ms: i64,
    /// HTTP status of a rate limit error.
    pub refusal_status: u16,
    /// Length of the service window after the customer last wrote.
    pub window_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_second: 80,
            pair_burst: 45,
            pair_interval_ms: 6000,
            refusal_status: 429,
            window_ms: 86_400_000,
        }
    }
}

/// A message that Meta has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of acceptance.
    pub at_ms: i64,
    /// Its id.
    pub wamid: String,
    /// The recipient's WhatsApp id.
    pub to: String,
    /// Its message type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// The request body.
    pub body: Value,
    /// The answer to the caller: `answered`, `held`, `dropped` or `status_<n>`.
    pub answer: String,
    /// Whether the service window was open.
    pub in_window: bool,
    /// The code with which it will be reported as failed.
    pub failed_code: Option<i64>,
    /// The statuses that the hub has accepted.
    pub statuses: Vec<&'static str>,
}

/// A read receipt that Meta has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct ReadReceipt {
    /// Time of acceptance.
    pub at_ms: i64,
    /// The customer's message.
    pub message_id: String,
}

#[derive(Clone, Debug)]
struct Media {
    mime: String,
    bytes: Bytes,
}

/// A webhook to be delivered to the hub.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number, for the log.
    pub id: u64,
    /// `message`, `status`, `raw` or `forged`.
    pub what: &'static str,
    /// Delay before the first attempt.
    pub after_ms: u64,
    /// The body.
    pub body: Bytes,
    /// The messages in it.
    pub ids: Vec<String>,
    /// The statuses in it.
    pub statuses: Vec<&'static str>,
    /// Whether a failed attempt is retried.
    pub redeliver: bool,
    /// Headers in place of the genuine signature.
    forged: Option<Vec<(&'static str, String)>>,
}

/// An answer, and the webhooks that follow.
pub type Outcome = crate::answer::Outcome<Delivery>;

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
    /// A message type ...
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// ... with its object.
    pub object: Option<Value>,
    /// The file of the message.
    pub media: Option<MediaUpload>,
    /// The id of the message that this one replies to.
    pub reply_to: Option<String>,
    /// An id to use in place of a generated one.
    pub id: Option<String>,
    /// A Unix timestamp to use in place of the current time.
    pub timestamp: Option<i64>,
    /// Number of copies of the webhook.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether the caller waits for the first attempt.
    #[serde(default = "fields::yes")]
    pub wait: bool,
}

/// A webhook that the control API asks to sign and deliver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// The `value` of a change.
    pub value: Option<Value>,
    /// The whole body.
    pub body: Option<Value>,
    /// The exact bytes.
    pub raw: Option<String>,
    /// Number of copies.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether a failed attempt is retried.
    #[serde(default = "fields::yes")]
    pub redeliver: bool,
    /// Whether JSON is escaped as Meta escapes it.
    #[serde(default = "fields::yes")]
    pub escape: bool,
}

/// A webhook that the hub must refuse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgery {
    /// The kind of forgery.
    pub kind: ForgeryKind,
    /// The number of the supposed customer.
    #[serde(default = "default_forger")]
    pub from: String,
    /// The text.
    #[serde(default = "default_forged_text")]
    pub text: String,
}

fn default_forger() -> String {
    "16505551234".into()
}
fn default_forged_text() -> String {
    "I am not Meta \u{2713}".into()
}

/// The kinds of forged webhooks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeryKind {
    /// Signed with another secret.
    WrongSecret,
    /// Not signed.
    NoSignature,
    /// Signed with the deprecated HMAC-SHA1 header only.
    Sha1,
    /// The signature without `sha256=`.
    NoPrefix,
    /// Changed after signing.
    Tampered,
    /// Signed in the escaped form, sent without escapes.
    Reserialised,
}

/// A business phone number.
#[derive(Debug)]
pub struct Number {
    id: String,
    settings: Settings,
    registered: bool,
    customers: ServiceWindows,
    received: BTreeSet<String>,
    throughput: Window,
    pairs: BTreeMap<String, Bucket>,
    accepted: Vec<Accepted>,
    by_wamid: HashMap<String, usize>,
    reads: Vec<ReadReceipt>,
    media: BTreeMap<String, Media>,
    faults: Faults,
    refused: u64,
    pending: u64,
    given_up: u64,
    random: u64,
}

/// Checks whether `authorization` may use the object `id`, as the Graph API does.
///
/// # Errors
/// If the token is missing, unknown, or of another number.
pub fn authorize<'a>(
    numbers: &'a mut BTreeMap<String, Number>,
    method: &str,
    id: &str,
    authorization: Option<&str>,
) -> Result<&'a mut Number, GraphError> {
    let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
    let token = token.filter(|token| !token.is_empty()).ok_or_else(GraphError::no_token)?;
    if !numbers.values().any(|number| number.settings.token == token) {
        return Err(GraphError::bad_token());
    }
    numbers
        .values_mut()
        .find(|number| number.owns(id) && number.settings.token == token)
        .ok_or_else(|| GraphError::no_object(method, id))
}

impl Number {
    /// Creates the number without state.
    #[must_use]
    pub fn new(id: &str, settings: Settings) -> Self {
        Self {
            id: id.to_owned(),
            registered: settings.registered,
            random: settings.seed,
            settings,
            customers: ServiceWindows::default(),
            received: BTreeSet::new(),
            throughput: Window::default(),
            pairs: BTreeMap::new(),
            accepted: Vec::new(),
            by_wamid: HashMap::new(),
            reads: Vec::new(),
            media: BTreeMap::new(),
            faults: Faults::default(),
            refused: 0,
            pending: 0,
            given_up: 0,
        }
    }

    /// Changes the settings and keeps the state.
    pub fn change(&mut self, settings: Settings) {
        self.registered = settings.registered;
        self.random = settings.seed;
        self.settings = settings;
    }

    /// The phone number id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn owns(&self, id: &str) -> bool {
        self.id == id || self.media.contains_key(id)
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.id, kind, fields)
    }

    fn refuse(
        &mut self,
        context: &mut ProviderContext<'_>,
        error: &GraphError,
        to: Option<&str>,
    ) -> Answer {
        self.refused += 1;
        let fields = json!({
            "status": error.status, "code": error.code, "to": to,
            "detail": error.details.as_deref().unwrap_or(&error.message),
        });
        self.event(context, "send.refused", fields);
        error.answer(&context.ids.fbtrace())
    }

    /// `POST /{phone-number-id}/messages`, after authentication.
    pub fn messages(&mut self, context: &mut ProviderContext<'_>, bytes: &[u8]) -> Outcome {
        let body = serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
        match request::check(&body, &|id| self.media.contains_key(id)) {
            Err(error) => {
                let to = body.get("to").and_then(Value::as_str);
                self.refuse(context, &error, to).into()
            }
            Ok(Request::Read { message_id }) => self.read(context, message_id).into(),
            Ok(Request::Send(send)) => self.send(context, &send, body),
        }
    }

    fn read(&mut self, context: &mut ProviderContext<'_>, message_id: String) -> Answer {
        if !self.received.contains(&message_id) {
            let details = "The message_id is not a message that this number has received.";
            let error = GraphError::numbered(100, Some(details.into()));
            return self.refuse(context, &error, None);
        }
        self.event(context, "read", json!({"message_id": message_id}));
        self.reads.push(ReadReceipt { at_ms: context.now_ms, message_id });
        Answer::json(200, json!({"success": true}))
    }

    fn send(&mut self, context: &mut ProviderContext<'_>, send: &Send, body: Value) -> Outcome {
        if let Err(error) = self.may_send(send) {
            return self.refuse(context, &error, Some(&send.wa_id)).into();
        }
        let fault = self.faults.next(&send.wa_id);
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.accepts()) {
            self.faults.consume(&send.wa_id);
            let answer = fault_answer(fault, &context.ids.fbtrace());
            let fields =
                json!({"fault": fault.name(), "answer": answer.status(), "to": send.wa_id});
            self.event(context, "fault", fields);
            return answer.into();
        }
        if let Err(error) = self.within_limits(context.now_ms, &send.wa_id) {
            return self.refuse(context, &error, Some(&send.wa_id)).into();
        }
        self.accept(context, send, body, fault.as_ref())
    }

    fn may_send(&self, send: &Send) -> Result<(), GraphError> {
        if !self.registered {
            return Err(GraphError::numbered(133_010, None));
        }
        let own: String =
            self.settings.display_phone_number.chars().filter(char::is_ascii_digit).collect();
        if own == send.wa_id {
            return Err(GraphError::numbered(131_021, None));
        }
        if let (Some((name, language)), Some(approved)) = (&send.template, &self.settings.templates)
            && !approved.iter().any(|one| one.name == *name && one.language == *language)
        {
            let details = format!("template name ({name}) does not exist in {language}");
            return Err(GraphError::numbered(132_001, Some(details)));
        }
        Ok(())
    }

    fn within_limits(&mut self, now_ms: i64, wa_id: &str) -> Result<(), GraphError> {
        let limits = &self.settings.limits;
        let pair = self.pairs.entry(wa_id.to_owned()).or_default();
        let code = if self.throughput.wait_ms(now_ms, limits.messages_per_second, 1000) > 0 {
            130_429
        } else if pair.wait_ms(now_ms, limits.pair_burst, limits.pair_interval_ms) > 0 {
            131_056
        } else {
            self.throughput.take(now_ms);
            pair.take(now_ms, limits.pair_interval_ms);
            return Ok(());
        };
        Err(GraphError::numbered(code, None).with_status(limits.refusal_status))
    }

    fn accept(
        &mut self,
        context: &mut ProviderContext<'_>,
        send: &Send,
        body: Value,
        fault: Option<&Fault>,
    ) -> Outcome {
        let wamid = context.ids.wamid_outbound(&send.wa_id);
        let in_window = self.window_open(context.now_ms, &send.wa_id);
        let failed_code = self.failure(send, in_window, fault);
        let ok = Answer::json(
            200,
            json!({
                "messaging_product": "whatsapp",
                "contacts": [{"input": send.input, "wa_id": send.wa_id}],
                "messages": [{"id": wamid}],
            }),
        );
        let answer = accepted_answer(ok, fault, |_, fault| page(fault));
        let name = accepted_as(fault);
        if let Some(fault) = fault {
            self.faults.consume(&send.wa_id);
            let fields =
                json!({"fault": fault.name(), "answer": answer.status(), "to": send.wa_id});
            self.event(context, "fault", fields);
        }
        let fields = json!({
            "wamid": wamid, "to": send.wa_id, "type": send.kind, "text": send.text,
            "opaque": send.opaque, "answer": name, "failed_code": failed_code,
        });
        let seq = self.event(context, "send.accepted", fields);
        self.by_wamid.insert(wamid.clone(), self.accepted.len());
        self.accepted.push(Accepted {
            seq,
            at_ms: context.now_ms,
            wamid: wamid.clone(),
            to: send.wa_id.clone(),
            kind: send.kind.clone(),
            opaque: send.opaque.clone(),
            body,
            answer: name,
            in_window,
            failed_code,
            statuses: Vec::new(),
        });
        let deliveries = self.receipts(context, send, &wamid, failed_code);
        Outcome { answer, deliveries }
    }

    /// The code with which Meta will report the message as failed although it answered 200.
    fn failure(&self, send: &Send, in_window: bool, fault: Option<&Fault>) -> Option<i64> {
        if let Some(fault) = fault.filter(|fault| fault.kind == Kind::FailLater) {
            return Some(fault.code.unwrap_or(131_026));
        }
        if self.settings.not_on_whatsapp.contains(&send.wa_id) {
            return Some(131_026);
        }
        if !in_window && send.template.is_none() {
            return Some(131_047);
        }
        let unknown = send
            .reacts_to
            .as_ref()
            .is_some_and(|id| !self.received.contains(id) && !self.by_wamid.contains_key(id));
        unknown.then_some(131_009)
    }

    fn receipts(
        &mut self,
        context: &mut ProviderContext<'_>,
        send: &Send,
        wamid: &str,
        failed: Option<i64>,
    ) -> Vec<Delivery> {
        let random = receipts::random(&mut self.random);
        let plan = self.settings.receipts.plan(failed.is_some(), random);
        let mut deliveries = Vec::new();
        for webhook in plan {
            let statuses: Vec<Value> = webhook
                .statuses
                .iter()
                .map(|(status, after)| {
                    let at_s = (context.now_ms + i64::try_from(*after).unwrap_or(0)) / 1000;
                    status_object(send, wamid, status, at_s, failed)
                })
                .collect();
            let body = self.envelope(&json!({"statuses": statuses}));
            let statuses = webhook.statuses.iter().map(|(status, _)| *status).collect();
            deliveries.push(Delivery {
                id: context.ids.serial(),
                what: "status",
                after_ms: webhook.after_ms,
                body,
                ids: vec![wamid.to_owned()],
                statuses,
                redeliver: true,
                forged: None,
            });
        }
        self.pending += deliveries.len() as u64;
        deliveries
    }

    /// `value` in the envelope of this number, serialized and escaped.
    fn envelope(&self, value: &Value) -> Bytes {
        let mut full = json!({
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": self.settings.display_phone_number,
                "phone_number_id": self.id,
            },
        });
        if let (Some(full), Some(value)) = (full.as_object_mut(), value.as_object()) {
            full.extend(value.clone());
        }
        let body = json!({"object": "whatsapp_business_account", "entry": [
            {"id": self.settings.waba_id, "changes": [{"value": full, "field": "messages"}]}
        ]});
        sign::meta_escape(&body.to_string()).into_bytes().into()
    }

    /// The headers that Meta sends with `delivery`.
    #[must_use]
    pub fn headers(&self, delivery: &Delivery) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", "facebookexternalua".to_owned()),
            ("accept", "*/*".to_owned()),
        ];
        match &delivery.forged {
            Some(forged) => headers.extend(forged.iter().cloned()),
            None => headers.extend(signature(&self.settings.app_secret, &delivery.body)),
        }
        headers
    }

    /// Whether the service window of `wa_id` is open.
    #[must_use]
    pub fn window_open(&self, now_ms: i64, wa_id: &str) -> bool {
        self.customers.is_open(now_ms, wa_id, self.settings.limits.window_ms)
    }

    /// A customer writes. Returns the id of the message, the id of its file, and the webhooks.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
    ) -> Result<(String, Option<String>, Vec<Delivery>), String> {
        if order.from.is_empty() || !order.from.chars().all(|c| c.is_ascii_digit()) {
            return Err("from: must contain digits only".into());
        }
        let (kind, mut object) = match (&order.text, &order.kind) {
            (Some(text), None) => ("text", json!({"body": text})),
            (None, Some(kind)) => {
                (kind.as_str(), order.object.clone().unwrap_or_else(|| json!({})))
            }
            _ => return Err("give either text, or type and object".into()),
        };
        let media_id = match &order.media {
            Some(upload) => {
                let bytes = upload.bytes()?;
                let id = self.add_media(context, &upload.mime_type, bytes.clone());
                let object = object.as_object_mut().ok_or("object: must be a JSON object")?;
                object.insert("id".into(), json!(id));
                object.insert("mime_type".into(), json!(upload.mime_type));
                object.insert("sha256".into(), json!(STANDARD.encode(sha256(&bytes))));
                Some(id)
            }
            None => None,
        };
        let wamid = order.id.clone().unwrap_or_else(|| context.ids.wamid_inbound(&order.from));
        let at_s = order.timestamp.unwrap_or(context.now_ms / 1000);
        let mut message = json!({
            "from": order.from, "id": wamid, "timestamp": at_s.to_string(), "type": kind,
            kind: object,
        });
        if let (Some(reply_to), Some(message)) = (&order.reply_to, message.as_object_mut()) {
            let reply_context = json!({"from": self.settings.display_phone_number, "id": reply_to});
            message.insert("context".into(), reply_context);
        }
        self.customers.set(&order.from, Some(context.now_ms));
        self.received.insert(wamid.clone());
        self.event(
            context,
            "customer.wrote",
            json!({"wamid": wamid, "from": order.from, "type": kind, "text": order.text}),
        );
        let body = self.envelope(&json!({
            "contacts": [{"profile": {"name": order.name}, "wa_id": order.from}],
            "messages": [message],
        }));
        let deliveries =
            self.copies(context, "message", &body, vec![wamid.clone()], true, order.repeat);
        Ok((wamid, media_id, deliveries))
    }

    fn copies(
        &mut self,
        context: &mut ProviderContext<'_>,
        what: &'static str,
        body: &Bytes,
        ids: Vec<String>,
        redeliver: bool,
        copies: usize,
    ) -> Vec<Delivery> {
        self.pending += copies as u64;
        let delivery = Delivery {
            id: 0,
            what,
            after_ms: 0,
            body: body.clone(),
            ids,
            statuses: Vec::new(),
            redeliver,
            forged: None,
        };
        (0..copies).map(|_| Delivery { id: context.ids.serial(), ..delivery.clone() }).collect()
    }

    /// Signs and delivers the webhook that the control API asks for.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn webhook(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &RawWebhook,
    ) -> Result<Vec<Delivery>, String> {
        let write = |json: &Value| {
            let json = json.to_string();
            if order.escape { sign::meta_escape(&json) } else { json }
        };
        let body: Bytes = match (&order.value, &order.body, &order.raw) {
            (Some(value), None, None) => {
                let body = json!({"object": "whatsapp_business_account", "entry": [
                    {"id": self.settings.waba_id,
                     "changes": [{"value": value, "field": "messages"}]}
                ]});
                write(&body).into_bytes().into()
            }
            (None, Some(body), None) => write(body).into_bytes().into(),
            (None, None, Some(raw)) => raw.clone().into_bytes().into(),
            _ => return Err("give exactly one of value, body, raw".into()),
        };
        // If the webhook contains customer messages, they open the window and can be marked as
        // read.
        let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut ids = Vec::new();
        for message in messages_in(&parsed) {
            let text = |key: &str| message.get(key).and_then(Value::as_str);
            if let (Some(from), Some(id)) = (text("from"), text("id")) {
                self.customers.set(from, Some(context.now_ms));
                self.received.insert(id.to_owned());
                ids.push(id.to_owned());
            }
        }
        Ok(self.copies(context, "raw", &body, ids, order.redeliver, order.repeat))
    }

    /// A webhook that the hub must refuse.
    pub fn forge(&mut self, context: &mut ProviderContext<'_>, order: &Forgery) -> Delivery {
        let wamid = context.ids.wamid_inbound(&order.from);
        let value = json!({
            "contacts": [{"profile": {"name": "Mallory"}, "wa_id": order.from}],
            "messages": [{
                "from": order.from, "id": wamid, "type": "text",
                "timestamp": (context.now_ms / 1000).to_string(), "text": {"body": order.text},
            }],
        });
        let mut body = self.envelope(&value);
        let secret = &self.settings.app_secret;
        let forged = match order.kind {
            ForgeryKind::WrongSecret => signature("not the app secret", &body),
            ForgeryKind::NoSignature => Vec::new(),
            ForgeryKind::Sha1 => {
                let sha1 = format!("sha1={}", sign::hmac_sha1_hex(secret, &body));
                vec![("x-hub-signature", sha1.clone()), ("x-hub-signature-256", sha1)]
            }
            ForgeryKind::NoPrefix => {
                vec![("x-hub-signature-256", sign::hmac_hex(secret, &body))]
            }
            ForgeryKind::Tampered => {
                let headers = signature(secret, &body);
                let mut changed = body.to_vec();
                changed.push(b' ');
                body = changed.into();
                headers
            }
            ForgeryKind::Reserialised => {
                let headers = signature(secret, &body);
                let json: Value = serde_json::from_slice(&body).unwrap_or_default();
                body = json.to_string().into_bytes().into();
                headers
            }
        };
        self.pending += 1;
        Delivery {
            id: context.ids.serial(),
            what: "forged",
            after_ms: 0,
            body,
            ids: vec![wamid],
            statuses: Vec::new(),
            redeliver: false,
            forged: Some(forged),
        }
    }

    /// `GET /{phone-number-id}`.
    #[must_use]
    pub fn describe(&self) -> Answer {
        let verified = if self.registered { "VERIFIED" } else { "NOT_VERIFIED" };
        Answer::json(
            200,
            json!({
                "id": self.id,
                "display_phone_number": self.settings.display_phone_number,
                "verified_name": self.settings.verified_name,
                "quality_rating": "GREEN",
                "code_verification_status": verified,
            }),
        )
    }

    /// `POST /{phone-number-id}/register`.
    pub fn register(&mut self, context: &mut ProviderContext<'_>, bytes: &[u8]) -> Answer {
        let body = serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
        let field = |name: &str| body.get(name).and_then(Value::as_str);
        let error = if field("messaging_product").is_none() {
            GraphError::required("messaging_product")
        } else if field("messaging_product") != Some("whatsapp") {
            GraphError::parameter("messaging_product", "must be one of {WHATSAPP}.")
        } else if let Some(pin) = field("pin") {
            let six = pin.len() == 6 && pin.chars().all(|c| c.is_ascii_digit());
            if !six {
                GraphError::parameter("pin", "must be exactly 6 digits.")
            } else if self.settings.pin.as_deref().is_some_and(|expected| expected != pin) {
                GraphError::numbered(133_005, None)
            } else {
                self.registered = true;
                self.event(context, "registered", Value::Null);
                return Answer::json(200, json!({"success": true}));
            }
        } else {
            GraphError::required("pin")
        };
        error.answer(&context.ids.fbtrace())
    }

    /// Stores a file and returns its id.
    pub fn add_media(
        &mut self,
        context: &mut ProviderContext<'_>,
        mime: &str,
        bytes: Bytes,
    ) -> String {
        let id = context.ids.media();
        self.media.insert(id.clone(), Media { mime: mime.to_owned(), bytes });
        id
    }

    /// `GET /{media-id}`; `base` is the address at which the caller reaches the simulator.
    pub fn media_info(&self, context: &mut ProviderContext<'_>, id: &str, base: &str) -> Answer {
        let Some(media) = self.media.get(id) else {
            return GraphError::no_object("GET", id).answer(&context.ids.fbtrace());
        };
        let expires_s = context.now_ms / 1000 + DOWNLOAD_S;
        let hash = self.download_hash(id, expires_s);
        Answer::json(
            200,
            json!({
                "messaging_product": "whatsapp",
                "url": format!("{base}/whatsapp_business/attachments/?mid={id}&ext={expires_s}&hash={hash}"),
                "mime_type": media.mime,
                "sha256": hex::encode(sha256(&media.bytes)),
                "file_size": media.bytes.len(),
                "id": id,
            }),
        )
    }

    fn download_hash(&self, id: &str, expires_s: i64) -> String {
        let mut hash =
            sign::hmac_hex(&self.settings.app_secret, format!("{id}.{expires_s}").as_bytes());
        hash.truncate(24);
        hash
    }

    /// Downloads a file: 404 if the URL has expired after five minutes, or was never issued.
    pub fn download(
        &self,
        context: &mut ProviderContext<'_>,
        id: &str,
        ext: &str,
        hash: &str,
    ) -> Answer {
        let valid = ext.parse().is_ok_and(|expires_s: i64| {
            expires_s * 1000 > context.now_ms && self.download_hash(id, expires_s) == hash
        });
        match self.media.get(id).filter(|_| valid) {
            Some(media) => Answer::Reply(Reply {
                status: 200,
                retry_after_s: None,
                body: Body::File { mime: media.mime.clone(), bytes: media.bytes.clone() },
                delay_ms: 0,
            }),
            None => {
                GraphError::no_object("GET", id).with_status(404).answer(&context.ids.fbtrace())
            }
        }
    }

    /// The number's summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "phone_number_id": self.id, "registered": self.registered,
            "accepted": self.accepted.len(), "refused": self.refused,
            "read_receipts": self.reads.len(), "pending_webhooks": self.pending,
            "given_up": self.given_up, "faults": self.faults.remaining(),
        })
    }

    /// The messages that Meta has accepted.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// The read receipts that Meta has accepted.
    #[must_use]
    pub fn reads(&self) -> &[ReadReceipt] {
        &self.reads
    }
}

/// The answer for a fault with which nothing is accepted.
fn fault_answer(fault: &Fault, fbtrace: &str) -> Answer {
    match fault.kind {
        Kind::RateLimited => {
            let error = GraphError::numbered(fault.code.unwrap_or(130_429), None);
            let error = error.with_status(fault.status.unwrap_or(429));
            error.answer(fbtrace).retry_after(Some(fault.retry_after_s.unwrap_or(1)))
        }
        Kind::Error => {
            let mut error =
                GraphError::numbered(fault.code.unwrap_or(131_000), fault.description.clone());
            error.status = fault.status.unwrap_or(error.status);
            error.answer(fbtrace).retry_after(fault.retry_after_s)
        }
        Kind::Page => page(fault),
        Kind::Status => {
            let error = GraphError::numbered(131_000, None);
            let error = error.with_status(fault.status.unwrap_or(500));
            error.answer(fbtrace).retry_after(fault.retry_after_s)
        }
        _ => Answer::HangUp { after_ms: 0 },
    }
}

fn status_object(send: &Send, wamid: &str, status: &str, at_s: i64, failed: Option<i64>) -> Value {
    let mut object = json!({
        "id": wamid, "status": status, "timestamp": at_s.to_string(),
        "recipient_id": send.wa_id,
    });
    let Some(fields) = object.as_object_mut() else { return object };
    if let Some(opaque) = &send.opaque {
        fields.insert("biz_opaque_callback_data".into(), json!(opaque));
    }
    if let Some(code) = failed {
        fields.insert("errors".into(), json!([error::status_error(code)]));
    } else if matches!(status, "sent" | "delivered") {
        let category = if send.template.is_some() { "utility" } else { "service" };
        let pricing = json!({
            "billable": send.template.is_some(), "pricing_model": "PMP", "type": "regular",
            "category": category,
        });
        fields.insert("pricing".into(), pricing);
    }
    object
}

fn signature(secret: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    vec![
        ("x-hub-signature", format!("sha1={}", sign::hmac_sha1_hex(secret, body))),
        ("x-hub-signature-256", format!("sha256={}", sign::hmac_hex(secret, body))),
    ]
}

fn messages_in(body: &Value) -> impl Iterator<Item = &Value> {
    list(body.get("entry"))
        .flat_map(|entry| list(entry.get("changes")))
        .filter_map(|change| change.get("value"))
        .flat_map(|value| list(value.get("messages")))
}

fn list(value: Option<&Value>) -> std::slice::Iter<'_, Value> {
    value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests;
