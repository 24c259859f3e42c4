//! Telegram, inbound and outbound.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::fixtures::{Telegram, Tenant, history, step};
use crate::hub::{DEFAULT_TIMEOUT, eventually, request};

#[test]
fn a_text_is_received_and_a_reply_is_sent() {
    let tenant = Tenant::new("tg-text");
    let automation = tenant.automation(&json!([]));
    let bot = tenant.telegram();
    let verified =
        tenant.api.post(&format!("/integrations/{}/verify", bot.integration), &json!({}));
    assert_eq!(verified.expect(200)["ok"], true);
    let chat = 5_550_001;
    let conversation = bot.hello(chat);
    assert_eq!(conversation["contact"]["name"], "Zoë");
    let received = tenant.messages(conversation["id"].as_str().unwrap()).remove(0);
    assert_eq!((&received["type"], &received["text"]), (&json!("text"), &json!("hello")));
    let answer =
        json!({"conversation": conversation["id"], "text": "hi", "reply_to": received["id"]});
    let id = tenant.send(&answer);
    let message = tenant.until(&id, "accepted");
    assert_eq!(history(&message), ["queued", "sending", "accepted"]);
    let accepted = bot.accepted(chat);
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted[0]["body"]["text"], "hi");
    let answered = accepted[0]["body"].pointer("/reply_parameters/message_id");
    let number = received["provider_message_id"].as_str().unwrap().split(':').nth(1).unwrap();
    assert_eq!(answered.unwrap().to_string(), number);
    let notifications = automation.until("message.received", 1);
    assert_eq!(
        notifications["deliveries"][0]["body"]["data"]["conversation"]["id"],
        conversation["id"]
    );
    let read = format!("/conversations/{}/read", conversation["id"].as_str().unwrap());
    tenant.api.post(&read, &json!({})).problem(422, "unsupported_by_channel");
    assert_eq!(bot.violations(), 0);
}

#[test]
fn a_message_to_a_migrated_group_is_sent_to_the_supergroup() {
    let tenant = Tenant::new("tg-moved");
    let bot = tenant.telegram();
    let (old, new) = (-5_001, -1_005_001);
    let from = json!({"chat_id": old, "chat_type": "group", "from_id": 7_001, "text": "hi all"});
    bot.writes(&from);
    let conversation = tenant.conversation(&old.to_string());
    bot.control("chats", &json!({"chat_id": new, "type": "supergroup"}));
    bot.control("chats", &json!({"chat_id": old, "type": "group", "migrate_to": new}));
    let id = tenant.send(&json!({"conversation": conversation["id"], "text": "hello all"}));
    tenant.until(&id, "accepted");
    assert_eq!(bot.accepted(new).len(), 1);
    assert!(bot.accepted(old).is_empty());
}

