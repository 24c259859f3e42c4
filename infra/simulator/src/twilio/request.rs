//! What the API checks before it takes a message or a call.

use serde_json::Value;

use super::error::ApiError;
use super::twiml::{self, Reading};

/// The most characters of a body.
const BODY: usize = 1600;
/// The most files of a message.
const FILES: usize = 10;
/// The most characters of the instructions of a call.
const TWIML: usize = 4000;

/// What the official description names for a message; anything else Twilio ignores.
const OF_MESSAGES: [&str; 25] = [
    "To",
    "StatusCallback",
    "ApplicationSid",
    "MaxPrice",
    "ProvideFeedback",
    "Attempt",
    "ValidityPeriod",
    "ForceDelivery",
    "ContentRetention",
    "AddressRetention",
    "SmartEncoded",
    "PersistentAction",
    "TrafficType",
    "ShortenUrls",
    "ScheduleType",
    "SendAt",
    "SendAsMms",
    "ContentVariables",
    "RiskCheck",
    "From",
    "FallbackFrom",
    "MessagingServiceSid",
    "Body",
    "MediaUrl",
    "ContentSid",
];

/// What the official description names for a call.
const OF_CALLS: [&str; 36] = [
    "To",
    "From",
    "Method",
    "FallbackUrl",
    "FallbackMethod",
    "StatusCallback",
    "StatusCallbackEvent",
    "StatusCallbackMethod",
    "SendDigits",
    "Timeout",
    "Record",
    "RecordingChannels",
    "RecordingStatusCallback",
    "RecordingStatusCallbackMethod",
    "SipAuthUsername",
    "SipAuthPassword",
    "MachineDetection",
    "MachineDetectionTimeout",
    "RecordingStatusCallbackEvent",
    "Trim",
    "CallerId",
    "MachineDetectionSpeechThreshold",
    "MachineDetectionSpeechEndThreshold",
    "MachineDetectionSilenceTimeout",
    "AsyncAmd",
    "AsyncAmdStatusCallback",
    "AsyncAmdStatusCallbackMethod",
    "Byoc",
    "CallReason",
    "CallToken",
    "RecordingTrack",
    "TimeLimit",
    "ClientNotificationUrl",
    "Url",
    "Twiml",
    "ApplicationSid",
];

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// The fields of a body; none if it is no form: Twilio reads nothing else.
    #[must_use]
    pub fn read(content_type: &str, body: &[u8]) -> Self {
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            return Self::default();
        }
        Self(url::form_urlencoded::parse(body).into_owned().collect())
    }

    /// The first value of `name` that is not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Each value of `name` that is not empty.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.iter().filter(move |(key, value)| key == name && !value.is_empty());
        values.map(|(_, value)| value.as_str())
    }

    /// The parameters as the log shows them; one that came several times as a list.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut shown = serde_json::Map::new();
        for (name, value) in &self.0 {
            let value = Value::String(value.clone());
            match shown.get_mut(name) {
                None => {
                    shown.insert(name.clone(), value);
                }
                Some(Value::Array(list)) => list.push(value),
                Some(one) => *one = Value::Array(vec![one.take(), value]),
            }
        }
        Value::Object(shown)
    }
}

/// How a message goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// SMS or MMS.
    Sms,
    /// `WhatsApp`.
    Whatsapp,
    /// Telephone.
    Voice,
}

impl Channel {
    /// The name as the control API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Whatsapp => "whatsapp",
            Self::Voice => "voice",
        }
    }

    /// The channel of an address, and the address without its prefix.
    fn of(address: &str) -> (Self, &str) {
        let rest = address.strip_prefix("whatsapp:");
        rest.map_or((Self::Sms, address), |number| (Self::Whatsapp, number))
    }
}

/// What the account has: the rules ask it.
pub trait Possessions {
    /// Whether `number` may send SMS, or call.
    fn has_number(&self, number: &str) -> bool;
    /// Whether `number` is one of its `WhatsApp` senders.
    fn has_whatsapp(&self, number: &str) -> bool;
    /// Whether there is such a messaging service.
    fn has_service(&self, sid: &str) -> bool;
    /// Whether there is such a content template.
    fn has_template(&self, sid: &str) -> bool;
    /// Whether SMS may be sent, or calls made, to where `number` is.
    fn may_reach(&self, number: &str) -> bool;
}

/// A message that keeps the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How it goes out.
    pub channel: Channel,
    /// The recipient as given.
    pub to: String,
    /// The recipient's number.
    pub number: String,
    /// The sender: an address as given, or a messaging service.
    pub from: String,
    /// The sender's address, if one was given.
    pub address: Option<String>,
    /// The messaging service, if one was given.
    pub service: Option<String>,
    /// The text, to be shown in the log.
    pub text: Option<String>,
    /// How many files.
    pub files: usize,
    /// Whether it is an approved template.
    pub is_template: bool,
    /// Where its states are told.
    pub status_callback: Option<String>,
    /// What Twilio would not refuse and yet is a mistake.
    pub violations: Vec<String>,
}

