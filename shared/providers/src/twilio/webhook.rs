//! Receives Twilio's webhooks.
//!
//! A request is parsed by its fields, whichever webhook URL it arrives at: the URLs differ in their
//! responses only.

use std::fmt::Write as _;

use domain::content::{ButtonPress, Content, Location, Media, Reply};
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::provider::Channel;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookReply, WebhookRequest,
    WebhookSource,
};
use domain::{Credentials, Integration, MessageId, Provider, Status};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::verifier::SignatureVerifier;
use super::wire::{CloudEvent, Fields, Owner, PayloadLocation, REFERENCE};
use super::{codes, settings};
use crate::raw::{fit, whole};
use crate::time::parse_rfc2822;
use crate::{form, signature};

/// `TwiML` without instructions. Source: README, facts 8.
pub(super) const EMPTY_TWIML: &str = "<Response/>";
/// `TwiML` that rejects a call: any other response answers the call, which is then charged. Source:
/// README, facts 9.
pub(super) const REJECT_TWIML: &str = r#"<Response><Reject reason="busy"/></Response>"#;

/// Maximum number of files in a message. Source: README, facts 5.
const MAX_FILES: usize = 10;

/// One of Twilio's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook {
    name: &'static str,
    path: &'static str,
    answer: &'static str,
}

impl Webhook {
    pub(super) const fn new(name: &'static str, path: &'static str, answer: &'static str) -> Self {
        Self { name, path, answer }
    }
}

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Twilio
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn path(&self) -> &'static str {
        self.path
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        Box::new(Source(SignatureVerifier {
            auth_tokens: credentials.all(super::AUTH_TOKEN).to_vec(),
            shared_keys: credentials.all(super::SHARED_KEY).to_vec(),
            origin: settings::public_origin(integration),
        }))
    }

    fn accepted(&self) -> WebhookReply {
        WebhookReply::xml(StatusCode::OK, self.answer)
    }

    /// Answers a call with the integration's own `TwiML`, if it has any.
    fn accepted_by(&self, integration: &Integration) -> WebhookReply {
        match settings::voice_answer(integration) {
            Some(twiml) if self.answer == REJECT_TWIML => WebhookReply::xml(StatusCode::OK, twiml),
            _ => self.accepted(),
        }
    }
}

struct Source(SignatureVerifier);

impl WebhookSource for Source {
    /// Twilio does not sign a timestamp, so the signature's age is not checked.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        self.0.verify(request)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let events = match PayloadLocation::of(request) {
            Some(PayloadLocation::Hashed(_)) => read_stream(&request.body)?,
            Some(PayloadLocation::Query) => {
                let query = request.url.split_once('?').map_or("", |(_, query)| query);
                let fields = Fields::new(request.query.clone());
                read(&fields, &whole(query.as_bytes()), reference(request))?
            }
            _ => {
                let fields = Fields::of_form(&request.body)?;
                read(&fields, &whole(&request.body), reference(request))?
            }
        };
        Ok(ParsedWebhook::Events(events))
    }
}

/// Returns the hub's message id, which the hub put into the signed callback URL.
fn reference(request: &WebhookRequest) -> Option<MessageId> {
    request.query(REFERENCE)?.parse().ok()
}

/// Returns the events of one request.
fn read(
    fields: &Fields,
    raw: &RawValue,
    reference: Option<MessageId>,
) -> Result<Vec<ParsedEvent>, Rejection> {
    if fields.iter().next().is_none() {
        return Err(Rejection::Unreadable("the request has no fields".to_owned()));
    }
    let form = Form { fields, raw, reference };
    let message = ["MessageSid", "SmsSid", "SmsMessageSid"].into_iter().find_map(|n| form.get(n));
    let state = form.get("MessageStatus").or_else(|| form.get("SmsStatus"));
    // An incoming message has only this status, and no other status field.
    let incoming = form.get("MessageStatus").is_none()
        && state.is_none_or(|state| matches!(state, "received" | "receiving"))
        && form.get("EventType").is_none();
    Ok(match (message, state, form.get("From")) {
        _ if form.get("CallSid").is_some() || form.get("ConferenceSid").is_some() => {
            form.call_receipt().into_iter().chain([form.call()]).collect()
        }
        (Some(sid), _, Some(from)) if incoming => form.messages(sid, from),
        (Some(sid), Some(state), _) => vec![form.receipt(sid, state)],
        (Some(sid), None, _) if form.get("EventType").is_none() => {
            vec![form.other("message", sid.to_owned())]
        }
        _ => vec![form.anything()],
    })
}

/// Fields of a request, and the raw text that is stored.
struct Form<'a> {
    fields: &'a Fields,
    raw: &'a RawValue,
    /// The hub's message id, if the request is about an outgoing message.
    reference: Option<MessageId>,
}

