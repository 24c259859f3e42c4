//! The rules of the Evolution API, for one instance: a number on `WhatsApp` Web.
//!
//! Nothing here does I/O or reads a clock.

pub mod event;
mod provider;
pub mod request;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::faults::{Fault, Faults, Kind, accepted_answer, accepted_as, page};
use crate::fields;
use crate::log::ProviderContext;
use crate::receipts::{self, Receipts};
use event::{Delivery, Outcome, Redelivery};
pub use provider::Evolution;
use request::Send;

const SOURCE: &str = "evolution";

/// The event types that a webhook can subscribe to.
const SUBSCRIPTIONS: [&str; 30] = [
    "APPLICATION_STARTUP",
    "QRCODE_UPDATED",
    "MESSAGES_SET",
    "MESSAGES_UPSERT",
    "MESSAGES_EDITED",
    "MESSAGES_UPDATE",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "CONTACTS_SET",
    "CONTACTS_UPSERT",
    "CONTACTS_UPDATE",
    "PRESENCE_UPDATE",
    "CHATS_SET",
    "CHATS_UPSERT",
    "CHATS_UPDATE",
    "CHATS_DELETE",
    "GROUPS_UPSERT",
    "GROUP_UPDATE",
    "GROUP_PARTICIPANTS_UPDATE",
    "CONNECTION_UPDATE",
    "LABELS_EDIT",
    "LABELS_ASSOCIATION",
    "CALL",
    "TYPEBOT_START",
    "TYPEBOT_CHANGE_STATUS",
    "REMOVE_INSTANCE",
    "LOGOUT_INSTANCE",
    "INSTANCE_CREATE",
    "INSTANCE_DELETE",
    "STATUS_INSTANCE",
];

/// Settings of the instance, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The instance's own token.
    pub token: String,
    /// The key of the whole server.
    #[serde(default)]
    pub global_key: Option<String>,
    /// The instance's phone number.
    #[serde(default = "default_number")]
    pub number: String,
    /// Its initial connection state.
    #[serde(default)]
    pub state: State,
    /// Numbers that are not on `WhatsApp`.
    #[serde(default)]
    pub not_on_whatsapp: Vec<String>,
    /// Whether Evolution stores messages in its database; without it there are no receipts.
    #[serde(default = "fields::yes")]
    pub save_messages: bool,
    /// Whether webhooks contain the instance's token.
    #[serde(default)]
    pub expose_key: bool,
    /// The echoes of a message sent through the API.
    #[serde(default)]
    pub echoes: Echoes,
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

fn default_number() -> String {
    "15550783881".into()
}

/// The connection of an instance to `WhatsApp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Connected.
    #[default]
    Open,
    /// Connecting.
    Connecting,
    /// Not connected.
    Close,
    /// The server knows the instance's name but has not loaded it.
    NotLoaded,
}

impl State {
    /// Evolution's name of the state; `None` if it omits the field.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Open => Some("open"),
            Self::Connecting => Some("connecting"),
            Self::Close => Some("close"),
            Self::NotLoaded => None,
        }
    }
}

/// The echoes of a message sent through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Echoes {
    /// `send.message`.
    pub send_message: bool,
    /// `messages.upsert` with `fromMe`, as for a message written on the phone.
    pub upsert: bool,
}

impl Default for Echoes {
    fn default() -> Self {
        Self { send_message: true, upsert: true }
    }
}

/// A message that Evolution has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of acceptance.
    pub at_ms: i64,
    /// Its id at `WhatsApp`.
    pub id: String,
    /// The recipient: the digits of a number, or another address.
    pub to: String,
    /// The method.
    pub method: String,
    /// `WhatsApp`'s name of the message type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The message it quotes; `None` if Evolution does not know that message.
    pub quoted: Option<String>,
    /// The request body.
    pub body: Value,
    /// The answer to the caller: `answered`, `held`, `dropped` or `status_<n>`.
    pub answer: String,
    /// Whether it will be reported as failed.
    pub fails: bool,
    /// The statuses that the hub has accepted.
    pub statuses: Vec<&'static str>,
}

/// A read receipt that Evolution has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct ReadReceipt {
    /// Time of acceptance.
    pub at_ms: i64,
    /// The customer's message.
    pub message_id: String,
    /// The customer's address.
    pub remote_jid: String,
}

/// The webhook of an instance.
#[derive(Clone, Debug)]
struct Webhook {
    url: String,
    headers: BTreeMap<String, String>,
    by_events: bool,
    base64: bool,
    events: Vec<String>,
}