/// Checks a message.
///
/// # Errors
/// As the API refuses it.
pub fn message(form: &Form, account: &dyn Possessions) -> Result<Message, ApiError> {
    let error = |code, what: &str| Err(ApiError::numbered(code, what));
    let Some(to) = form.get("To") else { return error(21_604, "") };
    let (service, from) = (form.get("MessagingServiceSid"), form.get("From"));
    let Some(sender) = from.or(service) else { return error(21_603, "") };
    let (channel, number) = Channel::of(to);
    if !is_e164(number) {
        return error(21_211, to);
    }
    if let Some(service) = service
        && (!is_sid("MG", service) || !account.has_service(service))
    {
        return error(21_701, service);
    }
    if let Some(from) = from {
        let (of, own) = Channel::of(from);
        match of {
            _ if !is_sender(own) => return error(21_212, from),
            Channel::Whatsapp if !account.has_whatsapp(own) => return error(63_007, from),
            Channel::Sms | Channel::Voice if !account.has_number(own) => {
                return error(21_606, from);
            }
            _ if of != channel => return error(21_910, from),
            _ if own == number => return error(21_266, from),
            _ => {}
        }
    }
    let files: Vec<&str> = form.all("MediaUrl").collect();
    let (body, template) = (form.get("Body"), form.get("ContentSid"));
    if body.is_none() && files.is_empty() && template.is_none() {
        return error(21_602, "");
    }
    if body.is_some_and(|body| body.chars().count() > BODY) {
        return error(21_617, "");
    }
    if files.len() > FILES {
        return error(21_623, "");
    }
    if !files.iter().all(|url| is_web(url)) {
        return error(21_620, "");
    }
    if let Some(template) = template
        && (!is_sid("HX", template) || !account.has_template(template))
    {
        return error(21_655, template);
    }
    if let Some(variables) = form.get("ContentVariables")
        && !are_variables(variables)
    {
        return error(21_656, "");
    }
    let status_callback = form.get("StatusCallback");
    if status_callback.is_some_and(|url| !is_web(url)) {
        return error(21_609, "");
    }
    if channel == Channel::Sms && !account.may_reach(number) {
        return error(21_408, number);
    }
    Ok(Message {
        channel,
        to: to.to_owned(),
        number: number.to_owned(),
        from: sender.to_owned(),
        address: from.map(ToOwned::to_owned),
        service: service.map(ToOwned::to_owned),
        text: body.map(ToOwned::to_owned),
        files: files.len(),
        is_template: template.is_some(),
        status_callback: status_callback.map(ToOwned::to_owned),
        violations: of_message(form, channel, files.len()),
    })
}

/// What Twilio takes, and then does otherwise than asked.
fn of_message(form: &Form, channel: Channel, files: usize) -> Vec<String> {
    let mut found = unknown(form, &OF_MESSAGES);
    if form.get("ContentSid").is_some() && (form.get("Body").is_some() || files > 0) {
        found.push("ContentSid makes Twilio ignore Body and MediaUrl".to_owned());
    }
    if form.get("ContentVariables").is_some() && form.get("ContentSid").is_none() {
        found.push("ContentVariables without ContentSid say nothing".to_owned());
    }
    if channel == Channel::Whatsapp && files > 1 {
        found.push("WhatsApp carries one file a message".to_owned());
    }
    if let Some(action) = form.get("PersistentAction")
        && (channel != Channel::Whatsapp || !is_place(action))
    {
        found
            .push("PersistentAction is geo:<latitude>,<longitude>|<label>, on WhatsApp".to_owned());
    }
    if form.get("ValidityPeriod").is_some_and(|period| !is_between(period, 1, 36_000)) {
        found.push("ValidityPeriod is 1 to 36000 seconds".to_owned());
    }
    found
}

/// A call that keeps the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who is called.
    pub to: String,
    /// Who calls.
    pub from: String,
    /// Where its states are told.
    pub status_callback: Option<String>,
    /// Which: `initiated`, `ringing`, `answered`, `completed`.
    pub events: Vec<String>,
    /// What Twilio would not refuse and yet is a mistake.
    pub violations: Vec<String>,
}

