//! Actions of customers and of the business's phone, and the webhooks that report them.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{File, Instance, State};
use crate::clock::rfc3339;
use crate::fields::{self, MediaUpload};
use crate::log::ProviderContext;

/// Answers after which Evolution does not retry.
const FINAL: [u16; 5] = [400, 401, 403, 404, 422];

/// The retry policy of Evolution. Delays are shorter than in the real world, where the first is 5 s
/// and the longest 300 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redelivery {
    /// Largest number of attempts.
    pub attempts: u32,
    /// The first delay.
    pub first_ms: u64,
    /// The factor by which each delay grows.
    pub factor: u64,
    /// The longest delay.
    pub max_ms: u64,
    /// Timeout of one attempt.
    pub timeout_ms: u64,
}

impl Default for Redelivery {
    fn default() -> Self {
        Self { attempts: 10, first_ms: 500, factor: 2, max_ms: 30_000, timeout_ms: 30_000 }
    }
}

impl Redelivery {
    /// The delay after the failed attempt `attempt` (from 1) that was answered `status`; `None`
    /// gives up. Evolution ignores `Retry-After`.
    #[must_use]
    pub fn wait_ms(&self, attempt: u32, status: u16) -> Option<u64> {
        if attempt >= self.attempts || FINAL.contains(&status) {
            return None;
        }
        let mut pause_ms = self.first_ms;
        for _ in 1..attempt {
            pause_ms = pause_ms.saturating_mul(self.factor).min(self.max_ms);
        }
        Some(pause_ms.min(self.max_ms))
    }
}

/// A webhook to be delivered to the hub.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number, for the log.
    pub id: u64,
    /// The event type, `raw` or `forged`.
    pub what: String,
    /// Delay before the first attempt.
    pub after_ms: u64,
    /// The address.
    pub url: String,
    /// The headers. They are made once, so that a JWT can expire between attempts.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The messages in it.
    pub ids: Vec<String>,
    /// The statuses in it.
    pub statuses: Vec<&'static str>,
    /// Whether a failed attempt is retried.
    pub redeliver: bool,
}

/// An answer, and the webhooks that follow.
pub type Outcome = crate::answer::Outcome<Delivery>;

/// The control call `customer-writes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerWrites {
    /// The customer's number, or the address of a group.
    pub from: String,
    /// The customer's name.
    #[serde(default = "fields::customer")]
    pub name: String,
    /// The text.
    pub text: Option<String>,
    /// A message type, such as `imageMessage` ...
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// ... with its object.
    pub object: Option<Value>,
    /// The file of the message.
    pub media: Option<MediaUpload>,
    /// The id of the message that this one replies to.
    pub reply_to: Option<String>,
    /// The customer's LID, which WhatsApp uses in place of a hidden number.
    pub lid: Option<String>,
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

/// A message that the business writes on its own phone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusinessWrites {
    /// The recipient's number.
    pub to: String,
    /// The text.
    pub text: String,
}

/// A change of the connection state.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetState {
    /// The new state.
    pub state: State,
    /// The reason in the webhook.
    #[serde(default)]
    pub status_reason: Option<u16>,
}

/// A webhook that the control API asks to authenticate and deliver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// The event type ...
    pub event: Option<String>,
    /// ... with its `data`.
    pub data: Option<Value>,
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
}

/// A webhook that the hub must refuse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgery {
    /// The kind of forgery.
    pub kind: ForgeryKind,
    /// The text.
    #[serde(default = "forged_text")]
    pub text: String,
}

fn forged_text() -> String {
    "I am not Evolution".into()
}

/// The kinds of forged webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeryKind {
    /// Wrong values in the authentication headers.
    WrongToken,
    /// No authentication headers, as in the server's global webhook.
    NoToken,
    /// No authentication headers, but the instance's key in the body.
    KeyInBody,
    /// An expired JWT.
    ExpiredJwt,
}

