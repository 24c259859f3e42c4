//! Example webhooks in the shape Meta documents for Pages and Instagram, signed with test secrets.
//! For tests, event files and tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue, Method};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Body, Draft, Example, Examples, Seed};
use crate::whatsapp_cloud::example::{escaped, signature};

/// The example webhooks of Facebook.
pub static EXAMPLES: Examples = Examples {
    answers: None,
    events: &[
        Example { webhook: "facebook", name: "text", what: "A person sends a text", draft: a_text },
        Example {
            webhook: "facebook",
            name: "image",
            what: "A person sends a picture",
            draft: an_image,
        },
        Example {
            webhook: "facebook",
            name: "postback",
            what: "A person presses a button",
            draft: a_postback,
        },
        Example {
            webhook: "facebook",
            name: "reaction",
            what: "A person reacts to a message",
            draft: a_reaction,
        },
        Example {
            webhook: "facebook",
            name: "echo",
            what: "The Page sends a message",
            draft: an_echo,
        },
        Example {
            webhook: "facebook",
            name: "delivered",
            what: "A message was delivered",
            draft: delivered,
        },
        Example {
            webhook: "facebook",
            name: "read",
            what: "A person read all messages up to a time",
            draft: read,
        },
        Example {
            webhook: "facebook",
            name: "comment",
            what: "A person comments on the Page's post",
            draft: a_comment,
        },
        Example {
            webhook: "facebook",
            name: "instagram_text",
            what: "A person sends a text on Instagram",
            draft: an_instagram_text,
        },
        Example {
            webhook: "facebook",
            name: "instagram_read",
            what: "A person read a message on Instagram",
            draft: an_instagram_read,
        },
        Example {
            webhook: "facebook",
            name: "handshake",
            what: "Meta verifies the webhook URL",
            draft: handshake,
        },
    ],
    unsigned_bodies: &[],
    credentials,
    settings: Map::new,
    sign: |_, draft, credentials, url, _| {
        let first = |name| credentials.first(name).map_or("", |secret| secret.expose_secret());
        if draft.method == Method::GET {
            let mut draft = draft.clone();
            draft
                .query
                .push(("hub.verify_token".to_owned(), first(super::VERIFY_TOKEN).to_owned()));
            return draft.request(draft.body.bytes(), HeaderMap::new(), url);
        }
        let body = match &draft.body {
            Body::Json(body) => escaped(body),
            other => other.bytes(),
        };
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(&signature(first(super::APP_SECRET), &body)) {
            headers.insert("x-hub-signature-256", value);
        }
        draft.request(body, headers, url)
    },
};

/// App secret that signs the examples.
pub const APP_SECRET: &str = "test-facebook-app-secret";
/// Verify token of the example handshakes.
pub const VERIFY_TOKEN: &str = "test-facebook-verify-token";
/// Page that the examples are sent to.
pub const PAGE: &str = "100000000000201";
/// Instagram account that the examples are sent to.
pub const INSTAGRAM: &str = "17841400000000201";
/// Customer of the examples.
pub const PERSON: &str = "7000000000000301";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::APP_SECRET, APP_SECRET), (super::VERIFY_TOKEN, VERIFY_TOKEN)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns an item of `messaging` from the person to `account`. `part` is its content.
#[must_use]
pub fn item(seed: &Seed, account: &str, part: &Value) -> Value {
    let mut item = json!({
        "sender": { "id": PERSON },
        "recipient": { "id": account },
        "timestamp": seed.at.as_millisecond(),
    });
    if let (Value::Object(item), Value::Object(part)) = (&mut item, part) {
        item.extend(part.clone());
    }
    item
}

/// Returns the whole body, with one entry that has these `items`.
#[must_use]
pub fn messaging(seed: &Seed, object: &str, account: &str, items: &[Value]) -> Value {
    let entry = json!({ "id": account, "time": seed.at.as_millisecond(), "messaging": items });
    json!({ "object": object, "entry": [entry] })
}

fn on_page(seed: &Seed, part: &Value) -> Draft {
    Draft::json(messaging(seed, "page", PAGE, &[item(seed, PAGE, part)]))
}

fn on_instagram(seed: &Seed, part: &Value) -> Draft {
    Draft::json(messaging(seed, "instagram", INSTAGRAM, &[item(seed, INSTAGRAM, part)]))
}

fn mid(seed: &Seed) -> String {
    format!("m_{}", seed.nonce)
}

fn a_text(seed: &Seed) -> Draft {
    let text = "Hello! Haben Sie heute geöffnet? / 👋";
    on_page(seed, &json!({ "message": { "mid": mid(seed), "text": text } }))
}

fn an_image(seed: &Seed) -> Draft {
    let url = format!("https://scontent.example.com/{}.jpg", seed.nonce);
    let image = json!({ "type": "image", "payload": { "url": url } });
    on_page(seed, &json!({ "message": { "mid": mid(seed), "attachments": [image] } }))
}

fn a_postback(seed: &Seed) -> Draft {
    let postback = json!({ "mid": mid(seed), "title": "Book a table", "payload": "BOOK" });
    on_page(seed, &json!({ "postback": postback }))
}

fn a_reaction(seed: &Seed) -> Draft {
    let reaction =
        json!({ "reaction": "love", "emoji": "❤️", "action": "react", "mid": mid(seed) });
    on_page(seed, &json!({ "reaction": reaction }))
}

fn an_echo(seed: &Seed) -> Draft {
    let message =
        json!({ "mid": mid(seed), "is_echo": true, "app_id": 2_000_000_401, "text": "Yes." });
    let echo = json!({
        "sender": { "id": PAGE }, "recipient": { "id": PERSON },
        "timestamp": seed.at.as_millisecond(), "message": message,
    });
    Draft::json(messaging(seed, "page", PAGE, &[echo]))
}

fn delivered(seed: &Seed) -> Draft {
    let delivery = json!({ "mids": [mid(seed)], "watermark": seed.at.as_millisecond() });
    on_page(seed, &json!({ "delivery": delivery }))
}

fn read(seed: &Seed) -> Draft {
    on_page(seed, &json!({ "read": { "watermark": seed.at.as_millisecond() } }))
}

fn a_comment(seed: &Seed) -> Draft {
    let post = format!("{PAGE}_901");
    let value = json!({
        "item": "comment", "verb": "add", "post_id": post,
        "comment_id": format!("901_{}", seed.nonce),
        "from": { "id": PERSON, "name": "Zoë Müller" },
        "message": "Schön!",
        "created_time": seed.at.as_second(),
    });
    let entry = json!({
        "id": PAGE, "time": seed.at.as_second(), "changes": [{ "field": "feed", "value": value }],
    });
    Draft::json(json!({ "object": "page", "entry": [entry] }))
}

fn an_instagram_text(seed: &Seed) -> Draft {
    on_instagram(seed, &json!({ "message": { "mid": mid(seed), "text": "Is this in stock?" } }))
}

fn an_instagram_read(seed: &Seed) -> Draft {
    on_instagram(seed, &json!({ "read": { "mid": mid(seed) } }))
}

fn handshake(seed: &Seed) -> Draft {
    Draft::get(&[("hub.mode", "subscribe"), ("hub.challenge", &seed.nonce)])
}
