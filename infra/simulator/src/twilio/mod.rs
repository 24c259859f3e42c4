//! The rules of Twilio's messaging and voice APIs, for one account.
//!
//! Nothing here does I/O or reads a clock.

pub mod customers;
pub mod error;
mod provider;
pub mod request;
pub mod signature;
pub mod twiml;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::fmt::rfc2822;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Body, Reply};
use crate::faults::{Fault, Faults, Kind, accepted_answer, accepted_as, page};
use crate::fields;
use crate::limits::{Bucket, ServiceWindows, Window};
use crate::log::ProviderContext;
use crate::provider::OutgoingWebhook;
use crate::receipts::{self, Receipts};
use error::{ApiError, late_status};
pub use provider::Twilio;
use request::{AccountResources, Call, Channel, Form, Message};
use signature::Params;
use twiml::ParsedTwiml;

const SOURCE: &str = "twilio";

/// The version of the API: the first segment of every path, and a field of every webhook.
pub const API_VERSION: &str = "2010-04-01";

/// Lifetime of a file address in seconds.
const FILE_S: i64 = 300;

/// Settings of the account, as the control API takes them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The auth token: it authenticates API requests and signs webhooks.
    pub auth_token: String,
    /// API keys and their secrets. They authorize every request except reading the account itself.
    #[serde(default)]
    pub api_keys: BTreeMap<String, String>,
    /// The numbers that may send SMS, call and be called.
    #[serde(default)]
    pub numbers: Vec<String>,
    /// The `WhatsApp` senders.
    #[serde(default)]
    pub whatsapp: Vec<String>,
    /// Messaging services, each with the number that it sends from.
    #[serde(default)]
    pub services: BTreeMap<String, String>,
    /// The content templates; `None`: any.
    #[serde(default)]
    pub templates: Option<Vec<String>>,
    /// Prefixes of the numbers that SMS and calls may reach; `None`: any.
    #[serde(default)]
    pub regions: Option<Vec<String>>,
    /// Customers with special behaviour, by number.
    #[serde(default)]
    pub people: BTreeMap<String, Person>,
    /// Whether webhooks contain `OptOutType` (*Advanced Opt-Out*).
    #[serde(default)]
    pub advanced_opt_out: bool,
    /// The webhook addresses.
    #[serde(default)]
    pub urls: Urls,
    /// Scheme, host and port to connect to in place of those of the webhook addresses.
    #[serde(default)]
    pub reach_by: Option<String>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Delays of message statuses.
    #[serde(default)]
    pub receipts: Receipts,
    /// Delays of call statuses.
    #[serde(default)]
    pub progress: Progress,
    /// Timeout of one attempt of a webhook, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Delay between two attempts, if the address asks for retries.
    #[serde(default = "default_pause_ms")]
    pub pause_ms: u64,
    /// Seed of the order of shuffled webhooks.
    #[serde(default = "fields::seed")]
    pub seed: u64,
}

fn default_timeout_ms() -> u64 {
    15_000
}
fn default_pause_ms() -> u64 {
    200
}

/// The behaviour of a customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Person {
    /// Whether the number is on `WhatsApp`.
    pub whatsapp: bool,
    /// Whether the number is a landline, which cannot receive SMS.
    pub landline: bool,
    /// The code with which every message to the number fails after it was accepted.
    pub fails: Option<i64>,
    /// How a call to the number ends.
    pub call: CallEnd,
}

impl Default for Person {
    fn default() -> Self {
        Self { whatsapp: true, landline: false, fails: None, call: CallEnd::Completed }
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallEnd {
    /// Answered, then hung up.
    #[default]
    Completed,
    /// Busy or declined.
    Busy,
    /// Not answered.
    NoAnswer,
    /// Could not be connected.
    Failed,
    /// Canceled while it rang.
    Canceled,
}

impl CallEnd {
    /// Twilio's name of the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The SIP response code of the telephone network.
    fn sip_code(self) -> &'static str {
        match self {
            Self::Completed => "200",
            Self::Busy => "486",
            Self::NoAnswer => "480",
            Self::Failed => "404",
            Self::Canceled => "487",
        }
    }
}

/// Webhook addresses; if empty, nothing is sent. The fragment after `#` configures retries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Urls {
    /// *A message comes in*.
    pub sms: String,
    /// The messaging services' *Delivery Status Callback*.
    pub sms_status: String,
    /// *A call comes in*.
    pub voice: String,
    /// *Call status changes*.
    pub voice_status: String,
    /// The `WhatsApp` senders' *Webhook URL*.
    pub whatsapp: String,
    /// The `WhatsApp` senders' *Status callback URL*.
    pub whatsapp_status: String,
}

