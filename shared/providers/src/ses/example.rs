//! Example webhooks in the shapes SES and SNS document, signed with a test certificate.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::Credentials;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Body, Draft, Example, Examples, Seed};

/// The example webhooks of Amazon SES.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "ses",
            name: "subscription",
            what: "SNS asks to confirm a subscription",
            draft: subscription,
        },
        Example { webhook: "ses", name: "sent", what: "SES accepts an email", draft: sent },
        Example {
            webhook: "ses",
            name: "delivered",
            what: "An email is delivered",
            draft: delivered,
        },
        Example {
            webhook: "ses",
            name: "bounced",
            what: "An email bounces for two recipients",
            draft: bounced,
        },
        Example {
            webhook: "ses",
            name: "complained",
            what: "A recipient marks an email as spam",
            draft: complained,
        },
        Example {
            webhook: "ses",
            name: "delayed",
            what: "The delivery of an email is delayed",
            draft: delayed,
        },
        Example {
            webhook: "ses",
            name: "clicked",
            what: "A recipient clicks a link",
            draft: clicked,
        },
        Example {
            webhook: "ses",
            name: "received",
            what: "An email is received, reported by a notification",
            draft: received,
        },
    ],
    unsigned_bodies: &[(
        "ses",
        "a signature over the fields that say something, and not over the rest",
    )],
    credentials,
    settings: || Map::from_iter([("certificate_host".to_owned(), CERTIFICATE_HOST.into())]),
    sign: |_, draft, credentials, url, _| {
        let topic = credentials.first(super::TOPIC_ARNS);
        let topic = topic.map_or("", |topic| topic.expose_secret());
        let body = match &draft.body {
            Body::Json(body) => signed(body, topic),
            other => other.bytes(),
        };
        let mut headers = HeaderMap::new();
        if let Ok(topic) = HeaderValue::from_str(topic) {
            headers.insert("x-amz-sns-topic-arn", topic);
        }
        let mut request = draft.request(body, headers, url);
        request.signing_certificate = Some(Bytes::from_static(CERTIFICATE.as_bytes()));
        request
    },
};

/// Topic of the examples.
pub const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:hub-examples";
/// Host that serves [`CERTIFICATE`] and confirms the examples' subscriptions, in place of SNS.
pub const CERTIFICATE_HOST: &str = "127.0.0.1:8789";
/// Path of [`CERTIFICATE`].
pub const CERTIFICATE_PATH: &str = "/SimpleNotificationService-example.pem";
/// Self-signed certificate of the examples, valid from 2025 to 2124.
pub const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIDhzCCAm+gAwIBAgIBATANBgkqhkiG9w0BAQsFADBMMRowGAYDVQQDDBFzbnMu
YW1hem9uYXdzLmNvbTEuMCwGA1UECgwlVGVzdCBjZXJ0aWZpY2F0ZSBvZiB0aGUg
aHVicyBleGFtcGxlczAgFw0yNTAxMDEwMDAwMDBaGA8yMTI0MTIzMTIzNTk1OVow
TDEaMBgGA1UEAwwRc25zLmFtYXpvbmF3cy5jb20xLjAsBgNVBAoMJVRlc3QgY2Vy
dGlmaWNhdGUgb2YgdGhlIGh1YnMgZXhhbXBsZXMwggEiMA0GCSqGSIb3DQEBAQUA
A4IBDwAwggEKAoIBAQC48MF9NXUBNx4bOu/xT4O+wKC+Mt0JMn5ghCHlKkNkbTJa
00WWn2U2u0+YGng9iWyHKyOvK+oU0hzUzqDyPOI8M2lF92dotO1jUL9amKu1o43o
9JwEiTjlP9VD7lJYQJJsl0s3A2kt1KWm9FmOYKk7QsY/GwxHMC2l0ryZl3irml+s
lKWBwFnFPjJghuSf52q6W0EQLp0pr5Vawsbam2HpFhhtj4Mcq8p3lv2faY67xfqU
gGwc6Ms9oSpe0Pv5CfZBAHucBp9E7mBwzwiOa94hvVNO/Bkwq/5YaOnaf13rGgIX
tQQKKSAOGtaoofHAhaXadVgfnbll6P7VBnx0PmnJAgMBAAGjcjBwMAwGA1UdEwEB
/wQCMAAwDgYDVR0PAQH/BAQDAgWgMBMGA1UdJQQMMAoGCCsGAQUFBwMBMBwGA1Ud
EQQVMBOCEXNucy5hbWF6b25hd3MuY29tMB0GA1UdDgQWBBTMb8IRlWWfauHRNR/U
Dt3c1oOMRDANBgkqhkiG9w0BAQsFAAOCAQEAD01R3+rzjGjrJGzoYPAo3zhGk94+
hX4x1Zkp449WOyp8Z3HwUWcJOXX0UIwTFqrjXzyHQGBCwJVICCti2M+LJnkcCxFJ
kfIBTO5tifDxKvPa331lA8LIzULqJFNVQt5Pczxcc35CE1r+JkF8F33oNCCYwTgy
Z0zM+iNkBii7/fgv1Owvt6d+63PH3KOrkwe74t+TYHoS7Sz4RmOrXPe2uvEdOjuo
9CvEPzrMWRXMTOiyTrCKy7Z1tR5kqwgT/7kKL3x6AfpGT0y28nX3K49ZjCdJuB26
oXUI1fLqnQoUiueQYpehYYkye7N1GUKw756M8AeoH3/QpxWGriRN3xQPaQ==
-----END CERTIFICATE-----
";

