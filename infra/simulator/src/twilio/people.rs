//! What people do: they write, call, and opt out; and what pretends to be Twilio.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::proof::{self, Params};
use super::request::{Channel, is_e164};
use super::{API_VERSION, Account, CallEnd, Delivery, Media, Signed, fields};
use crate::log::Scene;
use crate::orders::{self, MediaUpload};

/// Words by which a person opts out of SMS.
const STOP: [&str; 8] =
    ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
/// Words by which a person opts in again.
const START: [&str; 3] = ["START", "YES", "UNSTOP"];
/// Words by which a person asks for help.
const HELP: [&str; 2] = ["HELP", "INFO"];

/// What a person writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerWrites {
    /// The person's number.
    pub from: String,
    /// By which channel.
    #[serde(default)]
    pub channel: Written,
    /// To which number; none: the first of the channel.
    pub to: Option<String>,
    /// The name that `WhatsApp` shows.
    #[serde(default = "orders::customer")]
    pub name: String,
    /// A text.
    #[serde(default)]
    pub text: String,
    /// Files.
    #[serde(default)]
    pub media: Vec<MediaUpload>,
    /// Further fields, such as `ButtonPayload` or `Latitude`.
    #[serde(default)]
    pub params: std::collections::BTreeMap<String, String>,
    /// The message that this one answers.
    pub reply_to: Option<String>,
    /// An id in place of a fresh one.
    pub id: Option<String>,
    /// Copies of the webhook.
    #[serde(default = "orders::once")]
    pub repeat: usize,
    /// Whether the caller waits for the first attempt.
    #[serde(default = "orders::yes")]
    pub wait: bool,
}

/// By which channel a person writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// SMS or MMS.
    #[default]
    Sms,
    /// `WhatsApp`.
    Whatsapp,
}

/// A person calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerCalls {
    /// The person's number.
    pub from: String,
    /// Which number; none: the first.
    pub to: Option<String>,
    /// Copies of the webhook.
    #[serde(default = "orders::once")]
    pub repeat: usize,
}

/// What the control API wants signed and delivered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// Where to.
    pub url: String,
    /// The fields.
    pub params: std::collections::BTreeMap<String, String>,
    /// Copies.
    #[serde(default = "orders::once")]
    pub repeat: usize,
}

/// A webhook that the hub must refuse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forgery {
    /// What is wrong with it.
    pub kind: ForgeryKind,
    /// Who seems to write.
    #[serde(default = "default_forger")]
    pub from: String,
    /// What.
    #[serde(default = "default_forged_text")]
    pub text: String,
}

fn default_forger() -> String {
    "+16505551234".into()
}
fn default_forged_text() -> String {
    "I am not Twilio".into()
}

/// What is wrong with a forged webhook.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeryKind {
    /// Signed with another token.
    WrongSecret,
    /// Not signed.
    NoSignature,
    /// Changed after it was signed.
    Tampered,
    /// Signed for another address.
    OtherUrl,
}

/// What came of what a person did: the id, and the webhooks.
pub type Done = (String, Vec<Delivery>);

