//! Inbound messages: accepted once, of every type, and only from the provider.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::fixtures::{Tenant, deliver, person, text_from};
use crate::hub::{Client, DEFAULT_TIMEOUT, HUB, eventually, request, run_concurrently};

#[test]
fn a_webhook_received_a_hundred_times_is_one_message_and_one_notification() {
    let tenant = Tenant::new("hundred");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let message = text_from(&from, "wamid.HUNDRED", "just once");
    let body =
        example::escaped(&example::envelope(&[example::messages(&number.number, &[message])]));
    let signature = example::signature(&number.secret, &body);
    let once = || assert_eq!(deliver(&number.url, &body, &signature).status, 200);
    for _ in 0..40 {
        once();
    }
    run_concurrently(10, |_| (0..6).for_each(|_| once()));

    // A later message of the same conversation is processed after it.
    number.writes(&json!({"from": from, "text": "the end"}));
    let messages = tenant.until_messages(&from, 2);
    assert_eq!(messages[0]["text"], "the end");
    assert_eq!(messages[1]["text"], "just once");
    assert_eq!(messages[1]["provider_message_id"], "wamid.HUNDRED");
    let notifications = automation.until("message.received", 2);
    assert_eq!(
        (&notifications["total"], &notifications["unique"]),
        (&json!(2), &json!(2)),
        "{notifications}"
    );
}

#[test]
fn fifty_concurrent_first_messages_create_one_conversation() {
    let tenant = Tenant::new("fifty");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    run_concurrently(50, |each| {
        let message = text_from(&from, &format!("wamid.FIRST.{each}"), &format!("first {each}"));
        let change = example::messages(&number.number, &[message]);
        number.deliver(&example::envelope(&[change])).expect(200);
    });
    let messages = tenant.until_messages(&from, 50);
    let conversations = tenant.pages("/conversations?limit=100", "conversations").concat();
    assert_eq!(conversations.len(), 1, "{conversations:?}");
    assert!(messages.iter().all(|message| message["conversation"] == conversations[0]["id"]));
    assert_eq!(conversations[0]["contact"]["address"], from);
}

#[test]
fn a_forged_webhook_is_rejected_and_leaves_no_trace() {
    let tenant = Tenant::new("forged");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let forge = |kind: &str| {
        let forged = json!({"kind": kind, "from": from, "text": "I am not Meta ✓"});
        let answer = number.control("forge", &forged);
        assert_eq!(answer["webhook_status"], 401, "{kind}: {answer}");
    };
    for kind in ["wrong_secret", "no_signature", "sha1", "no_prefix", "tampered", "reserialised"] {
        forge(kind);
    }
    let message = text_from(&from, "wamid.FORGED", "neither am I");
    let body =
        example::escaped(&example::envelope(&[example::messages(&number.number, &[message])]));
    let right = example::signature(&number.secret, &body);
    let mut changed = body.to_vec();
    let position = changed.windows(7).position(|part| part == b"neither").unwrap();
    changed[position] = b'N';
    for (what, body, signature) in [
        ("a byte changed", &changed[..], &*right),
        ("an empty signature", &body[..], ""),
        ("only the prefix", &body[..], "sha256="),
        ("half of the signature", &body[..], &right[..39]),
        ("another's secret", &body[..], &*example::signature("another-app-secret", &body)),
        ("an empty secret", &body[..], &*example::signature("", &body)),
        ("an empty body", &b""[..], &*right),
    ] {
        let answer = deliver(&number.url, body, signature);
        assert_eq!(answer.status, 401, "{what}: {answer}");
        // Every forgery gets the same answer, which does not say how far it came.
        let body = String::from_utf8_lossy(&answer.bytes);
        assert!(
            body.contains("not_verified") && !body.contains("signature does"),
            "{what}: {body}"
        );
    }
    let elsewhere = number.url.replace(&number.integration, "int_01J9ZQ4J9T0000000000000000");
    assert_eq!(deliver(&elsewhere, &body, &right).status, 401, "no such integration");
    // Two signature headers are rejected, even if one is valid.
    let twice = [("x-hub-signature-256", &*right), ("x-hub-signature-256", "sha256=00")];
    assert_eq!(request("POST", &number.url, &twice, Some(&body)).status, 401, "two signatures");

    // After an authentic message, an accepted forgery would be visible, too.
    number.writes(&json!({"from": from, "text": "I am Zoë"}));
    let notifications = automation.until("message.received", 1);
    assert_eq!(notifications["deliveries"][0]["body"]["data"]["message"]["text"], "I am Zoë");
    let messages = tenant.until_messages(&from, 1);
    assert_eq!(messages[0]["text"], "I am Zoë");
    assert_eq!(automation.deliveries("message.received")["total"], 1);
}