/// Private key of the certificate, as PKCS #8: for tests, and public.
const KEY: &str = "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC48MF9NXUBNx4bOu/xT4O+wKC+Mt0JMn5ghCHlKkNkbTJa00WWn2U2u0+YGng9iWyHKyOvK+oU0hzUzqDyPOI8M2lF92dotO1jUL9amKu1o43o9JwEiTjlP9VD7lJYQJJsl0s3A2kt1KWm9FmOYKk7QsY/GwxHMC2l0ryZl3irml+slKWBwFnFPjJghuSf52q6W0EQLp0pr5Vawsbam2HpFhhtj4Mcq8p3lv2faY67xfqUgGwc6Ms9oSpe0Pv5CfZBAHucBp9E7mBwzwiOa94hvVNO/Bkwq/5YaOnaf13rGgIXtQQKKSAOGtaoofHAhaXadVgfnbll6P7VBnx0PmnJAgMBAAECggEAOouIjQT/sa9Lmg4pyAfGanvbRuqeG1u/MvmRK1UaOW/x+VuZU2nJJi7crwduGfjngNCwvrLVqtqq4tk4jQamDa2uvUXpF/XykjaNJPZgoSMR+PV6cFsqRjRTZGpM6gAi+jpYxqUPRkFjYTtIIHDMEeT9EhwTYnPHd4+DQdH4EsZEJtHc05levY2clplZL71qT/kCgqjSrxxD8ptak4vwZh+dMylZmGxjWYEuPIC/vJ+UMLci7sBrS+Zbz1QzJ3MlzFnVd4i2tNCsNMwyUuG9GqnUi9uUyyrDlqXtmnVZyfoMxdx6Ah0SADdbMPC9JDF4NzzPVGYCUmtag7rm4+Aa6wKBgQD7Fy6siZN4HVmj/x3J4ufYeCWqyAecDSMwfIQ9NWdvN5nrNCtQjElRn/5cK2A4KB9tlcdIxe46asIYjNM+sYdSB/IK8fIaaoFPKV3ULum0gE1o1y3i89rrMLoy/KCpmCEaF/PhCKeR8NE+bwT6/BrqVA8dZBiesLh/avY6ijU2kwKBgQC8jnahA7Kq5PZkHYg6Ja9PEM3vn5d0nAJaImjljPZAZNg+StngIIclyv9N2fKxP5vndTogX55CkCgEim2zj2iQshxa5KDm1Yjyu7F0WiCv/V3iqTYFiXTI+kRZ+6bXOnMc5jcEVcoiXn85EnFGcZyfONIuG1AcI9joNknNCbFbswKBgG3/9vOhhdh+SzIcZsl2PYnJAP9ziFnmK39nXWuPRNQlcKno/fzYqJo41G8+lXWkpjgVAOwxwi8XbBbjQvxZO+ZFEtWWrzDBbgrnHXMCZmIsPz1p33Fo0YRtoXUK1bvWqNHMoov4haja7mBCtNTbs1LrJoACxQJoezte+aYlvDA/AoGBAKdzOUTK/OuphGrqkyVYfDSSLuDj8OQc/DXBozhgk/wh0qyXWqAhIwRcH5iquk3QuIq335QKdoiUbwWBTeUNsYX2txm9OmtlLUariu9Sbv772lnFffUy2iT1pKfoxYUUIlCC3k8aRPV6yC8OAszVbos0MevCU8V5zFKEi8vsFLbjAoGBAJRu9qDiCZXnCvy4sMAdgHv9d9SamEMWVDO341GAorZzxWLFuAVWJlVfDevILRPax55nLUp0v/kBhYaXyyaJSEpAvbtqqDlw/OjBZOQmWgTFP7Z/iROXARsJftLyq0lAJA3K5eMgRfcElRUkTRqWRagmWX9KhR1KgpA8JnVn7H7o";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::TOPIC_ARNS.to_owned(), vec![TOPIC.into()])])
}

