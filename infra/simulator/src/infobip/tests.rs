use super::*;
use crate::ids::Ids;
use crate::log::Log;
use crate::provider::{OutgoingWebhook, SimulatedAccount as _};
use crate::redelivery::AttemptResult;
use crate::webhook::RawWebhook;

const PERSON: &str = "441134960001";
const BASE: &str = "http://127.0.0.1:8788";

struct World {
    now_ms: i64,
    ids: Ids,
    log: Log,
    sender: Sender,
}

impl World {
    fn new(extra: &Value) -> Self {
        let mut settings = json!({
            "api_key": "key", "webhook_secret": "hub:secret", "hub_url": "http://hub.test/hook",
        });
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let now_ms = 1_795_000_000_000;
        let settings = serde_json::from_value(settings).unwrap();
        let sender = Sender::new("441134960000", settings);
        let mut world = Self { now_ms, ids: Ids::new(now_ms), log: Log::default(), sender };
        world.sender.people.set(PERSON, Some(now_ms));
        world
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Sender, &mut ProviderContext<'_>) -> T) -> T {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        act(&mut self.sender, &mut context)
    }

    fn post(&mut self, kind: &str, body: &Value) -> Outcome {
        self.act(|sender, context| sender.send(context, kind, body.to_string().as_bytes()))
    }

    fn text(&mut self, id: &str) -> Outcome {
        self.post(
            "text",
            &json!({"from": "441134960000", "to": PERSON, "messageId": id,
            "content": {"text": "hi"}, "callbackData": "data"}),
        )
    }

    fn fault(&mut self, fault: Value) {
        self.sender.faults.add(vec![serde_json::from_value(fault).unwrap()]);
    }

    /// The body and the request of an attempt.
    fn attempt(&mut self, delivery: &mut Delivery) -> Option<(Value, OutgoingWebhook)> {
        let webhook = self.act(|sender, context| sender.attempt(context, delivery, 1)).webhook()?;
        Some((serde_json::from_slice(&webhook.body).unwrap_or_default(), webhook))
    }

    fn ended(&mut self, delivery: &Delivery, attempt: u32, status: u16) -> Option<u64> {
        let how = AttemptResult { status, ..AttemptResult::default() };
        self.act(|sender, context| sender.attempted(context, delivery, attempt, 0, &how))
    }
}

#[test]
fn a_message_is_accepted_with_infobips_answer_and_the_callers_id() {
    let mut world = World::new(&json!({}));
    let outcome = world.text("msg-1");
    assert_eq!(outcome.answer.status(), 200);
    let body = outcome.answer.body();
    assert_eq!((&body["to"], &body["messageId"]), (&json!(PERSON), &json!("msg-1")));
    assert_eq!(body["status"]["groupName"], "PENDING");
    assert_eq!(body["messageCount"], 1);
    let accepted = &world.sender.accepted()[0];
    assert_eq!((&*accepted.message_id, &*accepted.answer), ("msg-1", "answered"));
    assert!(accepted.in_window && accepted.failed.is_none());
}

#[test]
fn a_batch_of_templates_is_answered_one_by_one() {
    let mut world = World::new(&json!({}));
    let one = |id: &str| {
        json!({"from": "441134960000", "to": PERSON, "messageId": id, "content": {
        "templateName": "hello", "language": "en", "templateData": {"body": {"placeholders": []}}}})
    };
    let outcome = world.post("template", &json!({"messages": [one("a"), one("b")]}));
    let messages = outcome.answer.body()["messages"].as_array().unwrap();
    assert_eq!((&messages[0]["messageId"], &messages[1]["messageId"]), (&json!("a"), &json!("b")));
    assert!(outcome.answer.body()["bulkId"].is_string());
    assert_eq!(world.sender.accepted().len(), 2);
}

#[test]
fn a_malformed_message_is_refused_in_the_older_format_by_default() {
    let mut world = World::new(&json!({}));
    let bad = json!({"from": "441134960000", "to": PERSON, "content": {"text": ""}});
    let answer = world.post("text", &bad).answer;
    let exception = &answer.body()["requestError"]["serviceException"];
    assert_eq!((answer.status(), &exception["messageId"]), (400, &json!("BAD_REQUEST")));
    assert!(exception["validationErrors"]["content.text"].is_array());
    let mut newer = World::new(&json!({"errors": "code"}));
    let answer = newer.post("text", &bad).answer;
    assert_eq!(answer.body()["errorCode"], "E400");
    assert_eq!(answer.body()["violations"][0]["property"], "content.text");
    assert!(newer.sender.accepted().is_empty());
}

#[test]
fn exceeding_the_rate_limit_is_429_in_the_newer_format() {
    let mut world = World::new(&json!({"limits": {"messages_per_second": 2, "retry_after_s": 3}}));
    assert_eq!(world.text("a").answer.status(), 200);
    assert_eq!(world.text("b").answer.status(), 200);
    let answer = world.text("c").answer;
    assert_eq!((answer.status(), &answer.body()["errorCode"]), (429, &json!("E429")));
    let Answer::Reply(reply) = &answer else { panic!("no reply") };
    assert_eq!(reply.retry_after_s, Some(3));
    world.now_ms += 1000;
    assert_eq!(world.text("c").answer.status(), 200);
}