#[test]
fn a_message_to_a_user_who_blocked_the_bot_fails_without_retries() {
    let tenant = Tenant::new("tg-blocked");
    let automation = tenant.automation(&json!([]));
    let bot = tenant.telegram();
    let chat = 5_550_002;
    let conversation = bot.hello(chat);
    bot.control("chats", &json!({"chat_id": chat, "type": "private", "blocked": true}));
    let id = tenant.send(&json!({"conversation": conversation["id"], "text": "still there?"}));
    let message = tenant.until(&id, "failed");
    let failed = step(&message, "failed");
    assert_eq!(failed["code"], "blocked", "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("blocked the bot"), "{failed}");
    let notifications = automation.until("message.status", 1);
    assert_eq!(notifications["deliveries"][0]["body"]["data"]["message"]["id"], id.as_str());
    assert!(bot.accepted(chat).is_empty());
}

#[test]
fn telegrams_retry_after_is_respected() {
    let tenant = Tenant::new("tg-pause");
    let bot = tenant.telegram();
    let chat = 5_550_003;
    let conversation = bot.hello(chat);
    let fault = json!({"kind": "rate_limited", "retry_after_s": 2});
    bot.control("faults", &json!({"faults": [fault]}));
    let id = tenant.send(&json!({"conversation": conversation["id"], "text": "no hurry"}));
    let message = tenant.until(&id, "accepted");
    assert_eq!(history(&message), ["queued", "sending", "accepted"]);
    assert_eq!(step(&message, "accepted")["attempt"], 1, "{message}");
    assert_eq!(bot.accepted(chat).len(), 1);
}

#[test]
fn messages_to_a_chat_respect_telegrams_rate_limit() {
    let tenant = Tenant::new("tg-pace");
    let bot = tenant.telegram();
    let chat = 5_550_004;
    let conversation = bot.hello(chat);
    let sent: Vec<String> = (0..5)
        .map(|each| {
            tenant.send(&json!({"conversation": conversation["id"], "text": format!("{each}")}))
        })
        .collect();
    for id in &sent {
        let message = tenant.until(id, "accepted");
        assert_eq!(step(&message, "accepted")["attempt"], 1, "{message}");
    }
    let accepted = bot.accepted(chat);
    let texts: Vec<_> = accepted.iter().map(|send| send["body"]["text"].clone()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_received_photo_can_be_downloaded() {
    let tenant = Tenant::new("tg-photo");
    let bot = tenant.telegram();
    let chat = 5_550_005_i64;
    let bytes = b"\xff\xd8\xff\xe0 a picture".as_slice();
    let media = json!({"mime_type": "image/jpeg", "content_base64": STANDARD.encode(bytes)});
    bot.writes(&json!({"chat_id": chat, "type": "photo", "caption": "Look", "media": media}));
    let message = tenant.until_messages(&chat.to_string(), 1).remove(0);
    assert_eq!(message["type"], "image", "{message}");
    assert_eq!(message["media"]["caption"], "Look", "{message}");
    let path = format!("/messages/{}/media", message["id"].as_str().unwrap());
    let link = eventually("the photo", DEFAULT_TIMEOUT, || {
        let link = tenant.api.get(&path);
        if link.status == 302 { Ok(link) } else { Err(link.to_string()) }
    });
    let file = request("GET", &link.headers["location"], &[], None);
    assert_eq!((file.status, file.bytes.as_slice()), (200, bytes));
}

#[test]
fn buttons_locations_and_reactions_become_messages_and_edits_do_not() {
    let tenant = Tenant::new("tg-kinds");
    let bot = tenant.telegram();
    let chat = 5_550_006_i64;
    bot.hello(chat);
    bot.writes(&json!({"chat_id": chat, "type": "location",
                       "object": {"latitude": 37.44, "longitude": -122.16}}));
    bot.writes(&json!({"chat_id": chat, "type": "callback_query", "object": {"data": "yes"}}));
    bot.writes(&json!({"chat_id": chat, "type": "message_reaction",
                       "object": {"message_id": 42, "emoji": "👍"}}));
    // Creates no message.
    bot.writes(
        &json!({"chat_id": chat, "type": "edited_message", "text": "Hallo", "message_id": 42}),
    );
    let mut kinds: Vec<_> = tenant
        .until_messages(&chat.to_string(), 4)
        .into_iter()
        .map(|message| message["type"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["button_reply", "location", "reaction", "text"]);
}

#[test]
fn a_permanent_error_names_the_token() {
    let tenant = Tenant::new("tg-token");
    let bot = tenant.telegram();
    let conversation = bot.hello(5_550_007);
    bot.control("faults", &json!({"faults": [{"kind": "error", "code": 401}]}));
    let id = tenant.send(&json!({"conversation": conversation["id"], "text": "hello"}));
    let message = tenant.until(&id, "failed");
    assert_eq!(step(&message, "failed")["code"], "401", "{message}");
    assert!(step(&message, "failed")["detail"].as_str().unwrap().contains("BotFather"));
}

#[test]
fn bots_created_concurrently_keep_their_tokens() {
    let tenant = Tenant::new("many");
    let bots: Vec<Telegram<'_>> = std::thread::scope(|scope| {
        let made: Vec<_> = (0..5).map(|_| scope.spawn(|| tenant.telegram())).collect();
        made.into_iter().map(|made| made.join().unwrap()).collect()
    });
    // All tokens are in one secret: a lost update would leave a bot without its token.
    for bot in &bots {
        let verify = format!("/integrations/{}/verify", bot.integration);
        tenant.api.post(&verify, &json!({})).expect(200);
    }
}