#[test]
fn two_megabytes_of_messages_in_one_webhook_arrive_in_order() {
    let tenant = Tenant::new("large");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let messages: Vec<Value> = (0..60)
        .map(|each| {
            let text = format!("{each:02} {}", "é".repeat(18_000));
            text_from(&from, &format!("wamid.LARGE.{each}"), &text)
        })
        .collect();
    let change = example::messages(&number.number, &messages);
    // Not in Meta's escaped form, which is three times as long.
    let body = example::envelope(&[change]).to_string();
    assert!(body.len() > 2 * 1024 * 1024, "{}", body.len());
    let signature = example::signature(&number.secret, body.as_bytes());
    deliver(&number.url, body.as_bytes(), &signature).expect(200);
    let messages = tenant.until_messages(&from, 60);
    for (position, message) in messages.iter().rev().enumerate() {
        let text = message["text"].as_str().unwrap();
        assert!(text.starts_with(&format!("{position:02} ")), "{position}: {}", &text[..8]);
        assert_eq!(text.chars().count(), 18_003);
    }
}

#[test]
fn a_message_too_large_for_the_queue_and_the_table_arrives_complete() {
    let tenant = Tenant::new("huge");
    let automation = tenant.automation(&json!([]));
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let text = "0123456789".repeat(50_000);
    let change = example::messages(&number.number, &[text_from(&from, "wamid.HUGE", &text)]);
    number.deliver(&example::envelope(&[change])).expect(200);
    let message = tenant.until_messages(&from, 1).remove(0);
    let file = eventually("the content as a file", DEFAULT_TIMEOUT, || {
        let link = tenant.api.get(&format!("/messages/{}/media", message["id"].as_str().unwrap()));
        if link.status == 302 {
            Ok(request("GET", &link.headers["location"], &[], None).expect(200))
        } else {
            Err(link.to_string())
        }
    });
    assert_eq!(file["text"].as_str().unwrap().len(), text.len());
    let notifications = automation.until("message.received", 1);
    assert_eq!(notifications["deliveries"][0]["body"]["data"]["message"]["id"], message["id"]);
}

/// The bytes of a file of a message of this type, which begin as such a file does.
fn bytes_of(kind: &str) -> Vec<u8> {
    let start: &[u8] = match kind {
        "image" => b"\xff\xd8\xff\xe0",
        "video" => b"\0\0\0\x20ftypisom",
        "audio" => b"OggS",
        "sticker" => b"RIFF\x24\0\0\0WEBP",
        _ => b"%PDF-1.7",
    };
    [start, b" the bytes of a ", kind.as_bytes()].concat()
}