/// The limits of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Request limit per second; 0 is no limit. Twilio itself limits concurrent requests.
    pub requests_per_second: usize,
    /// Minimum interval in milliseconds between the messages of one number; 0 is no limit.
    pub message_interval_ms: i64,
    /// Largest number of messages queued for one number.
    pub queue: u32,
    /// Length of the service window after the customer last wrote on `WhatsApp`.
    pub window_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 100,
            message_interval_ms: 1000,
            queue: 36_000,
            window_ms: 86_400_000,
        }
    }
}

/// Delays of call statuses, in milliseconds after the call was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Progress {
    /// The call left the queue.
    pub initiated: u64,
    /// The phone rings.
    pub ringing: u64,
    /// The call was answered.
    pub answered: u64,
    /// The call ended.
    pub completed: u64,
    /// Number of extra copies of each webhook.
    pub duplicates: u32,
}

impl Default for Progress {
    fn default() -> Self {
        Self { initiated: 10, ringing: 40, answered: 100, completed: 200, duplicates: 0 }
    }
}

/// A message or call that Twilio has accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// Its sequence number in the log.
    pub seq: u64,
    /// Time of acceptance.
    pub at_ms: i64,
    /// Its id.
    pub sid: String,
    /// `sms`, `whatsapp` or `voice`.
    pub channel: &'static str,
    /// The recipient as it appears in the request.
    pub to: String,
    /// The sender as it appears in the request: an address or a messaging service.
    pub from: String,
    /// The request.
    pub body: Value,
    /// The answer to the caller: `answered`, `held`, `dropped` or `status_<n>`.
    pub answer: String,
    /// The code with which it will be reported as failed.
    pub failed_code: Option<i64>,
    /// The statuses that the hub has accepted.
    pub statuses: Vec<String>,
}

#[derive(Clone, Debug)]
struct Media {
    message: String,
    mime: String,
    bytes: Bytes,
}

/// A webhook to be delivered to the hub.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number, for the log.
    pub id: u64,
    /// `message`, `status`, `call`, `call_status`, `raw` or `forged`.
    pub what: &'static str,
    /// Delay before the first attempt.
    pub after_ms: u64,
    /// The address as configured at Twilio, which the signature covers.
    pub url: String,
    /// The fields.
    pub params: Params,
    /// The SID of the message or call.
    pub sid: String,
    /// The status that it reports.
    pub status: Option<String>,
    /// The idempotency token: the same for each attempt.
    pub token: String,
    /// Its signature.
    signed: Signature,
}

/// The signature of a webhook.
#[derive(Clone, Debug)]
enum Signature {
    /// A genuine signature, made when the webhook is sent.
    Genuine,
    /// This signature.
    Fixed(String),
    /// No signature.
    Missing,
}

/// An answer, and the webhooks that follow.
pub type Outcome = crate::answer::Outcome<Delivery>;

/// The credential that authenticated a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The account's auth token.
    Main,
    /// An API key.
    Standard,
}

/// An account.
#[derive(Debug)]
pub struct Account {
    sid: String,
    settings: Settings,
    /// When each customer last wrote to a `WhatsApp` sender.
    customers: ServiceWindows,
    /// Opt-outs: sender and customer.
    opted_out: BTreeSet<(String, String)>,
    requests: Window,
    queues: BTreeMap<String, Bucket>,
    accepted: Vec<Accepted>,
    by_sid: HashMap<String, usize>,
    media: BTreeMap<String, Media>,
    faults: Faults,
    refused: u64,
    pending: u64,
    given_up: u64,
    violations: u64,
    random: u64,
}

