use super::*;
use crate::ids::Ids;
use crate::log::Log;
use crate::provider::SimulatedAccount as _;

const CHAT: i64 = 1_111_111;
const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

struct World {
    now_ms: i64,
    ids: Ids,
    log: Log,
    bot: Bot,
}

impl World {
    fn new(extra: &Value) -> Self {
        let mut settings = json!({"token": TOKEN});
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings = serde_json::from_value(settings).unwrap();
        let now_ms = 1_795_000_000_000;
        let bot = Bot::new(110_201_543, settings, 1000);
        let mut world = Self { now_ms, ids: Ids::new(now_ms), log: Log::default(), bot };
        world.chat(json!({"chat_id": CHAT}));
        world
    }

    fn chat(&mut self, order: Value) {
        self.bot.set_chat(&serde_json::from_value(order).unwrap());
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Bot, &mut ProviderContext<'_>) -> T) -> T {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        act(&mut self.bot, &mut context)
    }

    fn call(&mut self, method: &str, params: Value) -> Answer {
        let Value::Object(params) = params else { panic!("no object") };
        self.act(|bot, context| bot.call(context, method, &params))
    }

    fn say(&mut self, chat_id: i64) -> Answer {
        self.call("sendMessage", json!({"chat_id": chat_id, "text": "hi"}))
    }

    fn write(&mut self, order: Value) -> update::Written {
        let order = serde_json::from_value(order).unwrap();
        self.act(|bot, context| bot.customer_writes(context, &order)).unwrap()
    }

    fn fault(&mut self, fault: Value) {
        self.bot.faults.add(vec![serde_json::from_value(fault).unwrap()]);
    }

    #[track_caller]
    fn bad(&mut self, method: &str, params: Value, description: &str) {
        let answer = self.call(method, params);
        assert_eq!(
            answer.body(),
            &json!({"ok": false, "error_code": 400,
                    "description": format!("Bad Request: {description}")})
        );
        assert_eq!(answer.status(), 400);
    }
}

#[test]
fn get_me_describes_the_bot() {
    let mut world = World::new(&json!({}));
    let answer = world.call("getMe", json!({}));
    assert_eq!(answer.body()["result"]["id"], 110_201_543);
    assert_eq!(answer.body()["result"]["is_bot"], true);
}

#[test]
fn a_message_is_answered_with_the_message() {
    let mut world = World::new(&json!({}));
    let answer = world.say(CHAT);
    assert_eq!(answer.status(), 200);
    let result = &answer.body()["result"];
    assert_eq!(result["text"], "hi");
    assert_eq!(result["chat"]["id"], CHAT);
    assert_eq!(result["date"], 1_795_000_000);
    assert_eq!(result["message_id"], world.bot.accepted()[0].message_id);
}

#[test]
fn a_text_has_1_to_4096_characters() {
    let mut world = World::new(&json!({}));
    world.bad("sendMessage", json!({"chat_id": CHAT}), "message text is empty");
    world.bad("sendMessage", json!({"chat_id": CHAT, "text": " "}), "message text is empty");
    let long = json!({"chat_id": CHAT, "text": "x".repeat(4097)});
    world.bad("sendMessage", long, "message is too long");
    let limit = json!({"chat_id": CHAT.to_string(), "text": "é".repeat(4096)});
    assert_eq!(world.call("sendmessage", limit).status(), 200);
}

#[test]
fn the_chat_must_exist() {
    let mut world = World::new(&json!({}));
    world.bad("sendMessage", json!({"text": "hi"}), "chat_id is empty");
    world.bad("sendMessage", json!({"chat_id": 42, "text": "hi"}), "chat not found");
    world.write(json!({"chat_id": 42, "text": "hello"}));
    assert_eq!(world.say(42).status(), 200);
}

#[test]
fn a_user_who_blocked_the_bot_is_forbidden() {
    let mut world = World::new(&json!({}));
    world.chat(json!({"chat_id": CHAT, "blocked": true}));
    let answer = world.say(CHAT);
    assert_eq!(
        (answer.status(), answer.body()),
        (
            403,
            &json!({"ok": false, "error_code": 403,
                    "description": "Forbidden: bot was blocked by the user"})
        )
    );
}