/// Types of messages: the simulator's request, the resulting type, and a JSON pointer with its
/// expected value.
fn kinds() -> Vec<(Value, &'static str, &'static str, Value)> {
    let file = |kind: &str, mime_type: &str, object: Value| {
        let content = STANDARD.encode(bytes_of(kind));
        let media = json!({"mime_type": mime_type, "content_base64": content});
        json!({"type": kind, "object": object, "media": media})
    };
    let plain = |kind: &str, object: Value| json!({"type": kind, "object": object});
    vec![
        (
            file("image", "image/jpeg", json!({"caption": "Look"})),
            "image",
            "/media/caption",
            json!("Look"),
        ),
        (file("video", "video/mp4", json!({})), "video", "/media/mime_type", json!("video/mp4")),
        (file("audio", "audio/ogg", json!({})), "audio", "/media/mime_type", json!("audio/ogg")),
        (
            file("document", "application/pdf", json!({"filename": "bill.pdf"})),
            "document",
            "/media/filename",
            json!("bill.pdf"),
        ),
        (
            file("sticker", "image/webp", json!({"animated": false})),
            "sticker",
            "/media/mime_type",
            json!("image/webp"),
        ),
        (
            plain("location", json!({"latitude": 37.44, "longitude": -122.16, "name": "Cafe"})),
            "location",
            "/location",
            json!({"latitude": 37.44, "longitude": -122.16, "name": "Cafe"}),
        ),
        (
            plain(
                "contacts",
                json!([{"name": {"formatted_name": "Ada"}, "phones": [{"phone": "+1 650 555 0000"}]}]),
            ),
            "contacts",
            "/contacts/0",
            json!({"name": "Ada", "phones": ["+1 650 555 0000"], "emails": []}),
        ),
        (
            plain("reaction", json!({"message_id": "wamid.OTHER", "emoji": "👍"})),
            "reaction",
            "/reaction/emoji",
            json!("👍"),
        ),
        (
            plain("button", json!({"text": "Stop", "payload": "STOP_ALL"})),
            "button",
            "/button/payload",
            json!("STOP_ALL"),
        ),
        (
            plain(
                "interactive",
                json!({"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}}),
            ),
            "button_reply",
            "/reply/id",
            json!("yes"),
        ),
        (
            plain(
                "interactive",
                json!({"type": "list_reply",
                       "list_reply": {"id": "row1", "title": "Row", "description": "One"}}),
            ),
            "list_reply",
            "/reply",
            json!({"id": "row1", "title": "Row", "description": "One"}),
        ),
        (
            plain("order", json!({"catalog_id": "1", "product_items": []})),
            "unsupported",
            "/raw/order/catalog_id",
            json!("1"),
        ),
    ]
}

#[test]
fn every_message_type_is_parsed_and_its_file_can_be_downloaded() {
    let tenant = Tenant::new("kinds");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let kinds = kinds();
    for (request_body, ..) in &kinds {
        let mut request_body = request_body.clone();
        request_body["from"] = from.as_str().into();
        number.writes(&request_body);
    }
    let messages = tenant.until_messages(&from, kinds.len());
    for ((_, kind, pointer, expected), message) in kinds.iter().zip(messages.iter().rev()) {
        assert_eq!(message["type"], *kind, "{message}");
        assert_eq!(message.pointer(pointer), Some(expected), "{message}");
        assert_eq!(message["status"], "received", "{message}");
        let id = message["id"].as_str().unwrap();
        let path = format!("/messages/{id}/media");
        if message.get("media").is_none() {
            tenant.api.get(&path).problem(404, "not_found");
            continue;
        }
        assert_eq!(message["media"]["url"], path, "{message}");
        let link = eventually(&format!("the file of the {kind}"), DEFAULT_TIMEOUT, || {
            let link = tenant.api.get(&path);
            if link.status == 302 { Ok(link) } else { Err(link.to_string()) }
        });
        let file = request("GET", &link.headers["location"], &[], None);
        assert_eq!(file.bytes, bytes_of(kind), "{file}");
        let header = |name: &str| file.headers.get(name).map(String::as_str);
        assert_eq!(header("content-type"), message["media"]["mime_type"].as_str());
        let expected = if *kind == "document" { "attachment" } else { "inline" };
        assert_eq!(header("content-disposition"), Some(expected), "{kind}");
    }
}

#[test]
fn a_page_with_scripts_that_claims_to_be_an_image_is_downloaded_and_never_displayed() {
    let tenant = Tenant::new("scripts");
    let number = tenant.whatsapp(&json!({}));
    for claimed in ["text/html", "image/svg+xml", "image/jpeg"] {
        let from = person();
        let content = STANDARD.encode("<script>alert(document.domain)</script>");
        let media = json!({"mime_type": claimed, "content_base64": content});
        number.writes(&json!({"from": from, "type": "document", "object": {}, "media": media}));
        let message = tenant.until_messages(&from, 1).remove(0);
        let path = format!("/messages/{}/media", message["id"].as_str().unwrap());
        let link = eventually("the file", DEFAULT_TIMEOUT, || {
            let link = tenant.api.get(&path);
            if link.status == 302 { Ok(link) } else { Err(link.to_string()) }
        });
        let file = request("GET", &link.headers["location"], &[], None);
        assert_eq!(file.status, 200, "{file}");
        assert_eq!(file.headers["content-type"], "application/octet-stream", "{claimed}");
        assert_eq!(file.headers["content-disposition"], "attachment", "{claimed}");
    }
}

#[test]
fn a_file_the_provider_has_deleted_returns_410() {
    let tenant = Tenant::new("gone");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let image = example::image("wamid.GONE", "999999999999999", "it was here");
    let mut image = image;
    image["from"] = from.as_str().into();
    number.deliver(&example::envelope(&[example::messages(&number.number, &[image])])).expect(200);
    let message = tenant.until_messages(&from, 1).remove(0);
    let path = format!("/messages/{}/media", message["id"].as_str().unwrap());
    eventually("the file is gone", DEFAULT_TIMEOUT, || {
        let link = tenant.api.get(&path);
        if link.status == 410 { Ok(()) } else { Err(link.to_string()) }
    });
    tenant.api.get(&path).problem(410, "media_unavailable");
}

#[test]
fn metas_handshake_returns_the_challenge_and_is_rejected_without_the_token() {
    let tenant = Tenant::new("handshake");
    let number = tenant.whatsapp(&json!({}));
    let right = number.control("handshake", &json!({}));
    assert_eq!(right["ok"], true, "{right}");
    let wrong = number.control("handshake", &json!({"verify_token": "wrong"}));
    assert_eq!((&wrong["status"], &wrong["ok"]), (&json!(403), &json!(false)), "{wrong}");
    for query in ["", "?hub.mode=subscribe&hub.challenge=1", "?hub.verify_token=&hub.challenge=1"] {
        let answer = request("GET", &format!("{}{query}", number.url), &[], None);
        assert_eq!(answer.status, 403, "{answer}");
    }
}

#[test]
fn a_rejected_webhook_is_logged_with_its_integration_and_counted() {
    let tenant = Tenant::new("rejected");
    let number = tenant.whatsapp(&json!({}));
    let change = example::messages(&number.number, &[text_from("1", "wamid.FORGED", "not logged")]);
    let body = example::escaped(&example::envelope(&[change]));
    deliver(&number.url, &body, &example::signature("another-secret", &body)).expect(401);
    let lines = eventually("the log lines", DEFAULT_TIMEOUT, || {
        let text = HUB.functions_log()?;
        let own = text.lines().filter_map(|line| {
            line.strip_prefix("[switchboard-webhook-whatsapp] ").map(ToOwned::to_owned)
        });
        let lines: Vec<String> = own.collect();
        let is_logged = lines.iter().any(|line| line.contains(&number.integration));
        if is_logged { Ok(lines) } else { Err(format!("{} lines", lines.len())) }
    });
    let line = lines.iter().find(|line| line.contains(&number.integration)).unwrap();
    let logged: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&logged["level"], &logged["message"]),
        (&json!("WARN"), &json!("webhook rejected"))
    );
    assert_eq!(logged["integration"], number.integration.as_str(), "{line}");
    assert!(logged["reason"].as_str().unwrap().contains("signature"), "{line}");
    assert!(!lines.iter().any(|line| line.contains("not logged")), "a body is in the log");
    for (metric, part) in
        [("WebhookRejected", "whatsapp_cloud"), ("VerificationFailed", "webhooks")]
    {
        let counted = lines.iter().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == json!([["Part"]])
                && (&line["Part"], &line[metric]) == (&json!(part), &json!(1))
        });
        assert!(counted, "no {metric} of {part}");
    }
}