/// The progress of a call that one can ask to be told of.
pub const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// Checks a call.
///
/// # Errors
/// As the API refuses it.
pub fn call(form: &Form, account: &dyn Possessions) -> Result<Call, ApiError> {
    let error = |code, what: &str| Err(ApiError::numbered(code, what));
    let Some(to) = form.get("To") else { return error(21_201, "") };
    let Some(from) = form.get("From") else { return error(21_213, "") };
    let client = to.starts_with("client:") || to.starts_with("sip:");
    if !client && !is_e164(to) {
        return error(21_211, to);
    }
    if !is_e164(from) {
        return error(21_212, from);
    }
    if !account.has_number(from) {
        return error(21_210, from);
    }
    let (url, instructions) = (form.get("Url"), form.get("Twiml"));
    let application = form.get("ApplicationSid");
    if url.is_none() && instructions.is_none() && application.is_none() {
        return error(21_205, "");
    }
    if url.is_some_and(|url| !is_web(url)) {
        return error(21_205, "");
    }
    if instructions.is_some_and(|twiml| twiml.chars().count() > TWIML) {
        return error(21_205, "");
    }
    if application.is_some_and(|sid| !is_sid("AP", sid)) {
        return error(21_218, application.unwrap_or_default());
    }
    let status_callback = form.get("StatusCallback");
    if status_callback.is_some_and(|url| !is_web(url)) {
        return error(21_609, "");
    }
    if !client && !account.may_reach(to) {
        return error(21_215, to);
    }
    let mut events: Vec<String> = form.all("StatusCallbackEvent").map(ToOwned::to_owned).collect();
    let mut violations = of_call(form);
    let known = |event: &String| EVENTS.contains(&event.as_str());
    if !events.iter().all(known) {
        violations.push("StatusCallbackEvent is initiated, ringing, answered or completed".into());
    }
    events.retain(known);
    if events.is_empty() {
        events.push("completed".into());
    }
    let (to, from) = (to.to_owned(), from.to_owned());
    let status_callback = status_callback.map(ToOwned::to_owned);
    Ok(Call { to, from, status_callback, events, violations })
}

/// What Twilio takes, and then does otherwise than asked.
fn of_call(form: &Form) -> Vec<String> {
    let mut found = unknown(form, &OF_CALLS);
    let mut check = |name: &str, right: fn(&str) -> bool, rule: &str| {
        if form.get(name).is_some_and(|value| !right(value)) {
            found.push(format!("{name} {rule}"));
        }
    };
    check("Timeout", |value| is_between(value, 1, 600), "is 1 to 600 seconds");
    check("TimeLimit", |value| is_between(value, 1, 86_400), "is at most a day, in seconds");
    check("Record", |value| matches!(value, "true" | "false"), "is true or false");
    check("Method", |value| matches!(value, "GET" | "POST"), "is GET or POST");
    check(
        "MachineDetection",
        |value| matches!(value, "Enable" | "DetectMessageEnd"),
        "is Enable or DetectMessageEnd",
    );
    check(
        "SendDigits",
        |value| value.len() <= 32 && value.chars().all(|c| "0123456789ABCD#*wW".contains(c)),
        "is at most 32 keys",
    );
    let ways = ["Url", "Twiml", "ApplicationSid"];
    if ways.iter().filter(|name| form.get(name).is_some()).count() > 1 {
        found.push("of Url, Twiml and ApplicationSid Twilio follows one".to_owned());
    }
    let readable = |twiml: &str| matches!(twiml::read(twiml.as_bytes()), Reading::Verbs(_));
    if form.get("Twiml").is_some_and(|twiml| !readable(twiml)) {
        found.push("Twiml cannot be read: the person would hear an error (12100)".to_owned());
    }
    found
}

fn unknown(form: &Form, known: &[&str]) -> Vec<String> {
    let strange = form.0.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    strange.map(|(name, _)| format!("there is no parameter {name}")).collect()
}

/// Whether it is a number with its country: at most 15 digits, behind a plus.
#[must_use]
pub fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|c| c.is_ascii_digit())
    })
}

/// A number, a short code, or a name of at most 11 letters and digits.
fn is_sender(sender: &str) -> bool {
    let digits = sender.bytes().all(|c| c.is_ascii_digit());
    let code = digits && (5..=6).contains(&sender.len());
    let plain = sender.bytes().all(|c| c.is_ascii_alphanumeric() || b" +-_&".contains(&c));
    let letters = sender.bytes().any(|c| c.is_ascii_alphabetic());
    is_e164(sender) || code || (letters && plain && sender.len() <= 11)
}

/// Whether it is an id of that kind: 32 hexadecimal digits behind two letters.
#[must_use]
pub fn is_sid(prefix: &str, sid: &str) -> bool {
    sid.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// An address of the web whose host has no underscore.
fn is_web(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty() && !host.contains('_'))
    })
}

/// A JSON object whose values are texts that say something.
fn are_variables(text: &str) -> bool {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(variables)) => {
            variables.values().all(|value| value.as_str().is_some_and(|text| !text.is_empty()))
        }
        _ => false,
    }
}

fn is_place(action: &str) -> bool {
    let Some(place) = action.strip_prefix("geo:") else { return false };
    let place = place.split('|').next().unwrap_or_default();
    let Some((latitude, longitude)) = place.split_once(',') else { return false };
    let within = |text: &str, most: f64| text.parse().is_ok_and(|n: f64| n.abs() <= most);
    within(latitude, 90.0) && within(longitude, 180.0)
}

fn is_between(text: &str, least: u32, most: u32) -> bool {
    text.parse::<u32>().is_ok_and(|number| (least..=most).contains(&number))
}