#[test]
fn a_migrated_group_answers_with_its_new_chat_id() {
    let mut world = World::new(&json!({}));
    world.chat(json!({"chat_id": -7, "type": "group", "migrate_to": -1_001_557_912_345_i64}));
    let answer = world.say(-7);
    assert_eq!(
        answer.body(),
        &json!({"ok": false, "error_code": 400,
                "description": "Bad Request: group chat was upgraded to a supergroup chat",
                "parameters": {"migrate_to_chat_id": -1_001_557_912_345_i64}})
    );
}

#[test]
fn more_than_one_message_a_second_to_a_chat_is_429_after_a_small_burst() {
    let mut world = World::new(&json!({}));
    for _ in 0..3 {
        assert_eq!(world.say(CHAT).status(), 200);
    }
    let answer = world.say(CHAT);
    assert_eq!(
        answer.body(),
        &json!({"ok": false, "error_code": 429,
                "description": "Too Many Requests: retry after 1",
                "parameters": {"retry_after": 1}})
    );
    assert!(matches!(answer, Answer::Reply(Reply { status: 429, retry_after_s: Some(1), .. })));
    world.now_ms += 1000;
    assert_eq!(world.say(CHAT).status(), 200);
}

#[test]
fn more_than_thirty_messages_a_second_are_429() {
    let mut world = World::new(&json!({"unknown_chats": "open"}));
    for chat in 1..=30 {
        assert_eq!(world.say(chat).status(), 200);
    }
    assert_eq!(world.say(31).status(), 429);
    world.now_ms += 1000;
    assert_eq!(world.say(31).status(), 200);
}

#[test]
fn more_than_twenty_messages_a_minute_to_a_group_are_429() {
    let mut world = World::new(&json!({}));
    world.chat(json!({"chat_id": -9, "type": "supergroup"}));
    for _ in 0..20 {
        assert_eq!(world.say(-9).status(), 200);
        world.now_ms += 1000;
    }
    assert_eq!(world.say(-9).body()["parameters"]["retry_after"], 40);
}

#[test]
fn the_webhook_needs_a_valid_address_and_secret() {
    let mut world = World::new(&json!({}));
    let url = "https://hub.example.com/webhooks/telegram/x";
    let http = "bad webhook: An HTTPS URL must be provided for webhook";
    world.bad("setWebhook", json!({"url": "http://hub.example.com/"}), http);
    let port = "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443";
    world.bad("setWebhook", json!({"url": "https://hub.example.com:9000/"}), port);
    let wrong = json!({"url": url, "secret_token": "a b"});
    world.bad("setWebhook", wrong, "secret token contains unallowed characters");
    let long = json!({"url": url, "secret_token": "a".repeat(257)});
    world.bad("setWebhook", long, "secret token is too long");
    let good =
        json!({"url": url, "secret_token": "Abc-123_xyz", "allowed_updates": "[\"message\"]"});
    assert_eq!(
        world.call("setWebhook", good.clone()).body(),
        &json!({"ok": true, "result": true, "description": "Webhook was set"})
    );
    assert_eq!(world.call("setWebhook", good).body()["description"], "Webhook is already set");
    let info = world.call("getWebhookInfo", json!({}));
    assert_eq!(info.body()["result"]["url"], url);
    assert_eq!(info.body()["result"]["allowed_updates"], json!(["message"]));
    assert_eq!(world.call("getUpdates", json!({})).status(), 409);
    let deleted = world.call("deleteWebhook", json!({}));
    assert_eq!(deleted.body()["description"], "Webhook was deleted");
}

#[test]
fn files_are_sent_by_url_or_known_id_and_fetched_by_path() {
    let mut world = World::new(&json!({}));
    world.bad("sendPhoto", json!({"chat_id": CHAT}), "there is no photo in the request");
    world.bad(
        "sendVideo",
        json!({"chat_id": CHAT, "video": "nothing"}),
        "wrong remote file identifier specified: Wrong character in the string",
    );
    let long = json!({"chat_id": CHAT, "photo": "https://a/b", "caption": "x".repeat(1025)});
    world.bad("sendPhoto", long, "message caption is too long");
    let url = json!({"chat_id": CHAT, "photo": "https://a/b.jpg", "caption": "c"});
    let answer = world.call("sendPhoto", url);
    assert_eq!(answer.body()["result"]["caption"], "c");
    assert_eq!(answer.body()["result"]["photo"].as_array().map(Vec::len), Some(2));

    let media = json!({"mime_type": "image/jpeg", "content_base64": "AAEC"});
    let written = world.write(json!({"chat_id": CHAT, "type": "photo", "media": media}));
    let id = written.file_id.unwrap();
    let file = world.call("getFile", json!({"file_id": id}));
    assert_eq!(file.body()["result"]["file_size"], 3);
    let path = file.body()["result"]["file_path"].as_str().unwrap();
    assert_eq!(world.bot.download(path).status(), 200);
    assert_eq!(world.bot.download("photos/none.jpg").status(), 404);
    world.bad("getFile", json!({"file_id": "none"}), "invalid file_id");
    let again = world.call("sendPhoto", json!({"chat_id": CHAT, "photo": id}));
    assert_eq!(again.status(), 200);
}