/// Checks whether `authorization` may use the account `sid`.
///
/// # Errors
/// If the credentials are missing, wrong or of another account.
pub fn authorize<'a>(
    accounts: &'a mut BTreeMap<String, Account>,
    sid: &str,
    authorization: Option<&str>,
) -> Result<(&'a mut Account, Key), ApiError> {
    let denied = || ApiError::numbered(20_003, "");
    let (user, password) = basic(authorization).ok_or_else(denied)?;
    let account = accounts.get_mut(sid).ok_or_else(denied)?;
    if password.is_empty() {
        return Err(denied());
    }
    if user == sid && password == account.settings.auth_token {
        return Ok((account, Key::Main));
    }
    if account.settings.api_keys.get(&user).is_some_and(|secret| *secret == password) {
        return Ok((account, Key::Standard));
    }
    Err(denied())
}

fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let encoded = authorization?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

impl AccountResources for Account {
    fn has_number(&self, number: &str) -> bool {
        self.settings.numbers.iter().any(|own| own == number)
    }

    fn has_whatsapp(&self, number: &str) -> bool {
        self.settings.whatsapp.iter().any(|own| own == number)
    }

    fn has_service(&self, sid: &str) -> bool {
        self.settings.services.contains_key(sid)
    }

    fn has_template(&self, sid: &str) -> bool {
        self.settings.templates.as_ref().is_none_or(|all| all.iter().any(|own| own == sid))
    }

    fn may_reach(&self, number: &str) -> bool {
        let open = |all: &Vec<String>| all.iter().any(|prefix| number.starts_with(prefix.as_str()));
        self.settings.regions.as_ref().is_none_or(open)
    }
}

impl Account {
    /// Creates the account without state.
    #[must_use]
    pub fn new(sid: &str, settings: Settings) -> Self {
        Self {
            sid: sid.to_owned(),
            random: settings.seed,
            settings,
            customers: ServiceWindows::default(),
            opted_out: BTreeSet::new(),
            requests: Window::default(),
            queues: BTreeMap::new(),
            accepted: Vec::new(),
            by_sid: HashMap::new(),
            media: BTreeMap::new(),
            faults: Faults::default(),
            refused: 0,
            pending: 0,
            given_up: 0,
            violations: 0,
        }
    }

    /// Changes the settings and keeps the state.
    pub fn change(&mut self, settings: Settings) {
        self.random = settings.seed;
        self.settings = settings;
    }

    fn event(&self, context: &mut ProviderContext<'_>, kind: &str, fields: Value) -> u64 {
        context.log.push(context.now_ms, SOURCE, &self.sid, kind, fields)
    }

    fn refuse(
        &mut self,
        context: &mut ProviderContext<'_>,
        error: &ApiError,
        to: Option<&str>,
    ) -> Answer {
        self.refused += 1;
        let fields = json!({
            "status": error.status, "code": error.code, "to": to, "detail": error.message,
        });
        self.event(context, "send.refused", fields);
        error.answer()
    }

    fn violate(&mut self, context: &mut ProviderContext<'_>, detail: &str) {
        self.violations += 1;
        self.event(context, "violation", json!({"detail": detail}));
    }

    fn person(&self, number: &str) -> Person {
        self.settings.people.get(number).cloned().unwrap_or_default()
    }