/// A file that was sent or received.
#[derive(Clone, Debug)]
struct File {
    kind: String,
    mime: String,
    name: Option<String>,
    caption: Option<String>,
    bytes: Bytes,
}

/// An instance.
#[derive(Debug)]
pub struct Instance {
    name: String,
    settings: Settings,
    state: State,
    webhook: Option<Webhook>,
    /// Numbers that the server has already looked up on `WhatsApp`.
    looked_up: BTreeSet<String>,
    /// The ids of all messages, sent and received.
    messages: BTreeSet<String>,
    files: BTreeMap<String, File>,
    accepted: Vec<Accepted>,
    by_id: HashMap<String, usize>,
    reads: Vec<ReadReceipt>,
    faults: Faults,
    refused: u64,
    pending: u64,
    given_up: u64,
    violations: u64,
    random: u64,
}

/// An error response. `message` is a text or a list; Evolution uses both.
#[must_use]
pub fn error(status: u16, message: &Value) -> Answer {
    let words = http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    Answer::json(
        status,
        json!({"status": status, "error": words.unwrap_or("Error"),
               "response": {"message": message}}),
    )
}

/// A call of the API.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The path before the instance's name, such as `message/sendText`.
    pub path: (&'a str, &'a str),
    /// The header `apikey`.
    pub key: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// Answers a call for the instance `name`. An unknown instance is reported before a wrong key.
pub fn call(
    instances: &mut BTreeMap<String, Instance>,
    context: &mut ProviderContext<'_>,
    name: &str,
    call: Call<'_>,
) -> Outcome {
    let Some(instance) = instances.get_mut(name) else {
        let words = format!("The \"{name}\" instance does not exist");
        let fields = json!({"status": 404, "detail": words});
        context.log.push(context.now_ms, SOURCE, name, "send.refused", fields);
        return error(404, &json!([words])).into();
    };
    let key = call.key.filter(|key| !key.is_empty());
    let settings = &instance.settings;
    let global = settings.global_key.as_deref();
    if key.is_none() || (key != Some(&settings.token) && key != global) {
        return instance
            .refuse(context, call.path.1, None, error(401, &json!("Unauthorized")))
            .into();
    }
    instance.call(context, call)
}

