//! Receives SendGrid's webhooks.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::{EventKind, ParsedEvent, Receipt};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider, Status};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{fit, text};
use crate::signature;
use crate::time::seconds;

/// Maximum age of a request: the period of its redeliveries, plus an hour. Source: README, quirks.
const MAXIMUM_AGE: SignedDuration = SignedDuration::from_hours(25);

/// SendGrid's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Sendgrid
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { public_keys: credentials.all(super::WEBHOOK_PUBLIC_KEY).to_vec() })
    }
}

struct Source {
    public_keys: Vec<SecretString>,
}

impl WebhookSource for Source {
    /// Source: README, facts 1.
    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        let signature = request.header("x-twilio-email-event-webhook-signature")?;
        let signature = STANDARD.decode(signature);
        let signature =
            signature.map_err(|_| Rejection::Unauthenticated("signature is not base64"))?;
        let signed_at = request.header("x-twilio-email-event-webhook-timestamp")?;
        // The signed text has no separator between the timestamp and the body.
        let at = signature::digits(signed_at).and_then(|s| Timestamp::from_second(s).ok());
        signature::check_timestamp_age(MAXIMUM_AGE, at, now)?;

        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(signed_at.as_bytes());
        digest.update(&request.body);
        let digest = digest.finish();
        let keys = self.public_keys.iter().filter_map(|key| parsed(key.expose_secret()));
        for key in keys {
            if key.verify_digest_sig(&digest, &signature).is_ok() {
                return Ok(());
            }
        }
        Err(Rejection::Unauthenticated("signature does not match"))
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let events: Vec<&RawValue> = serde_json::from_slice(&request.body)?;
        Ok(ParsedWebhook::Events(events.into_iter().map(read).collect()))
    }
}

/// Whether a credential is a key that can verify webhooks.
pub(super) fn is_key(text: &str) -> bool {
    parsed(text).is_some()
}

fn parsed(key: &str) -> Option<ParsedPublicKey> {
    let der = STANDARD.decode(key.trim()).ok()?;
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).ok()
}

/// Reads one event. An unknown event is kept as [`EventKind::Other`].
fn read(raw: &RawValue) -> ParsedEvent {
    let event: wire::Event<'_> = fit(Some(raw)).unwrap_or_default();
    let name = text(event.event).unwrap_or_else(|| "event".to_owned());
    let id = text(event.sg_event_id);
    let id = id.unwrap_or_else(|| signature::fingerprint(raw.get().as_bytes()));
    let at = seconds(event.timestamp);
    let parsed = ParsedEvent::other("", id, &name, at, raw);

    let Some(message) = text(event.sg_message_id) else { return parsed };
    let message = send_message_id(&message);
    let parsed = parsed.ordered_by(message);
    let status = match &*name {
        "processed" => Status::Accepted,
        "delivered" => Status::Delivered,
        "bounce" | "dropped" => Status::Failed,
        _ => return parsed,
    };
    let failed = status == Status::Failed;
    let code = text(event.status).or_else(|| text(event.kind)).filter(|_| failed);
    let receipt = Receipt {
        provider_message_id: message.to_owned(),
        reference: None,
        status,
        code,
        detail: text(event.reason).filter(|_| failed),
    };
    ParsedEvent { kind: EventKind::Receipt(receipt), ..parsed }
}

