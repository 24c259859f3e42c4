//! Example webhooks in the shape X documents, signed with a test secret. For tests, event files and
//! tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Credentials;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature;

/// The example webhooks of X.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example { webhook: "x", name: "post", what: "A user mentions the account", draft: a_post },
        Example {
            webhook: "x",
            name: "direct_message",
            what: "A person sends a direct message",
            draft: a_direct_message,
        },
        Example {
            webhook: "x",
            name: "like",
            what: "A user likes a post of the account",
            draft: a_like,
        },
        Example {
            webhook: "x",
            name: "follow",
            what: "A user follows the account",
            draft: a_follow,
        },
        Example {
            webhook: "x",
            name: "post_deleted",
            what: "A post is deleted",
            draft: a_deletion,
        },
        Example {
            webhook: "x",
            name: "revoked",
            what: "A user revokes the app's authorization",
            draft: revoked,
        },
        Example {
            webhook: "x",
            name: "activity",
            what: "A post, reported by the X Activity API",
            draft: an_activity,
        },
        Example {
            webhook: "x",
            name: "challenge",
            what: "X verifies the webhook URL with a challenge",
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
            let secret = credentials.first(super::CONSUMER_SECRET);
            let secret = secret.map_or("", |secret| secret.expose_secret());
            if let Ok(value) = HeaderValue::from_str(&signature(secret, &body)) {
                headers.insert("x-twitter-webhooks-signature", value);
            }
        }
        draft.request(body, headers, url)
    },
};

/// Consumer secret that signs the examples.
pub const CONSUMER_SECRET: &str = "test-twitter-consumer-secret";
/// User of the examples.
pub const USER: &str = "2200000000000201";
/// Customer of the examples.
pub const PERSON: &str = "3300000000000301";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::CONSUMER_SECRET.to_owned(), vec![CONSUMER_SECRET.into()])])
}

/// Returns the signature of `body`, which is also the answer to a challenge with those bytes.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    let tag = signature::hmac_sha256(secret.as_bytes(), &[body]);
    format!("sha256={}", STANDARD.encode(tag))
}

/// Returns a number that differs for each seed.
fn number(seed: &Seed) -> String {
    let digest = signature::fingerprint(seed.nonce.as_bytes());
    i64::from_str_radix(digest.get(..15).unwrap_or_default(), 16).unwrap_or_default().to_string()
}

/// Returns a body with one event of that kind.
#[must_use]
pub fn body(kind: &str, event: &Value) -> Value {
    json!({ "for_user_id": USER, kind: [event] })
}

fn person() -> Value {
    json!({ "id": PERSON, "id_str": PERSON, "name": "Zoë Müller", "screen_name": "zoe_m" })
}

fn milliseconds(seed: &Seed) -> String {
    seed.at.as_millisecond().to_string()
}

fn post(seed: &Seed) -> Value {
    let at = seed.at.strftime("%a %b %d %H:%M:%S %z %Y").to_string();
    json!({
        "created_at": at, "id_str": number(seed), "text": "@corner_shop Schöne Tassen!",
        "user": person(), "timestamp_ms": milliseconds(seed),
    })
}

fn a_post(seed: &Seed) -> Draft {
    let mut body = body("tweet_create_events", &post(seed));
    if let Value::Object(body) = &mut body {
        body.insert("user_has_blocked".to_owned(), false.into());
    }
    Draft::json(body)
}

/// Returns a direct message from `sender` to `recipient`.
#[must_use]
pub fn direct_message(seed: &Seed, sender: &str, recipient: &str, data: &Value) -> Value {
    let create = json!({
        "target": { "recipient_id": recipient }, "sender_id": sender, "message_data": data,
    });
    json!({
        "type": "message_create", "id": number(seed), "created_timestamp": milliseconds(seed),
        "message_create": create,
    })
}

fn a_direct_message(seed: &Seed) -> Draft {
    let message = direct_message(seed, PERSON, USER, &json!({ "text": "Is this in stock?" }));
    let mut body = body("direct_message_events", &message);
    if let Value::Object(body) = &mut body {
        body.insert("users".to_owned(), json!({ PERSON: person() }));
    }
    Draft::json(body)
}

fn a_like(seed: &Seed) -> Draft {
    let like = json!({
        "id": seed.nonce, "timestamp_ms": seed.at.as_millisecond(),
        "favorited_status": post(seed), "user": person(),
    });
    Draft::json(body("favorite_events", &like))
}

fn a_follow(seed: &Seed) -> Draft {
    let us = json!({ "id": USER, "name": "Corner Shop", "screen_name": "corner_shop" });
    let follow = json!({
        "type": "follow", "created_timestamp": milliseconds(seed),
        "target": us, "source": person(),
    });
    Draft::json(body("follow_events", &follow))
}

fn a_deletion(seed: &Seed) -> Draft {
    let deletion = json!({
        "status": { "id": number(seed), "user_id": USER }, "timestamp_ms": milliseconds(seed),
    });
    Draft::json(body("tweet_delete_events", &deletion))
}

fn revoked(seed: &Seed) -> Draft {
    let revoke = json!({
        "date_time": seed.at.to_string(),
        "target": { "app_id": "13090192" }, "source": { "user_id": USER },
    });
    Draft::json(json!({ "user_event": { "revoke": revoke } }))
}

fn an_activity(seed: &Seed) -> Draft {
    let payload = json!({
        "id": number(seed), "author_id": USER, "text": "Neu: Tassen!",
        "created_at": seed.at.to_string(),
    });
    Draft::json(json!({ "data": {
        "event_uuid": number(seed), "event_type": "post.create",
        "filter": { "user_id": USER }, "tag": "posts", "payload": payload,
    }}))
}

fn challenge(seed: &Seed) -> Draft {
    Draft::get(&[("crc_token", &seed.nonce)])
}
