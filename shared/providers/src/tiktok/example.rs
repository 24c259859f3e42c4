//! Example webhooks in the shape TikTok documents, signed with a test secret. For tests, event
//! files and tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Draft, Example, Examples, Seed};
use crate::signature;

/// The example webhooks of TikTok.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example {
            webhook: "tiktok",
            name: "authorization_removed",
            what: "A user revokes the app's authorization",
            draft: authorization_removed,
        },
        Example {
            webhook: "tiktok",
            name: "upload_failed",
            what: "The upload of a video failed",
            draft: upload_failed,
        },
        Example {
            webhook: "tiktok",
            name: "publish_completed",
            what: "A video was published",
            draft: publish_completed,
        },
        Example {
            webhook: "tiktok",
            name: "download_ready",
            what: "A user's data is ready for download",
            draft: download_ready,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, at| {
        let body = draft.body.bytes();
        let secret = credentials.first(super::CLIENT_SECRET);
        let secret = secret.map_or("", |secret| secret.expose_secret());
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&signature(secret, at, &body)) {
            headers.insert("tiktok-signature", value);
        }
        draft.request(body, headers, url)
    },
};

/// Client secret that signs the examples.
pub const CLIENT_SECRET: &str = "test-tiktok-client-secret";
/// User of the examples.
pub const USER: &str = "act.corner0shop0201";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new([(super::CLIENT_SECRET.to_owned(), vec![CLIENT_SECRET.into()])])
}

/// Returns the value of `TikTok-Signature` for `body`, signed at that time.
#[must_use]
pub fn signature(secret: &str, at: Timestamp, body: &[u8]) -> String {
    let second = at.as_second().to_string();
    let tag = signature::hmac_sha256(secret.as_bytes(), &[second.as_bytes(), b".", body]);
    format!("t={second},s={}", hex::encode(tag))
}

/// Returns an event. TikTok writes its content as JSON in a string.
fn event(seed: &Seed, name: &str, content: &Value) -> Draft {
    Draft::json(json!({
        "client_key": "bw0corner0shop",
        "event": name,
        "create_time": seed.at.as_second(),
        "user_openid": USER,
        "content": content.to_string(),
    }))
}

fn authorization_removed(seed: &Seed) -> Draft {
    event(seed, "authorization.removed", &json!({ "reason": 1 }))
}

fn upload_failed(seed: &Seed) -> Draft {
    let content = json!({ "share_id": format!("video.{}", seed.nonce) });
    event(seed, "video.upload.failed", &content)
}

fn publish_completed(seed: &Seed) -> Draft {
    let content = json!({ "share_id": format!("video.{}", seed.nonce) });
    event(seed, "video.publish.completed", &content)
}

fn download_ready(seed: &Seed) -> Draft {
    event(seed, "portability.download.ready", &json!({ "request_id": seed.nonce }))
}
