//! Receives Stripe's webhooks.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use domain::event::ParsedEvent;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::Method;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{fit, text};
use crate::signature;
use crate::time::{rfc3339, seconds};

/// Stripe's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Stripe
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
        let header = request.header("stripe-signature")?;
        let signed_at = single_value(header, "t");
        let signed_at = signed_at.ok_or(Rejection::Unauthenticated(
            "the signature header must have exactly one timestamp",
        ))?;
        signature::check_timestamp(signed_at, now)?;

        let signed = [signed_at.as_bytes(), b".", &request.body];
        for secret in &self.secrets {
            let key = secret.expose_secret().as_bytes();
            let expected = hex::encode(signature::hmac_sha256(key, &signed));
            let is_expected = |given: &str| {
                verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok()
            };
            if !key.is_empty() && values(header, "v1").any(is_expected) {
                return Ok(());
            }
        }
        Err(Rejection::Unauthenticated("signature does not match"))
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let raw: &RawValue = serde_json::from_slice(&request.body)?;
        let event: wire::Event<'_> = serde_json::from_str(raw.get())?;
        Ok(ParsedWebhook::Events(vec![read(&event, raw)]))
    }
}

/// Returns the header's values of `name`, such as `v1` in `t=1,v1=a,v1=b`.
fn values<'a>(header: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = header.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(move |(key, value)| (key.trim() == name).then_some(value.trim()))
}

fn single_value<'a>(header: &'a str, name: &'a str) -> Option<&'a str> {
    let mut values = values(header, name);
    values.next().filter(|_| values.next().is_none())
}

/// Returns the id of an object that may be expanded.
fn id_of(raw: Option<&RawValue>) -> Option<String> {
    text(raw).or_else(|| fit::<wire::Expanded>(raw).map(|object| object.id))
}

/// Source: README, facts 3 and 4.
fn read(event: &wire::Event<'_>, raw: &RawValue) -> ParsedEvent {
    let id = text(event.id).unwrap_or_else(|| signature::fingerprint(raw.get().as_bytes()));
    let name = text(event.name).unwrap_or_else(|| "event".to_owned());
    let at = seconds(event.created).or_else(|| rfc3339(event.created));
    let context = text(event.context).unwrap_or_default();
    let last = context.rsplit('/').next().filter(|last| last.starts_with("acct_"));
    let account = text(event.account).or_else(|| last.map(ToOwned::to_owned)).unwrap_or_default();
    let ordering_key = subject(event);
    ParsedEvent { ordering_key, ..ParsedEvent::other(&account, id, &name, at, raw) }
}

