//! Example webhooks in the shape Evolution sends, with a test token. For tests, event files and
//! tools.

use domain::Credentials;
use http::{HeaderMap, HeaderValue};
use jiff::SignedDuration;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::example::{Answers, Draft, Example, Examples, InDoubt, Seed};

/// Evolution's responses to messages.
const ANSWERS: Answers = Answers {
    settings: || {
        let fields = [("instance", INSTANCE), ("base_url", "https://evolution.example.com")];
        fields.map(|(name, value)| (name.to_owned(), Value::from(value))).into_iter().collect()
    },
    accepted: || {
        let key = json!({ "remoteJid": JID, "fromMe": true, "id": "3EB0C767D82BC0E5B9" });
        let message = json!({ "conversation": "hi" });
        (
            201,
            json!({ "key": key, "message": message, "messageTimestamp": 1_795_176_000, "status": "PENDING" }),
        )
    },
    refused: |status| {
        let words = |message: Value| {
            json!({ "status": status, "error": "Internal Server Error",
                "response": { "message": message } })
        };
        [words("Internal Server Error".into()), words(json!(["Error: Timed Out"]))].into()
    },
    in_doubt: || {
        let source = "https://github.com/EvolutionAPI/evolution-api/blob/main/src/api/integrations/channel/whatsapp/whatsapp.baileys.service.ts";
        let words = ["Error: Timed Out", "PrismaClientKnownRequestError: the database is gone"];
        let doubt = |words: &str| InDoubt {
            status: 400,
            body: json!({ "status": 400, "error": "Bad Request",
                "response": { "message": [words] } }),
            source,
        };
        words.map(doubt).into()
    },
};

/// The example webhooks of Evolution.
pub static EXAMPLES: Examples = Examples {
    answers: Some(ANSWERS),
    events: &[
        Example {
            webhook: "evolution",
            name: "text",
            what: "A person sends a text",
            draft: a_text,
        },
        Example {
            webhook: "evolution",
            name: "image",
            what: "A person sends a picture",
            draft: an_image,
        },
        Example {
            webhook: "evolution",
            name: "from_me",
            what: "The business sends a text from its phone",
            draft: from_me,
        },
        Example {
            webhook: "evolution",
            name: "delivered",
            what: "A message was delivered",
            draft: delivered,
        },
        Example { webhook: "evolution", name: "failed", what: "A message failed", draft: failed },
        Example {
            webhook: "evolution",
            name: "connection_lost",
            what: "The phone is no longer connected",
            draft: connection_lost,
        },
        Example { webhook: "evolution", name: "call", what: "A person calls", draft: a_call },
    ],
    unsigned_bodies: &[("evolution", "a token in a header")],
    credentials,
    settings: || Map::from_iter([("account".to_owned(), INSTANCE.into())]),
    sign: |_, draft, credentials, url, _| {
        let token = credentials.first(super::WEBHOOK_TOKEN);
        let token = token.map_or("", |token| token.expose_secret());
        let mut headers = HeaderMap::new();
        if let Ok(token) = HeaderValue::from_str(token) {
            headers.insert(super::wire::TOKEN, token);
        }
        draft.request(draft.body.bytes(), headers, url)
    },
};

/// Webhook token of the examples.
pub const WEBHOOK_TOKEN: &str = "test-evolution-token";
/// Instance of the examples.
pub const INSTANCE: &str = "front-desk";
/// Number of the customer of the examples.
pub const NUMBER: &str = "4915550009999";
/// Address of the customer at Evolution.
pub const JID: &str = "4915550009999@s.whatsapp.net";

/// Returns the credentials of the examples.
#[must_use]
pub fn credentials() -> Credentials {
    let fields = [(super::API_KEY, "test-evolution-key"), (super::WEBHOOK_TOKEN, WEBHOOK_TOKEN)];
    Credentials::new(fields.map(|(name, value)| (name.to_owned(), vec![value.into()])))
}

/// Returns a body with `data`.
#[must_use]
pub fn envelope(event: &str, data: &Value, seed: &Seed) -> Value {
    json!({
        "event": event,
        "instance": INSTANCE,
        "data": data,
        "destination": "https://hub.example.com/webhooks/evolution",
        // With milliseconds, which differ between seeds.
        "date_time": (seed.at + SignedDuration::from_millis(millisecond(seed))).to_string(),
        "sender": "4915550001111@s.whatsapp.net",
        "server_url": "https://evolution.example.com",
        "apikey": null,
    })
}

fn millisecond(seed: &Seed) -> i64 {
    let digest = crate::signature::fingerprint(seed.nonce.as_bytes());
    i64::from_str_radix(digest.get(..8).unwrap_or_default(), 16).unwrap_or_default() % 1000
}

/// Returns a message id as WhatsApp writes it.
fn id(seed: &Seed) -> String {
    seed.nonce.to_ascii_uppercase()
}

/// Returns a message, from the business or to it.
#[must_use]
pub fn message(from_me: bool, message: &Value, seed: &Seed) -> Value {
    json!({
        "key": { "remoteJid": JID, "fromMe": from_me, "id": id(seed) },
        "pushName": "Zoë Müller",
        "status": "DELIVERY_ACK",
        "message": message,
        "contextInfo": null,
        "messageType": message.as_object().and_then(|message| message.keys().next()),
        "messageTimestamp": seed.at.as_second(),
        "instanceId": "7f0d8c1e-2c8e-4c58-9b52-0e6a4f3b2d11",
        "source": "android",
    })
}

fn a_text(seed: &Seed) -> Draft {
    let text = json!({ "conversation": "Hello! Are you open today?" });
    Draft::json(envelope("messages.upsert", &message(false, &text, seed), seed))
}

fn an_image(seed: &Seed) -> Draft {
    let image = json!({ "imageMessage": {
        "url": "https://mmg.whatsapp.net/v/example.enc",
        "mimetype": "image/jpeg",
        "caption": "Look",
        "fileLength": "54321",
    } });
    Draft::json(envelope("messages.upsert", &message(false, &image, seed), seed))
}

fn from_me(seed: &Seed) -> Draft {
    let text = json!({ "conversation": "Yes, until six." });
    Draft::json(envelope("messages.upsert", &message(true, &text, seed), seed))
}

/// Returns an update of an outgoing message.
#[must_use]
pub fn update(status: &str, seed: &Seed) -> Value {
    json!({
        "keyId": id(seed),
        "remoteJid": JID,
        "fromMe": true,
        "participant": JID,
        "status": status,
        "instanceId": "7f0d8c1e-2c8e-4c58-9b52-0e6a4f3b2d11",
        "messageId": "cm3xk0001example",
    })
}

fn delivered(seed: &Seed) -> Draft {
    Draft::json(envelope("messages.update", &update("DELIVERY_ACK", seed), seed))
}

fn failed(seed: &Seed) -> Draft {
    Draft::json(envelope("messages.update", &update("ERROR", seed), seed))
}

fn connection_lost(seed: &Seed) -> Draft {
    let data = json!({ "instance": INSTANCE, "state": "close", "statusReason": 401 });
    Draft::json(envelope("connection.update", &data, seed))
}

fn a_call(seed: &Seed) -> Draft {
    let data = json!({
        "chatId": JID,
        "from": JID,
        "id": id(seed),
        "date": seed.at.to_string(),
        "offline": false,
        "status": "offer",
        "isVideo": false,
        "isGroup": false,
    });
    Draft::json(envelope("call", &data, seed))
}
