//! Whatever comes in: nothing panics, and nothing that was changed verifies.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by it")]

use bytes::Bytes;
use domain::webhook::{Rejection, WebhookRequest, receive};
use domain::{Credentials, Provider};
use jiff::Timestamp;
use proptest::prelude::*;
use providers::{telegram, whatsapp};
use serde_json::{Value, json};

fn outcome(
    provider: Provider,
    credentials: &Credentials,
    request: &WebhookRequest,
) -> Result<usize, Rejection> {
    let source = providers::webhook(provider).source(credentials, Some("1"));
    match receive(&*source, request, Timestamp::UNIX_EPOCH)? {
        domain::webhook::Delivery::Events(events) => Ok(events.len()),
        domain::webhook::Delivery::Handshake(_) => Ok(0),
    }
}

/// Any JSON, of the depth a webhook has.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[\\PC]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![
                    Just("id".to_owned()),
                    Just("type".to_owned()),
                    Just("text".to_owned()),
                    Just("body".to_owned()),
                    Just("timestamp".to_owned()),
                    "[a-z_]{1,6}",
                ],
                inner,
                0..4
            )
            .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, &format!("{here}/{name}"), all);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{here}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// `value` with something else in one of its places.
fn mutated(mut value: Value, place: prop::sample::Index, other: Value) -> Value {
    let mut all = Vec::new();
    places(&value, "", &mut all);
    let place = all[place.index(all.len())].clone();
    *value.pointer_mut(&place).unwrap() = other;
    value
}

fn meta_batch() -> Value {
    let parts = [
        json!({ "type": "image", "image": { "id": "1" }, "context": { "id": "wamid.0" } }),
        json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "a" }, "phones": [] }] }),
        json!({ "type": "interactive", "interactive": { "type": "button_reply",
            "button_reply": { "id": "a", "title": "b" } } }),
    ];
    let messages: Vec<Value> =
        parts.iter().map(|part| whatsapp::example::message("wamid.A", part)).collect();
    let failed = whatsapp::example::failed("wamid.B", 1, "t", None);
    whatsapp::example::envelope(&[
        whatsapp::example::messages("1", &messages),
        whatsapp::example::statuses("1", &[failed]),
    ])
}

fn updates() -> impl Strategy<Value = Value> {
    let press = json!({ "id": "1", "data": "y",
        "message": telegram::example::message(3, &json!({ "reply_markup": { "inline_keyboard": [] } })) });
    let reaction = json!({ "chat": telegram::example::chat(), "message_id": 1, "date": 1,
        "new_reaction": [{ "type": "emoji", "emoji": "x" }] });
    let photo = json!({ "photo": [{ "file_id": "1", "width": 1, "height": 1 }], "caption": "c" });
    prop_oneof![
        Just(telegram::example::text(1, 2, "t")),
        Just(telegram::example::update(1, "message", &telegram::example::message(2, &photo))),
        Just(telegram::example::update(1, "callback_query", &press)),
        Just(telegram::example::update(1, "message_reaction", &reaction)),
    ]
}

proptest! {
    #[test]
    fn an_authentic_whatsapp_body_of_any_shape_is_read_or_parked(
        place in any::<prop::sample::Index>(),
        other in anything(),
    ) {
        let body = whatsapp::example::escaped(&mutated(meta_batch(), place, other));
        let request = whatsapp::example::request(body);
        let result = outcome(Provider::Whatsapp, &whatsapp::example::credentials(), &request);
        prop_assert!(matches!(result, Ok(_) | Err(Rejection::Unreadable(_))), "{result:?}");
    }

    #[test]
    fn a_strange_message_never_takes_its_siblings_along(other in anything()) {
        let messages = [whatsapp::example::text("wamid.A", "a"), other, whatsapp::example::text("wamid.C", "c")];
        let body = whatsapp::example::envelope(&[whatsapp::example::messages("1", &messages)]);
        let request = whatsapp::example::request(whatsapp::example::escaped(&body));
        let result = outcome(Provider::Whatsapp, &whatsapp::example::credentials(), &request);
        prop_assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn an_authentic_telegram_update_of_any_shape_is_read_or_parked(
        update in updates(),
        place in any::<prop::sample::Index>(),
        other in anything(),
    ) {
        let request = telegram::example::request(&mutated(update, place, other));
        let result = outcome(Provider::Telegram, &telegram::example::credentials(), &request);
        prop_assert!(matches!(result, Ok(1) | Err(Rejection::Unreadable(_))), "{result:?}");
    }

    #[test]
    fn authentic_bytes_of_any_kind_are_read_or_parked(body in any::<Vec<u8>>()) {
        let request = whatsapp::example::request(Bytes::from(body.clone()));
        let result = outcome(Provider::Whatsapp, &whatsapp::example::credentials(), &request);
        prop_assert!(matches!(result, Err(Rejection::Unreadable(_))));
        let mut request = telegram::example::request(&Value::Null);
        request.body = Bytes::from(body);
        let result = outcome(Provider::Telegram, &telegram::example::credentials(), &request);
        prop_assert!(matches!(result, Err(Rejection::Unreadable(_))));
    }

    #[test]
    fn a_flipped_byte_never_verifies(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let good = whatsapp::example::request(whatsapp::example::escaped(&meta_batch()));
        let mut body = good.body.to_vec();
        let at = at.index(body.len());
        body[at] ^= flip;
        let request = WebhookRequest { body: body.into(), ..good };
        let result = outcome(Provider::Whatsapp, &whatsapp::example::credentials(), &request);
        prop_assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
    }

    #[test]
    fn a_made_up_signature_never_verifies(signature in "(sha256=)?[0-9a-f]{0,70}") {
        let mut request = whatsapp::example::request(whatsapp::example::escaped(&meta_batch()));
        request.headers.insert("x-hub-signature-256", signature.parse().unwrap());
        let result = outcome(Provider::Whatsapp, &whatsapp::example::credentials(), &request);
        prop_assert!(matches!(result, Err(Rejection::Unauthenticated(_))));
    }
}