#[test]
fn both_secrets_are_valid_during_a_rotation() {
    let tenant = Tenant::new("rotated");
    let number = tenant.whatsapp(&json!({}));
    let path = format!("/integrations/{}", number.integration);
    let both = json!({"credentials": {"WHATSAPP_APP_SECRET": ["the-new-one", number.secret]}});
    let view = tenant.api.put(&path, &both).expect(200);
    assert!(!view.to_string().contains("the-new-one"), "{view}");
    let from = person();
    for (each, secret) in ["the-new-one", &*number.secret].into_iter().enumerate() {
        let message = text_from(&from, &format!("wamid.ROTATED.{each}"), "hello");
        let change = example::messages(&number.number, &[message]);
        let body = example::escaped(&example::envelope(&[change]));
        deliver(&number.url, &body, &example::signature(secret, &body)).expect(200);
    }
    tenant.until_messages(&from, 2);
}

#[test]
fn a_new_number_works_immediately() {
    let tenant = Tenant::new("second");
    for _ in 0..3 {
        let number = tenant.whatsapp(&json!({}));
        let from = person();
        let conversation = number.hello(&from)["id"].clone();
        let id = tenant.send(&json!({"conversation": conversation, "text": "hello"}));
        tenant.until(&id, "read");
        assert_eq!(number.accepted(&from).len(), 1);
    }
}

