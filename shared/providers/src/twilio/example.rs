//! Example webhooks in the shape Twilio documents, signed with test secrets. For tests, event files
//! and tools.

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::webhook::WebhookRequest;
use domain::{Credentials, MessageId};
use http::{HeaderMap, HeaderValue, Method};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::verifier;
use super::wire::{BODY_HASH, Fields, PayloadLocation, REFERENCE};
use crate::example::{Answers, Body, Draft, Example, Examples, InDoubt, Seed};
use crate::signature::fingerprint;

/// Twilio's responses to messages and calls.
const ANSWERS: Answers = Answers {
    settings,
    accepted: || {
        let sid = "SM0123456789abcdef0123456789abcdef";
        (201, json!({ "sid": sid, "status": "queued", "error_code": null, "error_message": null }))
    },
    refused: |status| match status {
        500 | 504 => Vec::new(),
        _ => vec![error(status, 20_000 + i64::from(status)), error(status, 99_999)],
    },
    in_doubt: || {
        let source = "https://www.twilio.com/docs/api/errors/20500";
        let doubt = |status: u16, code: i64| InDoubt { status, body: error(status, code), source };
        [doubt(500, 20_500), doubt(500, 99_999), doubt(504, 20_504)].into()
    },
};

fn error(status: u16, code: i64) -> Value {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    json!({ "code": code, "message": "No", "more_info": more, "status": status })
}