impl<'a> Form<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name)
    }

    /// Returns a field that can be part of an event's name.
    fn word(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|value| is_event_name(value))
    }

    fn at(&self) -> Option<Timestamp> {
        self.get("Timestamp").and_then(time)
    }

    fn event(&self, id: String, kind: EventKind) -> ParsedEvent {
        ParsedEvent {
            account: self.get("AccountSid").unwrap_or_default().to_owned(),
            id,
            occurred_at: self.at(),
            kind,
            ordering_key: None,
            single_use: None,
            raw: self.raw.to_owned(),
        }
    }

    fn other(&self, name: &str, id: String) -> ParsedEvent {
        self.event(id, EventKind::Other { name: name.to_owned() })
    }

    /// Id for an event that has none of its own, or shares it with other events. A request to the
    /// fallback URL adds the error of the first attempt; both are the same event.
    fn fingerprint(&self) -> String {
        let kept =
            self.fields.iter().filter(|(name, _)| !matches!(*name, "ErrorCode" | "ErrorUrl"));
        let kept: Vec<_> = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        signature::fingerprint(form::encode(&kept).as_bytes())
    }

    fn anything(&self) -> ParsedEvent {
        let name = self.word("EventType").or_else(|| self.word("StatusCallbackEvent"));
        let event = self.other(name.unwrap_or("event"), self.fingerprint());
        match self.get("ConversationSid") {
            Some(conversation) => event.ordered_by(conversation),
            None => event,
        }
    }

    /// Returns the event of a call, a recording or a conference. Source: README, facts 6.
    fn call(&self) -> ParsedEvent {
        let key = self.get("CallSid").or_else(|| self.get("ConferenceSid")).unwrap_or_default();
        let (name, id) = if let Some(recording) = self.get("RecordingSid")
            && let Some(status) = self.word("RecordingStatus")
        {
            (format!("recording.{status}"), format!("{recording}:{status}"))
        } else if let Some(conference) = self.get("ConferenceSid")
            && let Some(event) = self.word("StatusCallbackEvent")
        {
            let place = self.get("SequenceNumber").map(ToOwned::to_owned);
            let place = place.unwrap_or_else(|| self.fingerprint());
            return self
                .other(&format!("conference.{event}"), format!("{conference}:{place}"))
                .ordered_by(conference);
        } else {
            let status = self.word("CallStatus");
            let name = status.map_or_else(|| "call".to_owned(), |status| format!("call.{status}"));
            (name, format!("{key}:{}", self.place_in_call(status)))
        };
        self.other(&name, id).ordered_by(key)
    }

    /// Returns the status of an outgoing call, which is a message on the channel `voice`. Source:
    /// README, facts 6.
    fn call_receipt(&self) -> Option<ParsedEvent> {
        let sid = self.get("CallSid").filter(|_| self.get("Direction") == Some("outbound-api"))?;
        // Recordings and gathered input arrive during a call and repeat its status.
        let is_state = self.get("CallbackSource") == Some("call-progress-events");
        let state = self.get("CallStatus").filter(|_| is_state)?;
        let (status, detail) = match state {
            "queued" => (Status::Accepted, None),
            "initiated" | "ringing" => (Status::Sent, None),
            "in-progress" | "completed" => (Status::Delivered, None),
            "busy" => {
                (Status::Failed, Some("The line was busy, or the recipient declined the call."))
            }
            "no-answer" => (Status::Failed, Some("The recipient did not answer the call.")),
            "canceled" => (Status::Failed, Some("The call was canceled before it was answered.")),
            "failed" => (Status::Failed, Some("The call could not be connected.")),
            _ => return None,
        };
        let kind = EventKind::Receipt(Receipt {
            provider_message_id: sid.to_owned(),
            reference: self.reference,
            status,
            code: detail.is_some().then(|| state.to_owned()),
            detail: detail.map(ToOwned::to_owned),
        });
        Some(self.event(format!("{sid}:state:{state}"), kind).ordered_by(sid))
    }

    /// Returns the part of an event's id that distinguishes it from the call's other events.
    fn place_in_call(&self, status: Option<&str>) -> String {
        match (self.get("SequenceNumber"), self.get("CallbackSource")) {
            (Some(number), None | Some("call-progress-events")) => number.to_owned(),
            (Some(number), Some(source)) => format!("{source}:{number}"),
            // A call rings once; input during a call may arrive many times.
            (None, _) if status == Some("ringing") => "ringing".to_owned(),
            (None, _) => self.fingerprint(),
        }
    }

    /// Returns the events of an incoming message. Each file is a message of its own, and so is a
    /// keyword that changes consent. Source: README, facts 5.
    fn messages(&self, sid: &str, from: &str) -> Vec<ParsedEvent> {
        let (channel, person) = match from.split_once(':') {
            None => (Channel::Sms, from),
            Some(("whatsapp", number)) => (Channel::Whatsapp, number),
            // A reply to this number is sent by RCS where possible.
            Some(("rcs", number)) => (Channel::Sms, number),
            // The hub cannot reply on other channels.
            Some((kind, _)) if is_event_name(kind) => {
                return vec![self.other(&format!("message.{kind}"), sid.to_owned())];
            }
            Some(_) => return vec![self.other("message", sid.to_owned())],
        };
        let mut contents: Vec<Content> = self.files().collect();
        if contents.is_empty() {
            contents.push(self.content());
        }
        let message = |(place, content)| {
            let mut id = sid.to_owned();
            if place > 0 {
                // Writing to a string cannot fail.
                write!(id, ":{place}").unwrap_or_default();
            }
            let kind = EventKind::Message(InboundMessage {
                channel: Some(channel),
                provider_message_id: id.clone(),
                from: person.to_owned(),
                name: self.get("ProfileName").map(ToOwned::to_owned),
                content,
                reply_to: self.get("OriginalRepliedMessageSid").map(ToOwned::to_owned),
            });
            self.event(id, kind).ordered_by(from)
        };
        let mut events: Vec<_> = contents.into_iter().enumerate().map(message).collect();
        if let Some(kind) = self.word("OptOutType") {
            let name = format!("opt_out.{}", kind.to_ascii_lowercase());
            events.push(self.other(&name, format!("{sid}:opt_out")).ordered_by(from));
        }
        events
    }

    fn files(&self) -> impl Iterator<Item = Content> {
        let urls =
            (0..MAX_FILES).map_while(|place| Some((place, self.get(&format!("MediaUrl{place}"))?)));
        urls.map(|(place, url)| {
            let mime = self.get(&format!("MediaContentType{place}")).unwrap_or_default();
            let media = Media {
                provider_media_id: Some(url.to_owned()),
                mime_type: (!mime.is_empty()).then(|| mime.to_owned()),
                // The text belongs to all files; only the first one carries it.
                caption: self.get("Body").filter(|_| place == 0).map(ToOwned::to_owned),
                ..Media::default()
            };
            match mime.split('/').next() {
                _ if self.get("MessageType") == Some("sticker") => Content::Sticker { media },
                Some("image") => Content::Image { media },
                Some("video") => Content::Video { media },
                Some("audio") => Content::Audio { media },
                _ => Content::Document { media },
            }
        })
    }

    fn content(&self) -> Content {
        let owned = |name| self.get(name).map(ToOwned::to_owned);
        let body = owned("Body");
        if let Some(location) = self.location() {
            return Content::Location { location };
        }
        if let Some(id) = owned("ListId") {
            let text = owned("ListTitle").or(body).unwrap_or_default();
            let reply = Reply { id, title: text.clone(), description: owned("ListDescription") };
            return Content::ListReply { text, reply };
        }
        if let Some(payload) = owned("ButtonPayload") {
            let text = owned("ButtonText").or(body).unwrap_or_default();
            if self.get("MessageType") == Some("interactive") {
                let reply = Reply { id: payload, title: text.clone(), description: None };
                return Content::ButtonReply { text, reply };
            }
            return Content::Button { text, button: ButtonPress { payload } };
        }
        match body {
            Some(text) => Content::Text { text },
            None => Content::Unsupported { raw: self.fields.to_json() },
        }
    }

    fn location(&self) -> Option<Location> {
        let degrees = |name| self.get(name)?.parse().ok().filter(|value: &f64| value.is_finite());
        Some(Location {
            latitude: degrees("Latitude")?,
            longitude: degrees("Longitude")?,
            name: self.get("Label").map(ToOwned::to_owned),
            address: self.get("Address").map(ToOwned::to_owned),
        })
    }

    /// Returns the status of an outgoing message. Source: README, facts 7.
    fn receipt(&self, sid: &str, state: &str) -> ParsedEvent {
        let status = match state {
            "queued" | "accepted" | "scheduled" | "sending" => Status::Accepted,
            "sent" => Status::Sent,
            "delivered" => Status::Delivered,
            "read" => Status::Read,
            "undelivered" | "failed" | "canceled" => Status::Failed,
            _ if is_event_name(state) => {
                return self.other(&format!("message.{state}"), format!("{sid}:{state}"));
            }
            _ => return self.other("message", format!("{sid}:{}", self.fingerprint())),
        };
        let failed = status == Status::Failed;
        let code = self.get("ErrorCode").filter(|code| failed && *code != "0");
        let provider_text = self.get("ErrorMessage").or_else(|| self.get("ChannelStatusMessage"));
        let detail = match state {
            "canceled" => Some("The message was canceled before it was sent."),
            _ => code.and_then(remedy).or(provider_text),
        };
        let kind = EventKind::Receipt(Receipt {
            provider_message_id: sid.to_owned(),
            reference: self.reference,
            status,
            code: code.map(ToOwned::to_owned),
            detail: detail.filter(|_| failed).map(ToOwned::to_owned),
        });
        let event = self.event(format!("{sid}:{state}"), kind);
        event.ordered_by(self.get("To").unwrap_or(sid))
    }
}