    /// `POST .../Messages.json`.
    pub fn messages(&mut self, context: &mut ProviderContext<'_>, form: &Form) -> Outcome {
        let checked = request::message(form, self).and_then(|message| {
            self.may_send(&message)?;
            Ok(message)
        });
        let message = match checked {
            Ok(message) => message,
            Err(error) => return self.refuse(context, &error, form.get("To")).into(),
        };
        let fault = match self.apply_fault(context, &message.to) {
            Ok(fault) => fault,
            Err(answer) => return answer.into(),
        };
        if let Err(error) = self.within_limits(context.now_ms, Some(&message.from)) {
            return self.refuse(context, &error, Some(&message.to)).into();
        }
        let sid = context.ids.sid(if message.files > 0 { "MM" } else { "SM" });
        let failed_code = self.failure(context.now_ms, &message, fault.as_ref());
        for violation in &message.violations {
            self.violate(context, violation);
        }
        let shown = self.message_object(context.now_ms, &sid, &message);
        let what = Sent {
            sid: &sid,
            channel: message.channel,
            to: &message.to,
            from: &message.from,
            text: message.text.as_deref(),
            failed_code,
        };
        let answer = self.accept(context, form, &what, &shown, fault.as_ref());
        let deliveries = self.receipts(context, &message, &sid, failed_code);
        Outcome { answer, deliveries }
    }

    /// Refuses a valid message that the account may not send.
    fn may_send(&self, message: &Message) -> Result<(), ApiError> {
        if message.channel != Channel::Sms {
            return Ok(());
        }
        if self.opted_out.contains(&(message.from.clone(), message.number.clone())) {
            return Err(ApiError::numbered(21_610, ""));
        }
        if self.person(&message.number).landline {
            return Err(ApiError::numbered(21_614, &message.number));
        }
        Ok(())
    }

    /// `POST .../Calls.json`.
    pub fn calls(&mut self, context: &mut ProviderContext<'_>, form: &Form) -> Outcome {
        let call = match request::call(form, self) {
            Ok(call) => call,
            Err(error) => return self.refuse(context, &error, form.get("To")).into(),
        };
        let fault = match self.apply_fault(context, &call.to) {
            Ok(fault) => fault,
            Err(answer) => return answer.into(),
        };
        if let Err(error) = self.within_limits(context.now_ms, None) {
            return self.refuse(context, &error, Some(&call.to)).into();
        }
        let sid = context.ids.sid("CA");
        for violation in &call.violations {
            self.violate(context, violation);
        }
        let failing = fault.as_ref().filter(|fault| fault.kind == Kind::FailLater);
        let end = failing.map_or(self.person(&call.to).call, |_| CallEnd::Failed);
        let shown = self.call_object(context.now_ms, &sid, &call);
        let what = Sent {
            sid: &sid,
            channel: Channel::Voice,
            to: &call.to,
            from: &call.from,
            text: None,
            failed_code: failing.and_then(|fault| fault.code),
        };
        let answer = self.accept(context, form, &what, &shown, fault.as_ref());
        let deliveries = self.progress(context, &call, &sid, end);
        Outcome { answer, deliveries }
    }

    /// Applies the next fault for `to`. Returns it if the request is accepted in spite of it; the
    /// error is the answer otherwise.
    fn apply_fault(
        &mut self,
        context: &mut ProviderContext<'_>,
        to: &str,
    ) -> Result<Option<Fault>, Answer> {
        let Some(fault) = self.faults.next(to) else { return Ok(None) };
        if fault.accepts() {
            return Ok(Some(fault));
        }
        self.faults.consume(to);
        let answer = fault_answer(&fault);
        let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": to});
        self.event(context, "fault", fields);
        Err(answer)
    }

    fn within_limits(&mut self, now_ms: i64, sender: Option<&str>) -> Result<(), ApiError> {
        let limits = &self.settings.limits;
        if self.requests.wait_ms(now_ms, limits.requests_per_second, 1000) > 0 {
            return Err(ApiError::numbered(20_429, ""));
        }
        if let Some(sender) = sender {
            let queue = self.queues.entry(sender.to_owned()).or_default();
            if queue.wait_ms(now_ms, limits.queue, limits.message_interval_ms) > 0 {
                return Err(ApiError::numbered(21_611, sender));
            }
            queue.take(now_ms, limits.message_interval_ms);
        }
        self.requests.take(now_ms);
        Ok(())
    }