/// The fields of a message object.
pub(super) struct MessageFields<'a> {
    pub(super) key: Value,
    pub(super) name: &'a str,
    pub(super) status: &'a str,
    pub(super) kind: &'a str,
    pub(super) content: &'a Value,
    pub(super) context_info: Option<&'a Value>,
    pub(super) at_s: i64,
    pub(super) source: &'a str,
    pub(super) instance: &'a str,
}

/// A message object, as it appears in API responses and webhooks.
pub(super) fn message(fields: &MessageFields<'_>) -> Value {
    json!({
        "key": fields.key, "pushName": fields.name, "status": fields.status,
        "message": {(fields.kind): fields.content}, "contextInfo": fields.context_info,
        "messageType": fields.kind, "messageTimestamp": fields.at_s,
        "instanceId": instance_id(fields.instance), "source": fields.source,
    })
}

/// The database id of an instance.
pub(super) fn instance_id(name: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let hex = hex::encode(digest.as_ref());
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The digits of a customer's address; any other address unchanged.
pub(super) fn number(jid: &str) -> &str {
    jid.strip_suffix("@s.whatsapp.net").unwrap_or(jid)
}

/// The JWT that `jwt_key` asks for, valid for ten minutes from `now_s`.
fn jwt(key: &str, now_s: i64) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = json!({"iat": now_s, "exp": now_s + 600, "app": "evolution", "action": "webhook"});
    let signed = format!("{}.{}", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}

/// The headers of a webhook: the configured ones, with `jwt_key` replaced by a bearer token.
fn headers(asked: &BTreeMap<String, String>, now_s: i64) -> Vec<(String, String)> {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    for (name, value) in asked {
        headers.push(match name.as_str() {
            "jwt_key" => ("authorization".into(), format!("Bearer {}", jwt(value, now_s))),
            _ => (name.clone(), value.clone()),
        });
    }
    headers
}

impl Instance {
    /// The webhook that reports an event; `None` if the webhook is not subscribed to it. Events
    /// that occur without a subscription are not delivered later.
    pub(super) fn emit(
        &mut self,
        context: &mut ProviderContext<'_>,
        event: &str,
        data: &Value,
        after_ms: u64,
    ) -> Option<Delivery> {
        let name = event.replace(['.', '-'], "_").to_ascii_uppercase();
        let webhook = self.webhook.as_ref().filter(|webhook| webhook.events.contains(&name))?;
        let url = if webhook.by_events {
            format!("{}/{}", webhook.url, name.replace('_', "-").to_ascii_lowercase())
        } else {
            webhook.url.clone()
        };
        let headers = headers(&webhook.headers, context.now_ms / 1000);
        let body = self.envelope(context.now_ms, event, data).to_string();
        self.pending += 1;
        Some(Delivery {
            id: context.ids.serial(),
            what: event.to_owned(),
            after_ms,
            url,
            headers,
            body: body.into_bytes().into(),
            ids: Vec::new(),
            statuses: Vec::new(),
            redeliver: true,
        })
    }

    fn envelope(&self, now_ms: i64, event: &str, data: &Value) -> Value {
        let key = Some(&self.settings.token).filter(|_| self.settings.expose_key);
        json!({
            "event": event, "instance": self.name, "data": data,
            "destination": self.webhook.as_ref().map(|webhook| &webhook.url),
            // The server's local time with a `Z`, as Evolution sends it: here two hours ahead of
            // UTC.
            "date_time": rfc3339(now_ms + 7_200_000),
            "sender": format!("{}@s.whatsapp.net", self.settings.number),
            "server_url": "https://evolution.example.com", "apikey": key,
        })
    }

    /// A customer writes. Returns the id of the message, and the webhooks.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
    ) -> Result<(String, Vec<Delivery>), String> {
        let jid = super::jid(&order.from);
        if number(&jid).is_empty() {
            return Err("from: a number, or the address of a group".into());
        }
        let (kind, payload) = match (&order.text, &order.kind) {
            (Some(text), None) => ("conversation", json!(text)),
            (None, Some(kind)) => {
                (kind.as_str(), order.object.clone().unwrap_or_else(|| json!({})))
            }
            _ => return Err("give either text, or type and object".into()),
        };
        let id = order.id.clone().unwrap_or_else(|| context.ids.whatsapp_key("3A"));
        let (payload, base64) = self.attach(order, &id, kind, payload)?;
        let mut key = json!({"remoteJid": jid, "fromMe": false, "id": id});
        if let (Some(key), Some(lid)) = (key.as_object_mut(), &order.lid) {
            key.insert("remoteJid".into(), json!(lid));
            key.insert("remoteJidAlt".into(), json!(jid));
        }
        let answered = order.reply_to.as_ref().map(|reply_to| {
            json!({"stanzaId": reply_to, "participant": jid,
                   "quotedMessage": {"conversation": "?"}})
        });
        let mut data = message(&MessageFields {
            key,
            name: &order.name,
            status: "DELIVERY_ACK",
            kind,
            content: &payload,
            context_info: answered.as_ref(),
            at_s: order.timestamp.unwrap_or(context.now_ms / 1000),
            source: "ios",
            instance: &self.name,
        });
        let asked = self.webhook.as_ref().is_some_and(|webhook| webhook.base64);
        if let (Some(base64), Some(Value::Object(message))) =
            (base64.filter(|_| asked), data.get_mut("message"))
        {
            message.insert("base64".into(), json!(base64));
        }
        self.messages.insert(id.clone());
        self.looked_up.insert(jid.clone());
        let wrote = json!({"id": id, "from": number(&jid), "type": kind, "text": order.text});
        self.event(context, "customer.wrote", wrote);
        let mut deliveries = Vec::new();
        for _ in 0..order.repeat.max(1) {
            let webhook = self.emit(context, "messages.upsert", &data, 0);
            deliveries.extend(webhook.map(|webhook| Delivery { ids: vec![id.clone()], ..webhook }));
        }
        Ok((id, deliveries))
    }

    /// Stores the file of a message. Returns the message's object, and the bytes in base64.
    fn attach(
        &mut self,
        order: &CustomerWrites,
        id: &str,
        kind: &str,
        mut content: Value,
    ) -> Result<(Value, Option<String>), String> {
        let Some(upload) = &order.media else { return Ok((content, None)) };
        let bytes = upload.bytes()?;
        let object = content.as_object_mut().ok_or("object: must be a JSON object")?;
        object.insert("url".into(), json!("https://mmg.whatsapp.net/example.enc"));
        object.insert("mimetype".into(), json!(upload.mime_type));
        object.insert("fileLength".into(), json!(bytes.len().to_string()));
        let text = |object: &Map<String, Value>, name: &str| {
            object.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
        };
        let file = File {
            kind: kind.to_owned(),
            mime: upload.mime_type.clone(),
            name: text(object, "fileName"),
            caption: text(object, "caption"),
            bytes: bytes.clone(),
        };
        self.files.insert(id.to_owned(), file);
        Ok((content, Some(STANDARD.encode(&bytes))))
    }

    /// The business writes on its phone. Returns the id of the message, and the webhook.
    pub fn business_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &BusinessWrites,
    ) -> (String, Vec<Delivery>) {
        let id = context.ids.whatsapp_key("3A");
        let data = message(&MessageFields {
            key: json!({"remoteJid": super::jid(&order.to), "fromMe": true, "id": id}),
            name: "",
            status: "SERVER_ACK",
            kind: "conversation",
            content: &json!(order.text),
            context_info: None,
            at_s: context.now_ms / 1000,
            source: "ios",
            instance: &self.name,
        });
        self.messages.insert(id.clone());
        let webhook = self.emit(context, "messages.upsert", &data, 0);
        (id, webhook.into_iter().collect())
    }

    /// Changes the connection state. Returns the webhook that reports it.
    pub fn connect(&mut self, context: &mut ProviderContext<'_>, order: SetState) -> Vec<Delivery> {
        self.state = order.state;
        let reason = order.status_reason.unwrap_or(match order.state {
            State::Close => 428,
            _ => 200,
        });
        let data =
            json!({"instance": self.name, "state": order.state.name(), "statusReason": reason});
        self.event(context, "state", json!({"state": order.state}));
        self.emit(context, "connection.update", &data, 0).into_iter().collect()
    }

    /// Authenticates and delivers the webhook that the control API asks for.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn deliver(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &RawWebhook,
    ) -> Result<Vec<Delivery>, String> {
        let webhook = self.webhook.as_ref().ok_or("no webhook is set")?;
        let now_ms = context.now_ms;
        let body = match (&order.event, &order.body, &order.raw) {
            (Some(event), None, None) => {
                let data = order.data.clone().unwrap_or_default();
                self.envelope(now_ms, event, &data).to_string()
            }
            (None, Some(body), None) => body.to_string(),
            (None, None, Some(raw)) => raw.clone(),
            _ => return Err("give exactly one of event with data, body, raw".into()),
        };
        let delivery = Delivery {
            id: 0,
            what: "raw".into(),
            after_ms: 0,
            url: webhook.url.clone(),
            headers: headers(&webhook.headers, now_ms / 1000),
            body: body.into_bytes().into(),
            ids: Vec::new(),
            statuses: Vec::new(),
            redeliver: order.redeliver,
        };
        self.pending += order.repeat as u64;
        let copy = |_| Delivery { id: context.ids.serial(), ..delivery.clone() };
        Ok((0..order.repeat).map(copy).collect())
    }

    /// A webhook that the hub must refuse.
    ///
    /// # Errors
    /// If no webhook is set.
    pub fn forge(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &Forgery,
    ) -> Result<Delivery, &'static str> {
        let webhook = self.webhook.as_ref().ok_or("no webhook is set")?;
        let now_s = context.now_ms / 1000;
        let id = context.ids.whatsapp_key("3A");
        let data = message(&MessageFields {
            key: json!({"remoteJid": "666@s.whatsapp.net", "fromMe": false, "id": id}),
            name: "Mallory",
            status: "DELIVERY_ACK",
            kind: "conversation",
            content: &json!(order.text),
            context_info: None,
            at_s: now_s,
            source: "web",
            instance: &self.name,
        });
        let mut body = self.envelope(context.now_ms, "messages.upsert", &data);
        let other = |(name, value): (&String, &String)| (name.clone(), format!("not-{value}"));
        let wrong: BTreeMap<String, String> = webhook.headers.iter().map(other).collect();
        let mut proof = match order.kind {
            ForgeryKind::WrongToken => headers(&wrong, now_s),
            _ => headers(&BTreeMap::new(), now_s),
        };
        match order.kind {
            ForgeryKind::KeyInBody => {
                if let Some(body) = body.as_object_mut() {
                    body.insert("apikey".into(), json!(self.settings.token));
                }
            }
            ForgeryKind::ExpiredJwt => {
                // An expired JWT, signed with the value of the first configured header.
                let key = webhook.headers.values().next().map_or("", String::as_str);
                let bearer = format!("Bearer {}", jwt(key, now_s - 3600));
                proof.push(("authorization".into(), bearer));
            }
            ForgeryKind::WrongToken | ForgeryKind::NoToken => {}
        }
        self.pending += 1;
        Ok(Delivery {
            id: context.ids.serial(),
            what: "forged".into(),
            after_ms: 0,
            url: webhook.url.clone(),
            headers: proof,
            body: body.to_string().into_bytes().into(),
            ids: vec![id],
            statuses: Vec::new(),
            redeliver: false,
        })
    }
}
