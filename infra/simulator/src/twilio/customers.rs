//! Actions of customers (messages, calls, opt-outs), and forged webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use super::request::{Channel, is_e164};
use super::signature::{self, Params};
use super::{API_VERSION, Account, CallEnd, Delivery, Media, Signature, params_of};
use crate::fields::{self, MediaUpload};
use crate::log::ProviderContext;

/// Keywords that opt out of SMS.
const STOP: [&str; 8] =
    ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
/// Keywords that opt in again.
const START: [&str; 3] = ["START", "YES", "UNSTOP"];
/// Keywords that ask for help.
const HELP: [&str; 2] = ["HELP", "INFO"];

/// The control call `customer-writes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerWrites {
    /// The customer's number.
    pub from: String,
    /// The channel.
    #[serde(default)]
    pub channel: Written,
    /// The receiving number; `None`: the first of the channel.
    pub to: Option<String>,
    /// The customer's `WhatsApp` profile name.
    #[serde(default = "fields::customer")]
    pub name: String,
    /// The text.
    #[serde(default)]
    pub text: String,
    /// Files.
    #[serde(default)]
    pub media: Vec<MediaUpload>,
    /// Further fields, such as `ButtonPayload` or `Latitude`.
    #[serde(default)]
    pub params: std::collections::BTreeMap<String, String>,
    /// The id of the message that this one replies to.
    pub reply_to: Option<String>,
    /// An id to use in place of a generated one.
    pub id: Option<String>,
    /// Number of copies of the webhook.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether the caller waits for the first attempt.
    #[serde(default = "fields::yes")]
    pub wait: bool,
}

/// The channel of a customer's message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// SMS or MMS.
    #[default]
    Sms,
    /// `WhatsApp`.
    Whatsapp,
}

/// The control call `customer-calls`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerCalls {
    /// The customer's number.
    pub from: String,
    /// The called number; `None`: the first.
    pub to: Option<String>,
    /// Number of copies of the webhook.
    #[serde(default = "fields::once")]
    pub repeat: usize,
}

/// A webhook that the control API asks to sign and deliver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// The address.
    pub url: String,
    /// The fields.
    pub params: std::collections::BTreeMap<String, String>,
    /// Number of copies.
    #[serde(default = "fields::once")]
    pub repeat: usize,
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
    "+16505551234".into()
}
fn default_forged_text() -> String {
    "I am not Twilio".into()
}

/// The kinds of forged webhooks.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForgeryKind {
    /// Signed with another token.
    WrongSecret,
    /// Not signed.
    NoSignature,
    /// Changed after signing.
    Tampered,
    /// Signed for another address.
    OtherUrl,
}

/// The id of a customer's message or call, and its webhooks.
pub type Action = (String, Vec<Delivery>);