    fn accept(
        &mut self,
        context: &mut ProviderContext<'_>,
        form: &Form,
        what: &Sent<'_>,
        shown: &Value,
        fault: Option<&Fault>,
    ) -> Answer {
        let name = accepted_as(fault);
        let ok = Answer::json(201, shown.clone());
        let answer = accepted_answer(ok, fault, |status, _| broken(status));
        if let Some(fault) = fault {
            self.faults.consume(what.to);
            let fields = json!({"fault": fault.name(), "answer": answer.status(), "to": what.to});
            self.event(context, "fault", fields);
        }
        let fields = json!({
            "sid": what.sid, "channel": what.channel.name(), "to": what.to, "from": what.from,
            "text": what.text, "answer": name, "failed_code": what.failed_code,
        });
        let seq = self.event(context, "send.accepted", fields);
        self.by_sid.insert(what.sid.to_owned(), self.accepted.len());
        self.accepted.push(Accepted {
            seq,
            at_ms: context.now_ms,
            sid: what.sid.to_owned(),
            channel: what.channel.name(),
            to: what.to.to_owned(),
            from: what.from.to_owned(),
            body: form.to_json(),
            answer: name,
            failed_code: what.failed_code,
            statuses: Vec::new(),
        });
        answer
    }

    /// The code with which an accepted message will be reported as failed.
    fn failure(&self, now_ms: i64, message: &Message, fault: Option<&Fault>) -> Option<i64> {
        let whatsapp = message.channel == Channel::Whatsapp;
        let person = self.person(&message.number);
        if let Some(fault) = fault.filter(|fault| fault.kind == Kind::FailLater) {
            return Some(fault.code.unwrap_or(if whatsapp { 63_024 } else { 30_003 }));
        }
        if whatsapp && !person.whatsapp {
            return Some(63_003);
        }
        if whatsapp && !message.is_template && !self.window_open(now_ms, &message.number) {
            return Some(63_016);
        }
        person.fails
    }

    /// The status callbacks of a message.
    fn receipts(
        &mut self,
        context: &mut ProviderContext<'_>,
        message: &Message,
        sid: &str,
        failed: Option<i64>,
    ) -> Vec<Delivery> {
        let urls = &self.settings.urls;
        let own = match message.channel {
            Channel::Whatsapp => &urls.whatsapp_status,
            _ if message.service.is_some() => &urls.sms_status,
            _ => "",
        };
        let url = message.status_callback.as_deref().unwrap_or(own).to_owned();
        if url.is_empty() {
            return Vec::new();
        }
        let random = receipts::random(&mut self.random);
        let plan = self.settings.receipts.plan(failed.is_some(), random);
        let mut deliveries = Vec::new();
        for webhook in plan {
            for (status, _) in &webhook.statuses {
                let status = match failed {
                    Some(code) => late_status(code),
                    // SMS has no read receipts.
                    None if *status == "read" && message.channel == Channel::Sms => continue,
                    None => *status,
                };
                let params = self.receipt(message, sid, status, failed);
                let delivery = self.delivery(context, "status", &url, params, sid);
                let status = Some(status.to_owned());
                deliveries.push(Delivery { after_ms: webhook.after_ms, status, ..delivery });
            }
        }
        deliveries
    }

    fn receipt(&self, message: &Message, sid: &str, status: &str, code: Option<i64>) -> Params {
        let number = || self.settings.services.get(&message.from).cloned();
        let from = message.address.clone().or_else(number).unwrap_or_default();
        let mut params = params_of(&[
            ("SmsSid", sid),
            ("SmsStatus", status),
            ("MessageStatus", status),
            ("To", &message.to),
            ("MessageSid", sid),
            ("AccountSid", &self.sid),
            ("From", &from),
            ("ApiVersion", API_VERSION),
        ]);
        if let Some(service) = &message.service {
            params.extend(params_of(&[("MessagingServiceSid", service)]));
        }
        if message.channel == Channel::Whatsapp {
            params.extend(params_of(&[
                ("ChannelPrefix", "whatsapp"),
                ("ChannelToAddress", &message.number),
                ("ChannelInstallSid", "XEcc20d939f803ee381f2442185d0d5dc5"),
                ("StructuredMessage", "false"),
            ]));
            if matches!(status, "delivered" | "read" | "undelivered") {
                params.extend(params_of(&[("EventType", &status.to_ascii_uppercase())]));
            }
        }
        if let Some(code) = code {
            params.extend(params_of(&[("ErrorCode", &code.to_string())]));
        }
        params
    }

