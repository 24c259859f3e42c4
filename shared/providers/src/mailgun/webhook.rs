//! Receives Mailgun's webhooks.

use domain::content::Content;
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::webhook::{
    MAX_BODY_BYTES, ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest,
    WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use http::Method;
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp, Unit};
use secrecy::SecretString;
use serde_json::json;
use serde_json::value::RawValue;

use super::{multipart, wire};
use crate::raw::{self, fit, text, text_or_number};
use crate::{form, signature};

/// Maximum age of a request: the period of its redeliveries, plus an hour. Source: README, quirks.
const MAXIMUM_AGE: SignedDuration = SignedDuration::from_hours(9);

/// Mailgun's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Mailgun
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { signing_keys: credentials.all(super::WEBHOOK_SIGNING_KEY).to_vec() })
    }
}

struct Source {
    signing_keys: Vec<SecretString>,
}

impl WebhookSource for Source {
    /// Source: README, facts 1.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        let signature_fields = Posted::read(request).and_then(|posted| posted.signature_fields());
        let signature_fields =
            signature_fields.ok_or(Rejection::Unauthenticated("the body has no signature"))?;
        signature::check_timestamp_age(MAXIMUM_AGE, signature_fields.signed_at(), now)?;
        let signed = [signature_fields.timestamp.as_bytes(), signature_fields.token.as_bytes()];
        let matches = |given: &String| {
            let lower_case = !given.bytes().any(|c| c.is_ascii_uppercase());
            let given = hex::decode(given).ok().filter(|_| lower_case);
            given
                .is_some_and(|given| signature::is_hmac_sha256(&self.signing_keys, &signed, &given))
        };
        if matches(&signature_fields.signature)
            || signature_fields.parent_signature.as_ref().is_some_and(matches)
        {
            Ok(())
        } else {
            Err(Rejection::Unauthenticated("signature does not match"))
        }
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let posted = Posted::read(request);
        let posted =
            posted.ok_or_else(|| Rejection::Unreadable("the body is not an event".into()))?;
        let signature_fields = posted.signature_fields();
        let signature_fields =
            signature_fields.ok_or_else(|| Rejection::Unreadable("token is missing".into()))?;
        let event = match posted {
            Posted::Json(wire::Posted { event_data: Some(event), .. }) => {
                read_event(&signature_fields, event)
            }
            Posted::Json(_) => return Err(Rejection::Unreadable("event-data is missing".into())),
            Posted::Form(fields) => {
                read_form(&signature_fields, &fields, &raw::whole(&request.body))
            }
        };
        Ok(ParsedWebhook::Events(vec![ParsedEvent {
            single_use: Some(signature_fields.token),
            ..event
        }]))
    }
}

/// A body, parsed by its content type.
enum Posted<'a> {
    Json(wire::Posted<'a>),
    Form(Vec<(String, String)>),
}

impl<'a> Posted<'a> {
    fn read(request: &'a WebhookRequest) -> Option<Self> {
        let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            multipart::fields(content_type, &request.body).map(Self::Form)
        } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            form::read(&request.body, MAX_BODY_BYTES).map(Self::Form)
        } else {
            serde_json::from_slice(&request.body).ok().map(Self::Json)
        }
    }

    fn signature_fields(&self) -> Option<SignatureFields> {
        match self {
            Self::Json(wire::Posted { signature, .. }) => Some(SignatureFields {
                timestamp: text_or_number(Some(signature.timestamp))?,
                token: signature.token.clone(),
                signature: signature.signature.clone(),
                parent_signature: signature.parent_signature.clone(),
            }),
            Self::Form(fields) => Some(SignatureFields {
                timestamp: single_field(fields, "timestamp")?,
                token: single_field(fields, "token")?,
                signature: single_field(fields, "signature")?,
                parent_signature: single_field(fields, "parent-signature"),
            }),
        }
        .filter(|signature_fields| !signature_fields.token.is_empty())
    }
}

/// Fields that authenticate a request. They do not cover its content.
struct SignatureFields {
    timestamp: String,
    token: String,
    signature: String,
    parent_signature: Option<String>,
}

impl SignatureFields {
    fn signed_at(&self) -> Option<Timestamp> {
        // The signed text has no separator between the timestamp and the token.
        Timestamp::from_second(signature::digits(&self.timestamp)?).ok()
    }
}