/// Returns the object that the event is about. Source: README, facts 6 and quirks.
fn subject(event: &wire::Event<'_>) -> Option<String> {
    let data = fit::<wire::Data<'_>>(event.data);
    let object = data.and_then(|data| data.object).or(event.related_object);
    let object: wire::Object<'_> = fit(object)?;
    let own = text(object.id);
    match text(object.object).as_deref() {
        Some("subscription" | "customer") => own,
        _ => id_of(object.subscription)
            .or_else(|| {
                let parent: wire::Parent<'_> = fit(object.parent)?;
                let details: wire::SubscriptionDetails<'_> = fit(parent.subscription_details)?;
                id_of(details.subscription)
            })
            .or_else(|| id_of(object.customer))
            .or(own),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::IntegrationId;
    use domain::event::EventKind;
    use domain::webhook::receive;
    use http::{HeaderMap, HeaderName};
    use jiff::SignedDuration;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::example::Seed;
    use crate::stripe::example::{self, EXAMPLES};
    use crate::stripe::{SPEC, WEBHOOK, WEBHOOK_SECRET};
    use crate::vectors;

    const URL: &str = "https://hub.example.com/webhooks/stripe";

    /// Signatures without requests.
    #[derive(Deserialize)]
    struct Tag {
        secret: String,
        body: String,
        hex: String,
    }

    fn integration() -> Integration {
        let id = IntegrationId::derived(&["stripe"]);
        let integration = json!({ "id": id, "tenant": "acme", "provider": "stripe",
            "settings": {}, "account": null, "hints": {}, "created_at": Timestamp::UNIX_EPOCH });
        serde_json::from_value(integration).unwrap()
    }

    fn received_with(
        secrets: &[&str],
        request: &WebhookRequest,
        now: Timestamp,
    ) -> Result<ParsedEvent, Rejection> {
        let secrets = secrets.iter().map(|secret| (*secret).into()).collect();
        let credentials = Credentials::new([(WEBHOOK_SECRET.to_owned(), secrets)]);
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

    fn with_header(signature: &str, body: impl Into<Bytes>) -> WebhookRequest {
        let name = HeaderName::from_static("stripe-signature");
        posted(HeaderMap::from_iter([(name, signature.parse().unwrap())]), body)
    }

    fn signed(body: impl Into<Bytes>) -> WebhookRequest {
        let body = body.into();
        with_header(&example::signature(example::WEBHOOK_SECRET, &body, at()), body)
    }

    fn name_of(event: &ParsedEvent) -> &str {
        let EventKind::Other { name } = &event.kind else { panic!("{event:?}") };
        name
    }

    #[test]
    fn every_vector_verifies_as_recorded() {
        let file = include_str!("vectors.json");
        let all = vectors::check_all(file, 18, |vector| {
            let event = received_with(&[&vector.secret], &vector.request(), vector.now())?;
            Ok(ParsedWebhook::Events(vec![event]))
        });
        for (vector, result) in all {
            let Ok(ParsedWebhook::Events(events)) = result else { continue };
            assert!(events[0].id.starts_with("evt_"), "{}", vector.name);
        }
        let tags = serde_json::from_str::<Value>(file).unwrap()["tags"].clone();
        let tags: Vec<Tag> = serde_json::from_value(tags).unwrap();
        assert_eq!(tags.len(), 3);
        for tag in tags {
            let own = signature::hmac_sha256(tag.secret.as_bytes(), &[tag.body.as_bytes()]);
            assert_eq!(hex::encode(own), tag.hex);
        }
    }

    #[test]
    fn every_example_is_accepted_and_parsed_the_same_each_time() {
        let seed = Seed { at: at(), nonce: "abcdefgh01234567".to_owned() };
        let (own, connected) = ("", example::CONNECTED_ACCOUNT);
        let (subscription, customer) = ("sub_abcdefgh01234567", "cus_abcdefgh01234567");
        let expected = [
            ("checkout", "checkout.session.completed", own, subscription),
            ("subscription_updated", "customer.subscription.updated", own, subscription),
            ("subscription_deleted", "customer.subscription.deleted", own, subscription),
            ("invoice_paid", "invoice.paid", own, subscription),
            ("payment_failed", "invoice.payment_failed", own, subscription),
            ("connected_charge", "charge.succeeded", connected, customer),
            ("thin", "v1.customer.created", connected, customer),
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
            assert_eq!((example.name, name_of(&event), &*event.account, key), expected);
            assert_eq!(event.occurred_at, Some(at()));
            assert_eq!((&*event.id, &*again.id), ("evt_abcdefgh01234567", &*event.id));
        }
    }

    #[test]
    fn an_event_is_ordered_by_its_subscription_customer_or_object() {
        let key = |object: Value| {
            let body = json!({ "id": "evt_1", "data": { "object": object } });
            received(&signed(body.to_string())).unwrap().ordering_key
        };
        let parent = |subscription: Value| json!({ "subscription_details": { "subscription": subscription } });
        for (object, expected) in [
            (json!({ "id": "a", "object": "subscription", "customer": "c" }), Some("a")),
            (json!({ "id": "a", "object": "customer", "subscription": "s" }), Some("a")),
            (
                json!({ "id": "a", "object": "invoice", "subscription": "s", "customer": "c" }),
                Some("s"),
            ),
            (
                json!({ "id": "a", "subscription": { "id": "s", "object": "subscription" } }),
                Some("s"),
            ),
            (
                json!({ "id": "a", "subscription": null, "customer": "c",
                    "parent": parent("s".into()) }),
                Some("s"),
            ),
            (json!({ "id": "a", "parent": parent(json!({ "id": "s" })) }), Some("s")),
            (json!({ "id": "a", "parent": null, "customer": { "id": "c" } }), Some("c")),
            (
                json!({ "id": "a", "parent": { "subscription_details": 7 }, "customer": 7 }),
                Some("a"),
            ),
            (json!({ "id": 7 }), None),
            (json!({}), None),
            (json!("text"), None),
            (Value::Null, None),
        ] {
            assert_eq!(key(object.clone()).as_deref(), expected, "{object}");
        }
    }

    #[test]
    fn the_account_is_the_connected_one_or_empty() {
        let account = |fields: Value| received(&signed(fields.to_string())).unwrap().account;
        assert_eq!(account(json!({ "account": "acct_1", "context": "acct_2" })), "acct_1");
        assert_eq!(account(json!({ "context": "acct_2" })), "acct_2");
        assert_eq!(account(json!({ "context": "org_1/acct_2/acct_3" })), "acct_3");
        for none in
            [json!({}), json!({ "account": 7 }), json!({ "account": "", "context": "org_1" })]
        {
            assert_eq!(account(none.clone()), "", "{none}");
        }
    }

    #[test]
    fn unknown_events_are_kept_byte_for_byte() {
        let body = r#" { "id" : 7, "type":[], "created":"soon", "data": {"object":1e999} } "#;
        let (event, again) = (received(&signed(body)).unwrap(), received(&signed(body)).unwrap());
        assert_eq!((name_of(&event), event.occurred_at), ("event", None));
        assert_eq!((event.raw.get(), event.id.len()), (body.trim(), 64));
        assert_eq!(event.id, again.id);
        let far = json!({ "created": i64::MAX, "data": [], "related_object": 7 });
        assert_eq!(received(&signed(far.to_string())).unwrap().occurred_at, None);
    }

    #[test]
    fn a_verified_body_that_cannot_be_parsed_is_unreadable_not_unauthenticated() {
        for body in [&b""[..], b"{", b"7", b"null", b"\xff", b"\"text\"", b"{}{}"] {
            let result = received(&signed(body));
            assert!(matches!(result, Err(Rejection::Unreadable(_))), "{body:?} {result:?}");
        }
    }

    #[test]
    fn one_changed_byte_of_the_body_timestamp_or_signature_is_rejected() {
        let good = signed("{}");
        assert!(received(&good).is_ok());
        let header = good.headers["stripe-signature"].to_str().unwrap().to_owned();
        let refused = |request: &WebhookRequest| {
            let result = received(request);
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{:?}", request.headers);
        };
        refused(&WebhookRequest { body: "{ }".into(), ..good.clone() });
        for place in 0..header.len() {
            let mut changed = header.clone().into_bytes();
            changed[place] ^= 1;
            refused(&with_header(std::str::from_utf8(&changed).unwrap(), "{}"));
        }
        let (time, tag) = header.split_once(',').unwrap();
        for odd in [
            time,
            tag,
            &format!("{time},{time},{tag}"),
            &format!("t=1795176001,{tag}"),
            &format!("{time},{}", tag.to_uppercase()),
            &format!("{time},v1={}", tag[3..].to_uppercase()),
            &format!("{time},v1="),
            "",
            ",",
            "=",
            "t=,v1=",
        ] {
            refused(&with_header(odd, "{}"));
        }
        let mut twice = good.clone();
        twice.headers.append("stripe-signature", header.parse().unwrap());
        refused(&twice);
        assert!(received(&with_header(&format!("{time}, v0=a, {tag}"), "{}")).is_ok());
        refused(&WebhookRequest { method: Method::GET, ..good });
    }

    #[test]
    fn any_secret_verifies_for_5_minutes_and_an_empty_secret_never_does() {
        let (request, own) = (signed("{}"), example::WEBHOOK_SECRET);
        assert!(received_with(&["whsec_new", own], &request, at()).is_ok());
        for secrets in [&[][..], &[""], &["whsec_new"], &["c3dpdGNoYm9hcmQ"]] {
            assert!(received_with(secrets, &request, at()).is_err(), "{secrets:?}");
        }
        let unsigned = with_header(&example::signature("", b"{}", at()), "{}");
        assert!(received_with(&[""], &unsigned, at()).is_err());
        for (seconds, fresh) in [(300, true), (301, false), (-300, true), (-301, false)] {
            assert_eq!(received_with(&[own], &request, after(seconds)).is_ok(), fresh, "{seconds}");
        }
    }

    #[test]
    fn an_api_key_instead_of_the_signing_secret_is_rejected_when_it_is_set() {
        assert!((SPEC.check)(WEBHOOK_SECRET, example::WEBHOOK_SECRET).is_ok());
        assert!((SPEC.check)("STRIPE_SECRET_KEY", "anything").is_ok());
        let error = (SPEC.check)(WEBHOOK_SECRET, "rk_key").unwrap_err();
        assert_eq!(error.field, "credentials.STRIPE_WEBHOOK_SECRET");
    }
}