    /// The status callbacks of a call.
    fn progress(
        &mut self,
        context: &mut ProviderContext<'_>,
        call: &Call,
        sid: &str,
        end: CallEnd,
    ) -> Vec<Delivery> {
        let Some(url) = call.status_callback.clone() else { return Vec::new() };
        let times = self.settings.progress.clone();
        let taken = end == CallEnd::Completed;
        let all = [
            ("initiated", "initiated", times.initiated, true),
            ("ringing", "ringing", times.ringing, end != CallEnd::Failed),
            ("answered", "in-progress", times.answered, taken),
            ("completed", end.name(), times.completed, true),
        ];
        let happen = all.into_iter().filter(|(event, _, _, happens)| {
            *happens && call.events.iter().any(|wanted| wanted == event)
        });
        let mut deliveries = Vec::new();
        for (place, (event, status, after_ms, _)) in happen.enumerate() {
            let at_ms = context.now_ms + i64::try_from(after_ms).unwrap_or(0);
            let mut params = self.call_fields(sid, &call.from, &call.to, "outbound-api", status);
            params.extend(params_of(&[
                ("Timestamp", &rfc2822_of(at_ms)),
                ("CallbackSource", "call-progress-events"),
                ("SequenceNumber", &place.to_string()),
            ]));
            if event == "completed" {
                let duration = if taken { "1" } else { "0" };
                params.extend(params_of(&[
                    ("Duration", duration),
                    ("CallDuration", duration),
                    ("SipResponseCode", end.sip_code()),
                ]));
            }
            for _ in 0..=times.duplicates {
                let delivery = self.delivery(context, "call_status", &url, params.clone(), sid);
                let status = Some(status.to_owned());
                deliveries.push(Delivery { after_ms, status, ..delivery });
            }
        }
        deliveries
    }

    fn call_fields(
        &self,
        sid: &str,
        from: &str,
        to: &str,
        direction: &str,
        status: &str,
    ) -> Params {
        params_of(&[
            ("CallSid", sid),
            ("AccountSid", &self.sid),
            ("From", from),
            ("Caller", from),
            ("To", to),
            ("Called", to),
            ("Direction", direction),
            ("CallStatus", status),
            ("ApiVersion", API_VERSION),
        ])
    }

    fn delivery(
        &mut self,
        context: &mut ProviderContext<'_>,
        what: &'static str,
        url: &str,
        params: Params,
        sid: &str,
    ) -> Delivery {
        self.pending += 1;
        Delivery {
            id: context.ids.serial(),
            what,
            after_ms: 0,
            url: url.to_owned(),
            params,
            sid: sid.to_owned(),
            status: None,
            token: context.ids.sid(""),
            signed: Signature::Genuine,
        }
    }

    /// The HTTP request of a webhook.
    #[must_use]
    pub fn outgoing(&self, delivery: &Delivery) -> OutgoingWebhook {
        let signature = match &delivery.signed {
            Signature::Fixed(signature) => Some(signature.clone()),
            Signature::Missing => None,
            Signature::Genuine => {
                let token = &self.settings.auth_token;
                Some(signature::signature(token, &delivery.url, &delivery.params))
            }
        };
        let form = "application/x-www-form-urlencoded; charset=UTF-8";
        let mut headers = vec![
            ("content-type", form.to_owned()),
            ("user-agent", "TwilioProxy/1.1".to_owned()),
            ("accept", "*/*".to_owned()),
            ("i-twilio-idempotency-token", delivery.token.clone()),
        ];
        headers.extend(signature.map(|signature| ("x-twilio-signature", signature)));
        let url = signature::without_fragment(&delivery.url);
        let url = match (&self.settings.reach_by, url::Url::parse(url)) {
            (Some(origin), Ok(parsed)) => {
                let query = parsed.query().map_or_else(String::new, |query| format!("?{query}"));
                format!("{}{}{query}", origin.trim_end_matches('/'), parsed.path())
            }
            _ => url.to_owned(),
        };
        let body = Bytes::from(signature::encode(&delivery.params));
        OutgoingWebhook::post(url, headers, body, self.settings.timeout_ms)
    }

