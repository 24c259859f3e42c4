//! Receives the events that Amazon SES publishes to SNS.

use domain::content::Content;
use domain::event::{EventKind, InboundMessage, ParsedEvent, Receipt};
use domain::message::Status;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::Method;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;
use serde_json::value::RawValue;

use super::settings::Settings;
use super::sns::{Envelope, Kind};
use super::wire::{Detail, Headers, Mail, Published, Recipient};
use crate::raw::{fit, text};
use crate::time::rfc3339;
use crate::{raw, signature, spec};

/// Maximum size of a request, in bytes: SNS messages have up to 256 KB, each byte of which may be
/// six as JSON. <https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html>
const MAX_BODY_BYTES: usize = 2_000_000;

/// Webhook for the events that Amazon SES publishes to SNS.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Ses
    }

    fn source(
        &self,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Box<dyn WebhookSource> {
        let topics = credentials.all(super::TOPIC_ARNS).iter();
        let settings = spec::settings_of::<Settings>(integration).unwrap_or_default();
        Box::new(Source {
            topics: topics.map(|topic| topic.expose_secret().to_owned()).collect(),
            certificate_host: settings.certificate_host,
        })
    }
}

struct Source {
    /// SNS signs for all its customers with one key, so the topic identifies the owner of a
    /// message. It is not a secret and needs no constant-time comparison.
    topics: Vec<String>,
    certificate_host: Option<String>,
}

impl Source {
    /// Reads a message of one of the configured topics. It is not verified yet.
    fn read(&self, request: &WebhookRequest) -> Result<Envelope, Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        if request.body.len() > MAX_BODY_BYTES {
            return Err(Rejection::TooLarge("the request is larger than 2 MB"));
        }
        let envelope = Envelope::read(&request.body)?;
        if envelope.topic_arn.is_empty() || !self.topics.contains(&envelope.topic_arn) {
            return Err(Rejection::Unauthenticated("the topic is not in SES_TOPIC_ARNS"));
        }
        Ok(envelope)
    }
}

impl WebhookSource for Source {
    /// The topic is checked first, so that a request for an unknown topic makes the hub fetch
    /// nothing. It is not an error yet: the list may have changed, and is read again when `verify`
    /// rejects the request.
    fn signing_certificate_url(
        &self,
        request: &WebhookRequest,
    ) -> Result<Option<String>, Rejection> {
        let Ok(envelope) = self.read(request) else { return Ok(None) };
        envelope.certificate_url(self.certificate_host.as_deref()).map(Some)
    }

    fn verify(&self, request: &WebhookRequest, now: Timestamp) -> Result<(), Rejection> {
        let envelope = self.read(request)?;
        // The certificate must have been fetched from a trusted URL.
        envelope.certificate_url(self.certificate_host.as_deref())?;
        let certificate = request.signing_certificate.as_deref();
        let certificate =
            certificate.ok_or(Rejection::Unauthenticated("the certificate was not fetched"))?;
        envelope.verify(certificate, now)
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let envelope = self.read(request)?;
        match envelope.kind {
            Kind::SubscriptionConfirmation => {
                let address = envelope.subscribe_url(self.certificate_host.as_deref());
                let refused =
                    Rejection::Unauthenticated("the subscription URL does not belong to AWS");
                address.map(ParsedWebhook::Confirm).ok_or(refused)
            }
            Kind::UnsubscribeConfirmation => {
                Ok(ParsedWebhook::Events(vec![unparsed_event(&envelope, &request.body)]))
            }
            Kind::Notification => {
                let events = read_notification(&envelope);
                let events =
                    events.unwrap_or_else(|| vec![unparsed_event(&envelope, &request.body)]);
                Ok(ParsedWebhook::Events(events))
            }
        }
    }
}

/// Returns an SNS message as an event, without parsing its content.
fn unparsed_event(envelope: &Envelope, body: &[u8]) -> ParsedEvent {
    let (name, raw) = (envelope.kind.as_str(), raw::whole(body));
    let id = envelope.message_id.clone();
    ParsedEvent::other(&envelope.topic_arn, id, name, published_at(envelope), &raw)
}