impl Instance {
    /// Creates the instance without state.
    #[must_use]
    pub fn new(name: &str, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            state: settings.state,
            random: settings.seed,
            settings,
            webhook: None,
            looked_up: BTreeSet::new(),
            messages: BTreeSet::new(),
            files: BTreeMap::new(),
            accepted: Vec::new(),
            by_id: HashMap::new(),
            reads: Vec::new(),
            faults: Faults::default(),
            refused: 0,
            pending: 0,
            given_up: 0,
            violations: 0,
        }
    }

    /// Changes the settings and keeps the state.
    pub fn change(&mut self, settings: Settings) {
        self.state = settings.state;
        self.random = settings.seed;
        self.settings = settings;
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.name, kind, fields)
    }

    fn refuse(
        &mut self,
        context: &mut ProviderContext<'_>,
        method: &str,
        to: Option<&str>,
        answer: Answer,
    ) -> Answer {
        self.refused += 1;
        let detail = answer.body().pointer("/response/message").cloned();
        let fields =
            json!({"method": method, "status": answer.status(), "to": to, "detail": detail});
        self.event(context, "send.refused", fields);
        answer
    }

    /// Handles a call, after authentication.
    fn call(&mut self, context: &mut ProviderContext<'_>, call: Call<'_>) -> Outcome {
        let body = || serde_json::from_slice::<Value>(call.body).unwrap_or_else(|_| json!({}));
        match (call.method, call.path) {
            (&Method::POST, ("message", method)) => self.message(context, method, &body()),
            (&Method::GET, ("instance", "connectionState")) => self.connection_state().into(),
            (&Method::POST, ("webhook", "set")) => self.set_webhook(context, &body()).into(),
            (&Method::GET, ("webhook", "find")) => {
                let found = self.webhook.as_ref().map_or(Value::Null, |set| self.shown(set));
                Answer::json(200, found).into()
            }
            (&Method::POST, ("chat", "getBase64FromMediaMessage")) => self.file(&body()).into(),
            (&Method::POST, ("chat", "markMessageAsRead")) => self.read(context, &body()).into(),
            (method, (folder, name)) => {
                let words = format!("Cannot {method} /{folder}/{name}/{}", self.name);
                error(404, &json!([words])).into()
            }
        }
    }

    fn connection_state(&self) -> Answer {
        let mut instance = json!({"instanceName": self.name});
        if let (Some(instance), Some(state)) = (instance.as_object_mut(), self.state.name()) {
            instance.insert("state".into(), json!(state));
        }
        Answer::json(200, json!({"instance": instance}))
    }

    fn message(
        &mut self,
        context: &mut ProviderContext<'_>,
        method: &str,
        body: &Value,
    ) -> Outcome {
        let send = match request::parse(method, body) {
            None => {
                let words = format!("Cannot POST /message/{method}/{}", self.name);
                return error(404, &json!([words])).into();
            }
            Some(Err((status, message))) => {
                let to = body.get("number").and_then(Value::as_str);
                return self.refuse(context, method, to, error(status, &message)).into();
            }
            Some(Ok(send)) => send,
        };
        for field in &send.unknown {
            self.violation(
                context,
                &format!("{method} does not have the field {field}: Evolution would ignore it"),
            );
        }
        let jid = jid(&send.number);
        let to = event::number(&jid).to_owned();
        if let Err(answer) = self.check_connection(&send, &jid) {
            return self.refuse(context, method, Some(&to), answer).into();
        }
        let fault = self.faults.next(&to);
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.accepts()) {
            self.faults.consume(&to);
            let answer = fault_answer(fault);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": to});
            self.event(context, "fault", fields);
            return answer.into();
        }
        self.accept(context, method, body, &send, &jid, fault.as_ref())
    }

    fn violation(&mut self, context: &mut ProviderContext<'_>, detail: &str) {
        self.violations += 1;
        self.event(context, "violation", json!({"detail": detail}));
    }

    /// Checks whether the message can reach `WhatsApp`. The error of an instance without a connection
    /// depends on the step at which Evolution notices it.
    fn check_connection(&mut self, send: &Send, jid: &str) -> Result<(), Answer> {
        let closed = "Connection Closed";
        let cut = self.state != State::Open;
        if self.state == State::NotLoaded {
            let words = "Cannot read properties of undefined (reading 'textMessage')";
            return Err(error(500, &json!(words)));
        }
        if cut && send.uploads {
            return Err(error(500, &json!([format!("Error: {closed}")])));
        }
        let person = jid.ends_with("@s.whatsapp.net");
        if person && !self.looked_up.contains(jid) {
            if cut {
                return Err(error(500, &json!(closed)));
            }
            let number = event::number(jid);
            if self.settings.not_on_whatsapp.iter().any(|none| none == number) {
                let found = json!({"jid": jid, "exists": false, "number": send.number});
                return Err(error(400, &json!([found])));
            }
            self.looked_up.insert(jid.to_owned());
        }
        if cut {
            return Err(error(400, &json!([format!("Error: {closed}")])));
        }
        Ok(())
    }

    fn accept(
        &mut self,
        context: &mut ProviderContext<'_>,
        method: &str,
        body: &Value,
        send: &Send,
        jid: &str,
        fault: Option<&Fault>,
    ) -> Outcome {
        let to = event::number(jid).to_owned();
        let id = context.ids.whatsapp_key("3EB0");
        let quoted = send.quoted.clone().filter(|quoted| self.messages.contains(quoted));
        let context_info = quoted.as_deref().map(|quoted| json!({"stanzaId": quoted}));
        let message = self.sent(context.now_ms, &id, jid, send, context_info.as_ref());
        let name = accepted_as(fault);
        let answer = accepted_answer(Answer::json(201, message.clone()), fault, error_of);
        if let Some(fault) = fault {
            self.faults.consume(&to);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": to});
            self.event(context, "fault", fields);
        }
        let fails = fault.is_some_and(|fault| fault.kind == Kind::FailLater);
        let fields = json!({"id": id, "to": to, "method": method, "type": send.kind,
                            "text": send.text, "quoted": quoted, "answer": name});
        let seq = self.event(context, "send.accepted", fields);
        self.messages.insert(id.clone());
        self.by_id.insert(id.clone(), self.accepted.len());
        self.accepted.push(Accepted {
            seq,
            at_ms: context.now_ms,
            id: id.clone(),
            to,
            method: method.to_owned(),
            kind: send.kind,
            quoted,
            body: body.clone(),
            answer: name,
            fails,
            statuses: Vec::new(),
        });
        let mut deliveries = Vec::new();
        let echoes = self.settings.echoes;
        if echoes.send_message {
            deliveries.extend(self.emit(context, "send.message", &message, 0));
        }
        if echoes.upsert {
            deliveries.extend(self.emit(context, "messages.upsert", &message, 0));
        }
        deliveries.extend(self.receipts(context, &id, jid, fails));
        Outcome { answer, deliveries }
    }

    /// A message of the instance, as it appears in responses and webhooks.
    fn sent(
        &self,
        now_ms: i64,
        id: &str,
        jid: &str,
        send: &Send,
        context_info: Option<&Value>,
    ) -> Value {
        event::message(&event::MessageFields {
            key: json!({"remoteJid": jid, "fromMe": true, "id": id}),
            name: "",
            status: "PENDING",
            kind: send.kind,
            content: &send.content,
            context_info,
            at_s: now_ms / 1000,
            source: "unknown",
            instance: &self.name,
        })
    }

    fn receipts(
        &mut self,
        context: &mut ProviderContext<'_>,
        id: &str,
        jid: &str,
        fails: bool,
    ) -> Vec<Delivery> {
        // Only messages in the database get updates.
        if !self.settings.save_messages {
            return Vec::new();
        }
        let random = receipts::random(&mut self.random);
        let plan = self.settings.receipts.plan(fails, random);
        let updates = plan.into_iter().flat_map(|webhook| {
            // Evolution sends one update per request.
            webhook.statuses.into_iter().map(move |(status, _)| (status, webhook.after_ms))
        });
        let updates: Vec<(&'static str, u64)> = updates.collect();
        let updates = updates.into_iter().filter_map(|(status, after_ms)| {
            let data = json!({
                "keyId": id, "remoteJid": jid, "fromMe": true, "participant": jid,
                "status": ack(status), "instanceId": event::instance_id(&self.name),
                "messageId": format!("cm{}", id.to_ascii_lowercase()),
            });
            let delivery = self.emit(context, "messages.update", &data, after_ms)?;
            Some(Delivery { ids: vec![id.to_owned()], statuses: vec![status], ..delivery })
        });
        updates.collect()
    }

    fn set_webhook(&mut self, context: &mut ProviderContext<'_>, body: &Value) -> Answer {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Order {
            enabled: bool,
            url: String,
            #[serde(default)]
            headers: Map<String, Value>,
            #[serde(default)]
            by_events: bool,
            #[serde(default)]
            base64: bool,
            #[serde(default)]
            events: Option<Vec<String>>,
        }
        let Some(given) = body.get("webhook") else {
            return error(400, &json!(["instance requires property \"webhook\""]));
        };
        for name in ["enabled", "url"] {
            if given.get(name).is_none() {
                let words = format!("webhook requires property \"{name}\"");
                return error(400, &json!([words]));
            }
        }
        let order = match Order::deserialize(given) {
            Ok(order) => order,
            Err(wrong) => return error(400, &json!([format!("webhook: {wrong}")])),
        };
        if let Some(strange) =
            order.events.iter().flatten().find(|event| !SUBSCRIPTIONS.contains(&event.as_str()))
        {
            let words = format!(
                "webhook.events[0] is not one of enum values: {} (not {strange})",
                SUBSCRIPTIONS.join(",")
            );
            return error(400, &json!([words]));
        }
        let web = url::Url::parse(&order.url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !web {
            return error(400, &json!(["Invalid \"url\" property"]));
        }
        let headers = order.headers.into_iter().filter_map(|(name, value)| {
            Some((name.to_ascii_lowercase(), value.as_str()?.to_owned()))
        });
        let events = match order.events {
            None if order.enabled => {
                let words = "Cannot read properties of undefined (reading 'length')";
                return error(500, &json!(words));
            }
            Some(events) if order.enabled && !events.is_empty() => events,
            _ if order.enabled => SUBSCRIPTIONS.map(ToOwned::to_owned).to_vec(),
            _ => Vec::new(),
        };
        let set = Webhook {
            url: order.url,
            headers: headers.collect(),
            by_events: order.by_events,
            base64: order.base64,
            events,
        };
        self.event(context, "webhook.set", json!({"url": set.url, "events": set.events}));
        let shown = self.shown(&set);
        self.webhook = Some(set);
        Answer::json(201, shown)
    }

    /// The webhook as Evolution returns it, with its headers.
    fn shown(&self, webhook: &Webhook) -> Value {
        json!({
            "id": "cm3webhook0001", "url": webhook.url, "headers": webhook.headers,
            "enabled": !webhook.events.is_empty(), "events": webhook.events,
            "webhookByEvents": webhook.by_events, "webhookBase64": webhook.base64,
            "instanceId": event::instance_id(&self.name),
        })
    }

    fn file(&self, body: &Value) -> Answer {
        let id = body.pointer("/message/key/id").and_then(Value::as_str).unwrap_or_default();
        if !self.messages.contains(id) {
            return error(400, &json!(["Message not found"]));
        }
        let Some(file) = self.files.get(id) else {
            return error(400, &json!(["The message is not of the media type"]));
        };
        let ending = file.mime.rsplit('/').next().unwrap_or("bin");
        let name = file.name.clone().unwrap_or_else(|| format!("{id}.{ending}"));
        Answer::json(
            201,
            json!({
                "mediaType": file.kind, "fileName": name, "caption": file.caption,
                "size": {"fileLength": file.bytes.len().to_string()}, "mimetype": file.mime,
                "base64": STANDARD.encode(&file.bytes), "buffer": null,
            }),
        )
    }

    fn read(&mut self, context: &mut ProviderContext<'_>, body: &Value) -> Answer {
        let Some(messages) = body.get("readMessages").and_then(Value::as_array) else {
            return error(400, &json!(["instance requires property \"readMessages\""]));
        };
        if self.state != State::Open {
            return error(500, &json!(["Read messages fail", "Error: Connection Closed"]));
        }
        for message in messages {
            let text = |name: &str| message.get(name).and_then(Value::as_str);
            let (Some(id), Some(remote_jid)) = (text("id"), text("remoteJid")) else {
                return error(400, &json!(["readMessages[0] requires property \"id\""]));
            };
            self.event(context, "read", json!({"message_id": id}));
            self.reads.push(ReadReceipt {
                at_ms: context.now_ms,
                message_id: id.to_owned(),
                remote_jid: remote_jid.to_owned(),
            });
        }
        Answer::json(201, json!({"message": "Read messages", "read": "success"}))
    }

    /// The instance's summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "instance": self.name, "state": self.state,
            "webhook_url": self.webhook.as_ref().map_or("", |webhook| &webhook.url),
            "accepted": self.accepted.len(), "refused": self.refused,
            "read_receipts": self.reads.len(), "pending_webhooks": self.pending,
            "given_up": self.given_up, "violations": self.violations,
            "faults": self.faults.remaining(),
        })
    }

    /// The messages that Evolution has accepted.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// The read receipts that Evolution has accepted.
    #[must_use]
    pub fn reads(&self) -> &[ReadReceipt] {
        &self.reads
    }
}