    fn settle(&mut self, context: &mut ProviderContext<'_>, delivery: &Delivery, answer: &[u8]) {
        let place = self.by_sid.get(&delivery.sid).copied();
        if let (Some(message), Some(status)) =
            (place.and_then(|place| self.accepted.get_mut(place)), &delivery.status)
            && !message.statuses.contains(status)
        {
            message.statuses.push(status.clone());
        }
        // Twilio ignores the response to a status callback.
        if !matches!(delivery.what, "message" | "call") {
            return;
        }
        match twiml::read(answer) {
            ParsedTwiml::Verbs(verbs) => {
                let fields = json!({"sid": delivery.sid, "verbs": verbs});
                self.event(context, "twiml", fields);
            }
            ParsedTwiml::Text if delivery.what == "message" => {
                self.violate(
                    context,
                    "the response is plain text: Twilio would send it to the customer",
                );
            }
            ParsedTwiml::Text | ParsedTwiml::Broken => {
                self.violate(context, "the response is not valid TwiML (12100)");
            }
        }
    }

    fn message_object(&self, now_ms: i64, sid: &str, message: &Message) -> Value {
        let at = rfc2822_of(now_ms);
        let status = if message.service.is_some() { "accepted" } else { "queued" };
        let uri = format!("/{API_VERSION}/Accounts/{}/Messages/{sid}", self.sid);
        json!({
            "account_sid": self.sid, "api_version": API_VERSION,
            "body": message.text.as_deref().unwrap_or_default(), "date_created": at,
            "date_sent": null, "date_updated": at, "direction": "outbound-api",
            "error_code": null, "error_message": null, "from": message.address,
            "messaging_service_sid": message.service, "num_media": message.files.to_string(),
            "num_segments": if message.service.is_some() { "0" } else { "1" },
            "price": null, "price_unit": null, "sid": sid, "status": status,
            "subresource_uris": {"media": format!("{uri}/Media.json")},
            "to": message.to, "uri": format!("{uri}.json"),
        })
    }

    fn call_object(&self, now_ms: i64, sid: &str, call: &Call) -> Value {
        let at = rfc2822_of(now_ms);
        let uri = format!("/{API_VERSION}/Accounts/{}/Calls/{sid}.json", self.sid);
        json!({
            "sid": sid, "account_sid": self.sid, "api_version": API_VERSION,
            "answered_by": null, "caller_name": null, "date_created": at, "date_updated": at,
            "direction": "outbound-api", "duration": null, "end_time": null,
            "forwarded_from": null, "from": call.from, "from_formatted": call.from,
            "group_sid": null, "parent_call_sid": null, "phone_number_sid": "", "price": null,
            "price_unit": "USD", "queue_time": "0", "start_time": null, "status": "queued",
            "subresource_uris": {}, "to": call.to, "to_formatted": call.to, "trunk_sid": null,
            "uri": uri,
        })
    }

    /// `GET /2010-04-01/Accounts/{sid}.json`: refused with an API key.
    #[must_use]
    pub fn describe(&self, key: Key) -> Answer {
        if key == Key::Standard {
            return ApiError::numbered(20_003, "").answer();
        }
        let at = rfc2822_of(0);
        Answer::json(
            200,
            json!({
                "sid": self.sid, "friendly_name": "Test Shop", "status": "active",
                "type": "Full", "auth_token": self.settings.auth_token, "owner_account_sid": self.sid,
                "date_created": at, "date_updated": at, "subresource_uris": {},
                "uri": format!("/{API_VERSION}/Accounts/{}.json", self.sid),
            }),
        )
    }

    /// `GET .../IncomingPhoneNumbers.json`: allowed with an API key.
    #[must_use]
    pub fn numbers(&self) -> Answer {
        let numbers = self.settings.numbers.iter();
        let numbers: Vec<_> = numbers
            .map(|number| {
                json!({"phone_number": number, "friendly_name": number,
                                 "account_sid": self.sid})
            })
            .collect();
        Answer::json(200, json!({"incoming_phone_numbers": numbers, "page": 0}))
    }