#[test]
fn outside_the_window_only_templates_are_delivered_and_others_are_reported_as_undeliverable() {
    let mut world = World::new(&json!({"templates": [{"name": "hello", "language": "en"}]}));
    world.sender.people.set(PERSON, Some(world.now_ms - 86_400_000));
    let mut outcome = world.text("a");
    assert_eq!(outcome.answer.body()["status"]["groupName"], "PENDING");
    assert_eq!(world.sender.accepted()[0].failed, Some(7010));
    world.now_ms += 1000;
    let (body, _) = world.attempt(&mut outcome.deliveries[0]).unwrap();
    assert_eq!(body["results"][0]["error"]["name"], "EC_NO_SESSION");
    assert_eq!(body["results"][0]["status"]["groupName"], "UNDELIVERABLE");
    let template = |name: &str| {
        json!({"messages": [{"from": "441134960000", "to": PERSON,
        "content": {"templateName": name, "language": "en",
                    "templateData": {"body": {"placeholders": []}}}}]})
    };
    world.post("template", &template("hello"));
    world.post("template", &template("unknown"));
    let failed: Vec<_> = world.sender.accepted().iter().map(|one| one.failed).collect();
    assert_eq!(failed, [Some(7010), None, Some(7009)]);
}

#[test]
fn a_repeated_id_is_a_second_message_unless_the_account_refuses_it() {
    let mut world = World::new(&json!({}));
    world.text("same");
    world.text("same");
    assert_eq!(world.sender.accepted().len(), 2);
    let mut strict = World::new(&json!({"refuse_duplicate_ids": true}));
    strict.text("same");
    let answer = strict.text("same").answer;
    assert_eq!(answer.body()["status"]["name"], "REJECTED_DUPLICATE_MESSAGE_ID");
    assert_eq!((answer.status(), strict.sender.accepted().len()), (200, 1));
}

#[test]
fn due_reports_are_batched_and_seen_reports_are_separate() {
    let mut world = World::new(&json!({"batch_ms": 100,
        "receipts": {"sent": null, "delivered": 10, "read": 20}}));
    let mut deliveries = world.text("a").deliveries;
    deliveries.extend(world.text("b").deliveries);
    assert_eq!(deliveries.iter().map(|one| one.after_ms).collect::<Vec<_>>(), [110, 120, 110, 120]);
    world.now_ms += 200;
    let (body, _) = world.attempt(&mut deliveries[0]).unwrap();
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0]["status"]["groupName"], "DELIVERED");
    assert_eq!(results[1]["callbackData"], "data");
    let (body, _) = world.attempt(&mut deliveries[1]).unwrap();
    assert_eq!(body["results"][0]["seenAt"], "2026-11-18T11:06:40.020+0000");
    assert!(world.attempt(&mut deliveries[2]).is_none());
    assert!(world.attempt(&mut deliveries[3]).is_none());
    assert_eq!(world.ended(&deliveries[0], 1, 200), None);
    assert_eq!(world.ended(&deliveries[1], 1, 200), None);
    assert_eq!(world.sender.summary()["pending_webhooks"], 0);
    assert_eq!(world.sender.accepted()[1].statuses, ["delivered", "read"]);
}

#[test]
fn a_report_to_the_messages_notify_url_is_not_authenticated() {
    for proved in [false, true] {
        let mut world = World::new(&json!({"security_on_notify_url": proved}));
        let mut outcome = world.post(
            "text",
            &json!({"from": "441134960000", "to": PERSON,
            "content": {"text": "hi"}, "notifyUrl": "https://hub.test/own"}),
        );
        world.now_ms += 1000;
        let (_, webhook) = world.attempt(&mut outcome.deliveries[0]).unwrap();
        assert_eq!(webhook.url, "https://hub.test/own");
        let is_proof = |header: &(String, String)| header.0 == "authorization";
        assert_eq!(webhook.headers.iter().any(is_proof), proved);
    }
}

#[test]
fn webhooks_are_authenticated_as_the_profile_says() {
    let order: RawWebhook = serde_json::from_value(json!({"body": {"results": []}})).unwrap();
    let mut basic = World::new(&json!({}));
    let mut made = basic.act(|sender, context| sender.webhook(context, &order)).unwrap();
    let (_, webhook) = basic.attempt(&mut made[0]).unwrap();
    assert!(
        webhook.headers.contains(&("authorization".into(), "Basic aHViOnNlY3JldA==".to_owned()))
    );
    let mut hmac = World::new(&json!({"security": "hmac", "webhook_secret": "s"}));
    let mut made = hmac.act(|sender, context| sender.webhook(context, &order)).unwrap();
    let (_, webhook) = hmac.attempt(&mut made[0]).unwrap();
    let signed = format!("{}{}", hmac.now_ms, json!({"results": []}));
    let expected = sign::hmac_hex("s", signed.as_bytes());
    assert!(webhook.headers.contains(&("x-ib-exchange-req-signature".into(), expected)));
}