/// Returns the field `name`, if it occurs once: an email's own headers are fields too.
fn single_field(fields: &[(String, String)], name: &str) -> Option<String> {
    let mut named = fields.iter().filter(|(key, _)| key == name);
    match (named.next(), named.next()) {
        (Some((_, value)), None) => Some(value.clone()),
        _ => None,
    }
}

/// Parses an event's time, which has a fraction.
fn time(raw: Option<&RawValue>) -> Option<Timestamp> {
    let since = fit(raw).and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
    let at = since.and_then(|since| Timestamp::UNIX_EPOCH.checked_add(since).ok());
    // Rounded to the precision in which it is given.
    at.and_then(|at| at.round(Unit::Microsecond).ok())
}

/// Removes the angle brackets from a message id; Mailgun only writes them in some places.
fn without_brackets(message_id: &str) -> &str {
    message_id.trim().trim_start_matches('<').trim_end_matches('>')
}

/// Returns the email's status after an event with this name.
fn status(name: &str) -> Option<Status> {
    match name {
        "accepted" => Some(Status::Accepted),
        "delivered" => Some(Status::Delivered),
        // Forms use the last two names.
        "failed" | "rejected" | "bounced" | "dropped" => Some(Status::Failed),
        _ => None,
    }
}

/// Reads an event in JSON. Source: README, facts 2.
fn read_event(signature_fields: &SignatureFields, raw: &RawValue) -> ParsedEvent {
    let event: wire::Event<'_> = fit(Some(raw)).unwrap_or_default();
    let name = text(event.event).unwrap_or_else(|| "event".to_owned());
    let temporary = name == "failed" && text(event.severity).as_deref() == Some("temporary");
    // The name of the webhook at Mailgun.
    let name = if temporary { "temporary_fail".to_owned() } else { name };
    let id = text(event.id).unwrap_or_else(|| signature_fields.token.clone());
    let parsed = ParsedEvent::other("", id, &name, time(event.timestamp), raw);

    let message = fit::<wire::Message<'_>>(event.message);
    let message_id = message.and_then(|message| text(message.headers.message_id));
    let outcome: wire::DeliveryStatus<'_> = fit(event.delivery_status).unwrap_or_default();
    let code = text_or_number(outcome.code);
    let detail = text(outcome.message).or_else(|| text(outcome.description));
    let detail = detail.or_else(|| text(event.reason));
    with_receipt(parsed, message_id.as_deref(), status(&name), (code, detail))
}

/// Makes `event` a receipt of an outgoing email.
fn with_receipt(
    event: ParsedEvent,
    message_id: Option<&str>,
    status: Option<Status>,
    (code, detail): (Option<String>, Option<String>),
) -> ParsedEvent {
    let Some(message_id) = message_id.map(without_brackets).filter(|id| !id.is_empty()) else {
        return event;
    };
    let event = event.ordered_by(message_id);
    let Some(status) = status else { return event };
    let failed = status == Status::Failed;
    let receipt = Receipt {
        provider_message_id: message_id.to_owned(),
        reference: None,
        status,
        code: code.filter(|_| failed),
        detail: detail.filter(|_| failed),
    };
    ParsedEvent { kind: EventKind::Receipt(receipt), ..event }
}