    /// The redirect of a media request to a temporary address that needs no credentials.
    #[must_use]
    pub fn media(&self, now_ms: i64, message: &str, id: &str, base: &str) -> Answer {
        match self.media.get(id) {
            Some(media) if media.message == message => {
                let expires_s = now_ms / 1000 + FILE_S;
                let hash = self.file_hash(id, expires_s);
                let file = format!("{base}/twilio-files/{}/{id}/{expires_s}/{hash}", self.sid);
                Answer::Redirect { to: file }
            }
            _ => {
                let path =
                    format!("/{API_VERSION}/Accounts/{}/Messages/{message}/Media/{id}", self.sid);
                ApiError::numbered(20_404, &path).with_status(404).answer()
            }
        }
    }

    /// The file at a temporary address: 403 if the address has expired or was never issued.
    #[must_use]
    pub fn file(&self, now_ms: i64, id: &str, expires: &str, hash: &str) -> Answer {
        let valid = expires.parse().is_ok_and(|expires_s: i64| {
            expires_s * 1000 > now_ms && self.file_hash(id, expires_s) == hash
        });
        match self.media.get(id).filter(|_| valid) {
            Some(media) => Answer::Reply(Reply {
                status: 200,
                retry_after_s: None,
                body: Body::File { mime: media.mime.clone(), bytes: media.bytes.clone() },
                delay_ms: 0,
            }),
            None => Answer::json(403, json!({"error": "AccessDenied"})),
        }
    }

    fn file_hash(&self, id: &str, expires_s: i64) -> String {
        let text = format!("{id}.{expires_s}");
        let mut hash = crate::sign::hmac_hex(&self.settings.auth_token, text.as_bytes());
        hash.truncate(24);
        hash
    }

    /// Whether the `WhatsApp` service window of `number` is open.
    #[must_use]
    pub fn window_open(&self, now_ms: i64, number: &str) -> bool {
        self.customers.is_open(now_ms, number, self.settings.limits.window_ms)
    }

    /// The account's summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "account_sid": self.sid, "accepted": self.accepted.len(), "refused": self.refused,
            "pending_webhooks": self.pending, "given_up": self.given_up,
            "violations": self.violations, "opted_out": self.opted_out.len(),
            "faults": self.faults.remaining(),
        })
    }

    /// The messages and calls that Twilio has accepted.
    #[must_use]
    pub fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }
}

/// The details of an accepted message or call that are recorded.
struct Sent<'a> {
    sid: &'a str,
    channel: Channel,
    to: &'a str,
    from: &'a str,
    text: Option<&'a str>,
    failed_code: Option<i64>,
}

/// Fields of a form.
fn params_of(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A time in RFC 2822 format, as Twilio writes it.
fn rfc2822_of(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

/// The answer for a fault with which nothing is accepted.
fn fault_answer(fault: &Fault) -> Answer {
    match fault.kind {
        // Twilio does not send `Retry-After`.
        Kind::RateLimited => ApiError::numbered(fault.code.unwrap_or(20_429), "")
            .with_status(fault.status.unwrap_or(429))
            .answer()
            .retry_after(fault.retry_after_s),
        Kind::Error => {
            let mut error = ApiError::numbered(fault.code.unwrap_or(20_001), "");
            error.status = fault.status.unwrap_or(error.status);
            if let Some(description) = &fault.description {
                error.message.clone_from(description);
            }
            error.answer().retry_after(fault.retry_after_s)
        }
        Kind::Page => page(fault),
        Kind::Status => broken(fault.status.unwrap_or(500)).retry_after(fault.retry_after_s),
        _ => Answer::HangUp { after_ms: 0 },
    }
}

/// An internal error of Twilio.
fn broken(status: u16) -> Answer {
    let error = ApiError { status, code: 20_500, message: "Internal Server Error".into() };
    error.answer()
}

#[cfg(test)]
mod tests;