/// Returns the message id from the response to the send request. Source: README, facts 4.
fn send_message_id(message: &str) -> &str {
    // Older ids contain periods of their own.
    let end = message.find(".filter").or_else(|| message.find(".recv"));
    let end = end.or_else(|| message.find('.')).filter(|end| *end > 0);
    end.and_then(|end| message.get(..end)).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::IntegrationId;
    use domain::webhook::receive;
    use serde_json::{Value, json};

    use super::*;
    use crate::example::Seed;
    use crate::sendgrid::example::{self, EXAMPLES};
    use crate::sendgrid::{SPEC, WEBHOOK, WEBHOOK_PUBLIC_KEY};
    use crate::vectors;

    const URL: &str = "https://hub.example.com/webhooks/sendgrid";

    fn integration() -> Integration {
        let id = IntegrationId::derived(&["sendgrid"]);
        let integration = json!({ "id": id, "tenant": "acme", "provider": "sendgrid",
            "settings": {}, "account": null, "hints": {}, "created_at": Timestamp::UNIX_EPOCH });
        serde_json::from_value(integration).unwrap()
    }

    fn with_keys(keys: &[&str]) -> Box<dyn WebhookSource> {
        let keys = keys.iter().map(|key| (*key).into()).collect();
        let credentials = Credentials::new([(WEBHOOK_PUBLIC_KEY.to_owned(), keys)]);
        WEBHOOK.source(&integration(), &credentials)
    }

    fn at() -> Timestamp {
        Timestamp::from_second(1_795_176_000).unwrap()
    }

    fn signed(body: impl Into<Bytes>) -> WebhookRequest {
        let body = body.into();
        let headers = example::headers(&body, at());
        WebhookRequest { method: Method::POST, headers, body, ..WebhookRequest::default() }
    }

    fn received(request: &WebhookRequest, now: Timestamp) -> Result<Vec<ParsedEvent>, Rejection> {
        let source = WEBHOOK.source(&integration(), &example::credentials());
        match receive(&*source, request, now)? {
            ParsedWebhook::Events(events) => Ok(events),
            other => panic!("{other:?}"),
        }
    }

    fn parsed_body(body: &Value) -> Vec<ParsedEvent> {
        received(&signed(body.to_string()), at()).unwrap()
    }

    fn after(seconds: i64) -> Timestamp {
        at() + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn every_vector_verifies_as_recorded() {
        let all = vectors::check_all(include_str!("vectors.json"), 10, |vector| {
            receive(&*with_keys(&[&vector.secret]), &vector.request(), vector.now())
        });
        for (vector, result) in all {
            if let Ok(ParsedWebhook::Events(events)) = result {
                assert!(events.iter().all(|event| event.id.len() > 20), "{}", vector.name);
            }
        }
    }

    #[test]
    fn every_example_is_accepted_and_parsed_the_same_each_time() {
        let seed = Seed { at: at(), nonce: "abcdefgh01234567".to_owned() };
        let summary = |event: &ParsedEvent| {
            let kind = match &event.kind {
                EventKind::Other { name } => name.clone(),
                EventKind::Receipt(receipt) => {
                    assert_eq!(receipt.provider_message_id, seed.nonce);
                    receipt.status.as_str().to_owned()
                }
                EventKind::Message(_) => panic!("{event:?}"),
            };
            assert_eq!((event.account.as_str(), event.occurred_at), ("", Some(at())));
            (kind, event.ordering_key.clone())
        };
        let mail = || Some(seed.nonce.clone());
        let expected = [
            ("delivered", vec![("accepted", mail()), ("delivered", mail())]),
            ("bounce", vec![("failed", mail())]),
            ("dropped", vec![("failed", mail())]),
            ("engagement", vec![("open", mail()), ("click", mail()), ("spamreport", mail())]),
            ("unsubscribe", vec![("group_unsubscribe", mail())]),
            ("account", vec![("account_status_change", None)]),
        ];
        assert_eq!(EXAMPLES.events.len(), expected.len());
        for (example, (name, expected)) in EXAMPLES.events.iter().zip(expected) {
            let draft = (example.draft)(&seed);
            let request = (EXAMPLES.sign)(example, &draft, &example::credentials(), URL, at());
            let events = received(&request, at()).unwrap();
            let read: Vec<_> = events.iter().map(summary).collect();
            let read: Vec<_> = read.iter().map(|(kind, key)| (&**kind, key.clone())).collect();
            assert_eq!((example.name, read), (name, expected));
            let again = (EXAMPLES.sign)(example, &draft, &example::credentials(), URL, after(60));
            let again = received(&again, after(60)).unwrap();
            let ids = |events: &[ParsedEvent]| -> Vec<String> {
                events.iter().map(|event| event.id.clone()).collect()
            };
            assert_eq!(ids(&events), ids(&again));
        }
    }

    #[test]
    fn a_batch_is_split_and_each_event_keeps_its_own_bytes() {
        let (one, two) = (r#"{ "event" : "open", "n": 1.0 }"#, r#"{"event":"click"}"#);
        let events = received(&signed(format!("[{one},\r\n{two}]\r\n")), at()).unwrap();
        let raws: Vec<_> = events.iter().map(|event| event.raw.get()).collect();
        assert_eq!(raws, [one, two]);
        assert!(received(&signed("[]\r\n"), at()).unwrap().is_empty());
    }

    #[test]
    fn a_failure_has_the_smtp_status_or_the_bounce_type_and_the_reason() {
        let bounce = |more: &Value| {
            let mut event = json!({ "event": "bounce", "sg_event_id": "e",
                "sg_message_id": "m.filter1", "reason": "550 no such user" });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let EventKind::Receipt(receipt) = parsed_body(&json!([event])).remove(0).kind else {
                panic!()
            };
            assert_eq!(receipt.detail.as_deref(), Some("550 no such user"));
            receipt.code
        };
        let both = json!({ "status": "5.1.1", "type": "blocked" });
        assert_eq!(bounce(&both).as_deref(), Some("5.1.1"));
        assert_eq!(bounce(&json!({ "type": "blocked" })).as_deref(), Some("blocked"));
        assert_eq!(bounce(&json!({ "status": 5 })), None);
    }

    #[test]
    fn the_message_id_is_the_one_from_the_send_response() {
        assert_eq!(send_message_id("LRzXl_NHSt.filterdrecv-p3mdw1-18.0"), "LRzXl_NHSt");
        assert_eq!(
            send_message_id("14c5d75ce93.dfd.64b469.filter0001.16648.55.0"),
            "14c5d75ce93.dfd.64b469"
        );
        assert_eq!(send_message_id("qNwBLg.recvd-5cb6d9c5d8-z.0"), "qNwBLg");
        assert_eq!(send_message_id("bare"), "bare");
        assert_eq!(send_message_id(".odd"), ".odd");
        assert_eq!(send_message_id("é.x"), "é");
    }

    #[test]
    fn unknown_events_are_recorded_and_do_not_affect_the_others() {
        let odd = json!([
            7, null, [], {}, "text", { "event": 7, "timestamp": "soon", "sg_event_id": [] },
            { "event": "bounce", "sg_event_id": "late" },
            { "event": "delivered", "timestamp": 1e300, "sg_message_id": 7 },
            { "event": "from_the_future", "timestamp": 99_999_999_999_999_i64, "sg_event_id": "f" },
            { "event": "open", "timestamp": 1_795_176_000, "sg_event_id": "good" },
        ]);
        let events = parsed_body(&odd);
        assert_eq!(events.len(), 10);
        let names = events.iter().map(|event| match &event.kind {
            EventKind::Other { name } => name.as_str(),
            other => panic!("{other:?}"),
        });
        let names: Vec<_> = names.collect();
        let nameless = ["event"; 6];
        assert_eq!(names[..6], nameless);
        assert_eq!(names[6..], ["bounce", "delivered", "from_the_future", "open"]);
        assert_eq!(events[6].id, "late");
        assert!(events[..9].iter().all(|event| event.occurred_at.is_none()));
        let again = parsed_body(&odd);
        assert!(events.iter().zip(again).all(|(event, again)| event.id == again.id));
    }

    #[test]
    fn a_verified_body_that_cannot_be_parsed_is_unreadable_not_unauthenticated() {
        for body in [&b""[..], b"{", b"{}", b"[1", b"7", b"\xff\xfe", b"[\"\xff\"]"] {
            let result = received(&signed(body), at());
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?}");
        }
    }

    #[test]
    fn one_changed_byte_anywhere_is_rejected() {
        let good = signed("[{}]");
        assert!(received(&good, at()).is_ok());
        for place in 0..good.body.len() {
            let mut body = good.body.to_vec();
            body[place] ^= 1;
            let changed = WebhookRequest { body: body.into(), ..good.clone() };
            assert!(matches!(received(&changed, at()), Err(Rejection::Unauthenticated(_))));
        }
        let with = |name: &'static str, value: &str| {
            let mut request = good.clone();
            request.headers.insert(name, value.parse().unwrap());
            received(&request, at())
        };
        let time = "x-twilio-email-event-webhook-timestamp";
        for other in ["1795176001", "+1795176000", "01795176000", "", "-1", "1795176000.0"] {
            assert!(matches!(with(time, other), Err(Rejection::Unauthenticated(_))), "{other}");
        }
        for other in ["", "AAAA", "!", "MEUCIQ=="] {
            let result = with("x-twilio-email-event-webhook-signature", other);
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{other}");
        }
        let mut twice = good.clone();
        twice.headers.append(time, "1795176000".parse().unwrap());
        assert!(received(&twice, at()).is_err());
        let get = WebhookRequest { method: Method::GET, ..good };
        assert!(received(&get, at()).is_err());
    }

    #[test]
    fn a_request_is_valid_for_25_hours_and_5_minutes_ahead() {
        let request = signed("[]");
        assert!(received(&request, after(25 * 3600)).is_ok());
        assert!(received(&request, after(25 * 3600 + 1)).is_err());
        assert!(received(&request, after(-300)).is_ok());
        assert!(received(&request, after(-301)).is_err());
    }

    #[test]
    fn any_key_verifies_and_no_key_never_does() {
        let request = signed("[]");
        let other = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA==";
        let verify = |keys: &[&str]| with_keys(keys).verify(&request, at());
        assert!(verify(&[other, "broken", example::PUBLIC_KEY]).is_ok());
        for keys in [&[][..], &[""], &["AAAA"], &[other]] {
            assert!(matches!(verify(keys), Err(Rejection::Unauthenticated(_))), "{keys:?}");
        }
    }

    #[test]
    fn an_unusable_key_is_rejected_when_it_is_set() {
        assert!((SPEC.check)(WEBHOOK_PUBLIC_KEY, example::PUBLIC_KEY).is_ok());
        assert!((SPEC.check)("SENDGRID_API_KEY", "anything").is_ok());
        for broken in ["", "key", "AAAA", &example::PUBLIC_KEY[..100]] {
            let error = (SPEC.check)(WEBHOOK_PUBLIC_KEY, broken).unwrap_err();
            assert_eq!(error.field, "credentials.SENDGRID_WEBHOOK_PUBLIC_KEY");
        }
    }
}