/// Reads an incoming email, or an event in the format before 2018. Source: README, facts 3 and 4.
fn read_form(
    signature_fields: &SignatureFields,
    fields: &[(String, String)],
    raw: &RawValue,
) -> ParsedEvent {
    let field = |name: &str| {
        let named = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let at = signature_fields.signed_at();
    let other = |name| ParsedEvent::other("", signature_fields.token.clone(), name, at, raw);
    if let Some(name) = form::field(fields, "event") {
        let reason = (field("code"), field("error").or_else(|| field("description")));
        let reason = (reason.0.map(ToOwned::to_owned), reason.1.map(ToOwned::to_owned));
        return with_receipt(other(name), field("message-id"), status(name), reason);
    }
    let Some(sender) = field("sender") else { return other("form") };
    let event = other("message").ordered_by(sender);
    let message_id = field("message-id").map(without_brackets);
    let recipient = field("recipient").unwrap_or_default();
    let id =
        message_id.map_or_else(|| signature_fields.token.clone(), |id| format!("{id}:{recipient}"));
    let content = match field("body-mime") {
        None => Content::Text { text: field("body-plain").unwrap_or_default().to_owned() },
        Some(_) => Content::Unsupported { raw: json!({ "subject": field("subject") }) },
    };
    let message = InboundMessage {
        channel: None,
        provider_message_id: message_id
            .map_or_else(|| signature_fields.token.clone(), ToOwned::to_owned),
        from: sender.to_owned(),
        name: field("from").and_then(display_name),
        content,
        reply_to: field("in-reply-to").map(|id| without_brackets(id).to_owned()),
    };
    ParsedEvent { id, kind: EventKind::Message(message), ..event }
}

/// Returns the name in `Bob <bob@example.com>`.
fn display_name(from: &str) -> Option<String> {
    let (name, _) = from.rsplit_once('<')?;
    let name = name.trim().trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use domain::IntegrationId;
    use domain::webhook::{WebhookReply, receive};
    use http::{HeaderMap, StatusCode};
    use serde_json::Value;

    use super::*;
    use crate::example::Seed;
    use crate::mailgun::example::{self, EXAMPLES, SIGNING_KEY};
    use crate::mailgun::{WEBHOOK, WEBHOOK_SIGNING_KEY};
    use crate::vectors;

    const URL: &str = "https://hub.example.com/webhooks/mailgun";
    const VECTORS: &str = include_str!("vectors.json");
    const FORM: &str = "application/x-www-form-urlencoded";

    fn integration() -> Integration {
        let id = IntegrationId::derived(&["mailgun"]);
        let integration = json!({ "id": id, "tenant": "acme", "provider": "mailgun",
            "settings": {}, "account": null, "hints": {}, "created_at": Timestamp::UNIX_EPOCH });
        serde_json::from_value(integration).unwrap()
    }

    fn received_with(
        keys: &[&str],
        request: &WebhookRequest,
        now: Timestamp,
    ) -> Result<ParsedEvent, Rejection> {
        let keys = keys.iter().map(|key| (*key).into()).collect();
        let credentials = Credentials::new([(WEBHOOK_SIGNING_KEY.to_owned(), keys)]);
        let source = WEBHOOK.source(&integration(), &credentials);
        match receive(&*source, request, now)? {
            ParsedWebhook::Events(mut events) => {
                assert_eq!(events.len(), 1);
                Ok(events.remove(0))
            }
            other => panic!("{other:?}"),
        }
    }

    fn received(request: &WebhookRequest) -> Result<ParsedEvent, Rejection> {
        received_with(&[SIGNING_KEY], request, at())
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_795_176_000).unwrap()
    }

    fn after(seconds: i64) -> Timestamp {
        at() + SignedDuration::from_secs(seconds)
    }

    fn posted(content_type: &str, body: impl Into<Bytes>) -> WebhookRequest {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        WebhookRequest { method: Method::POST, headers, body: body.into(), ..Default::default() }
    }

    fn block(token: &str) -> Value {
        example::signature_fields(SIGNING_KEY, token, at())
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn signed_json(event: &Value) -> WebhookRequest {
        let body = json!({ "signature": block("t0ken"), "event-data": event });
        posted("application/json", body.to_string())
    }

    fn signed_form(fields: &[(&str, &str)]) -> WebhookRequest {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut all: Vec<_> = fields.iter().map(own).collect();
        all.extend(example::signature_fields(SIGNING_KEY, "t0ken", at()));
        posted(FORM, form::encode(&all))
    }

    fn name_of(event: &ParsedEvent) -> &str {
        match &event.kind {
            EventKind::Other { name } => name,
            EventKind::Receipt(receipt) => receipt.status.as_str(),
            EventKind::Message(message) => message.content.kind(),
        }
    }

    #[test]
    fn every_vector_verifies_as_recorded() {
        vectors::check_all(VECTORS, 9, |vector| {
            let event = received_with(&[&vector.secret], &vector.request(), vector.now())?;
            Ok(ParsedWebhook::Events(vec![event]))
        });
    }

    #[test]
    fn a_forged_event_with_a_used_token_is_another_event_with_the_same_token() {
        let event = |id: &str| {
            let all = vectors::read(VECTORS, 9);
            let vector = all.iter().find(|vector| vector.name == id).unwrap();
            received_with(&[&vector.secret], &vector.request(), vector.now()).unwrap()
        };
        let (own, forged) = (event("json-delivered"), event("tampered-event-data-valid-signature"));
        assert!(own.single_use.is_some());
        assert_eq!(own.single_use, forged.single_use);
        assert_ne!(own.id, forged.id);
    }

    #[test]
    fn every_example_is_accepted_and_parsed_the_same_each_time() {
        let seed = Seed { at: at(), nonce: "abcdefgh01234567".to_owned() };
        let mail = "abcdefgh01234567@mail.example.org";
        let written = "abcdefgh01234567@example.com:help@mail.example.org";
        let expected = [
            ("delivered", "delivered", &*seed.nonce, mail),
            ("permanent_fail", "failed", &seed.nonce, mail),
            ("temporary_fail", "temporary_fail", &seed.nonce, mail),
            ("clicked", "clicked", &seed.nonce, mail),
            ("inbound", "text", written, example::PERSON),
            ("inbound_attachment", "text", written, example::PERSON),
        ];
        assert_eq!(EXAMPLES.events.len(), expected.len());
        for (example, expected) in EXAMPLES.events.iter().zip(expected) {
            let sign = |now| {
                let draft = (example.draft)(&seed);
                let request = (EXAMPLES.sign)(example, &draft, &example::credentials(), URL, now);
                received_with(&[SIGNING_KEY], &request, now).unwrap()
            };
            let (event, again) = (sign(at()), sign(after(60)));
            let key = event.ordering_key.as_deref().unwrap();
            assert_eq!((example.name, name_of(&event), &*event.id, key), expected);
            assert_eq!((event.account.as_str(), event.occurred_at), ("", Some(at())));
            assert_eq!(event.id, again.id);
            assert_ne!(event.single_use, again.single_use);
        }
    }

    #[test]
    fn an_incoming_email_is_a_message_from_its_sender() {
        let seed = Seed { at: at(), nonce: "abcdefgh01234567".to_owned() };
        for example in &EXAMPLES.events[4..] {
            let draft = (example.draft)(&seed);
            let request = (EXAMPLES.sign)(example, &draft, &example::credentials(), URL, at());
            let EventKind::Message(message) = received(&request).unwrap().kind else { panic!() };
            let expected = InboundMessage {
                channel: None,
                provider_message_id: "abcdefgh01234567@example.com".to_owned(),
                from: example::PERSON.to_owned(),
                name: Some("Zoë Müller".to_owned()),
                content: Content::Text { text: "Hello! Are you open today?".to_owned() },
                reply_to: Some("earlier@mail.example.org".to_owned()),
            };
            assert_eq!(message, expected);
        }
        let nameless = received(&signed_form(&[("sender", "a@b"), ("from", "a@b")])).unwrap();
        assert_eq!(nameless.id, "t0ken");
        let EventKind::Message(message) = nameless.kind else { panic!() };
        assert_eq!((message.name, message.provider_message_id.as_str()), (None, "t0ken"));
        let raw = signed_form(&[("sender", "a@b"), ("body-mime", "From: a"), ("subject", "s")]);
        let EventKind::Message(message) = received(&raw).unwrap().kind else { panic!() };
        assert_eq!(message.content, Content::Unsupported { raw: json!({ "subject": "s" }) });
    }

    #[test]
    fn a_failure_has_the_code_and_message_of_the_delivery_status() {
        let failed = |more: Value| {
            let mut event = json!({ "id": "e", "event": "failed", "severity": "permanent",
                "reason": "bounce", "message": { "headers": { "message-id": "m@h" } } });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            match received(&signed_json(&event)).unwrap().kind {
                EventKind::Receipt(receipt) => (receipt.code, receipt.detail),
                other => panic!("{other:?}"),
            }
        };
        let own = |text: &str| Some(text.to_owned());
        let status = json!({ "delivery-status": { "code": 550, "message": "no such user" } });
        assert_eq!(failed(status), (own("550"), own("no such user")));
        let status = json!({ "delivery-status": { "message": "", "description": "d" } });
        assert_eq!(failed(status), (None, own("d")));
        assert_eq!(failed(json!({ "delivery-status": 7 })), (None, own("bounce")));
    }

    #[test]
    fn an_event_in_a_form_is_identified_by_its_token() {
        let fields = [("event", "dropped"), ("Message-Id", "<m@h>"), ("code", "605")];
        let event = received(&signed_form(&fields)).unwrap();
        assert_eq!((event.id.as_str(), event.occurred_at), ("t0ken", Some(at())));
        assert_eq!(event.ordering_key.as_deref(), Some("m@h"));
        let EventKind::Receipt(receipt) = &event.kind else { panic!() };
        assert_eq!((receipt.status, receipt.code.as_deref()), (Status::Failed, Some("605")));
        let opened = received(&signed_form(&[("event", "opened")])).unwrap();
        assert_eq!((name_of(&opened), opened.ordering_key.as_deref()), ("opened", None));
        assert_eq!(name_of(&received(&signed_form(&[])).unwrap()), "form");
    }

    #[test]
    fn the_signature_is_not_stored_with_an_event() {
        let event = r#"{ "id":"e",  "n": 1.0 }"#;
        let body = format!(r#"{{"signature":{}, "event-data":{event}}}"#, block("t0ken"));
        let event_kept = received(&posted("application/json", body)).unwrap();
        assert_eq!(event_kept.raw.get(), event);
        assert_eq!(event_kept.single_use.as_deref(), Some("t0ken"));
    }

    #[test]
    fn unknown_events_are_recorded() {
        let odd = [
            (json!(7), "event", "t0ken"),
            (json!("text"), "event", "t0ken"),
            (json!([]), "event", "t0ken"),
            (json!({ "id": 7, "event": 7, "timestamp": "soon" }), "event", "t0ken"),
            (
                json!({ "id": "e", "event": "from_the_future", "timestamp": 1e300 }),
                "from_the_future",
                "e",
            ),
            (
                json!({ "id": "e", "event": "delivered", "message": { "headers": 7 } }),
                "delivered",
                "e",
            ),
            (
                json!({ "id": "e", "event": "delivered",
                    "message": { "headers": { "message-id": "<>" } } }),
                "delivered",
                "e",
            ),
        ];
        for (body, name, id) in odd {
            let event = received(&signed_json(&body)).unwrap();
            assert_eq!((name_of(&event), event.id.as_str()), (name, id), "{body}");
            assert_eq!(event.occurred_at, None, "{body}");
            assert_eq!(event.ordering_key, None, "{body}");
        }
        let fraction = signed_json(&json!({ "id": "e", "timestamp": 1_770_146_798.372_891 }));
        assert_eq!(
            received(&fraction).unwrap().occurred_at.unwrap().as_microsecond(),
            1_770_146_798_372_891
        );
    }

    #[test]
    fn a_verified_body_without_an_event_is_unreadable() {
        for body in [
            json!({ "signature": block("t") }),
            json!({ "signature": block("t"), "event-data": null }),
        ] {
            let result = received(&posted("application/json", body.to_string()));
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body} {result:?}");
        }
    }

    #[test]
    fn a_body_without_exactly_one_valid_signature_is_rejected() {
        let good = example::signature_fields(SIGNING_KEY, "t0ken", at());
        let [timestamp, token, signature] = good.clone();
        let refused = |request: &WebhookRequest| {
            let result = received(request);
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{:?}", request.body);
        };
        assert!(received(&posted(FORM, form::encode(&good))).is_ok());
        let with = |fields: &[&(String, String)]| {
            let fields: Vec<_> = fields.iter().map(|field| (*field).clone()).collect();
            posted(FORM, form::encode(&fields))
        };
        refused(&with(&[&timestamp, &token]));
        refused(&with(&[&timestamp, &signature]));
        refused(&with(&[&token, &signature]));
        refused(&with(&[&timestamp, &token, &token, &signature]));
        // Moving a digit from the timestamp to the token does not change the signed text.
        let (time, digit) = timestamp.1.split_at(9);
        let moved = |time: &str, token: &str| {
            let fields = [("timestamp", time), ("token", token), ("signature", &signature.1)];
            posted(FORM, form::encode(&fields.map(|(k, v)| (k.to_owned(), v.to_owned()))))
        };
        refused(&moved(time, &format!("{digit}t0ken")));
        refused(&moved(&format!("{}t", timestamp.1), "0ken"));
        refused(&moved(&timestamp.1, "t0keN"));
        for body in [&b""[..], b"{", b"[]", b"7", b"\xff", br#"{"signature":7,"event-data":{}}"#] {
            for content_type in ["application/json", FORM, "", "multipart/form-data; boundary=a"] {
                refused(&posted(content_type, body));
            }
        }
        let twice = format!(r#"{{"signature":{0},"signature":{0},"event-data":{{}}}}"#, block("t"));
        refused(&posted("application/json", twice));
        let get = WebhookRequest { method: Method::GET, ..posted(FORM, form::encode(&good)) };
        refused(&get);
    }

    #[test]
    fn a_changed_byte_of_the_signature_is_rejected_and_one_of_the_event_is_not() {
        let good = signed_json(&json!({ "id": "e" }));
        let text = String::from_utf8(good.body.to_vec()).unwrap();
        let start = text.find("\"signature\":{").unwrap() + 13;
        for place in start..text.rfind('}').unwrap() {
            let mut body = good.body.to_vec();
            body[place] ^= 1;
            assert!(received(&posted("application/json", body)).is_err(), "{place}");
        }
        assert!(received(&posted("application/json", text.replace("\"e\"", "\"f\""))).is_ok());
    }

    #[test]
    fn a_request_is_valid_for_9_hours_and_5_minutes_ahead() {
        let request = signed_json(&json!({}));
        let verify = |now| received_with(&[SIGNING_KEY], &request, now).is_ok();
        assert!(verify(after(9 * 3600)));
        assert!(!verify(after(9 * 3600 + 1)));
        assert!(verify(after(-300)));
        assert!(!verify(after(-301)));
    }

    #[test]
    fn any_key_or_the_parents_key_verifies_and_an_empty_key_never_does() {
        let request = signed_json(&json!({}));
        assert!(received_with(&["new", SIGNING_KEY], &request, at()).is_ok());
        for keys in [&[][..], &[""], &["new"]] {
            assert!(received_with(keys, &request, at()).is_err(), "{keys:?}");
        }
        let empty: BTreeMap<_, _> = example::signature_fields("", "t0ken", at()).into();
        let unsigned = json!({ "signature": empty, "event-data": {} });
        let unsigned = posted("application/json", unsigned.to_string());
        assert!(received_with(&[""], &unsigned, at()).is_err());

        let [.., (_, parent)] = example::signature_fields("parent-key", "t0ken", at());
        let mut both = block("t0ken");
        both["parent-signature"] = parent.into();
        let body = json!({ "signature": both, "event-data": {} }).to_string();
        let request = posted("application/json", body);
        assert!(received_with(&["parent-key"], &request, at()).is_ok());
        assert!(received_with(&[SIGNING_KEY], &request, at()).is_ok());
        assert!(received_with(&["other"], &request, at()).is_err());
    }

    #[test]
    fn a_timestamp_may_be_a_number_or_text() {
        let mut block = block("t0ken");
        block["timestamp"] = at().as_second().into();
        let body = json!({ "signature": block, "event-data": {} }).to_string();
        assert!(received(&posted("application/json; charset=utf-8", body)).is_ok());
    }

    #[test]
    fn a_form_is_stored_whole() {
        let request = signed_form(&[("sender", "a@b")]);
        let kept: String = serde_json::from_str(received(&request).unwrap().raw.get()).unwrap();
        assert_eq!(kept.as_bytes(), request.body);
        let mut bytes = request.body.to_vec();
        bytes.extend(b"&x=\xff");
        let raw = received(&posted(FORM, bytes.clone())).unwrap().raw;
        let kept: BTreeMap<String, String> = serde_json::from_str(raw.get()).unwrap();
        assert_eq!(STANDARD.decode(&kept["base64"]).unwrap(), bytes);
    }

    #[test]
    fn an_accepted_request_is_answered_with_200() {
        assert_eq!(WEBHOOK.accepted(), WebhookReply::empty(StatusCode::OK));
    }
}