#[test]
fn a_reaction_needs_a_known_message_and_emoji() {
    let mut world = World::new(&json!({}));
    let id = world.write(json!({"chat_id": CHAT, "text": "hello"})).message_id;
    let react = |message_id: i64, emoji: &str| {
        json!({"chat_id": CHAT, "message_id": message_id,
               "reaction": [{"type": "emoji", "emoji": emoji}]})
    };
    assert_eq!(world.call("setMessageReaction", react(id, "❤️")).body()["result"], true);
    world.bad("setMessageReaction", react(id, "🦖"), "REACTION_INVALID");
    world.bad("setMessageReaction", react(1, "👍"), "message to react not found");
}

#[test]
fn a_reply_needs_a_known_message_unless_the_call_allows_sending_without_it() {
    let mut world = World::new(&json!({}));
    let id = world.write(json!({"chat_id": CHAT, "text": "hello"})).message_id;
    let reply = |message_id: i64, anyway: bool| {
        json!({"chat_id": CHAT, "text": "x", "reply_parameters":
            {"message_id": message_id, "allow_sending_without_reply": anyway}})
    };
    assert_eq!(world.call("sendMessage", reply(id, false)).status(), 200);
    world.bad("sendMessage", reply(1, false), "message to be replied not found");
    assert_eq!(world.call("sendMessage", reply(1, true)).status(), 200);
}

#[test]
fn an_unknown_method_is_not_found() {
    let mut world = World::new(&json!({}));
    let answer = world.call("sendTelepathy", json!({}));
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.body()["description"], "Not Found: method not found");
}

#[test]
fn bot_tokens_must_have_the_documented_format() {
    assert!(is_token(TOKEN));
    for wrong in ["", "abc", "12:", "x:AAAA", "12:a/b"] {
        assert!(!is_token(wrong), "{wrong}");
    }
}

#[test]
fn a_location_must_have_valid_coordinates() {
    let mut world = World::new(&json!({}));
    let place = json!({"chat_id": CHAT, "latitude": "37.4", "longitude": -122});
    assert_eq!(
        world.call("sendLocation", place).body()["result"]["location"],
        json!({"latitude": 37.4, "longitude": -122.0})
    );
    world.bad("sendLocation", json!({"chat_id": CHAT, "latitude": 1}), "longitude is invalid");
}

#[test]
fn an_accepted_message_without_an_answer_is_still_sent() {
    for (kind, name) in [("accept_then_time_out", "held"), ("accept_then_drop", "dropped")] {
        let mut world = World::new(&json!({}));
        world.fault(json!({"kind": kind, "to": CHAT.to_string()}));
        assert!(matches!(world.say(CHAT), Answer::HangUp { .. }));
        assert_eq!(world.bot.accepted()[0].answer, name);
    }
}

#[test]
fn a_fault_before_acceptance_leaves_no_message() {
    let mut world = World::new(&json!({}));
    world.fault(json!({"kind": "drop"}));
    world.fault(json!({"kind": "status", "status": 502}));
    world.fault(json!({"kind": "rate_limited", "retry_after_s": 5}));
    world.fault(json!({"kind": "error", "code": 403, "description": "Forbidden: bot was kicked"}));
    assert_eq!(world.say(CHAT), Answer::HangUp { after_ms: 0 });
    let bad_gateway = world.say(CHAT);
    assert_eq!(bad_gateway.body()["description"], "Bad Gateway");
    assert_eq!(world.say(CHAT).body()["parameters"]["retry_after"], 5);
    assert_eq!(world.say(CHAT).status(), 403);
    assert!(world.bot.accepted().is_empty());
}

