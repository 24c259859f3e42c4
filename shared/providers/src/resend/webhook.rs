//! Receives Resend's webhooks.

use domain::content::Content;
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use http::Method;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{fit, text};
use crate::standard_webhooks::{self, NAMES, Names, SVIX_NAMES};
use crate::time::rfc3339;

/// Resend's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Resend
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { secrets: credentials.all(super::WEBHOOK_SECRET).to_vec() })
    }
}

struct Source {
    secrets: Vec<SecretString>,
}

impl WebhookSource for Source {
    /// Source: README, facts 1 and 2.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        let WebhookRequest { headers, body, .. } = request;
        standard_webhooks::verify_named(names(request), &self.secrets, headers, body, now)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        // The header is present, because it is signed.
        let id = request.header(names(request).id)?.to_owned();
        let raw: &RawValue = serde_json::from_slice(&request.body)?;
        let event: wire::Event<'_> = serde_json::from_str(raw.get())?;
        Ok(ParsedWebhook::Events(vec![read(id, &event, raw)]))
    }
}

/// Returns the names of the signature headers in the request. Source: README, quirks.
fn names(request: &WebhookRequest) -> &'static Names {
    if request.headers.contains_key(SVIX_NAMES.id) { &SVIX_NAMES } else { &NAMES }
}

/// Source: README, facts 4.
fn read(id: String, event: &wire::Event<'_>, raw: &RawValue) -> ParsedEvent {
    let name = text(event.name).unwrap_or_else(|| "event".to_owned());
    let at = rfc3339(event.created_at);
    let parsed = ParsedEvent::other("", id, &name, at, raw);
    let data: wire::Data<'_> = fit(event.data).unwrap_or_default();
    let Some(mail) = text(data.email_id) else {
        let key = text(data.id);
        return ParsedEvent { ordering_key: key, ..parsed };
    };
    if name == "email.received" {
        return received(parsed, mail, &data, event.data);
    }
    let parsed = parsed.ordered_by(&*mail);
    let (status, failure) = match &*name {
        "email.sent" => (Status::Accepted, None),
        "email.delivered" => (Status::Delivered, None),
        "email.bounced" => (Status::Failed, data.bounce),
        "email.failed" => (Status::Failed, data.failed),
        "email.suppressed" => (Status::Failed, data.suppressed),
        _ => return parsed,
    };
    let failure: wire::Failure<'_> = fit(failure).unwrap_or_default();
    let receipt = Receipt {
        provider_message_id: mail,
        reference: None,
        status,
        code: text(failure.kind).or_else(|| text(failure.reason)),
        detail: text(failure.message),
    };
    ParsedEvent { kind: EventKind::Receipt(receipt), ..parsed }
}