#[test]
fn a_refused_webhook_is_retried_after_one_unit_plus_the_square_of_the_retry() {
    let redelivery = json!({"first_ms": 10, "max_ms": 1000, "give_up_ms": 60000});
    let mut world = World::new(&json!({"redelivery": redelivery}));
    let order: CustomerWrites =
        serde_json::from_value(json!({"from": PERSON, "texts": ["a", "b"]})).unwrap();
    let (ids, mut made) =
        world.act(|sender, context| sender.customer_writes(context, &order, BASE)).unwrap();
    let (body, _) = world.attempt(&mut made[0]).unwrap();
    assert_eq!((ids.len(), body["results"].as_array().unwrap().len()), (2, 2));
    assert_eq!(body["results"][0]["messageId"], json!(ids[0]));
    let waits: Vec<_> = (1..=4).map(|n| world.ended(&made[0], n, 503).unwrap()).collect();
    assert_eq!(waits, [10, 20, 50, 100]);
    let how = AttemptResult { status: 404, ..AttemptResult::default() };
    let wait = world.act(|sender, context| sender.attempted(context, &made[0], 5, 60_000, &how));
    assert_eq!((wait, &world.sender.summary()["given_up"]), (None, &json!(1)));
}

#[test]
fn faults_apply_in_order_and_say_whether_the_message_was_accepted() {
    let mut world = World::new(&json!({}));
    world.fault(json!({"kind": "drop"}));
    world.fault(json!({"kind": "rate_limited", "retry_after_s": 2}));
    world.fault(json!({"kind": "error", "code": 12}));
    world.fault(json!({"kind": "error", "status": 403, "description": "FORBIDDEN"}));
    world.fault(json!({"kind": "status", "status": 502}));
    world.fault(json!({"kind": "accept_then_drop"}));
    world.fault(json!({"kind": "page", "status": 500, "accepted": true}));
    world.fault(json!({"kind": "fail_later", "code": 7003}));
    let mut seen = Vec::new();
    for n in 0..9 {
        let answer = world.text(&format!("m{n}")).answer;
        seen.push((answer.status(), world.sender.accepted().len()));
        if n == 2 {
            assert_eq!(answer.body()["status"]["name"], "REJECTED_NOT_ENOUGH_CREDITS");
        }
    }
    let expected =
        [(0, 0), (429, 0), (200, 0), (403, 0), (502, 0), (0, 1), (500, 2), (200, 3), (200, 4)];
    assert_eq!(seen, expected);
    let answers: Vec<_> = world.sender.accepted().iter().map(|one| &*one.answer).collect();
    assert_eq!(answers, ["dropped", "page_500", "answered", "answered"]);
    assert_eq!(world.sender.accepted()[2].failed, Some(7003));
}

#[test]
fn only_received_messages_can_be_marked_read_and_only_sent_files_downloaded() {
    let mut world = World::new(&json!({}));
    assert_eq!(world.act(|sender, context| sender.read(context, "wamid.x")).status(), 404);
    let order: CustomerWrites = serde_json::from_value(json!({"from": PERSON, "message":
        {"type": "IMAGE", "caption": "Look"},
        "media": {"mime_type": "image/png", "content_base64": "AAAA"}}))
    .unwrap();
    let (ids, mut made) =
        world.act(|sender, context| sender.customer_writes(context, &order, BASE)).unwrap();
    let (body, _) = world.attempt(&mut made[0]).unwrap();
    let url = body["results"][0]["message"]["url"].as_str().unwrap();
    let (place, media) = url.rsplit_once('/').unwrap();
    assert_eq!(place, format!("{BASE}/whatsapp/1/senders/441134960000/media"));
    assert_eq!(world.sender.download(media).status(), 200);
    assert_eq!(world.sender.download("other").status(), 404);
    assert_eq!(world.act(|sender, context| sender.read(context, &ids[0])).status(), 200);
    assert_eq!(world.sender.reads()[0].message_id, ids[0]);
}

#[test]
fn a_forged_webhook_is_not_authentic() {
    let mut world = World::new(&json!({}));
    for kind in ["wrong_secret", "no_proof"] {
        let order: Forgery = serde_json::from_value(json!({"kind": kind})).unwrap();
        let mut forged = world.act(|sender, context| sender.forge(context, &order));
        let (_, webhook) = world.attempt(&mut forged).unwrap();
        let genuine = ("authorization".to_owned(), "Basic aHViOnNlY3JldA==".to_owned());
        assert!(!webhook.headers.contains(&genuine), "{kind}");
        assert_eq!(world.ended(&forged, 1, 401), None);
    }
}