fn published_at(envelope: &Envelope) -> Option<Timestamp> {
    envelope.timestamp.parse().ok()
}

/// Returns the events that SES published, one for each recipient. `None` if the message is not from
/// SES.
fn read_notification(envelope: &Envelope) -> Option<Vec<ParsedEvent>> {
    let raw: &RawValue = serde_json::from_str(&envelope.message).ok()?;
    // Serde would read a list as the fields in order.
    let event: Published<'_> = fit(Some(raw)).filter(|_| raw.get().starts_with('{'))?;
    let name = event.name()?;
    let (mail, detail) = (event.mail(), event.detail(&name));
    let sent_at = || if name == "Send" { rfc3339(mail.timestamp) } else { None };
    let at = detail.timestamp().or_else(sent_at).or_else(|| published_at(envelope));
    let message = text(mail.message_id);
    let one = |id: String| {
        let event = ParsedEvent::other(&envelope.topic_arn, id, &name, at, raw);
        ParsedEvent { ordering_key: message.clone(), ..event }
    };
    if name == "Received" {
        let event = one(envelope.message_id.clone());
        return Some(vec![received(event, &mail)]);
    }
    let recipients = detail.recipients(&name, &mail);
    if recipients.is_empty() {
        let kind = receipt(&name, message.clone(), &detail, &Recipient::default());
        let event = one(envelope.message_id.clone());
        return Some(vec![with_receipt(event, kind)]);
    }
    let each = recipients.iter().map(|recipient| {
        let event = one(format!("{}:{}", envelope.message_id, address_hash(&recipient.address)));
        with_receipt(event, receipt(&name, message.clone(), &detail, recipient))
    });
    Some(each.collect())
}

/// Returns a hash that identifies a recipient without the address: ids are logged.
fn address_hash(address: &str) -> String {
    signature::fingerprint(address.as_bytes()).chars().take(16).collect()
}

fn with_receipt(event: ParsedEvent, receipt: Option<Receipt>) -> ParsedEvent {
    match receipt {
        Some(receipt) => ParsedEvent { kind: EventKind::Receipt(receipt), ..event },
        None => event,
    }
}

/// Returns the status of an email, if the event has one. Source: README, facts 4.
fn receipt(
    name: &str,
    message: Option<String>,
    detail: &Detail<'_>,
    recipient: &Recipient,
) -> Option<Receipt> {
    let status = match name {
        "Send" => Status::Accepted,
        "Delivery" => Status::Delivered,
        "Bounce" | "Reject" | "Rendering Failure" => Status::Failed,
        _ => return None,
    };
    let failed = status == Status::Failed;
    let code = recipient.status.clone().or_else(|| detail.code());
    let why = recipient.diagnostic.clone().or_else(|| detail.reason()).or_else(|| detail.code());
    Some(Receipt {
        provider_message_id: message?,
        reference: None,
        status,
        code: code.filter(|_| failed),
        detail: why.filter(|_| failed),
    })
}

/// Returns an incoming email. Its body is MIME or stored elsewhere, so the hub does not parse it.
fn received(event: ParsedEvent, mail: &Mail<'_>) -> ParsedEvent {
    let headers: Headers<'_> = fit(mail.common_headers).unwrap_or_default();
    let author = fit::<Vec<String>>(headers.from).and_then(|from| from.into_iter().next());
    let (name, address) = author.as_deref().map_or((None, None), split_author);
    let from = address.or_else(|| text(mail.source));
    let (Some(from), Some(message)) = (from, event.ordering_key.clone()) else { return event };
    let subject = text(headers.subject);
    let message = InboundMessage {
        channel: None,
        provider_message_id: message,
        from: from.clone(),
        name,
        content: Content::Unsupported { raw: json!({ "subject": subject }) },
        reply_to: None,
    };
    ParsedEvent { kind: EventKind::Message(message), ..event.ordered_by(from) }
}

/// Splits `Zoë <zoe@example.com>` into the name and the address.
fn split_author(from: &str) -> (Option<String>, Option<String>) {
    let (name, address) = match from.rsplit_once('<') {
        Some((name, address)) => (name.trim().trim_matches('"'), address.trim_end_matches('>')),
        None => ("", from),
    };
    let kept = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    (kept(name), kept(address).filter(|address| address.contains('@')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Seed;
    use crate::ses::{SPEC, TOPIC_ARNS, WEBHOOK, example};
    use crate::vectors::Vector;
    use bytes::Bytes;
    use domain::webhook::receive;
    use domain::{IntegrationId, TenantId};
    use serde_json::{Map, Value};
    use std::collections::BTreeMap;

    const NOW: i64 = 1_795_176_000;

    fn source(settings: &Map<String, Value>, topics: &[&str]) -> Box<dyn WebhookSource> {
        let integration = Integration {
            circuit: domain::circuit::Breaker::default(),
            id: IntegrationId::derived(&["ses"]),
            tenant: TenantId::platform(),
            provider: Provider::Ses,
            settings: (SPEC.settings)(settings).unwrap(),
            account: None,
            hints: BTreeMap::default(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
        };
        let topics = topics.iter().map(|topic| (*topic).into()).collect();
        WEBHOOK.source(&integration, &Credentials::new([(TOPIC_ARNS.to_owned(), topics)]))
    }

    /// Verifies a request as the webhook handler does: it fetches the certificate first.
    fn fetch_and_receive(
        source: &dyn WebhookSource,
        request: &WebhookRequest,
        now: Timestamp,
    ) -> Result<ParsedWebhook, Rejection> {
        source.signing_certificate_url(request)?;
        receive(source, request, now)
    }

    fn receive_request(request: &WebhookRequest) -> Result<ParsedWebhook, Rejection> {
        let source = source(&(example::EXAMPLES.settings)(), &[example::TOPIC]);
        fetch_and_receive(&*source, request, Timestamp::from_second(NOW).unwrap())
    }

    fn seed() -> Seed {
        let at = Timestamp::from_second(NOW).unwrap();
        Seed { at, nonce: "0123456789abcdef".to_owned() }
    }

    fn signed(draft: &crate::example::Draft) -> WebhookRequest {
        let sign = example::EXAMPLES.sign;
        let first = &example::EXAMPLES.events[0];
        sign(first, draft, &example::credentials(), "https://hub.example/webhooks/ses", seed().at)
    }

    fn the_example(name: &str) -> WebhookRequest {
        let one = example::EXAMPLES.events.iter().find(|one| one.name == name).unwrap();
        signed(&(one.draft)(&seed()))
    }

    fn examples() -> impl Iterator<Item = (&'static str, WebhookRequest)> {
        example::EXAMPLES.events.iter().map(|one| (one.name, the_example(one.name)))
    }

    fn notification(message: &str) -> WebhookRequest {
        signed(&crate::example::Draft::json(json!({
            "Type": "Notification", "MessageId": "m", "Message": message,
            "Timestamp": "2026-11-20T12:00:00.000Z",
        })))
    }

    fn events(request: &WebhookRequest) -> Vec<ParsedEvent> {
        match receive_request(request) {
            Ok(ParsedWebhook::Events(events)) => events,
            other => panic!("{other:?}"),
        }
    }

    fn of_ses(message: &Value) -> Vec<ParsedEvent> {
        events(&notification(&message.to_string()))
    }

    fn name_of(event: &ParsedEvent) -> &str {
        match &event.kind {
            EventKind::Other { name } => name,
            EventKind::Receipt(receipt) => receipt.status.as_str(),
            EventKind::Message(message) => message.content.kind(),
        }
    }

    /// The recorded requests, each with its certificate.
    struct Vectors {
        certificates: Vec<String>,
        all: Vec<Vector>,
    }

    impl Vectors {
        fn read() -> Self {
            let file = include_str!("vectors.json");
            let certificates = serde_json::from_str::<Value>(file).unwrap()["certificates"].clone();
            let certificates = serde_json::from_value(certificates).unwrap();
            Self { certificates, all: crate::vectors::read(file, 21) }
        }

        fn named(&self, name: &Value) -> &Vector {
            self.all.iter().find(|vector| *name == vector.name).unwrap()
        }

        fn request(&self, vector: &Vector) -> WebhookRequest {
            let own = |name: &str| vector.own.get(name);
            let mut request = match own("of") {
                // Another vector's request with other fields.
                Some(of) => self.named(of).request(),
                None => vector.request(),
            };
            if let Some(Value::Object(set)) = own("set") {
                let mut body: Map<String, Value> = serde_json::from_slice(&request.body).unwrap();
                body.extend(set.clone());
                request.body = Value::Object(body).to_string().into();
            }
            let certificate = own("certificate").and_then(Value::as_u64).unwrap();
            let certificate = &self.certificates[usize::try_from(certificate).unwrap()];
            request.signing_certificate = Some(certificate.clone().into());
            request
        }
    }

    fn topic_of(request: &WebhookRequest) -> String {
        Envelope::read(&request.body).unwrap().topic_arn
    }

    #[test]
    fn every_vector_verifies_as_recorded() {
        let vectors = Vectors::read();
        for vector in &vectors.all {
            let request = vectors.request(vector);
            // The topic is in the list, so it does not affect the result.
            let source = source(&Map::new(), &[&topic_of(&request)]);
            vector.check(&fetch_and_receive(&*source, &request, vector.now()));
        }
    }

    #[test]
    fn a_certificate_is_only_valid_in_its_validity_period() {
        let vectors = Vectors::read();
        let case = vectors.named(&"java-notification-signature-v2".into());
        let request = vectors.request(case);
        let source = source(&Map::new(), &[&topic_of(&request)]);
        let verdict = |now: &str| {
            let now = now.parse().unwrap();
            fetch_and_receive(&*source, &request, now)
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        let out_of_time = Err("authentication failed: the certificate is not valid now".to_owned());
        assert_eq!(verdict("2025-11-09T23:59:59Z"), out_of_time);
        assert_eq!(verdict("2025-11-10T00:00:00Z"), Ok(()));
        assert_eq!(verdict("2026-10-14T23:59:59Z"), Ok(()));
        assert_eq!(verdict("2026-10-15T00:00:00Z"), out_of_time);
        assert_eq!(verdict("1969-12-31T00:00:00Z"), out_of_time);
    }

    #[test]
    fn nothing_verifies_without_a_configured_topic_and_a_certificate() {
        let settings = (example::EXAMPLES.settings)();
        let now = Timestamp::from_second(NOW).unwrap();
        let request = the_example("delivered");
        assert!(
            fetch_and_receive(&*source(&settings, &["other", example::TOPIC]), &request, now)
                .is_ok()
        );
        for topics in [&[][..], &[""], &["arn:aws:sns:eu-west-1:123456789012:hub"]] {
            let source = source(&settings, topics);
            assert_eq!(
                source.signing_certificate_url(&request).unwrap(),
                None,
                "nothing is fetched for it"
            );
            assert!(source.verify(&request, now).is_err());
        }
        // The test certificate is not trusted at the URLs of AWS.
        assert!(
            fetch_and_receive(&*source(&Map::new(), &[example::TOPIC]), &request, now).is_err()
        );
        for certificate in
            [None, Some(&b""[..]), Some(b"-----BEGIN CERTIFICATE-----"), Some(b"\xff")]
        {
            let mut request = request.clone();
            request.signing_certificate = certificate.map(Bytes::from_static);
            assert!(matches!(receive_request(&request), Err(Rejection::Unauthenticated(_))));
        }
    }

    #[test]
    fn the_certificate_is_fetched_from_its_url() {
        let vectors = Vectors::read();
        let request = vectors.request(vectors.named(&"java-notification-signature-v2".into()));
        let asked =
            source(&Map::new(), &[&topic_of(&request)]).signing_certificate_url(&request).unwrap();
        let url = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-\
                   7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";
        assert_eq!(asked.as_deref(), Some(url));
    }

    #[test]
    fn a_subscription_is_confirmed_at_its_url() {
        let vectors = Vectors::read();
        let case = vectors.named(&"java-subscription-confirmation".into());
        let request = vectors.request(case);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let source = source(&Map::new(), &[&topic_of(&request)]);
        let Ok(ParsedWebhook::Confirm(address)) = fetch_and_receive(&*source, &request, case.now())
        else {
            panic!()
        };
        assert_eq!(address, body["SubscribeURL"]);

        let Ok(ParsedWebhook::Confirm(address)) = receive_request(&the_example("subscription"))
        else {
            panic!()
        };
        assert!(address.starts_with("http://127.0.0.1:8789/?Action=ConfirmSubscription&"));
    }

    #[test]
    fn a_signed_subscription_with_an_untrusted_url_is_not_confirmed() {
        let elsewhere = json!({
            "Type": "SubscriptionConfirmation", "MessageId": "m", "Message": "", "Token": "t",
            "SubscribeURL": "https://evil.example/?Action=ConfirmSubscription",
            "Timestamp": "2026-11-20T12:00:00.000Z",
        });
        let mut nowhere = elsewhere.clone();
        nowhere.as_object_mut().unwrap().remove("SubscribeURL");
        for body in [elsewhere, nowhere] {
            let result = receive_request(&signed(&crate::example::Draft::json(body)));
            assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
        }
    }

    #[test]
    fn an_unsubscribe_confirmation_is_an_event() {
        let vectors = Vectors::read();
        let case = vectors.named(&"java-unsubscribe-confirmation".into());
        let request = vectors.request(case);
        let topic = topic_of(&request);
        let delivery =
            fetch_and_receive(&*source(&Map::new(), &[&topic]), &request, case.now()).unwrap();
        let ParsedWebhook::Events(events) = delivery else { panic!() };
        assert_eq!(name_of(&events[0]), "UnsubscribeConfirmation");
        assert_eq!(events[0].id, "0b71e34e-42c3-486a-9e32-b1928ec994b5");
        assert_eq!(events[0].account, topic);
        assert_eq!(events[0].raw.get().as_bytes(), request.body.trim_ascii());
    }

    #[test]
    fn every_example_is_accepted_and_parsed_as_expected() {
        let expected: [(&str, &[&str]); 8] = [
            ("subscription", &[]),
            ("sent", &["accepted"]),
            ("delivered", &["delivered"]),
            ("bounced", &["failed", "failed"]),
            ("complained", &["Complaint"]),
            ("delayed", &["DeliveryDelay"]),
            ("clicked", &["Click"]),
            ("received", &["unsupported"]),
        ];
        assert_eq!(examples().count(), expected.len());
        for ((name, request), (expected_name, names)) in examples().zip(expected) {
            assert_eq!(name, expected_name);
            if name == "subscription" {
                continue;
            }
            let events = events(&request);
            assert_eq!(events.iter().map(name_of).collect::<Vec<_>>(), names, "{name}");
            for event in events {
                let begin = "sns-0123456789abcdef";
                let is_whole = event.id == begin;
                assert_eq!(is_whole, name == "received", "{name}");
                assert!(event.id.starts_with(begin), "{name}");
                assert!(!event.id.contains('@'), "{name}");
                assert_eq!(event.account, example::TOPIC);
                assert_eq!(event.occurred_at.unwrap().as_second(), NOW, "{name}");
                let from = "zoe@example.net";
                let key = if name == "received" { from } else { "mail-0123456789abcdef" };
                assert_eq!(event.ordering_key.as_deref(), Some(key), "{name}");
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(event.raw.get(), body["Message"], "{name}");
            }
        }
    }

    #[test]
    fn a_bounce_has_its_code_and_the_servers_diagnostic() {
        let events = events(&the_example("bounced"));
        let receipts = events.iter().map(|event| match &event.kind {
            EventKind::Receipt(receipt) => (receipt.code.as_deref(), receipt.detail.as_deref()),
            other => panic!("{other:?}"),
        });
        let expected = [
            (Some("5.1.1"), Some("smtp; 550 5.1.1 user unknown")),
            (Some("5.2.2"), Some("Permanent/General")),
        ];
        assert_eq!(receipts.collect::<Vec<_>>(), expected);
        assert_ne!(events[0].id, events[1].id);

        let mail = json!({ "messageId": "x", "destination": ["a@b"] });
        let event = json!({ "eventType": "Reject", "mail": mail, "reject": { "reason": "Bad" } });
        let EventKind::Receipt(receipt) = &of_ses(&event)[0].kind else { panic!() };
        assert_eq!((receipt.status, receipt.detail.as_deref()), (Status::Failed, Some("Bad")));
    }

    #[test]
    fn a_redelivery_has_equal_ids() {
        for (name, request) in examples().filter(|(name, _)| *name != "subscription") {
            let ids = || events(&request).into_iter().map(|event| event.id).collect::<Vec<_>>();
            assert_eq!(ids(), ids(), "{name}");
        }
    }

    #[test]
    fn one_changed_byte_in_a_signed_field_is_rejected() {
        for (name, request) in examples() {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let signed = ["Message", "MessageId", "Timestamp", "Signature", "Type", "TopicArn"];
            for field in signed.into_iter().chain(["Token", "SubscribeURL", "Subject"]) {
                let mut forged = body.clone();
                let Some(Value::String(value)) = forged.get_mut(field) else { continue };
                let at = value.len() / 2;
                let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
                if value.is_char_boundary(at) && value.is_char_boundary(at + 1) {
                    value.replace_range(at..=at, other);
                }
                let mut request = request.clone();
                request.body = forged.to_string().into();
                let result = receive_request(&request);
                assert!(matches!(result, Err(Rejection::Unauthenticated(_))), "{name}: {field}");
            }
            let mut get = request.clone();
            get.method = Method::GET;
            assert!(receive_request(&get).is_err());
        }
    }

    #[test]
    fn both_field_names_of_the_event_type_are_read() {
        let mail = json!({ "messageId": "x", "destination": ["a@b"] });
        let detail = json!({ "recipients": ["a@b"] });
        for key in ["eventType", "notificationType"] {
            let event = json!({ (key): "Delivery", "mail": mail, "delivery": detail });
            assert_eq!(name_of(&of_ses(&event)[0]), "delivered");
        }
    }

    #[test]
    fn an_open_of_an_email_to_several_recipients_names_no_recipient() {
        let count = |to: &[&str]| {
            let mail = json!({ "messageId": "x", "destination": to });
            let events = of_ses(&json!({ "eventType": "Open", "mail": mail, "open": {} }));
            (events.len(), events[0].id == "m")
        };
        assert_eq!(count(&["a@b"]), (1, false));
        assert_eq!(count(&["a@b", "c@d"]), (1, true));
        assert_eq!(count(&[]), (1, true));
    }

    #[test]
    fn recipients_are_deduplicated_and_more_than_the_maximum_are_not_split() {
        let count = |to: &[String]| {
            let mail = json!({ "messageId": "x", "destination": to });
            of_ses(&json!({ "eventType": "Send", "mail": mail, "send": {} })).len()
        };
        assert_eq!(count(&["a@b".into(), "a@b".into(), "c@d".into()]), 2);
        let many: Vec<String> = (0..51).map(|number| format!("{number}@b")).collect();
        assert_eq!((count(&many[..50]), count(&many)), (50, 1));
    }

    #[test]
    fn an_incoming_email_is_a_message_from_its_author() {
        let EventKind::Message(message) = &events(&the_example("received"))[0].kind else {
            panic!()
        };
        assert_eq!(message.from, "zoe@example.net");
        assert_eq!(message.name.as_deref(), Some("Zoë"));
        assert_eq!(message.provider_message_id, "mail-0123456789abcdef");
        let content = Content::Unsupported { raw: json!({ "subject": "Are you open?" }) };
        assert_eq!(message.content, content);

        let from = |mail: Value| {
            let event = json!({ "notificationType": "Received", "mail": mail });
            match of_ses(&event).remove(0).kind {
                EventKind::Message(message) => Some(message.from),
                _ => None,
            }
        };
        let envelope = json!({ "messageId": "x", "source": "s@t" });
        assert_eq!(from(envelope).as_deref(), Some("s@t"));
        let bare = json!({ "messageId": "x", "commonHeaders": { "from": ["a@b"] } });
        assert_eq!(from(bare).as_deref(), Some("a@b"));
        assert_eq!(from(json!({ "source": "s@t" })), None);
        let odd = json!({ "messageId": "x", "commonHeaders": { "from": ["> <", 1] } });
        assert_eq!(from(odd), None);
    }

    #[test]
    fn a_message_that_is_not_from_ses_is_recorded_unchanged() {
        let deep =
            format!(r#"{{"eventType":"Open","mail":{}{}}}"#, "[".repeat(999), "]".repeat(999));
        for message in [
            "Successfully validated SNS topic for Amazon SES event publishing.",
            "",
            "{",
            "[]",
            r#"["Open"]"#,
            "{}",
            r#"{"eventType":""}"#,
            r#"{"eventType":1}"#,
            "null",
        ] {
            let request = notification(message);
            let events = events(&request);
            assert_eq!((events.len(), events[0].id.as_str()), (1, "m"), "{message}");
            assert_eq!(name_of(&events[0]), "Notification");
            assert_eq!(events[0].raw.get().as_bytes(), &request.body);
        }
        for odd in [
            &deep,
            r#"{"eventType":"Bounce"}"#,
            r#"{"eventType":"Bounce","mail":1,"bounce":[]}"#,
            r#"{"eventType":"Bounce","mail":{"messageId":1e999},"bounce":{"bouncedRecipients":7}}"#,
            r#"{"eventType":"Delivery","mail":{},"delivery":{"recipients":[1,{},""],"timestamp":9}}"#,
            r#"{"eventType":"\u0041 new one","mail":{"messageId":"x","destination":{}}}"#,
        ] {
            let events = events(&notification(odd));
            assert_eq!((events.len(), events[0].id.as_str()), (1, "m"), "{odd}");
            assert_eq!(events[0].occurred_at.unwrap().to_string(), "2026-11-20T12:00:00Z");
            assert_eq!(events[0].raw.get(), odd);
        }
    }

    #[test]
    fn an_invalid_body_is_rejected_before_anything_is_fetched() {
        let settings = (example::EXAMPLES.settings)();
        let source = source(&settings, &[example::TOPIC, ""]);
        for body in ["", "{", "[]", "null", "{}", "\u{0}", r#"{"Type":"Notification"}"#] {
            let request = WebhookRequest {
                method: Method::POST,
                body: Bytes::copy_from_slice(body.as_bytes()),
                ..WebhookRequest::default()
            };
            assert_eq!(source.signing_certificate_url(&request).unwrap(), None);
            let refused = source.verify(&request, Timestamp::UNIX_EPOCH);
            assert!(matches!(refused, Err(Rejection::Unauthenticated(_))));
        }
        let mut request = the_example("sent");
        request.body = [&request.body[..], b"\xff"].concat().into();
        assert_eq!(source.signing_certificate_url(&request).unwrap(), None);
        assert!(source.verify(&request, Timestamp::UNIX_EPOCH).is_err());
    }
}
