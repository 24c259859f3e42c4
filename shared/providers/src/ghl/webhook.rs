//! Receives the webhooks of apps and of conversation providers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::{EventKind, InboundMessage, ParsedEvent};
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::Method;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::settings::{Keys, Settings};
use super::wire;
use crate::raw::unsupported;
use crate::{signature, spec};

/// Header with the current signature.
pub(super) const SIGNATURE: &str = "x-ghl-signature";
/// Header with the legacy signature.
const LEGACY_SIGNATURE: &str = "x-wh-signature";

/// Webhook of apps and of conversation providers.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Ghl
    }

    fn source(&self, integration: &Integration, _: &Credentials) -> Box<dyn WebhookSource> {
        let settings = spec::settings_of::<Settings>(integration).unwrap_or_default();
        Box::new(Source { keys: Keys::of(&settings) })
    }
}

struct Source {
    keys: Keys,
}

impl WebhookSource for Source {
    /// Source: README, facts 1 and 2. The body's `timestamp` is not checked: see the README's
    /// section on quirks.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        // If the current header is present, the legacy one is ignored.
        let is_legacy = !request.headers.contains_key(SIGNATURE);
        let given = request.header(if is_legacy { LEGACY_SIGNATURE } else { SIGNATURE })?;
        let given = STANDARD.decode(given);
        let given = given.map_err(|_| Rejection::Unauthenticated("signature is not base64"))?;
        let is_verified = if is_legacy {
            self.keys.verifies_rsa(&request.body, &given)
        } else {
            self.keys.verifies_ed25519(&request.body, &given)
        };
        if is_verified {
            Ok(())
        } else {
            Err(Rejection::Unauthenticated("signature does not match"))
        }
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let raw: &RawValue = serde_json::from_slice(&request.body)?;
        // Serde would read a list as the fields in order.
        if !raw.get().starts_with('{') {
            return Err(Rejection::Unreadable("the body is not a JSON object".to_owned()));
        }
        let body: wire::Event<'_> = serde_json::from_str(raw.get())?;
        let id = body.id().unwrap_or_else(|| signature::fingerprint(&request.body));
        let kind = read_message(&body, &id, raw)
            .map_or_else(|| EventKind::Other { name: body.name() }, EventKind::Message);
        Ok(ParsedWebhook::Events(vec![ParsedEvent {
            account: body.account(),
            occurred_at: body.occurred_at(),
            kind,
            ordering_key: body.ordering_key(),
            single_use: None,
            raw: raw.to_owned(),
            id,
        }]))
    }
}