impl Account {
    /// A person writes.
    ///
    /// # Errors
    /// What is wrong with the order.
    pub fn customer_writes(
        &mut self,
        scene: &mut Scene<'_>,
        order: &CustomerWrites,
        base: &str,
    ) -> Result<Done, String> {
        if !is_e164(&order.from) {
            return Err("from: a number with its country, like +15551234567".into());
        }
        let whatsapp = order.channel == Written::Whatsapp;
        let (own, url) = if whatsapp {
            (&self.settings.whatsapp, &self.settings.urls.whatsapp)
        } else {
            (&self.settings.numbers, &self.settings.urls.sms)
        };
        let to = own.iter().find(|number| order.to.as_ref().is_none_or(|to| to == *number));
        let to = to.ok_or("to: the account has no such number")?.clone();
        if url.is_empty() {
            return Err("urls: there is no address for this channel".into());
        }
        let url = url.clone();
        let fresh = scene.ids.sid(if order.media.is_empty() { "SM" } else { "MM" });
        let sid = order.id.clone().unwrap_or(fresh);
        let prefix = if whatsapp { "whatsapp:" } else { "" };
        let mut params = fields(&[
            ("SmsMessageSid", &sid),
            ("NumMedia", &order.media.len().to_string()),
            ("SmsSid", &sid),
            ("SmsStatus", "received"),
            ("Body", &order.text),
            ("To", &format!("{prefix}{to}")),
            ("NumSegments", "1"),
            ("MessageSid", &sid),
            ("AccountSid", &self.sid),
            ("From", &format!("{prefix}{}", order.from)),
            ("ApiVersion", API_VERSION),
        ]);
        for (place, upload) in order.media.iter().enumerate() {
            let bytes = STANDARD.decode(&upload.content_base64);
            let bytes = bytes.map_err(|error| format!("media: content_base64: {error}"))?;
            let id = scene.ids.sid("ME");
            let media =
                Media { message: sid.clone(), mime: upload.mime_type.clone(), bytes: bytes.into() };
            self.media.insert(id.clone(), media);
            let path = format!("/{API_VERSION}/Accounts/{}/Messages/{sid}/Media/{id}", self.sid);
            params.extend(fields(&[
                (&format!("MediaUrl{place}"), &format!("{base}{path}")),
                (&format!("MediaContentType{place}"), &upload.mime_type),
            ]));
        }
        if let Some(reply_to) = &order.reply_to {
            params.extend(fields(&[("OriginalRepliedMessageSid", reply_to)]));
        }
        if whatsapp {
            let wa_id = order.from.trim_start_matches('+');
            params.extend(fields(&[("ProfileName", &order.name), ("WaId", wa_id)]));
            self.customers.set(&order.from, Some(scene.now_ms));
        } else {
            params.extend(self.consent(&order.from, &to, &order.text));
        }
        params.extend(order.params.clone());
        let channel = if whatsapp { Channel::Whatsapp } else { Channel::Sms };
        let event = json!({"sid": sid, "from": order.from, "channel": channel.name(),
                           "text": order.text});
        self.event(scene, "customer.wrote", event);
        let deliveries = (0..order.repeat)
            .map(|_| self.delivery(scene, "message", &url, params.clone(), &sid))
            .collect();
        Ok((sid, deliveries))
    }

    /// Somebody opts out or in by a word: Twilio itself answers them, and refuses messages to
    /// them from the number and from each service that it belongs to.
    fn consent(&mut self, person: &str, number: &str, text: &str) -> Params {
        let word = text.trim().to_ascii_uppercase();
        let is = |words: &[&str]| words.contains(&word.as_str());
        let kind = if is(&STOP) {
            "STOP"
        } else if is(&START) {
            "START"
        } else if is(&HELP) {
            "HELP"
        } else {
            return Vec::new();
        };
        let services = self.settings.services.iter().filter(|(_, own)| own.as_str() == number);
        let senders = services.map(|(sid, _)| sid.clone()).chain([number.to_owned()]);
        for sender in senders {
            match kind {
                "STOP" => self.opted_out.insert((sender, person.to_owned())),
                "START" => self.opted_out.remove(&(sender, person.to_owned())),
                _ => false,
            };
        }
        if self.settings.advanced_opt_out { fields(&[("OptOutType", kind)]) } else { Vec::new() }
    }