/// Reads an incoming email. The event does not include its text.
fn received(
    event: ParsedEvent,
    provider_message_id: String,
    data: &wire::Data<'_>,
    raw: Option<&RawValue>,
) -> ParsedEvent {
    let Some(from) = text(data.from) else { return event.ordered_by(provider_message_id) };
    let (name, from) = match from.trim_end_matches('>').rsplit_once('<') {
        Some((name, address)) => (name.trim().trim_matches('"').to_owned(), address.to_owned()),
        None => (String::new(), from),
    };
    let event = event.ordered_by(&*from);
    let message = InboundMessage {
        channel: None,
        provider_message_id,
        from,
        name: Some(name).filter(|name| !name.is_empty()),
        content: Content::Unsupported { raw: fit(raw).unwrap_or_default() },
        reply_to: None,
    };
    ParsedEvent { kind: EventKind::Message(message), ..event }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::IntegrationId;
    use domain::webhook::receive;
    use http::HeaderMap;
    use jiff::SignedDuration;
    use serde_json::{Value, json};

    use super::*;
    use crate::example::Seed;
    use crate::resend::example::{self, EXAMPLES};
    use crate::resend::{SPEC, WEBHOOK, WEBHOOK_SECRET};
    use crate::vectors;

    const URL: &str = "https://hub.example.com/webhooks/resend";

    fn integration() -> Integration {
        let id = IntegrationId::derived(&["resend"]);
        let integration = json!({ "id": id, "tenant": "acme", "provider": "resend",
            "settings": {}, "account": null, "hints": {}, "created_at": Timestamp::UNIX_EPOCH });
        serde_json::from_value(integration).unwrap()
    }

    fn source(secrets: &[&str]) -> Box<dyn WebhookSource> {
        let secrets = secrets.iter().map(|secret| (*secret).into()).collect();
        let credentials = Credentials::new([(WEBHOOK_SECRET.to_owned(), secrets)]);
        WEBHOOK.source(&integration(), &credentials)
    }

    fn received_with(
        secrets: &[&str],
        request: &WebhookRequest,
        now: Timestamp,
    ) -> Result<ParsedEvent, Rejection> {
        match receive(&*source(secrets), request, now)? {
            ParsedWebhook::Events(mut events) => {
                assert_eq!(events.len(), 1);
                Ok(events.remove(0))
            }
            other => panic!("{other:?}"),
        }
    }

    fn received(request: &WebhookRequest) -> Result<ParsedEvent, Rejection> {
        received_with(&[example::WEBHOOK_SECRET], request, at())
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_795_176_000).unwrap()
    }

    fn after(seconds: i64) -> Timestamp {
        at() + SignedDuration::from_secs(seconds)
    }

    fn posted(headers: HeaderMap, body: impl Into<Bytes>) -> WebhookRequest {
        WebhookRequest { method: Method::POST, headers, body: body.into(), ..Default::default() }
    }

    fn signed(body: impl Into<Bytes>) -> WebhookRequest {
        let body = body.into();
        let headers = example::headers(&[example::WEBHOOK_SECRET.into()], "msg_1", &body, at());
        posted(headers, body)
    }

    fn renamed(request: &WebhookRequest) -> WebhookRequest {
        let names = [
            (SVIX_NAMES.id, NAMES.id),
            (SVIX_NAMES.timestamp, NAMES.timestamp),
            (SVIX_NAMES.signature, NAMES.signature),
        ];
        let pairs = names.map(|(svix, own)| (own.parse().unwrap(), request.headers[svix].clone()));
        posted(HeaderMap::from_iter(pairs), request.body.clone())
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
        for vector in vectors::read(include_str!("vectors.json"), 21) {
            let (request, now) = (vector.request(), vector.now());
            let verify = |request: &WebhookRequest| source(&[&vector.secret]).verify(request, now);
            vector.check_verified(&verify(&request));
            assert_eq!(received_with(&[&vector.secret], &request, now).is_ok(), vector.accepted);
            let svix = [SVIX_NAMES.id, SVIX_NAMES.timestamp, SVIX_NAMES.signature];
            if svix.iter().all(|name| request.headers.contains_key(*name)) {
                // By the standard's names of the headers, too.
                vector.check_verified(&verify(&renamed(&request)));
            }
        }
    }

    #[test]
    fn every_example_is_accepted_and_parsed_the_same_each_time() {
        let seed = Seed { at: at(), nonce: "abcdefgh01234567".to_owned() };
        let expected = [
            ("sent", "accepted", &*seed.nonce),
            ("delivered", "delivered", &seed.nonce),
            ("bounced", "failed", &seed.nonce),
            ("clicked", "email.clicked", &seed.nonce),
            ("received", "unsupported", example::PERSON),
            ("contact", "contact.updated", &seed.nonce),
        ];
        assert_eq!(EXAMPLES.events.len(), expected.len());
        for (example, expected) in EXAMPLES.events.iter().zip(expected) {
            let sign = |now| {
                let draft = (example.draft)(&seed);
                let request = (EXAMPLES.sign)(example, &draft, &example::credentials(), URL, now);
                received_with(&[example::WEBHOOK_SECRET], &request, now).unwrap()
            };
            let (event, again) = (sign(at()), sign(after(3600)));
            let key = event.ordering_key.as_deref().unwrap();
            assert_eq!((example.name, name_of(&event), key), expected);
            assert_eq!((event.account.as_str(), event.occurred_at), ("", Some(at())));
            assert_eq!(event.id, again.id);
            assert!(event.id.starts_with("msg_"));
        }
    }

    #[test]
    fn an_event_is_kept_byte_for_byte_under_its_signed_id() {
        let body = r#" { "type":"from.the.future",  "n": 1.0 } "#;
        let event = received(&signed(body)).unwrap();
        assert_eq!((event.raw.get(), event.id.as_str()), (body.trim(), "msg_1"));
        assert_eq!(received(&renamed(&signed(body))).unwrap().id, "msg_1");
    }

    #[test]
    fn a_failure_has_resends_code_and_message() {
        let failed = |name: &str, more: Value| {
            let mut data = json!({ "email_id": "m" });
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let body = json!({ "type": name, "data": data }).to_string();
            match received(&signed(body)).unwrap().kind {
                EventKind::Receipt(Receipt { status: Status::Failed, code, detail, .. }) => {
                    (code, detail)
                }
                other => panic!("{other:?}"),
            }
        };
        let own = |text: &str| Some(text.to_owned());
        let bounce = json!({ "bounce": { "type": "Permanent", "message": "gone" } });
        assert_eq!(failed("email.bounced", bounce), (own("Permanent"), own("gone")));
        let quota = json!({ "failed": { "reason": "reached_daily_quota" } });
        assert_eq!(failed("email.failed", quota), (own("reached_daily_quota"), None));
        let list = json!({ "suppressed": { "type": "Suppressed", "reason": "previous_bounce" } });
        assert_eq!(failed("email.suppressed", list), (own("Suppressed"), None));
        assert_eq!(failed("email.bounced", json!({ "bounce": 7 })), (None, None));
    }

    #[test]
    fn an_incoming_email_is_a_message_without_its_text() {
        let body = |from: Value| {
            let data = json!({ "email_id": "m", "from": from });
            json!({ "type": "email.received", "data": data })
        };
        let message =
            |from: &str| match received(&signed(body(from.into()).to_string())).unwrap().kind {
                EventKind::Message(message) => message,
                other => panic!("{other:?}"),
            };
        let named = message("\"Zoë Müller\" <zoe@example.com>");
        assert_eq!(
            (named.from.as_str(), named.name.as_deref()),
            ("zoe@example.com", Some("Zoë Müller"))
        );
        assert_eq!(named.provider_message_id, "m");
        let Content::Unsupported { raw } = named.content else { panic!() };
        assert_eq!(raw["email_id"], "m");
        assert_eq!((message("a@b").from, message("a@b").name), ("a@b".to_owned(), None));
        let nobody = received(&signed(body(Value::Null).to_string())).unwrap();
        assert_eq!(name_of(&nobody), "email.received");
    }

    #[test]
    fn unknown_events_are_recorded() {
        for (body, name) in [
            (json!({}), "event"),
            (json!({ "type": 7, "created_at": "soon", "data": [] }), "event"),
            (
                json!({ "type": "email.sent", "created_at": 7, "data": { "email_id": 7 } }),
                "email.sent",
            ),
            (json!({ "type": "from.the.future", "data": { "id": "x" } }), "from.the.future"),
        ] {
            let event = received(&signed(body.to_string())).unwrap();
            assert_eq!((name_of(&event), event.occurred_at), (name, None), "{body}");
        }
        for body in [&b""[..], b"{", b"7", b"\xff", b"\"text\""] {
            let result = received(&signed(body));
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?} {result:?}");
        }
    }

    #[test]
    fn one_changed_byte_of_the_body_id_timestamp_or_signature_is_rejected() {
        let good = signed("{}");
        assert!(received(&good).is_ok());
        let refused = |request: &WebhookRequest| {
            assert!(matches!(received(request), Err(Rejection::Unauthenticated(_))));
        };
        refused(&WebhookRequest { body: "{ }".into(), ..good.clone() });
        for (name, values) in [
            (SVIX_NAMES.id, &["msg_2", ""][..]),
            (SVIX_NAMES.timestamp, &["1795176001", "", "now"]),
            (SVIX_NAMES.signature, &["v1,AAAA", "v1,", "", "v2,AAAA"]),
        ] {
            let mut without = good.clone();
            without.headers.remove(name);
            refused(&without);
            for value in values {
                let mut changed = good.clone();
                changed.headers.insert(name, value.parse().unwrap());
                refused(&changed);
            }
            let mut twice = good.clone();
            twice.headers.append(name, good.headers[name].clone());
            refused(&twice);
        }
        // The names of one set, or of the other.
        let mut mixed = renamed(&good);
        mixed.headers.insert(SVIX_NAMES.id, "msg_2".parse().unwrap());
        refused(&mixed);
        refused(&WebhookRequest { method: Method::GET, ..good });
    }

    #[test]
    fn any_secret_verifies_for_5_minutes_and_an_empty_secret_never_does() {
        let (request, own) = (signed("{}"), example::WEBHOOK_SECRET);
        let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(received_with(&[other, "broken", own], &request, at()).is_ok());
        for secrets in [&[][..], &[""], &["whsec_"], &[other]] {
            assert!(received_with(secrets, &request, at()).is_err(), "{secrets:?}");
        }
        for (seconds, fresh) in [(300, true), (301, false), (-300, true), (-301, false)] {
            assert_eq!(received_with(&[own], &request, after(seconds)).is_ok(), fresh, "{seconds}");
        }
    }

    #[test]
    fn an_unusable_secret_is_rejected_when_it_is_set() {
        assert!((SPEC.check)(WEBHOOK_SECRET, example::WEBHOOK_SECRET).is_ok());
        assert!((SPEC.check)("RESEND_API_KEY", "anything").is_ok());
        let error = (SPEC.check)(WEBHOOK_SECRET, "re_key").unwrap_err();
        assert_eq!(error.field, "credentials.RESEND_WEBHOOK_SECRET");
    }
}