/// The example webhooks of Twilio.
pub static EXAMPLES: Examples = Examples {
    answers: Some(ANSWERS),
    events: &[
        Example { webhook: "twilio-sms", name: "text", what: "A person sends a text", draft: text },
        Example {
            webhook: "twilio-sms",
            name: "pictures",
            what: "A person sends two pictures",
            draft: pictures,
        },
        Example { webhook: "twilio-sms", name: "stop", what: "A person opts out", draft: stop },
        Example {
            webhook: "twilio-sms",
            name: "text_by_get",
            what: "A person sends a text, and Twilio calls the webhook with GET",
            draft: text_by_get,
        },
        Example {
            webhook: "twilio-sms-status",
            name: "sent",
            what: "A message was sent",
            draft: sent,
        },
        Example {
            webhook: "twilio-sms-status",
            name: "delivered",
            what: "A message was delivered",
            draft: delivered,
        },
        Example {
            webhook: "twilio-sms-status",
            name: "undelivered",
            what: "A message was not delivered",
            draft: undelivered,
        },
        Example {
            webhook: "twilio-sms-status",
            name: "stream",
            what: "Two events of an event stream",
            draft: stream,
        },
        Example {
            webhook: "twilio-voice",
            name: "ringing",
            what: "A person calls",
            draft: ringing,
        },
        Example {
            webhook: "twilio-voice",
            name: "digits",
            what: "A caller pressed keys",
            draft: digits,
        },
        Example { webhook: "twilio-voice", name: "speech", what: "A caller spoke", draft: speech },
        Example {
            webhook: "twilio-voice-status",
            name: "answered",
            what: "A call was answered",
            draft: answered,
        },
        Example {
            webhook: "twilio-voice-status",
            name: "completed",
            what: "A call ended",
            draft: completed,
        },
        Example {
            webhook: "twilio-voice-status",
            name: "no_answer",
            what: "A call was not answered",
            draft: no_answer,
        },
        Example {
            webhook: "twilio-voice-status",
            name: "recording",
            what: "A recording is ready",
            draft: recording,
        },
        Example {
            webhook: "twilio-whatsapp",
            name: "text",
            what: "A person sends a text on WhatsApp",
            draft: whatsapp_text,
        },
        Example {
            webhook: "twilio-whatsapp",
            name: "location",
            what: "A person sends a location",
            draft: whatsapp_location,
        },
        Example {
            webhook: "twilio-whatsapp",
            name: "button",
            what: "A person presses a button",
            draft: whatsapp_button,
        },
        Example {
            webhook: "twilio-whatsapp",
            name: "voice_note",
            what: "A person sends a voice note",
            draft: whatsapp_voice_note,
        },
        Example {
            webhook: "twilio-whatsapp",
            name: "read",
            what: "A person read a message",
            draft: whatsapp_read,
        },
        Example {
            webhook: "twilio-whatsapp",
            name: "failed",
            what: "A message failed",
            draft: whatsapp_failed,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings,
    sign: |_, draft, credentials, url, _| signed(draft, credentials, url),
};

/// Account of the examples.
pub const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";
/// Auth token that signs the examples.
pub const AUTH_TOKEN: &str = "test-twilio-auth-token";
/// Customer of the examples.
pub const PERSON: &str = "+4915550009999";
/// Number that the examples are sent to.
pub const NUMBER: &str = "+15550001111";

/// A content template of the account.
pub const TEMPLATE: &str = "HX0123456789abcdef0123456789abcdef";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::ACCOUNT_SID, ACCOUNT_SID), (super::AUTH_TOKEN, AUTH_TOKEN)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns the settings of the examples: the senders and a template.
fn settings() -> Map<String, Value> {
    let settings = [
        ("from", json!(NUMBER)),
        ("whatsapp_from", json!(NUMBER)),
        ("templates", json!({ "hello": TEMPLATE })),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Signs the draft as Twilio does: with the shared key if there is one, else with the auth token.
fn signed(draft: &Draft, credentials: &Credentials, url: &str) -> WebhookRequest {
    let body = draft.body.bytes();
    let mut draft = draft.clone();
    if let Body::Json(_) = draft.body {
        let hash = hex::encode(digest::digest(&digest::SHA256, &body));
        draft.query.push((BODY_HASH.to_owned(), hash));
    }
    let mut request = draft.request(body, HeaderMap::new(), url);
    let shared = credentials.first(super::SHARED_KEY).map(ExposeSecret::expose_secret);
    let token = credentials.first(super::AUTH_TOKEN).map(ExposeSecret::expose_secret);
    let (id, secret) = shared.and_then(|key| key.split_once(':')).unwrap_or_default();
    let (algorithm, secret) = match token {
        Some(token) if secret.is_empty() => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token),
        _ => (hmac::HMAC_SHA256, secret),
    };
    let fields = match PayloadLocation::of(&request) {
        Some(PayloadLocation::Form) => Fields::of_form(&request.body).unwrap_or_default(),
        _ => Fields::default(),
    };
    let key = hmac::Key::new(algorithm, secret.as_bytes());
    let signature = STANDARD.encode(verifier::sign(&key, &request.url, &fields));
    let mut headers = vec![(verifier::SIGNATURE, signature)];
    if !id.is_empty() {
        headers.push((verifier::SIGNATURE_SETTINGS, format!("key={id},algorithm=HMAC_SHA256")));
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            request.headers.insert(name, value);
        }
    }
    request
}

/// Returns a SID as Twilio generates them.
fn sid(prefix: &str, seed: &Seed) -> String {
    let digest = fingerprint(seed.nonce.as_bytes());
    format!("{prefix}{}", digest.get(..32).unwrap_or_default())
}

/// Returns a form with the common fields, followed by `fields`.
fn form(fields: &[&[(&str, &str)]]) -> Draft {
    let own: &[_] = &[("AccountSid", ACCOUNT_SID), ("ApiVersion", "2010-04-01")];
    Draft::form(&[own, &fields.concat()].concat())
}

/// An incoming message.
fn incoming(seed: &Seed, prefix: &str, fields: &[(&str, &str)]) -> Draft {
    let sid = sid(prefix, seed);
    let segments: &[_] = &[("NumSegments", "1"), ("SmsStatus", "received")];
    let ids: &[_] = &[("MessageSid", &*sid), ("SmsSid", &sid), ("SmsMessageSid", &sid)];
    form(&[ids, segments, fields])
}

fn sms(seed: &Seed, fields: &[(&str, &str)]) -> Draft {
    let places: &[_] = &[
        ("From", PERSON),
        ("To", NUMBER),
        ("FromCountry", "DE"),
        ("FromCity", ""),
        ("ToCountry", "US"),
    ];
    incoming(seed, "SM", &[places, fields].concat())
}

fn text(seed: &Seed) -> Draft {
    sms(seed, &[("Body", "Grüße! Are you open today & tomorrow? 👋"), ("NumMedia", "0")])
}

fn pictures(seed: &Seed) -> Draft {
    let sid = sid("MM", seed);
    let url = |place: u8| {
        format!(
            "https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}/Media/ME{place}"
        )
    };
    let fields = [
        ("From", PERSON),
        ("To", NUMBER),
        ("Body", "Look"),
        ("NumMedia", "2"),
        ("MediaUrl0", &url(0)),
        ("MediaContentType0", "image/jpeg"),
        ("MediaUrl1", &url(1)),
        ("MediaContentType1", "image/png"),
    ];
    incoming(seed, "MM", &fields)
}

fn stop(seed: &Seed) -> Draft {
    sms(seed, &[("Body", "STOP"), ("NumMedia", "0"), ("OptOutType", "STOP")])
}

fn text_by_get(seed: &Seed) -> Draft {
    let Draft { body: Body::Form(query), .. } = text(seed) else { return text(seed) };
    Draft { method: Method::GET, query, headers: HeaderMap::new(), body: Body::Empty }
}

/// A status of an outgoing message.
fn state(seed: &Seed, state: &str, fields: &[(&str, &str)]) -> Draft {
    let sid = sid("SM", seed);
    let own: &[_] =
        &[("MessageSid", &*sid), ("SmsSid", &sid), ("MessageStatus", state), ("SmsStatus", state)];
    form(&[own, fields])
}

fn sent(seed: &Seed) -> Draft {
    state(seed, "sent", &[("From", NUMBER), ("To", PERSON)])
}

fn delivered(seed: &Seed) -> Draft {
    let done = seed.at.strftime("%y%m%d%H%M").to_string();
    let fields = [("From", NUMBER), ("To", PERSON), ("RawDlrDoneDate", &*done)];
    let mut draft = state(seed, "delivered", &fields);
    // The callback URL is the hub's own and includes the message id.
    let reference = MessageId::derived(&["example"]).to_string();
    draft.query.push((REFERENCE.to_owned(), reference));
    draft
}

fn undelivered(seed: &Seed) -> Draft {
    state(seed, "undelivered", &[("From", NUMBER), ("To", PERSON), ("ErrorCode", "30003")])
}

fn stream(seed: &Seed) -> Draft {
    let event = |place: u8, what: &str| {
        json!({
            "specversion": "1.0",
            "type": format!("com.twilio.messaging.message.{what}"),
            "source": format!("/{ACCOUNT_SID}/Messages/{}", sid("SM", seed)),
            "id": format!("{}{place}", sid("EZ", seed)),
            "dataschema": "https://events-schemas.twilio.com/Messaging.MessageStatus/2",
            "datacontenttype": "application/json",
            "time": seed.at.to_string(),
            "data": { "accountSid": ACCOUNT_SID, "messageSid": sid("SM", seed) },
        })
    };
    Draft::json(json!([event(0, "sent"), event(1, "delivered")]))
}

/// A call between a person and the hub.
fn call(seed: &Seed, status: &str, fields: &[(&str, &str)]) -> Draft {
    let sid = sid("CA", seed);
    form(&[&[("CallSid", &sid), ("CallStatus", status)], fields])
}

/// A call that a person makes.
fn inbound(seed: &Seed, status: &str, fields: &[(&str, &str)]) -> Draft {
    let people: &[_] = &[
        ("Direction", "inbound"),
        ("From", PERSON),
        ("Caller", PERSON),
        ("To", NUMBER),
        ("Called", NUMBER),
    ];
    call(seed, status, &[people, fields].concat())
}

fn ringing(seed: &Seed) -> Draft {
    inbound(seed, "ringing", &[("FromCountry", "DE")])
}

fn digits(seed: &Seed) -> Draft {
    inbound(seed, "in-progress", &[("Digits", "42"), ("FinishedOnKey", "#"), ("msg", "Gather End")])
}

fn speech(seed: &Seed) -> Draft {
    inbound(seed, "in-progress", &[("SpeechResult", "opening hours"), ("Confidence", "0.9")])
}

/// A status of an outgoing call, with sequence number `number`.
fn progress(seed: &Seed, status: &str, number: &str, fields: &[(&str, &str)]) -> Draft {
    let at = rfc2822::to_string(&seed.at.to_zoned(TimeZone::UTC)).unwrap_or_default();
    let own: &[_] = &[
        ("Direction", "outbound-api"),
        ("From", NUMBER),
        ("To", PERSON),
        ("Timestamp", &at),
        ("CallbackSource", "call-progress-events"),
        ("SequenceNumber", number),
    ];
    call(seed, status, &[own, fields].concat())
}

fn answered(seed: &Seed) -> Draft {
    progress(seed, "in-progress", "2", &[])
}

fn completed(seed: &Seed) -> Draft {
    progress(seed, "completed", "3", &[("CallDuration", "15"), ("Duration", "1")])
}

fn no_answer(seed: &Seed) -> Draft {
    progress(seed, "no-answer", "2", &[("CallDuration", "0")])
}

fn recording(seed: &Seed) -> Draft {
    let recording = sid("RE", seed);
    let url =
        format!("https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/{recording}");
    let fields: &[_] = &[
        ("CallSid", &*sid("CA", seed)),
        ("RecordingSid", &recording),
        ("RecordingUrl", &url),
        ("RecordingStatus", "completed"),
        ("RecordingDuration", "12"),
    ];
    form(&[fields])
}

/// The customer and the number, as Twilio writes `WhatsApp` addresses.
const WHATSAPP_PERSON: &str = "whatsapp:+4915550009999";
const WHATSAPP_NUMBER: &str = "whatsapp:+15550001111";

fn whatsapp(seed: &Seed, kind: &str, fields: &[(&str, &str)]) -> Draft {
    let people: &[_] = &[
        ("From", WHATSAPP_PERSON),
        ("To", WHATSAPP_NUMBER),
        ("ProfileName", "Zoë Müller"),
        ("WaId", "4915550009999"),
        ("MessageType", kind),
    ];
    incoming(seed, "SM", &[people, fields].concat())
}

fn whatsapp_text(seed: &Seed) -> Draft {
    whatsapp(seed, "text", &[("Body", "Hello! Are you open today?"), ("NumMedia", "0")])
}

fn whatsapp_location(seed: &Seed) -> Draft {
    let place = [
        ("Latitude", "52.520008"),
        ("Longitude", "13.404954"),
        ("Label", "Here"),
        ("Address", "Alexanderplatz, Berlin"),
        ("NumMedia", "0"),
    ];
    whatsapp(seed, "location", &place)
}

fn whatsapp_button(seed: &Seed) -> Draft {
    let press = [
        ("Body", "Yes, please"),
        ("ButtonText", "Yes, please"),
        ("ButtonPayload", "yes"),
        ("OriginalRepliedMessageSid", "MM00000000000000000000000000000001"),
        ("NumMedia", "0"),
    ];
    whatsapp(seed, "button", &press)
}

fn whatsapp_voice_note(seed: &Seed) -> Draft {
    let url =
        format!("https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/MM1/Media/ME1");
    let file = [("NumMedia", "1"), ("MediaUrl0", &*url), ("MediaContentType0", "audio/ogg")];
    whatsapp(seed, "audio", &file)
}

fn whatsapp_state(seed: &Seed, status: &str, fields: &[(&str, &str)]) -> Draft {
    let own: &[_] =
        &[("From", WHATSAPP_NUMBER), ("To", WHATSAPP_PERSON), ("ChannelPrefix", "whatsapp")];
    state(seed, status, &[own, fields].concat())
}

fn whatsapp_read(seed: &Seed) -> Draft {
    whatsapp_state(seed, "read", &[("EventType", "READ")])
}

fn whatsapp_failed(seed: &Seed) -> Draft {
    whatsapp_state(seed, "failed", &[("ErrorCode", "63016"), ("EventType", "UNDELIVERED")])
}