/// Returns the message, if a person wrote one. Replies go to the contact: GoHighLevel sends to
/// contacts, not to numbers.
fn read_message(body: &wire::Event<'_>, id: &str, raw: &RawValue) -> Option<InboundMessage> {
    let from = body.sender_contact()?;
    Some(InboundMessage {
        channel: None,
        provider_message_id: body.message_id().unwrap_or_else(|| id.to_owned()),
        from,
        name: None,
        content: body.content().unwrap_or_else(|| unsupported(raw)),
        reply_to: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Seed;
    use crate::ghl::{SPEC, WEBHOOK, example};
    use crate::vectors;
    use bytes::Bytes;
    use domain::content::Content;
    use domain::webhook::receive;
    use domain::{IntegrationId, TenantId};
    use http::{HeaderMap, HeaderValue};
    use serde_json::{Map, Value, json};
    use std::collections::BTreeMap;

    const URL: &str = "https://hub.example/webhooks/ghl";

    fn integration(settings: &Map<String, Value>) -> Integration {
        Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&["ghl"]),
            tenant: TenantId::platform(),
            provider: Provider::Ghl,
            settings: (SPEC.settings)(settings).unwrap(),
            account: None,
            hints: BTreeMap::default(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
        }
    }

    fn receive_with(
        settings: &Map<String, Value>,
        request: &WebhookRequest,
    ) -> Result<ParsedWebhook, Rejection> {
        let source = WEBHOOK.source(&integration(settings), &Credentials::default());
        receive(&*source, request, Timestamp::UNIX_EPOCH)
    }

    fn receive_request(request: &WebhookRequest) -> Result<ParsedWebhook, Rejection> {
        receive_with(&(example::EXAMPLES.settings)(), request)
    }

    fn one(delivery: ParsedWebhook) -> ParsedEvent {
        match delivery {
            ParsedWebhook::Events(mut events) if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn signed(body: &[u8]) -> WebhookRequest {
        let signature = HeaderValue::from_str(&example::signature(body)).unwrap();
        WebhookRequest {
            method: Method::POST,
            headers: HeaderMap::from_iter([(http::HeaderName::from_static(SIGNATURE), signature)]),
            body: Bytes::copy_from_slice(body),
            ..WebhookRequest::default()
        }
    }

    fn parse(body: &Value) -> ParsedEvent {
        one(receive_request(&signed(body.to_string().as_bytes())).unwrap())
    }

    fn seed() -> Seed {
        let at = Timestamp::from_second(1_795_176_000).unwrap();
        Seed { at, nonce: "0123456789abcdef".to_owned() }
    }

    fn examples() -> impl Iterator<Item = (&'static str, WebhookRequest)> {
        let examples = example::EXAMPLES.events.iter().filter(|one| one.webhook == "ghl");
        examples.map(|one| {
            let draft = (one.draft)(&seed());
            let credentials = example::credentials();
            let sign = example::EXAMPLES.sign;
            (one.name, sign(one, &draft, &credentials, URL, seed().at))
        })
    }

    #[test]
    fn every_vector_verifies_as_recorded() {
        let file = include_str!("vectors.json");
        let keys = serde_json::from_str::<Value>(file).unwrap()["keys"].clone();
        vectors::check_all(file, 10, |vector| {
            let own = Map::from_iter([("public_keys".to_owned(), keys.clone())]);
            let settings = if vector.own["published_keys"] == true { Map::new() } else { own };
            receive_with(&settings, &vector.request())
        });
    }

    #[test]
    fn every_example_is_accepted_and_parsed_as_expected() {
        let expected = [
            ("installed", "INSTALL", "wh-0123456789abcdef", "app:6840d1f2a7c9b3e5d8f01234"),
            ("uninstalled", "UNINSTALL", "wh-0123456789abcdef", "app:6840d1f2a7c9b3e5d8f01234"),
            ("inbound_message", "", "wh-0123456789abcdef", "contact:hubExampleContact001"),
            (
                "outbound_message",
                "OutboundMessage",
                "wh-0123456789abcdef",
                "contact:hubExampleContact001",
            ),
            (
                "delivery",
                "ProviderOutboundMessage",
                "msg0123456789abcdef",
                "contact:hubExampleContact001",
            ),
            (
                "contact_created",
                "ContactCreate",
                "wh-0123456789abcdef",
                "contact:contact0123456789abcdef",
            ),
            (
                "opportunity_won",
                "OpportunityStatusUpdate",
                "wh-0123456789abcdef",
                "contact:hubExampleContact001",
            ),
        ];
        assert_eq!(examples().count(), expected.len());
        for ((name, request), (expected_name, kind, id, key)) in examples().zip(expected) {
            assert_eq!(name, expected_name);
            let event = one(receive_request(&request).unwrap());
            assert_eq!(event.account, example::LOCATION, "{name}");
            assert_eq!(event.id, id, "{name}");
            assert_eq!(event.ordering_key.as_deref(), Some(key), "{name}");
            assert_eq!(event.raw.get().as_bytes(), &request.body, "{name}");
            let at = (name != "delivery").then(|| seed().at);
            assert_eq!(event.occurred_at, at, "{name}");
            match event.kind {
                EventKind::Other { name } => assert_eq!(name, kind),
                EventKind::Message(message) => {
                    assert_eq!(name, "inbound_message");
                    assert_eq!(message.provider_message_id, "msg0123456789abcdef");
                    assert_eq!(message.from, example::CONTACT);
                    let text = "Is Grüner Veltliner in stock?".to_owned();
                    assert_eq!(message.content, Content::Text { text });
                }
                EventKind::Receipt(_) => panic!("{name}"),
            }
        }
    }

    #[test]
    fn a_redelivery_has_equal_ids() {
        for (name, request) in examples() {
            let (first, again) = (receive_request(&request), receive_request(&request));
            assert_eq!(one(first.unwrap()).id, one(again.unwrap()).id, "{name}");
        }
    }

    #[test]
    fn one_changed_byte_in_the_body_or_signature_is_rejected() {
        for (name, request) in examples() {
            for place in [0, request.body.len() / 2, request.body.len() - 1] {
                let mut forged = request.clone();
                let mut body = forged.body.to_vec();
                body[place] ^= 1;
                forged.body = body.into();
                let refused = receive_request(&forged);
                assert!(matches!(refused, Err(Rejection::Unauthenticated(_))), "{name}");
            }
            let mut forged = request.clone();
            let mut signature = STANDARD.decode(&request.headers[SIGNATURE]).unwrap();
            signature[40] ^= 1;
            let signature = HeaderValue::from_str(&STANDARD.encode(signature)).unwrap();
            forged.headers.insert(SIGNATURE, signature);
            assert!(receive_request(&forged).is_err(), "{name}");
        }
    }

    #[test]
    fn invalid_headers_and_methods_are_rejected() {
        let good = signed(b"{}");
        assert!(receive_request(&good).is_ok());
        let mut twice = good.clone();
        twice.headers.append(SIGNATURE, good.headers[SIGNATURE].clone());
        let mut get = good.clone();
        get.method = Method::GET;
        let mut empty = good.clone();
        empty.headers.insert(SIGNATURE, HeaderValue::from_static(""));
        for request in [twice, get, empty] {
            let refused = receive_request(&request);
            assert!(matches!(refused, Err(Rejection::Unauthenticated(_))));
        }
    }

    #[test]
    fn nothing_verifies_without_a_key() {
        let keys = json!({ "ed25519": [], "rsa": [] });
        let settings = Map::from_iter([("public_keys".to_owned(), keys)]);
        assert!(receive_with(&settings, &signed(b"{}")).is_err());
        assert!(
            receive_with(&Map::new(), &signed(b"{}")).is_err(),
            "the published keys do not verify the examples"
        );
    }

    #[test]
    fn the_account_is_the_location_or_the_company() {
        assert_eq!(parse(&json!({ "locationId": "l", "companyId": "c" })).account, "l");
        assert_eq!(parse(&json!({ "companyId": "c" })).account, "c");
        assert_eq!(parse(&json!({ "altId": "l", "altType": "location" })).account, "l");
        assert_eq!(parse(&json!({ "altId": "l", "altType": "contact" })).account, "");
        assert_eq!(parse(&json!({ "locationId": null, "companyId": "c" })).account, "c");
    }

    #[test]
    fn an_event_without_an_id_is_identified_by_its_bytes() {
        let body = json!({ "type": "ContactUpdate", "locationId": "l", "id": "c" });
        let event = parse(&body);
        assert_eq!(event.id, signature::fingerprint(body.to_string().as_bytes()));
        assert_eq!(event.ordering_key.as_deref(), Some("contact:c"));
        // The id of a message is not the id of an event about it.
        let body = json!({ "type": "OutboundMessage", "messageId": "m", "messageType": "SMS" });
        assert_eq!(parse(&body).id.len(), 64);
    }

    #[test]
    fn events_are_ordered_by_contact_app_or_object() {
        let key = |body: Value| parse(&body).ordering_key;
        let nested = json!({ "appointment": { "id": "a", "contactId": "c" } });
        assert_eq!(key(nested).as_deref(), Some("contact:c"));
        let invoice = json!({ "_id": "i", "contactDetails": { "id": "c" } });
        assert_eq!(key(invoice).as_deref(), Some("contact:c"));
        assert_eq!(key(json!({ "_id": "p" })).as_deref(), Some("object:p"));
        assert_eq!(key(json!({ "type": "UNINSTALL", "appId": "a" })).as_deref(), Some("app:a"));
        assert_eq!(key(json!({ "type": "OrderCreate" })), None);
    }

    #[test]
    fn the_time_is_the_events_and_never_the_time_of_receipt() {
        let added = "2024-01-12T12:59:04.045Z";
        let second = "2024-04-25T08:07:21Z";
        for (body, expected) in [
            (json!({ "timestamp": added }), Some(added)),
            (json!({ "timestamp": 1_714_032_441 }), Some(second)),
            (json!({ "timestamp": 1_714_032_441_000_i64 }), Some(second)),
            (json!({ "type": "InboundMessage", "dateAdded": added }), Some(added)),
            (json!({ "type": "ContactUpdate", "dateAdded": added }), None),
            (json!({ "timestamp": "soon" }), None),
            (json!({ "timestamp": i64::MAX }), None),
        ] {
            let at = parse(&body).occurred_at.map(|at| at.to_string());
            assert_eq!(at.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn message_content_is_parsed_by_type() {
        let content = |fields: Value| {
            let mut body = json!({ "type": "InboundMessage", "contactId": "c" });
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            match parse(&body).kind {
                EventKind::Message(message) => message.content,
                other => panic!("{other:?}"),
            }
        };
        let url = "https://files.example/a/photo.JPG?x=1.pdf";
        let one = json!({ "messageType": "SMS", "body": "Look", "attachments": [url] });
        let Content::Image { media } = content(one) else { panic!() };
        assert_eq!(media.caption.as_deref(), Some("Look"));
        assert_eq!(media.provider_media_id.as_deref(), Some(url));
        assert_eq!(media.filename.as_deref(), Some("photo.JPG"));
        let two = json!({ "messageType": "SMS", "body": "Look", "attachments": [url, url] });
        assert_eq!(content(two).kind(), "text");
        let nothing = json!({ "messageType": "SMS", "body": "" });
        assert_eq!(content(nothing).kind(), "unsupported");
        let mail = json!({ "messageType": "Email", "body": "<p>Hello</p>" });
        assert_eq!(content(mail).kind(), "unsupported");
        let file = json!({ "attachments": ["https://files.example/none"] });
        assert_eq!(content(file).kind(), "document");
    }

    #[test]
    fn a_call_is_not_a_message() {
        for channel in ["CALL", "VoiceMail"] {
            let body =
                json!({ "type": "InboundMessage", "contactId": "c", "messageType": channel });
            assert_eq!(parse(&body).kind, EventKind::Other { name: "InboundMessage".into() });
        }
        let nobody = json!({ "type": "InboundMessage", "messageType": "SMS" });
        assert_eq!(parse(&nobody).kind, EventKind::Other { name: "InboundMessage".into() });
    }

    #[test]
    fn an_unparsable_verified_body_is_parked_and_invalid_fields_are_ignored() {
        for body in ["", "{", "[]", "[1]", "\"INSTALL\"", "null", "1", "{\"type\":\"\\ud800\"}x"] {
            let result = receive_request(&signed(body.as_bytes()));
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body}");
        }
        let result = receive_request(&signed(b"{\"type\":\"\xff\"}"));
        assert!(matches!(result, Err(Rejection::Unreadable(_))));
        for odd in [
            "{}",
            r#"{"type":{},"locationId":[],"webhookId":1e999,"id":{"a":1}}"#,
            r#"{"type":"\ud800","timestamp":99999999999999999999,"contactId":-0.5}"#,
            r#"{"type":"InboundMessage","contactId":"c","attachments":[1],"body":{"deep":1e999}}"#,
        ] {
            let event = one(receive_request(&signed(odd.as_bytes())).unwrap());
            assert_eq!(event.raw.get(), odd);
            assert_eq!(event.account, "");
        }
        let deep = format!(r#"{{"type":"X","a":{}{}}}"#, "[".repeat(9999), "]".repeat(9999));
        assert!(receive_request(&signed(deep.as_bytes())).is_ok());
    }
}