    /// A person calls.
    ///
    /// # Errors
    /// What is wrong with the order.
    pub fn customer_calls(
        &mut self,
        scene: &mut Scene<'_>,
        order: &CustomerCalls,
    ) -> Result<Done, String> {
        if !is_e164(&order.from) {
            return Err("from: a number with its country, like +15551234567".into());
        }
        let mut own = self.settings.numbers.iter();
        let to = own.find(|number| order.to.as_ref().is_none_or(|to| to == *number));
        let to = to.ok_or("to: the account has no such number")?.clone();
        let url = self.settings.urls.voice.clone();
        if url.is_empty() {
            return Err("urls.voice: there is no address".into());
        }
        let sid = scene.ids.sid("CA");
        let params = self.call_fields(&sid, &order.from, &to, "inbound", "ringing");
        self.event(scene, "customer.called", json!({"sid": sid, "from": order.from}));
        let deliveries = (0..order.repeat)
            .map(|_| self.delivery(scene, "call", &url, params.clone(), &sid))
            .collect();
        Ok((sid, deliveries))
    }

    /// The call of a person is over: *Call status changes*.
    pub fn call_ended(
        &mut self,
        scene: &mut Scene<'_>,
        order: &CustomerCalls,
        sid: &str,
        end: CallEnd,
    ) -> Vec<Delivery> {
        let url = self.settings.urls.voice_status.clone();
        if url.is_empty() {
            return Vec::new();
        }
        let to = order.to.clone().or_else(|| self.settings.numbers.first().cloned());
        let to = to.unwrap_or_default();
        let mut params = self.call_fields(sid, &order.from, &to, "inbound", end.name());
        params.extend(fields(&[
            ("Timestamp", &super::rfc2822_of(scene.now_ms)),
            ("CallbackSource", "call-progress-events"),
            ("SequenceNumber", "0"),
            ("CallDuration", "0"),
        ]));
        let delivery = self.delivery(scene, "call_status", &url, params, sid);
        vec![Delivery { status: Some(end.name().to_owned()), ..delivery }]
    }

    /// Signs and delivers what the control API says.
    pub fn webhook(&mut self, scene: &mut Scene<'_>, order: &RawWebhook) -> Vec<Delivery> {
        let params: Params = order.params.clone().into_iter().collect();
        let named = |name: &str| order.params.get(name).cloned();
        let sid = named("MessageSid").or_else(|| named("CallSid")).unwrap_or_default();
        let status = named("MessageStatus").or_else(|| named("CallStatus"));
        (0..order.repeat)
            .map(|_| {
                let delivery = self.delivery(scene, "raw", &order.url, params.clone(), &sid);
                Delivery { status: status.clone(), ..delivery }
            })
            .collect()
    }

    /// A webhook that the hub must refuse.
    ///
    /// # Errors
    /// If there is no address to send it to.
    pub fn forge(&mut self, scene: &mut Scene<'_>, order: &Forgery) -> Result<Delivery, String> {
        let urls = [&self.settings.urls.sms, &self.settings.urls.whatsapp];
        let url = urls.into_iter().find(|url| !url.is_empty());
        let url = url.ok_or("urls: there is no address for messages")?.clone();
        let sid = scene.ids.sid("SM");
        let to = self.settings.numbers.first().cloned().unwrap_or_default();
        let mut params = fields(&[
            ("MessageSid", &sid),
            ("AccountSid", &self.sid),
            ("From", &order.from),
            ("To", &to),
            ("Body", &order.text),
            ("NumMedia", "0"),
            ("SmsStatus", "received"),
        ]);
        let token = &self.settings.auth_token;
        let signed = match order.kind {
            ForgeryKind::WrongSecret => {
                Signed::With(proof::signature("not the token", &url, &params))
            }
            ForgeryKind::NoSignature => Signed::Not,
            ForgeryKind::OtherUrl => {
                Signed::With(proof::signature(token, "https://elsewhere.example/sms", &params))
            }
            ForgeryKind::Tampered => {
                let signature = proof::signature(token, &url, &params);
                params.extend(fields(&[("Body", "and more")]));
                Signed::With(signature)
            }
        };
        let delivery = self.delivery(scene, "forged", &url, params, &sid);
        Ok(Delivery { signed, ..delivery })
    }
}