/// Returns the meaning of an error code and its remedy.
fn remedy(code: &str) -> Option<&'static str> {
    codes::known(code.parse().ok()?).map(|known| known.remedy)
}

/// Returns the events of a JSON body: one event, or a list of them.
fn read_stream(body: &[u8]) -> Result<Vec<ParsedEvent>, Rejection> {
    let events: Vec<&RawValue> = match serde_json::from_slice(body) {
        Ok(events) => events,
        Err(_) => vec![serde_json::from_slice(body)?],
    };
    Ok(events.into_iter().map(read_cloud_event).collect())
}

fn read_cloud_event(raw: &RawValue) -> ParsedEvent {
    let event: Option<CloudEvent<'_>> = fit(Some(raw));
    let text = |field: Option<&RawValue>| fit::<String>(field).filter(|text| !text.is_empty());
    let (id, name, at, data) = event.map_or((None, None, None, None), |event| {
        (text(event.id), text(event.kind), text(event.time), event.data)
    });
    let owner: Owner<'_> = fit(data).unwrap_or_default();
    let name = name.filter(|name| is_event_name(name));
    let at = at.and_then(|at| time(&at));
    let id = id.unwrap_or_else(|| signature::fingerprint(raw.get().as_bytes()));
    let account = owner.account_sid.unwrap_or_default();
    ParsedEvent::other(&account, id, name.as_deref().unwrap_or("event"), at, raw)
}

/// Whether `text` can be part of an event's name.
fn is_event_name(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    (1..=100).contains(&text.len()) && text.bytes().all(fits)
}