fn set(world: &mut World) {
    let webhook = json!({"url": "http://127.0.0.1:1/x", "secret_token": "s"});
    assert_eq!(world.call("setWebhook", webhook).status(), 200);
}

fn end(world: &mut World, update: i64, attempt: u32, how: &AttemptResult) -> Option<u64> {
    let delivery = Delivery { chat: CHAT, update_id: update };
    world.act(|bot, context| bot.attempted(context, &delivery, attempt, 0, how))
}

fn status(status: u16) -> AttemptResult {
    AttemptResult { status, ..AttemptResult::default() }
}

#[test]
fn updates_wait_for_a_webhook_and_are_delivered_in_order() {
    let mut world = World::new(&json!({}));
    let first = world.write(json!({"chat_id": CHAT, "text": "1"}));
    let second = world.write(json!({"chat_id": CHAT, "text": "2"}));
    assert!(world.bot.begin().is_empty());
    set(&mut world);
    let begun = world.bot.begin();
    assert_eq!(begun, [Delivery { chat: CHAT, update_id: first.update_id }]);
    assert!(world.bot.begin().is_empty());
    let request = world.bot.outgoing(&begun[0]).unwrap();
    assert!(request.headers.contains(&("x-telegram-bot-api-secret-token".into(), "s".into())));
    assert_eq!(end(&mut world, first.update_id, 1, &status(500)), Some(500));
    assert_eq!(world.bot.next(CHAT), Some(begun[0]));
    assert!(world.bot.is_blocked(CHAT, second.update_id));
    let info = world.call("getWebhookInfo", json!({}));
    assert_eq!(
        info.body()["result"]["last_error_message"],
        "Wrong response from the webhook: 500 Internal Server Error"
    );
    assert_eq!(end(&mut world, first.update_id, 2, &status(204)), None);
    assert!(world.bot.outgoing(&begun[0]).is_none());
    assert_eq!(world.bot.next(CHAT).unwrap().update_id, second.update_id);
}

#[test]
fn the_retry_delay_honours_retry_after() {
    let mut world = World::new(&json!({}));
    set(&mut world);
    let update = world.write(json!({"chat_id": CHAT, "text": "1"})).update_id;
    let busy = AttemptResult { retry_after_s: Some(9), ..status(503) };
    assert_eq!(end(&mut world, update, 1, &busy), Some(9000));
}

#[test]
fn reactions_are_delivered_only_if_allowed_updates_lists_them() {
    let mut world = World::new(&json!({}));
    set(&mut world);
    let order = json!({"chat_id": CHAT, "type": "message_reaction",
                       "object": {"message_id": 1, "emoji": "👍"}});
    assert!(!world.write(order.clone()).delivered);
    let all = json!({"url": "http://127.0.0.1:1/x", "allowed_updates": ["message_reaction"]});
    world.call("setWebhook", all);
    assert!(world.write(order).delivered);
    assert!(!world.write(json!({"chat_id": CHAT, "text": "hi"})).delivered);
}

#[test]
fn a_response_that_names_a_method_is_a_violation() {
    let mut world = World::new(&json!({}));
    set(&mut world);
    let update = world.write(json!({"chat_id": CHAT, "text": "1"})).update_id;
    let body = Some(json!({"method": "sendMessage", "chat_id": 1, "text": "x"}));
    end(&mut world, update, 1, &AttemptResult { body, ..status(200) });
    assert_eq!(world.bot.summary()["violations"], 1);
}

#[test]
fn answering_410_for_too_long_removes_the_webhook() {
    let mut world = World::new(&json!({"redelivery": {"gone_after_ms": 5000}}));
    set(&mut world);
    let update = world.write(json!({"chat_id": CHAT, "text": "1"})).update_id;
    end(&mut world, update, 1, &status(410));
    assert!(world.bot.has_webhook());
    world.now_ms += 5000;
    end(&mut world, update, 2, &status(410));
    assert!(!world.bot.has_webhook());
}

#[test]
fn numbers_continue_after_those_of_an_earlier_bot() {
    let mut world = World::new(&json!({}));
    let written = world.write(json!({"chat_id": CHAT, "text": "1"}));
    assert!(world.bot.highest_number() >= written.update_id.max(written.message_id));
}