impl Account {
    /// A customer writes.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_writes(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerWrites,
        base: &str,
    ) -> Result<Action, String> {
        if !is_e164(&order.from) {
            return Err("from: must be an E.164 number such as +15551234567".into());
        }
        let whatsapp = order.channel == Written::Whatsapp;
        let (own, url) = if whatsapp {
            (&self.settings.whatsapp, &self.settings.urls.whatsapp)
        } else {
            (&self.settings.numbers, &self.settings.urls.sms)
        };
        let to = own.iter().find(|number| order.to.as_ref().is_none_or(|to| to == *number));
        let to = to.ok_or("to: must be a number of the account")?.clone();
        if url.is_empty() {
            return Err("urls: no webhook address is set for this channel".into());
        }
        let url = url.clone();
        let fresh = context.ids.sid(if order.media.is_empty() { "SM" } else { "MM" });
        let sid = order.id.clone().unwrap_or(fresh);
        let prefix = if whatsapp { "whatsapp:" } else { "" };
        let mut params = params_of(&[
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
            let id = context.ids.sid("ME");
            let media =
                Media { message: sid.clone(), mime: upload.mime_type.clone(), bytes: bytes.into() };
            self.media.insert(id.clone(), media);
            let path = format!("/{API_VERSION}/Accounts/{}/Messages/{sid}/Media/{id}", self.sid);
            params.extend(params_of(&[
                (&format!("MediaUrl{place}"), &format!("{base}{path}")),
                (&format!("MediaContentType{place}"), &upload.mime_type),
            ]));
        }
        if let Some(reply_to) = &order.reply_to {
            params.extend(params_of(&[("OriginalRepliedMessageSid", reply_to)]));
        }
        if whatsapp {
            let wa_id = order.from.trim_start_matches('+');
            params.extend(params_of(&[("ProfileName", &order.name), ("WaId", wa_id)]));
            self.customers.set(&order.from, Some(context.now_ms));
        } else {
            params.extend(self.consent(&order.from, &to, &order.text));
        }
        params.extend(order.params.clone());
        let channel = if whatsapp { Channel::Whatsapp } else { Channel::Sms };
        let event = json!({"sid": sid, "from": order.from, "channel": channel.name(),
                           "text": order.text});
        self.event(context, "customer.wrote", event);
        let deliveries = (0..order.repeat)
            .map(|_| self.delivery(context, "message", &url, params.clone(), &sid))
            .collect();
        Ok((sid, deliveries))
    }

    /// Handles opt-out and opt-in keywords: Twilio replies to them itself, and refuses messages to
    /// the customer from the number and from each messaging service that uses it.
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
        if self.settings.advanced_opt_out { params_of(&[("OptOutType", kind)]) } else { Vec::new() }
    }

    /// A customer calls.
    ///
    /// # Errors
    /// If the order is wrong.
    pub fn customer_calls(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &CustomerCalls,
    ) -> Result<Action, String> {
        if !is_e164(&order.from) {
            return Err("from: must be an E.164 number such as +15551234567".into());
        }
        let mut own = self.settings.numbers.iter();
        let to = own.find(|number| order.to.as_ref().is_none_or(|to| to == *number));
        let to = to.ok_or("to: must be a number of the account")?.clone();
        let url = self.settings.urls.voice.clone();
        if url.is_empty() {
            return Err("urls.voice: no webhook address is set".into());
        }
        let sid = context.ids.sid("CA");
        let params = self.call_fields(&sid, &order.from, &to, "inbound", "ringing");
        self.event(context, "customer.called", json!({"sid": sid, "from": order.from}));
        let deliveries = (0..order.repeat)
            .map(|_| self.delivery(context, "call", &url, params.clone(), &sid))
            .collect();
        Ok((sid, deliveries))
    }

    /// The call of a customer has ended: *Call status changes*.
    pub fn call_ended(
        &mut self,
        context: &mut ProviderContext<'_>,
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
        params.extend(params_of(&[
            ("Timestamp", &super::rfc2822_of(context.now_ms)),
            ("CallbackSource", "call-progress-events"),
            ("SequenceNumber", "0"),
            ("CallDuration", "0"),
        ]));
        let delivery = self.delivery(context, "call_status", &url, params, sid);
        vec![Delivery { status: Some(end.name().to_owned()), ..delivery }]
    }

    /// Signs and delivers the webhook that the control API asks for.
    pub fn webhook(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &RawWebhook,
    ) -> Vec<Delivery> {
        let params: Params = order.params.clone().into_iter().collect();
        let named = |name: &str| order.params.get(name).cloned();
        let sid = named("MessageSid").or_else(|| named("CallSid")).unwrap_or_default();
        let status = named("MessageStatus").or_else(|| named("CallStatus"));
        (0..order.repeat)
            .map(|_| {
                let delivery = self.delivery(context, "raw", &order.url, params.clone(), &sid);
                Delivery { status: status.clone(), ..delivery }
            })
            .collect()
    }

    /// A webhook that the hub must refuse.
    ///
    /// # Errors
    /// If no webhook address is configured.
    pub fn forge(
        &mut self,
        context: &mut ProviderContext<'_>,
        order: &Forgery,
    ) -> Result<Delivery, String> {
        let urls = [&self.settings.urls.sms, &self.settings.urls.whatsapp];
        let url = urls.into_iter().find(|url| !url.is_empty());
        let url = url.ok_or("urls: no webhook address is set for messages")?.clone();
        let sid = context.ids.sid("SM");
        let to = self.settings.numbers.first().cloned().unwrap_or_default();
        let mut params = params_of(&[
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
                Signature::Fixed(signature::signature("not the token", &url, &params))
            }
            ForgeryKind::NoSignature => Signature::Missing,
            ForgeryKind::OtherUrl => Signature::Fixed(signature::signature(
                token,
                "https://elsewhere.example/sms",
                &params,
            )),
            ForgeryKind::Tampered => {
                let signature = signature::signature(token, &url, &params);
                params.extend(params_of(&[("Body", "and more")]));
                Signature::Fixed(signature)
            }
        };
        let delivery = self.delivery(context, "forged", &url, params, &sid);
        Ok(Delivery { signed, ..delivery })
    }
}