#[test]
fn a_forged_telegram_webhook_is_rejected() {
    let tenant = Tenant::new("tg-forged");
    let bot = tenant.telegram();
    for kind in ["wrong_secret", "no_secret"] {
        let answer = bot.control("forge", &json!({"kind": kind, "text": "I am not Telegram"}));
        assert_eq!(answer["webhook_status"], 401, "{kind}: {answer}");
    }
    bot.hello(4_200_001);
    std::thread::sleep(Duration::from_secs(1));
    let conversations = tenant.pages("/conversations?limit=100", "conversations").concat();
    assert_eq!(conversations.len(), 1, "{conversations:?}");
    let anonymous =
        Client::without_key().post("/webhooks/telegram/guessed", &json!({"update_id": 1}));
    assert_eq!(anonymous.status, 401, "{anonymous}");
}

#[test]
fn ingest_for_a_held_account_requires_the_operators_trust() {
    let tenant = Tenant::new("ingest");
    let number = tenant.whatsapp(&json!({}));
    let from = person();
    let ingest = |id: &str| {
        let body = json!({"from": format!("+{from}"), "to": number.number, "message_id": id,
            "message": {"text": id}, "timestamp": "2099-01-01T00:00:00Z"});
        tenant.api.post("/webhook/inbound", &body)
    };
    assert_eq!(ingest("refused").problem(409, "account_held")["field"], "to");
    let path = format!("/integrations/{}", number.integration);
    let trusted = Client::admin().put(&path, &json!({"trusted_ingest": true})).expect(200);
    assert_eq!(trusted["trusted_ingest"], true);
    ingest("taken").expect(202);
    let conversation = tenant.conversation(&from);
    assert!(conversation["last_inbound_at"].as_str().unwrap() < "2099", "{conversation}");
    tenant.send(&json!({"conversation": conversation["id"], "text": "Yes, until six."}));
}
