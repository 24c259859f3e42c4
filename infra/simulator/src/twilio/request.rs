//! Validation of requests to send a message or make a call.

use serde_json::Value;

use super::error::ApiError;
use super::twiml::{self, ParsedTwiml};

/// Largest number of characters of a body.
const MAX_BODY: usize = 1600;
/// Largest number of files of a message.
const MAX_FILES: usize = 10;
/// Largest number of characters of a call's instructions.
const MAX_TWIML: usize = 4000;

/// The documented parameters of a message; Twilio ignores all others.
const MESSAGE_PARAMETERS: [&str; 25] = [
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

/// The documented parameters of a call.
const CALL_PARAMETERS: [&str; 36] = [
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
    /// The fields of a form body; none for any other content type, which Twilio ignores.
    #[must_use]
    pub fn read(content_type: &str, body: &[u8]) -> Self {
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            return Self::default();
        }
        Self(url::form_urlencoded::parse(body).into_owned().collect())
    }

    /// The first non-empty value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All non-empty values of `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.iter().filter(move |(key, value)| key == name && !value.is_empty());
        values.map(|(_, value)| value.as_str())
    }

    /// The parameters for the log; a repeated one is a list.
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

/// The channel of a message or call.
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
    /// The name in the control API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Whatsapp => "whatsapp",
            Self::Voice => "voice",
        }
    }

    /// The channel of an address, and the address without the prefix.
    fn of(address: &str) -> (Self, &str) {
        let rest = address.strip_prefix("whatsapp:");
        rest.map_or((Self::Sms, address), |number| (Self::Whatsapp, number))
    }
}

/// The resources of the account that the rules look up.
pub trait AccountResources {
    /// Whether `number` may send SMS or make calls.
    fn has_number(&self, number: &str) -> bool;
    /// Whether `number` is one of the account's `WhatsApp` senders.
    fn has_whatsapp(&self, number: &str) -> bool;
    /// Whether the messaging service exists.
    fn has_service(&self, sid: &str) -> bool;
    /// Whether the content template exists.
    fn has_template(&self, sid: &str) -> bool;
    /// Whether the account may send SMS to, or call, the region of `number`.
    fn may_reach(&self, number: &str) -> bool;
}

/// A valid message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel.
    pub channel: Channel,
    /// The recipient as it appears in the request.
    pub to: String,
    /// The recipient's number.
    pub number: String,
    /// The sender: an address as it appears in the request, or a messaging service.
    pub from: String,
    /// The sender's address, if the request names one.
    pub address: Option<String>,
    /// The messaging service, if the request names one.
    pub service: Option<String>,
    /// The text to show in the log.
    pub text: Option<String>,
    /// Number of files.
    pub files: usize,
    /// Whether it is an approved template.
    pub is_template: bool,
    /// The address of its status callbacks.
    pub status_callback: Option<String>,
    /// Mistakes that Twilio accepts without an error.
    pub violations: Vec<String>,
}

/// Validates a message.
///
/// # Errors
/// The error with which the API refuses it.
pub fn message(form: &Form, account: &dyn AccountResources) -> Result<Message, ApiError> {
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
    if body.is_some_and(|body| body.chars().count() > MAX_BODY) {
        return error(21_617, "");
    }
    if files.len() > MAX_FILES {
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
        violations: message_violations(form, channel, files.len()),
    })
}

/// Requests that Twilio accepts but does not carry out as asked.
fn message_violations(form: &Form, channel: Channel, files: usize) -> Vec<String> {
    let mut found = unknown(form, &MESSAGE_PARAMETERS);
    if form.get("ContentSid").is_some() && (form.get("Body").is_some() || files > 0) {
        found.push("ContentSid makes Twilio ignore Body and MediaUrl".to_owned());
    }
    if form.get("ContentVariables").is_some() && form.get("ContentSid").is_none() {
        found.push("ContentVariables without ContentSid have no effect".to_owned());
    }
    if channel == Channel::Whatsapp && files > 1 {
        found.push("a WhatsApp message can contain only one file".to_owned());
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

/// A valid call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The called number.
    pub to: String,
    /// The calling number.
    pub from: String,
    /// The address of its status callbacks.
    pub status_callback: Option<String>,
    /// The requested status events: `initiated`, `ringing`, `answered`, `completed`.
    pub events: Vec<String>,
    /// Mistakes that Twilio accepts without an error.
    pub violations: Vec<String>,
}

/// The status events that a call can request.
pub const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// Validates a call.
///
/// # Errors
/// The error with which the API refuses it.
pub fn call(form: &Form, account: &dyn AccountResources) -> Result<Call, ApiError> {
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
    if instructions.is_some_and(|twiml| twiml.chars().count() > MAX_TWIML) {
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
    let mut violations = call_violations(form);
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

/// Requests that Twilio accepts but does not carry out as asked.
fn call_violations(form: &Form) -> Vec<String> {
    let mut found = unknown(form, &CALL_PARAMETERS);
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
        found.push("Twilio uses only one of Url, Twiml and ApplicationSid".to_owned());
    }
    let readable = |twiml: &str| matches!(twiml::read(twiml.as_bytes()), ParsedTwiml::Verbs(_));
    if form.get("Twiml").is_some_and(|twiml| !readable(twiml)) {
        found.push("Twiml is invalid: the called person would hear an error (12100)".to_owned());
    }
    found
}

fn unknown(form: &Form, known: &[&str]) -> Vec<String> {
    let strange = form.0.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    strange.map(|(name, _)| format!("the parameter {name} does not exist")).collect()
}

/// Whether `number` is in E.164 format: a plus and at most 15 digits.
#[must_use]
pub fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|c| c.is_ascii_digit())
    })
}

/// Whether `sender` is a number, a short code, or an alphanumeric sender id of at most 11
/// characters.
fn is_sender(sender: &str) -> bool {
    let digits = sender.bytes().all(|c| c.is_ascii_digit());
    let code = digits && (5..=6).contains(&sender.len());
    let plain = sender.bytes().all(|c| c.is_ascii_alphanumeric() || b" +-_&".contains(&c));
    let letters = sender.bytes().any(|c| c.is_ascii_alphabetic());
    is_e164(sender) || code || (letters && plain && sender.len() <= 11)
}

/// Whether `sid` is a SID with this prefix: two letters and 32 hexadecimal digits.
#[must_use]
pub fn is_sid(prefix: &str, sid: &str) -> bool {
    sid.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|c| c.is_ascii_hexdigit()))
}

/// Whether `url` is a web address whose host has no underscore.
fn is_web(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty() && !host.contains('_'))
    })
}

/// Whether `text` is a JSON object whose values are non-empty strings.
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