/// Parses a timestamp in the format of calls, or of event streams.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| parse_rfc2822(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{Draft, Seed};
    use crate::twilio::example::{ACCOUNT_SID, EXAMPLES, NUMBER, PERSON, credentials};
    use crate::twilio::tests::integration;
    use crate::twilio::{SMS, SPEC, VOICE};
    use domain::webhook::receive;
    use serde_json::{Value, json};

    /// 2026-11-20 12:00:00 UTC.
    const AT: i64 = 1_795_176_000;

    fn seed(nonce: &str) -> Seed {
        Seed { at: Timestamp::from_second(AT).unwrap(), nonce: nonce.to_owned() }
    }

    fn sign(draft: &Draft) -> WebhookRequest {
        let url = "https://hub.example.com/webhooks/sms";
        (EXAMPLES.sign)(&EXAMPLES.events[0], draft, &credentials(), url, seed("x").at)
    }

    fn receive_request(request: &WebhookRequest) -> Result<Vec<ParsedEvent>, Rejection> {
        let source = SMS.source(&integration(&json!({})), &credentials());
        match receive(&*source, request, Timestamp::UNIX_EPOCH)? {
            ParsedWebhook::Events(events) => Ok(events),
            other => panic!("{other:?}"),
        }
    }

    fn parse(draft: &Draft) -> Vec<ParsedEvent> {
        receive_request(&sign(draft)).unwrap()
    }

    /// Returns the events parsed from a form.
    fn parse_form(fields: &[(&str, &str)]) -> Vec<ParsedEvent> {
        parse(&Draft::form(&[&[("AccountSid", "AC1")], fields].concat()))
    }

    fn one(fields: &[(&str, &str)]) -> ParsedEvent {
        let mut events = parse_form(fields);
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    fn message(fields: &[(&str, &str)]) -> InboundMessage {
        let own = [("MessageSid", "SM1"), ("From", PERSON), ("SmsStatus", "received")];
        match one(&[&own, fields].concat()).kind {
            EventKind::Message(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn receipt(fields: &[(&str, &str)]) -> Receipt {
        match one(&[&[("MessageSid", "SM1"), ("To", PERSON)], fields].concat()).kind {
            EventKind::Receipt(receipt) => receipt,
            other => panic!("{other:?}"),
        }
    }

    fn name(event: &ParsedEvent) -> &str {
        match &event.kind {
            EventKind::Message(_) => "message",
            EventKind::Receipt(_) => "receipt",
            EventKind::Other { name } => name,
        }
    }

    fn example(webhook: &str, name: &str, nonce: &str) -> Vec<ParsedEvent> {
        let mut examples = EXAMPLES.events.iter();
        let example = examples.find(|e| e.webhook == webhook && e.name == name).unwrap();
        parse(&(example.draft)(&seed(nonce)))
    }

    #[test]
    fn every_example_is_accepted_and_parsed_as_expected() {
        let expected = [
            ("twilio-sms", "text", "message", PERSON, "SM"),
            ("twilio-sms", "pictures", "message message", PERSON, "MM"),
            ("twilio-sms", "stop", "message opt_out.stop", PERSON, "SM"),
            ("twilio-sms", "text_by_get", "message", PERSON, "SM"),
            ("twilio-sms-status", "sent", "receipt", PERSON, "SM"),
            ("twilio-sms-status", "delivered", "receipt", PERSON, "SM"),
            ("twilio-sms-status", "undelivered", "receipt", PERSON, "SM"),
            (
                "twilio-sms-status",
                "stream",
                "com.twilio.messaging.message.sent com.twilio.messaging.message.delivered",
                "",
                "EZ",
            ),
            ("twilio-voice", "ringing", "call.ringing", "CA", "CA"),
            ("twilio-voice", "digits", "call.in-progress", "CA", "CA"),
            ("twilio-voice", "speech", "call.in-progress", "CA", "CA"),
            ("twilio-voice-status", "answered", "receipt call.in-progress", "CA", "CA"),
            ("twilio-voice-status", "completed", "receipt call.completed", "CA", "CA"),
            ("twilio-voice-status", "no_answer", "receipt call.no-answer", "CA", "CA"),
            ("twilio-voice-status", "recording", "recording.completed", "CA", "RE"),
            ("twilio-whatsapp", "text", "message", "whatsapp:+4915550009999", "SM"),
            ("twilio-whatsapp", "location", "message", "whatsapp:+4915550009999", "SM"),
            ("twilio-whatsapp", "button", "message", "whatsapp:+4915550009999", "SM"),
            ("twilio-whatsapp", "voice_note", "message", "whatsapp:+4915550009999", "SM"),
            ("twilio-whatsapp", "read", "receipt", "whatsapp:+4915550009999", "SM"),
            ("twilio-whatsapp", "failed", "receipt", "whatsapp:+4915550009999", "SM"),
        ];
        let all: Vec<_> = EXAMPLES.events.iter().map(|e| (e.webhook, e.name)).collect();
        assert_eq!(all, expected.map(|(webhook, name, ..)| (webhook, name)));
        for (example, (webhook, _, names, key, id)) in EXAMPLES.events.iter().zip(expected) {
            let webhook = SPEC.webhooks.iter().find(|w| w.name() == webhook).unwrap();
            let url = format!("https://hub.example.com/webhooks/{}", webhook.path());
            let draft = (example.draft)(&seed("0123456789abcdef"));
            let settings = Value::Object((EXAMPLES.settings)());
            let request = (EXAMPLES.sign)(example, &draft, &credentials(), &url, seed("").at);
            let source = webhook.source(&integration(&settings), &credentials());
            let now = Timestamp::UNIX_EPOCH;
            let ParsedWebhook::Events(events) = receive(&*source, &request, now).unwrap() else {
                panic!("{}", example.name)
            };
            let got: Vec<_> = events.iter().map(name).collect();
            assert_eq!(got.join(" "), names, "{}", example.name);
            for event in &events {
                assert_eq!(event.account, ACCOUNT_SID);
                assert!(event.id.starts_with(id), "{}", event.id);
                let got = event.ordering_key.as_deref().unwrap_or_default();
                assert!(got == key || (key == "CA" && got.starts_with(key)), "{got}");
            }
        }
    }

    #[test]
    fn a_message_has_its_channel_and_an_address_without_the_channels_prefix() {
        let of = |from: &str| {
            let fields = [("MessageSid", "SM1"), ("From", from), ("SmsStatus", "received")];
            one(&[&fields[..], &[("Body", "hi")]].concat())
        };
        for (from, channel) in [
            (PERSON, Channel::Sms),
            ("whatsapp:+4915550009999", Channel::Whatsapp),
            ("rcs:+4915550009999", Channel::Sms),
        ] {
            let EventKind::Message(message) = of(from).kind else { panic!("{from}") };
            assert_eq!((message.channel, message.from.as_str()), (Some(channel), PERSON));
            // A reply goes to the same conversation.
            assert_eq!(crate::twilio::address(&message.from).unwrap(), message.from);
        }
        assert_eq!(name(&of("messenger:123")), "message.messenger");
        assert_eq!(name(&of("a b:123")), "message");
    }

    #[test]
    fn the_message_id_is_read_from_the_callback_url_only() {
        let of = |query: &str| {
            let fields = [("AccountSid", "AC1"), ("MessageSid", "SM1"), ("MessageStatus", "sent")];
            let mut draft = Draft::form(&fields);
            draft.query.push((REFERENCE.to_owned(), query.to_owned()));
            let mut events = parse(&draft);
            match events.remove(0).kind {
                EventKind::Receipt(receipt) => receipt.reference,
                other => panic!("{other:?}"),
            }
        };
        let id = MessageId::derived(&["m"]);
        assert_eq!(of(&id.to_string()), Some(id));
        assert_eq!(of("msg_nonsense"), None);
    }

    #[test]
    fn an_outgoing_calls_status_is_a_receipt() {
        let of = |status: &str, direction: &str, source: &str| {
            let fields = [
                ("CallSid", "CA1"),
                ("CallStatus", status),
                ("Direction", direction),
                ("CallbackSource", source),
                ("SequenceNumber", "0"),
            ];
            let mut events = parse_form(&fields);
            assert_eq!(name(events.last().unwrap()), format!("call.{status}"));
            events.remove(0).kind
        };
        let progress = "call-progress-events";
        for (status, expected, code) in [
            ("queued", Status::Accepted, None),
            ("initiated", Status::Sent, None),
            ("ringing", Status::Sent, None),
            ("in-progress", Status::Delivered, None),
            ("completed", Status::Delivered, None),
            ("busy", Status::Failed, Some("busy")),
            ("no-answer", Status::Failed, Some("no-answer")),
            ("failed", Status::Failed, Some("failed")),
            ("canceled", Status::Failed, Some("canceled")),
        ] {
            let EventKind::Receipt(receipt) = of(status, "outbound-api", progress) else {
                panic!("{status}")
            };
            assert_eq!((receipt.status, receipt.code.as_deref()), (expected, code));
            assert_eq!(receipt.provider_message_id, "CA1");
            assert_eq!(receipt.detail.is_some(), code.is_some());
        }
        for (status, direction, source) in [
            ("completed", "inbound", progress),
            ("completed", "outbound-dial", progress),
            ("in-progress", "outbound-api", "gather"),
            ("strange", "outbound-api", progress),
        ] {
            assert!(matches!(of(status, direction, source), EventKind::Other { .. }));
        }
    }

    #[test]
    fn an_incoming_call_is_rejected_unless_the_integration_has_twiml() {
        let answer = |webhook: &Webhook, settings: Value| {
            let mut integration = integration(&json!({}));
            integration.settings = settings::read(settings.as_object().unwrap()).unwrap();
            webhook.accepted_by(&integration).body
        };
        let twiml = "<Response><Say>Hello</Say></Response>";
        assert_eq!(answer(&VOICE, json!({})), REJECT_TWIML);
        assert_eq!(answer(&VOICE, json!({ "voice_twiml": twiml })), twiml);
        assert_eq!(answer(&SMS, json!({ "voice_twiml": twiml })), EMPTY_TWIML);
    }

    #[test]
    fn a_redelivery_has_equal_ids_and_other_events_have_others() {
        let mut seen = std::collections::BTreeSet::new();
        for example in EXAMPLES.events {
            let ids = |nonce: &str| {
                let draft = (example.draft)(&seed(nonce));
                let again: Vec<_> =
                    parse(&draft).into_iter().map(|e| (e.id, e.occurred_at)).collect();
                let once: Vec<_> =
                    parse(&draft).into_iter().map(|e| (e.id, e.occurred_at)).collect();
                assert_eq!(once, again, "{}", example.name);
                once
            };
            for nonce in ["0123456789abcdef", "fedcba9876543210"] {
                for (id, _) in ids(nonce) {
                    assert!(seen.insert(format!("{}/{}/{id}", example.webhook, example.name)));
                }
            }
        }
    }

    #[test]
    fn field_order_and_repeated_fields_do_not_change_the_event_id() {
        let fields = [("CallSid", "CA1"), ("Digits", "1"), ("Digits", "2"), ("From", PERSON)];
        let mut turned = fields.to_vec();
        turned.reverse();
        turned.push(("Digits", "1"));
        assert_eq!(one(&fields).id, one(&turned).id);
    }

    #[test]
    fn the_fallback_url_receives_the_same_event() {
        let fields = [("CallSid", "CA1"), ("CallStatus", "in-progress"), ("Digits", "1")];
        let error = [("ErrorCode", "11200"), ("ErrorUrl", "https://hub.example.com/")];
        assert_eq!(one(&fields).id, one(&[&fields[..], &error].concat()).id);
    }

    #[test]
    fn a_text_has_its_id_account_and_sender_and_no_time() {
        let events = example("twilio-sms", "text", "0123456789abcdef");
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(event.account, ACCOUNT_SID);
        assert_eq!(event.occurred_at, None);
        assert_eq!(event.ordering_key.as_deref(), Some(PERSON));
        let EventKind::Message(message) = &event.kind else { panic!("{event:?}") };
        assert_eq!(message.provider_message_id, event.id);
        assert_eq!(message.from, PERSON);
        assert_eq!((&message.name, &message.reply_to), (&None, &None));
        let text = "Grüße! Are you open today & tomorrow? 👋".to_owned();
        assert_eq!(message.content, Content::Text { text });
        // The form as received, as a JSON string.
        let raw: String = serde_json::from_str(event.raw.get()).unwrap();
        assert!(raw.starts_with("AccountSid=AC") && raw.contains("Body=Gr%C3%BC"), "{raw}");
    }

    #[test]
    fn a_get_request_is_the_same_event_with_its_query_as_raw() {
        let posted = example("twilio-sms", "text", "0123456789abcdef").remove(0);
        let got = example("twilio-sms", "text_by_get", "0123456789abcdef").remove(0);
        assert_eq!((&posted.id, &posted.kind), (&got.id, &got.kind));
        assert_eq!(posted.raw.get(), got.raw.get());
    }

    #[test]
    fn each_file_is_a_message_and_only_the_first_has_the_text() {
        let events = example("twilio-sms", "pictures", "0123456789abcdef");
        let messages: Vec<_> = events
            .iter()
            .map(|event| match &event.kind {
                EventKind::Message(message) => message,
                other => panic!("{other:?}"),
            })
            .collect();
        let [first, second] = messages.as_slice() else { panic!("{events:?}") };
        assert_eq!(second.provider_message_id, format!("{}:1", first.provider_message_id));
        let (first, second) = (first.content.media().unwrap(), second.content.media().unwrap());
        assert_eq!(first.caption.as_deref(), Some("Look"));
        assert_eq!(second.caption, None);
        assert_eq!(second.mime_type.as_deref(), Some("image/png"));
        assert!(second.provider_media_id.as_ref().unwrap().ends_with("/Media/ME1"));
        assert_eq!(first.url, None);
    }

    #[test]
    fn files_have_a_type_and_there_are_at_most_ten() {
        for (mime, kind, of_type) in [
            ("image/jpeg", "image", ""),
            ("video/mp4", "video", ""),
            ("audio/ogg", "audio", ""),
            ("application/pdf", "document", ""),
            ("text/vcard", "document", ""),
            ("", "document", ""),
            ("image/webp", "sticker", "sticker"),
        ] {
            let fields =
                [("MediaUrl0", "https://x"), ("MediaContentType0", mime), ("MessageType", of_type)];
            assert_eq!(message(&fields).content.kind(), kind, "{mime}");
        }
        let many: Vec<_> = (0..50).map(|n| (format!("MediaUrl{n}"), "https://x")).collect();
        let mut fields: Vec<_> = many.iter().map(|(name, url)| (name.as_str(), *url)).collect();
        fields.extend([("MessageSid", "MM1"), ("From", PERSON)]);
        assert_eq!(parse_form(&fields).len(), 10);
    }

    #[test]
    fn an_opt_out_is_a_message_and_a_separate_event() {
        let events = example("twilio-sms", "stop", "0123456789abcdef");
        let [message, opt_out] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(opt_out.id, format!("{}:opt_out", message.id));
        assert_eq!(opt_out.ordering_key, message.ordering_key);
        assert_eq!(name(opt_out), "opt_out.stop");
        for (kind, expected) in [("START", "opt_out.start"), ("HELP", "opt_out.help")] {
            let fields =
                [("MessageSid", "SM1"), ("From", "+1"), ("Body", "x"), ("OptOutType", kind)];
            assert_eq!(name(&parse_form(&fields)[1]), expected);
        }
    }

    #[test]
    fn locations_buttons_and_list_replies_are_parsed() {
        let place =
            [("Latitude", "52.5"), ("Longitude", "-13.4"), ("Label", "n"), ("Address", "a")];
        let Content::Location { location } = message(&place).content else { panic!() };
        assert_eq!((location.latitude, location.longitude), (52.5, -13.4));
        assert_eq!((location.name.as_deref(), location.address.as_deref()), (Some("n"), Some("a")));

        let press = [("ButtonText", "Yes"), ("ButtonPayload", "y"), ("Body", "Yes")];
        let button =
            Content::Button { text: "Yes".into(), button: ButtonPress { payload: "y".into() } };
        assert_eq!(message(&press).content, button);
        let reply = Reply { id: "y".into(), title: "Yes".into(), description: None };
        let own = [&press[..], &[("MessageType", "interactive")]].concat();
        assert_eq!(message(&own).content, Content::ButtonReply { text: "Yes".into(), reply });

        let row =
            [("ListId", "1"), ("ListTitle", "One"), ("ListDescription", "d"), ("Body", "One")];
        let reply = Reply { id: "1".into(), title: "One".into(), description: Some("d".into()) };
        assert_eq!(message(&row).content, Content::ListReply { text: "One".into(), reply });
    }

    #[test]
    fn the_senders_name_and_the_replied_to_message_are_kept() {
        let fields = [("Body", "hi"), ("ProfileName", "Zoë"), ("OriginalRepliedMessageSid", "SM0")];
        let message = message(&fields);
        assert_eq!(message.name.as_deref(), Some("Zoë"));
        assert_eq!(message.reply_to.as_deref(), Some("SM0"));
    }

    #[test]
    fn a_message_without_text_is_unsupported_and_keeps_its_fields() {
        for fields in [&[][..], &[("Body", "")], &[("Latitude", "NaN"), ("Longitude", "1")]] {
            let Content::Unsupported { raw } = message(fields).content else {
                panic!("{fields:?}")
            };
            assert_eq!(raw["MessageSid"], "SM1");
        }
    }

    #[test]
    fn every_message_status_is_mapped() {
        for (state, status) in [
            ("accepted", Status::Accepted),
            ("scheduled", Status::Accepted),
            ("queued", Status::Accepted),
            ("sending", Status::Accepted),
            ("sent", Status::Sent),
            ("delivered", Status::Delivered),
            ("read", Status::Read),
            ("undelivered", Status::Failed),
            ("failed", Status::Failed),
            ("canceled", Status::Failed),
        ] {
            assert_eq!(receipt(&[("MessageStatus", state)]).status, status, "{state}");
            let event = one(&[("MessageSid", "SM1"), ("To", PERSON), ("MessageStatus", state)]);
            assert_eq!(event.id, format!("SM1:{state}"));
            assert_eq!(event.ordering_key.as_deref(), Some(PERSON));
            // Older products only have this field.
            if state != "read" {
                assert_eq!(receipt(&[("SmsStatus", state), ("From", NUMBER)]).status, status);
            }
        }
        for state in ["partially_delivered", "received", "receiving"] {
            let event = one(&[("MessageSid", "SM1"), ("MessageStatus", state), ("From", PERSON)]);
            assert_eq!(name(&event), format!("message.{state}"));
        }
        let event = one(&[("MessageSid", "SM1"), ("MessageStatus", "what\never"), ("From", "+1")]);
        assert_eq!(name(&event), "message");
    }

    #[test]
    fn a_failure_has_its_code_and_remedy() {
        let failed = |fields: &[_]| receipt(&[&[("MessageStatus", "failed")], fields].concat());
        let known = failed(&[("ErrorCode", "30007"), ("ErrorMessage", "Filtered")]);
        assert_eq!(known.code.as_deref(), Some("30007"));
        assert!(known.detail.unwrap().contains("carrier"));
        let unknown = failed(&[("ErrorCode", "39999"), ("ErrorMessage", "Something")]);
        assert_eq!(unknown.detail.as_deref(), Some("Something"));
        let channel = failed(&[("ErrorCode", "63999"), ("ChannelStatusMessage", "Refused")]);
        assert_eq!(channel.detail.as_deref(), Some("Refused"));
        assert_eq!(failed(&[]).code, None);
        let fine = receipt(&[("MessageStatus", "sent"), ("ErrorCode", "0")]);
        assert_eq!((fine.code, fine.detail), (None, None));
        let fine = receipt(&[("MessageStatus", "delivered"), ("ErrorCode", "30003")]);
        assert_eq!((fine.code, fine.detail), (None, None));
    }

    #[test]
    fn a_call_status_has_its_sequence_number_and_time() {
        let fields = [
            ("CallSid", "CA1"),
            ("CallStatus", "completed"),
            ("SequenceNumber", "3"),
            ("Timestamp", "Tue, 31 Aug 2010 20:36:44 +0000"),
            ("CallbackSource", "call-progress-events"),
        ];
        let event = one(&fields);
        assert_eq!((event.id.as_str(), name(&event)), ("CA1:3", "call.completed"));
        assert_eq!(event.ordering_key.as_deref(), Some("CA1"));
        assert_eq!(event.occurred_at.unwrap().to_string(), "2010-08-31T20:36:44Z");
        let costs = [&fields[..4], &[("CallbackSource", "call-cost-events")]].concat();
        assert_eq!(one(&costs).id, "CA1:call-cost-events:3");
    }

    #[test]
    fn a_call_rings_once_and_each_input_is_a_separate_event() {
        let ringing = one(&[("CallSid", "CA1"), ("CallStatus", "ringing")]);
        assert_eq!(ringing.id, "CA1:ringing");
        let pressed = |digits| {
            one(&[("CallSid", "CA1"), ("CallStatus", "in-progress"), ("Digits", digits)]).id
        };
        assert_ne!(pressed("1"), pressed("2"));
        assert!(pressed("1").starts_with("CA1:"));
        assert_eq!(name(&one(&[("CallSid", "CA1"), ("TranscriptionSid", "GT1")])), "call");
    }

    #[test]
    fn recordings_conferences_and_conversations_are_named_events() {
        let recording =
            one(&[("CallSid", "CA1"), ("RecordingSid", "RE1"), ("RecordingStatus", "completed")]);
        assert_eq!(
            (recording.id.as_str(), name(&recording)),
            ("RE1:completed", "recording.completed")
        );
        assert_eq!(recording.ordering_key.as_deref(), Some("CA1"));
        let conference = one(&[
            ("ConferenceSid", "CF1"),
            ("CallSid", "CA1"),
            ("StatusCallbackEvent", "participant-join"),
            ("SequenceNumber", "2"),
        ]);
        assert_eq!(
            (conference.id.as_str(), name(&conference)),
            ("CF1:2", "conference.participant-join")
        );
        assert_eq!(conference.ordering_key.as_deref(), Some("CF1"));
        let added = one(&[
            ("EventType", "onMessageAdded"),
            ("ConversationSid", "CH1"),
            ("MessageSid", "IM1"),
            ("Author", PERSON),
        ]);
        assert_eq!(name(&added), "onMessageAdded");
        assert_eq!(added.ordering_key.as_deref(), Some("CH1"));
    }

    #[test]
    fn any_other_event_is_recorded_and_none_is_parked() {
        let event = one(&[("Something", "else")]);
        assert_eq!((name(&event), event.account.as_str()), ("event", "AC1"));
        assert_eq!(event.id.len(), 64);
        assert_eq!(event.ordering_key, None);
        assert_eq!(name(&one(&[("EventType", "a b\n")])), "event");
        assert_eq!(name(&one(&[("MessageSid", "SM1"), ("Body", "from nobody")])), "message");
        assert!(matches!(receive_request(&sign(&Draft::form(&[]))), Err(Rejection::Unreadable(_))));
    }

    #[test]
    fn each_event_of_a_stream_keeps_its_raw_bytes() {
        let events = example("twilio-sms-status", "stream", "0123456789abcdef");
        assert_eq!(events.len(), 2);
        for event in &events {
            assert_eq!(event.occurred_at.unwrap().as_second(), AT);
            let raw: Value = serde_json::from_str(event.raw.get()).unwrap();
            assert_eq!(raw["id"], event.id);
        }
        let odd = json!([
            { "id": "EZ1", "type": "com.twilio.voice.x", "data": { "AccountSid": "AC2" } },
            { "id": 5, "type": [], "time": "soon", "data": { "account_sid": "AC3" } },
            7, null, "text", { "data": { "accountSid": 1 } },
        ]);
        let events = parse(&Draft::json(odd));
        let got: Vec<_> = events.iter().map(|e| (name(e), e.account.as_str())).collect();
        let expected = [
            ("com.twilio.voice.x", "AC2"),
            ("event", "AC3"),
            ("event", ""),
            ("event", ""),
            ("event", ""),
            ("event", ""),
        ];
        assert_eq!(got, expected);
        assert_eq!(events[0].id, "EZ1");
        assert!(events.iter().skip(1).all(|event| event.id.len() == 64));
        assert_eq!(parse(&Draft::json(json!({ "id": "EZ1" })))[0].id, "EZ1");
        assert!(parse(&Draft::json(json!([]))).is_empty());
    }

    #[test]
    fn a_verified_body_that_is_not_json_is_parked() {
        for body in [&b"{"[..], b"", b"\xff\xfe", b"[1,", b"Body=hi"] {
            let mut request = sign(&Draft::json(json!({})));
            let hash = signature::fingerprint(body);
            let url = format!("https://hub.example.com/webhooks/sms?bodySHA256={hash}");
            let signed = Draft { query: vec![("bodySHA256".into(), hash)], ..Draft::get(&[]) };
            request.headers.clone_from(&sign(&signed).headers);
            request.query = signed.query;
            (request.url, request.body) = (url, body.into());
            assert!(matches!(receive_request(&request), Err(Rejection::Unreadable(_))), "{body:?}");
        }
    }

    #[test]
    fn a_verified_form_of_any_shape_is_recorded_or_parked() {
        for body in
            [&b"MessageSid=SM1&From=%2B1&Body=%FF"[..], b"%", b"=", b"&&&", b"a=%zz", b"\xff=\xfe"]
        {
            // Signed as the hub decodes it.
            let fields = form::decode(body);
            let pairs: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut request = sign(&Draft::form(&pairs));
            request.body = body.into();
            let result = receive_request(&request);
            assert!(matches!(result, Ok(_) | Err(Rejection::Unreadable(_))), "{body:?}");
        }
        let huge = "9".repeat(100_000);
        let event = one(&[("CallSid", "CA1"), ("SequenceNumber", "1"), ("Timestamp", &huge)]);
        assert_eq!(event.occurred_at, None);
        assert_eq!(
            message(&[("Latitude", &huge), ("Longitude", "1")]).content.kind(),
            "unsupported"
        );
    }

    #[test]
    fn messages_are_answered_with_empty_twiml_and_calls_are_rejected() {
        for webhook in SPEC.webhooks {
            let reply = webhook.accepted();
            assert_eq!(
                (reply.status, reply.content_type),
                (StatusCode::OK, "text/xml; charset=utf-8")
            );
            let expected = if webhook.name() == VOICE.name { REJECT_TWIML } else { "<Response/>" };
            assert_eq!(reply.body, expected);
        }
    }

    #[test]
    fn names_and_paths_match_the_functions() {
        let all: Vec<_> = SPEC.webhooks.iter().map(|w| (w.name(), w.path())).collect();
        let expected = [
            ("twilio-sms", "sms"),
            ("twilio-sms-status", "sms/status"),
            ("twilio-voice", "voice"),
            ("twilio-voice-status", "voice/status"),
            ("twilio-whatsapp", "whatsapp/twilio"),
        ];
        assert_eq!(all, expected);
    }
}