/// Evolution's name of a status.
fn ack(status: &str) -> &'static str {
    match status {
        "sent" => "SERVER_ACK",
        "delivered" => "DELIVERY_ACK",
        "read" => "READ",
        _ => "ERROR",
    }
}

/// The address that Evolution derives from a number: very long numbers become group addresses.
fn jid(number: &str) -> String {
    if ["@g.us", "@s.whatsapp.net", "@lid", "@broadcast"].iter().any(|end| number.contains(end)) {
        return number.to_owned();
    }
    let bare = number.split([':', '@']).next().unwrap_or_default();
    if bare.contains('-') && bare.len() >= 24 {
        let group: String = bare.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
        return format!("{group}@g.us");
    }
    let digits: String = bare.chars().filter(char::is_ascii_digit).collect();
    let place = if digits.len() >= 18 { "g.us" } else { "s.whatsapp.net" };
    format!("{digits}@{place}")
}

/// The answer for a fault with which nothing is accepted.
fn fault_answer(fault: &Fault) -> Answer {
    match fault.kind {
        Kind::RateLimited => {
            let seconds = fault.retry_after_s.unwrap_or(1);
            error(429, &json!("Too Many Requests")).retry_after(Some(seconds))
        }
        Kind::Error => {
            let status = fault.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(400);
            error_of(status, fault).retry_after(fault.retry_after_s)
        }
        Kind::Page => page(fault),
        Kind::Status => {
            error_of(fault.status.unwrap_or(500), fault).retry_after(fault.retry_after_s)
        }
        _ => Answer::HangUp { after_ms: 0 },
    }
}

/// An error with the fault's text, or with a standard one.
fn error_of(status: u16, fault: &Fault) -> Answer {
    match &fault.description {
        Some(description) => error(status, &json!([description])),
        None => error(status, &json!("Internal Server Error")),
    }
}

#[cfg(test)]
mod tests;