/// Returns the body of a message of `topic`, signed with signature version 2.
fn signed(body: &Value, topic: &str) -> Bytes {
    let Value::Object(mut body) = body.clone() else { return Bytes::new() };
    let url = format!("http://{CERTIFICATE_HOST}{CERTIFICATE_PATH}");
    body.insert("TopicArn".to_owned(), topic.into());
    body.insert("SignatureVersion".to_owned(), "2".into());
    body.insert("SigningCertURL".to_owned(), url.into());
    let names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token"];
    let names = names.into_iter().chain(["TopicArn", "Type"]);
    let text = names.fold(String::new(), |text, name| match body.get(name) {
        Some(Value::String(value)) => text + name + "\n" + value + "\n",
        _ => text,
    });
    body.insert("Signature".to_owned(), signature(text.as_bytes()).into());
    Value::Object(body).to_string().into()
}

/// Returns the signature of `text` with the key of the examples.
fn signature(text: &[u8]) -> String {
    let key = STANDARD.decode(KEY).ok().and_then(|key| RsaKeyPair::from_pkcs8(&key).ok());
    let Some(key) = key else { return String::new() };
    let mut signature = vec![0; key.public_modulus_len()];
    // This padding is deterministic: no random numbers are used.
    match key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature) {
        Ok(()) => STANDARD.encode(signature),
        Err(_) => String::new(),
    }
}

/// Returns an SNS message of type `kind` with the fields in `what`.
fn envelope(seed: &Seed, kind: &'static str, what: Value) -> Draft {
    let id = format!("sns-{}", seed.nonce);
    let mut body = json!({ "Type": kind, "MessageId": id, "Timestamp": seed.at.to_string() });
    if let (Value::Object(body), Value::Object(what)) = (&mut body, what) {
        body.extend(what);
    }
    let mut draft = Draft::json(body);
    let kind = HeaderValue::from_static(kind);
    draft.headers.insert(HeaderName::from_static("x-amz-sns-message-type"), kind);
    let text = HeaderValue::from_static("text/plain; charset=UTF-8");
    draft.headers.insert(http::header::CONTENT_TYPE, text);
    draft
}

