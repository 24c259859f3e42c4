//! Example webhooks in the shape LinkedIn documents, signed with a test secret. For tests, event
//! files and tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature;

/// The example webhooks of LinkedIn.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "linkedin",
            name: "comment",
            what: "A member comments on the organization's post",
            draft: a_comment,
        },
        Example {
            webhook: "linkedin",
            name: "likes",
            what: "Two members like posts: two notifications in one request",
            draft: likes,
        },
        Example {
            webhook: "linkedin",
            name: "mention",
            what: "A member mentions the organization",
            draft: a_mention,
        },
        Example {
            webhook: "linkedin",
            name: "lead",
            what: "A member submits a lead form",
            draft: a_lead,
        },
        Example {
            webhook: "linkedin",
            name: "lead_deleted",
            what: "A lead is deleted",
            draft: a_lead_deleted,
        },
        Example {
            webhook: "linkedin",
            name: "challenge",
            what: "LinkedIn verifies the webhook URL with a challenge",
            draft: challenge,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, _| {
        let body = draft.body.bytes();
        let mut headers = HeaderMap::new();
        // A challenge is not signed.
        if draft.method == Method::POST {
            let secret = credentials.first(super::CLIENT_SECRET);
            let secret = secret.map_or("", |secret| secret.expose_secret());
            if let Ok(value) = HeaderValue::from_str(&signature(secret, &body)) {
                headers.insert("x-li-signature", value);
            }
        }
        draft.request(body, headers, url)
    },
};

/// Client secret that signs the examples.
pub const CLIENT_SECRET: &str = "test-linkedin-client-secret";
/// Organization of the examples.
pub const ORGANIZATION: &str = "urn:li:organization:5000201";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::CLIENT_SECRET.to_owned(), vec![CLIENT_SECRET.into()])])
}

/// Returns the value of `X-LI-Signature` for `body`.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    hex::encode(signature::hmac_sha256(secret.as_bytes(), &[b"hmacsha256=", body]))
}

/// Returns a number that differs for each seed and `what`.
fn number(seed: &Seed, what: &str) -> i64 {
    let digest = signature::fingerprint(format!("{}{what}", seed.nonce).as_bytes());
    i64::from_str_radix(digest.get(..12).unwrap_or_default(), 16).unwrap_or_default()
}

fn notification(seed: &Seed, what: &str, action: &str) -> Value {
    let post = number(seed, "post");
    json!({
        "notificationId": number(seed, what),
        "organizationalEntity": ORGANIZATION,
        "action": action,
        "sourcePost": format!("urn:li:share:{post}"),
        "generatedActivity": format!("urn:li:comment:(urn:li:activity:{post},{})", number(seed, what)),
        "lastModifiedAt": seed.at.as_millisecond(),
        "subscriber": "urn:li:person:Zo3",
    })
}

/// Returns a body with these notifications.
#[must_use]
pub fn notifications(list: &[Value]) -> Value {
    json!({ "type": "ORGANIZATION_SOCIAL_ACTION_NOTIFICATIONS", "notifications": list })
}

fn a_comment(seed: &Seed) -> Draft {
    let mut comment = notification(seed, "comment", "COMMENT");
    if let Value::Object(comment) = &mut comment {
        let text = json!({ "comment": "Schöne Tassen!" });
        comment.insert("decoratedGeneratedActivity".to_owned(), text);
    }
    Draft::json(notifications(&[comment]))
}

fn likes(seed: &Seed) -> Draft {
    let (first, second) =
        (notification(seed, "first", "LIKE"), notification(seed, "second", "LIKE"));
    Draft::json(notifications(&[first, second]))
}

fn a_mention(seed: &Seed) -> Draft {
    Draft::json(notifications(&[notification(seed, "mention", "SHARE_MENTION")]))
}

fn lead(seed: &Seed, action: &str) -> Draft {
    Draft::json(json!({
        "type": "LEAD_ACTION",
        "leadGenFormResponse": format!("urn:li:leadGenFormResponse:{}", seed.nonce),
        "leadGenForm": "urn:li:versionedLeadGenForm:(urn:li:leadGenForm:301,1)",
        "owner": { "organization": ORGANIZATION },
        "leadType": "ORGANIZATION",
        "leadAction": action,
        "occurredAt": seed.at.as_millisecond(),
    }))
}

fn a_lead(seed: &Seed) -> Draft {
    lead(seed, "CREATED")
}

fn a_lead_deleted(seed: &Seed) -> Draft {
    lead(seed, "DELETED")
}

fn challenge(seed: &Seed) -> Draft {
    Draft::get(&[("challengeCode", &seed.nonce)])
}