fn subscription(seed: &Seed) -> Draft {
    let token = format!("token{}", seed.nonce);
    let query = format!("Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}");
    let what = json!({
        "Message": "You have chosen to subscribe to a topic. Visit the SubscribeURL to confirm.",
        "SubscribeURL": format!("http://{CERTIFICATE_HOST}/?{query}"),
        "Token": token,
    });
    envelope(seed, "SubscriptionConfirmation", what)
}

/// Returns an SES event about an email to `to`.
fn event(seed: &Seed, kind: &str, to: &[&str], name: &str, detail: &Value) -> Draft {
    let mail = json!({
        "timestamp": seed.at.to_string(),
        "messageId": format!("mail-{}", seed.nonce),
        "source": "shop@example.com",
        "destination": to,
        "commonHeaders": { "from": ["Shop <shop@example.com>"], "subject": "Your order" },
        "tags": { "ses:configuration-set": ["hub"] },
    });
    let message = json!({ "eventType": kind, "mail": mail, (name): detail });
    let subject = "Amazon SES Email Event Notification";
    envelope(seed, "Notification", json!({ "Subject": subject, "Message": message.to_string() }))
}

fn sent(seed: &Seed) -> Draft {
    event(seed, "Send", &["zoe@example.net"], "send", &json!({}))
}

fn delivered(seed: &Seed) -> Draft {
    let detail = json!({
        "timestamp": seed.at.to_string(),
        "processingTimeMillis": 546,
        "recipients": ["zoe@example.net"],
        "smtpResponse": "250 ok",
    });
    event(seed, "Delivery", &["zoe@example.net"], "delivery", &detail)
}

fn bounced(seed: &Seed) -> Draft {
    let to = ["nobody@example.net", "full@example.net"];
    let detail = json!({
        "bounceType": "Permanent",
        "bounceSubType": "General",
        "bouncedRecipients": [
            {
                "emailAddress": to[0],
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            },
            { "emailAddress": to[1], "action": "failed", "status": "5.2.2" },
        ],
        "timestamp": seed.at.to_string(),
        "feedbackId": format!("feedback-{}", seed.nonce),
    });
    event(seed, "Bounce", &to, "bounce", &detail)
}

fn complained(seed: &Seed) -> Draft {
    let detail = json!({
        "complainedRecipients": [{ "emailAddress": "zoe@example.net" }],
        "timestamp": seed.at.to_string(),
        "complaintFeedbackType": "abuse",
    });
    event(seed, "Complaint", &["zoe@example.net"], "complaint", &detail)
}

fn delayed(seed: &Seed) -> Draft {
    let detail = json!({
        "delayType": "MailboxFull",
        "delayedRecipients": [{ "emailAddress": "full@example.net", "status": "4.2.2" }],
        "timestamp": seed.at.to_string(),
    });
    event(seed, "DeliveryDelay", &["full@example.net"], "deliveryDelay", &detail)
}

fn clicked(seed: &Seed) -> Draft {
    let detail = json!({
        "ipAddress": "192.0.2.1",
        "link": "https://shop.example/",
        "timestamp": seed.at.to_string(),
    });
    event(seed, "Click", &["zoe@example.net"], "click", &detail)
}

fn received(seed: &Seed) -> Draft {
    let message = json!({
        "notificationType": "Received",
        "mail": {
            "timestamp": seed.at.to_string(),
            "messageId": format!("mail-{}", seed.nonce),
            "source": "bounces+1@example.net",
            "destination": ["shop@example.com"],
            "commonHeaders": { "from": ["Zoë <zoe@example.net>"], "subject": "Are you open?" },
        },
        "receipt": { "timestamp": seed.at.to_string(), "recipients": ["shop@example.com"] },
        "content": "From: Zoë <zoe@example.net>\r\nSubject: Are you open?\r\n\r\nToday?\r\n",
    });
    envelope(seed, "Notification", json!({ "Message": message.to_string() }))
}
