use super::*;
use crate::ids::Ids;
use crate::log::Log;
use crate::provider::SimulatedAccount as _;
use crate::redelivery::AttemptResult;

const CUSTOMER: &str = "16505551234";
const DAY: i64 = 86_400_000;

struct World {
    now_ms: i64,
    ids: Ids,
    log: Log,
    number: Number,
}

impl World {
    fn new(extra: &Value) -> Self {
        let mut settings = json!({
            "token": "token", "app_secret": "secret", "verify_token": "verify", "hub_url": "",
        });
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings = serde_json::from_value(settings).unwrap();
        let now_ms = 1_795_000_000_000;
        let mut world = Self {
            now_ms,
            ids: Ids::new(now_ms),
            log: Log::default(),
            number: Number::new("106540352242922", settings),
        };
        world.number.customers.set(CUSTOMER, Some(now_ms));
        world
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Number, &mut ProviderContext<'_>) -> T) -> T {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        act(&mut self.number, &mut context)
    }

    fn post(&mut self, body: &Value) -> Outcome {
        let bytes = body.to_string();
        self.act(|number, context| number.messages(context, bytes.as_bytes()))
    }

    fn send(&mut self, to: &str) -> Outcome {
        self.post(&json!({"messaging_product": "whatsapp", "recipient_type": "individual",
            "to": to, "type": "text", "text": {"body": "hi"},
            "biz_opaque_callback_data": "msg_1"}))
    }

    fn fault(&mut self, fault: Value) {
        self.number.faults.add(vec![serde_json::from_value(fault).unwrap()]);
    }

    fn code(outcome: &Outcome) -> (u16, i64) {
        (outcome.answer.status(), outcome.answer.body()["error"]["code"].as_i64().unwrap_or(0))
    }
}

fn parsed(delivery: &Delivery) -> Value {
    serde_json::from_slice::<Value>(&delivery.body).unwrap()["entry"][0]["changes"][0]["value"]
        .clone()
}

#[test]
fn a_message_is_accepted_with_metas_response() {
    let mut world = World::new(&json!({}));
    let outcome = world.send("+1 650-555-1234");
    let wamid = world.number.accepted()[0].wamid.clone();
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(
        outcome.answer.body(),
        &json!({"messaging_product": "whatsapp",
            "contacts": [{"input": "+1 650-555-1234", "wa_id": CUSTOMER}],
            "messages": [{"id": wamid}]})
    );
    assert!(world.number.accepted()[0].in_window);
}

#[test]
fn each_status_webhook_echoes_the_opaque_data() {
    let mut world = World::new(&json!({}));
    let outcome = world.send(CUSTOMER);
    let seen: Vec<Value> = outcome.deliveries.iter().map(parsed).collect();
    assert_eq!(seen.len(), 3);
    for (value, status) in seen.iter().zip(["sent", "delivered", "read"]) {
        assert_eq!(value["statuses"][0]["status"], status);
        assert_eq!(value["statuses"][0]["biz_opaque_callback_data"], "msg_1");
        assert_eq!(value["statuses"][0]["recipient_id"], CUSTOMER);
        assert_eq!(value["metadata"]["phone_number_id"], "106540352242922");
    }
    assert_eq!(seen[0]["statuses"][0]["pricing"]["pricing_model"], "PMP");
    assert!(seen[2]["statuses"][0].get("pricing").is_none());
}

#[test]
fn outside_the_service_window_meta_answers_200_and_then_reports_131047() {
    let mut world = World::new(&json!({}));
    world.now_ms += DAY;
    let outcome = world.send(CUSTOMER);
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(outcome.deliveries.len(), 1);
    let status = &parsed(&outcome.deliveries[0])["statuses"][0];
    assert_eq!(status["status"], "failed");
    assert_eq!(status["biz_opaque_callback_data"], "msg_1");
    assert_eq!(
        status["errors"][0],
        json!({"code": 131_047, "title": "Re-engagement message",
            "message": "Re-engagement message",
            "error_data": {"details": "Message failed to send because more than 24 hours have \
                passed since the customer last replied to this number."},
            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"})
    );
}

#[test]
fn a_template_can_be_sent_at_any_time_but_must_be_approved() {
    let templates = json!({"templates": [{"name": "hello_world", "language": "en_US"}]});
    let mut world = World::new(&templates);
    world.now_ms += 2 * DAY;
    let mut body = json!({"messaging_product": "whatsapp", "recipient_type": "individual",
        "to": CUSTOMER, "type": "template",
        "template": {"name": "hello_world", "language": {"code": "en_US"}}});
    assert_eq!(parsed(&world.post(&body).deliveries[0])["statuses"][0]["status"], "sent");
    body["template"]["language"]["code"] = json!("de");
    let outcome = world.post(&body);
    assert_eq!(World::code(&outcome), (404, 132_001));
    assert_eq!(
        outcome.answer.body()["error"]["error_data"]["details"],
        "template name (hello_world) does not exist in de"
    );
}

#[test]
fn a_customers_message_opens_the_service_window() {
    let mut world = World::new(&json!({}));
    world.now_ms += DAY;
    assert!(!world.number.window_open(world.now_ms, CUSTOMER));
    let order = serde_json::from_value(json!({"from": CUSTOMER, "text": "hello"})).unwrap();
    world.act(|number, context| number.customer_writes(context, &order)).unwrap();
    assert!(world.number.window_open(world.now_ms + DAY - 1, CUSTOMER));
    assert!(!world.number.window_open(world.now_ms + DAY, CUSTOMER));
}

#[test]
fn too_many_messages_in_a_second_are_130429() {
    let mut world =
        World::new(&json!({"limits": {"messages_per_second": 3, "pair_interval_ms": 0}}));
    for n in 0..3 {
        assert_eq!(world.send(&format!("1650555000{n}")).answer.status(), 200);
    }
    let outcome = world.send("16505550009");
    assert_eq!(World::code(&outcome), (429, 130_429));
    let error = &outcome.answer.body()["error"];
    assert_eq!(error["message"], "(#130429) Rate limit hit");
    assert_eq!(error["type"], "OAuthException");
    world.now_ms += 1000;
    assert_eq!(world.send("16505550009").answer.status(), 200);
    assert_eq!(world.number.accepted().len(), 4);
}

#[test]
fn too_many_messages_to_one_customer_are_131056() {
    let limits = json!({"limits": {"pair_burst": 2, "refusal_status": 400}});
    let mut world = World::new(&limits);
    assert_eq!(world.send(CUSTOMER).answer.status(), 200);
    assert_eq!(world.send(CUSTOMER).answer.status(), 200);
    let outcome = world.send(CUSTOMER);
    assert_eq!(World::code(&outcome), (400, 131_056));
    assert_eq!(world.send("16505550001").answer.status(), 200);
    world.now_ms += 6000;
    assert_eq!(world.send(CUSTOMER).answer.status(), 200);
    assert_eq!(World::code(&world.send(CUSTOMER)).1, 131_056);
}

#[test]
fn a_recipient_not_on_whatsapp_is_reported_as_131026() {
    let mut world = World::new(&json!({"not_on_whatsapp": [CUSTOMER]}));
    let outcome = world.send(CUSTOMER);
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(parsed(&outcome.deliveries[0])["statuses"][0]["errors"][0]["code"], 131_026);
}

#[test]
fn a_number_cannot_send_to_itself_or_before_it_is_registered() {
    let mut world = World::new(&json!({"registered": false, "pin": "123456"}));
    assert_eq!(World::code(&world.send(CUSTOMER)), (400, 133_010));
    let mut register = |body: Value| {
        let bytes = body.to_string();
        let answer = world.act(|number, context| number.register(context, bytes.as_bytes()));
        (answer.status(), answer.body()["error"]["code"].as_i64())
    };
    let product = "whatsapp";
    assert_eq!(register(json!({"pin": "123456"})), (400, Some(100)));
    assert_eq!(register(json!({"messaging_product": product, "pin": "12345"})), (400, Some(100)));
    let wrong = json!({"messaging_product": product, "pin": "654321"});
    assert_eq!(register(wrong), (400, Some(133_005)));
    assert_eq!(register(json!({"messaging_product": product, "pin": "123456"})), (200, None));
    assert_eq!(world.send(CUSTOMER).answer.status(), 200);
    assert_eq!(World::code(&world.send("15550783881")), (400, 131_021));
}

#[test]
fn a_reaction_to_an_unknown_message_is_reported_as_131009() {
    let mut world = World::new(&json!({}));
    let outcome = world.post(&json!({"messaging_product": "whatsapp",
        "recipient_type": "individual", "to": CUSTOMER, "type": "reaction",
        "reaction": {"message_id": "wamid.unknown", "emoji": "👍"}}));
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(parsed(&outcome.deliveries[0])["statuses"][0]["errors"][0]["code"], 131_009);
}

#[test]
fn only_a_received_message_can_be_marked_as_read() {
    let mut world = World::new(&json!({}));
    let order = serde_json::from_value(json!({"from": CUSTOMER, "text": "hello"})).unwrap();
    let (wamid, _, _) =
        world.act(|number, context| number.customer_writes(context, &order)).unwrap();
    let mut body = json!({"messaging_product": "whatsapp", "status": "read", "message_id": wamid});
    let outcome = world.post(&body);
    assert_eq!(outcome.answer.body(), &json!({"success": true}));
    body["message_id"] = json!("wamid.unknown");
    assert_eq!(World::code(&world.post(&body)), (400, 100));
    assert_eq!(world.number.reads().len(), 1);
    assert!(world.number.accepted().is_empty());
}

#[test]
fn tokens_are_checked_as_by_the_graph_api() {
    let mut numbers = BTreeMap::new();
    for (id, token) in [("111", "a"), ("222", "b")] {
        let settings =
            json!({"token": token, "app_secret": "s", "verify_token": "v", "hub_url": ""});
        let settings = serde_json::from_value(settings).unwrap();
        numbers.insert(id.to_owned(), Number::new(id, settings));
    }
    let mut code = |id: &str, header: Option<&str>| {
        authorize(&mut numbers, "POST", id, header)
            .map(|number| number.id.clone())
            .map_err(|error| (error.status, error.code, error.subcode))
    };
    assert_eq!(code("111", Some("Bearer a")), Ok("111".into()));
    assert_eq!(code("111", None), Err((401, 104, None)));
    assert_eq!(code("111", Some("Basic a")), Err((401, 104, None)));
    assert_eq!(code("111", Some("Bearer x")), Err((401, 190, None)));
    assert_eq!(code("111", Some("Bearer b")), Err((400, 100, Some(33))));
    assert_eq!(code("333", Some("Bearer a")), Err((400, 100, Some(33))));
}

#[test]
fn an_accepted_message_without_an_answer_is_still_sent_and_reported() {
    for (kind, name) in [("accept_then_time_out", "held"), ("accept_then_drop", "dropped")] {
        let mut world = World::new(&json!({}));
        world.fault(json!({"kind": kind}));
        let outcome = world.send(CUSTOMER);
        assert!(matches!(outcome.answer, Answer::HangUp { .. }));
        assert_eq!(outcome.deliveries.len(), 3);
        assert_eq!(world.number.accepted()[0].answer, name);
        assert_eq!(world.send(CUSTOMER).answer.status(), 200);
        assert_eq!(world.number.accepted().len(), 2);
    }
}

#[test]
fn a_fault_before_acceptance_leaves_no_message() {
    let mut world = World::new(&json!({}));
    world.fault(json!({"kind": "drop"}));
    world.fault(json!({"kind": "status", "status": 503}));
    world.fault(json!({"kind": "rate_limited", "retry_after_s": 7}));
    world.fault(json!({"kind": "error", "code": 131_056}));
    assert_eq!(world.send(CUSTOMER).answer, Answer::HangUp { after_ms: 0 });
    assert_eq!(world.send(CUSTOMER).answer.status(), 503);
    let limited = world.send(CUSTOMER);
    assert_eq!(World::code(&limited), (429, 130_429));
    assert!(matches!(limited.answer, Answer::Reply(Reply { retry_after_s: Some(7), .. })));
    assert_eq!(World::code(&world.send(CUSTOMER)), (429, 131_056));
    assert!(world.number.accepted().is_empty());
}

#[test]
fn a_gateway_page_can_follow_an_accepted_message_and_a_200_can_precede_a_failure() {
    let mut world = World::new(&json!({}));
    world.fault(json!({"kind": "page", "status": 502, "accepted": true}));
    world.fault(json!({"kind": "fail_later", "code": 131_049}));
    let outcome = world.send(CUSTOMER);
    assert_eq!((outcome.answer.status(), outcome.deliveries.len()), (502, 3));
    assert_eq!(
        outcome.answer.body(),
        &serde_json::Value::Null,
        "a page instead of a Graph API error"
    );
    assert_eq!(world.number.accepted()[0].answer, "page_502");
    let outcome = world.send(CUSTOMER);
    assert_eq!(outcome.answer.status(), 200);
    assert_eq!(parsed(&outcome.deliveries[0])["statuses"][0]["errors"][0]["code"], 131_049);
}

#[test]
fn an_invalid_request_does_not_use_up_a_fault() {
    let mut world = World::new(&json!({}));
    world.fault(json!({"kind": "drop"}));
    assert_eq!(World::code(&world.post(&json!({}))), (400, 100));
    assert_eq!(world.number.faults.remaining().len(), 1);
}

#[test]
fn webhook_signatures_cover_the_escaped_bytes() {
    let mut world = World::new(&json!({}));
    let order = json!({"from": CUSTOMER, "name": "Zoë", "text": "a/b 👍"});
    let order = serde_json::from_value(order).unwrap();
    let (_, _, deliveries) =
        world.act(|number, context| number.customer_writes(context, &order)).unwrap();
    let body = std::str::from_utf8(&deliveries[0].body).unwrap();
    assert!(body.contains(r"Zo\u00eb") && body.contains(r"a\/b \ud83d\udc4d"), "{body}");
    let headers = world.number.headers(&deliveries[0]);
    let signature = format!("sha256={}", sign::hmac_hex("secret", body.as_bytes()));
    assert!(headers.contains(&("x-hub-signature-256", signature)));
    assert!(headers.contains(&("user-agent", "facebookexternalua".into())));
    assert_eq!(parsed(&deliveries[0])["messages"][0]["text"]["body"], "a/b 👍");
}

#[test]
fn no_forged_webhook_has_a_valid_signature() {
    let kinds = ["wrong_secret", "no_signature", "sha1", "no_prefix", "tampered", "reserialised"];
    for kind in kinds {
        let mut world = World::new(&json!({}));
        let order = serde_json::from_value(json!({"kind": kind})).unwrap();
        let delivery = world.act(|number, context| number.forge(context, &order));
        let truth = format!("sha256={}", sign::hmac_hex("secret", &delivery.body));
        let headers = world.number.headers(&delivery);
        assert!(!headers.contains(&("x-hub-signature-256", truth)), "{kind}");
        assert!(serde_json::from_slice::<Value>(&delivery.body).is_ok(), "{kind}");
    }
}

#[test]
fn only_200_ends_a_delivery_and_the_retry_delay_grows() {
    let mut world = World::new(&json!({}));
    let delivery = world.send(CUSTOMER).deliveries.remove(0);
    let mut end = |attempt, passed, status| {
        let how = AttemptResult { status, ..AttemptResult::default() };
        world.act(|number, context| number.attempted(context, &delivery, attempt, passed, &how))
    };
    assert_eq!(end(1, 0, 500), Some(500));
    assert_eq!(end(2, 500, 201), Some(1000));
    assert_eq!(end(3, 1500, 0), Some(2000));
    assert_eq!(end(4, 3500, 200), None);
    assert_eq!(world.number.accepted()[0].statuses, ["sent"]);
    assert_eq!(world.number.summary()["pending_webhooks"], 2);
    let how = AttemptResult { status: 500, ..AttemptResult::default() };
    let delivery = Delivery { id: 9, ..delivery };
    let wait = world.act(|number, context| number.attempted(context, &delivery, 9, 120_000, &how));
    assert_eq!(wait, None);
    assert_eq!(world.number.summary()["given_up"], 1);
}

#[test]
fn a_file_can_be_downloaded_for_five_minutes() {
    let mut world = World::new(&json!({}));
    let order = json!({"from": CUSTOMER, "type": "image", "object": {"caption": "c"},
        "media": {"mime_type": "image/png", "content_base64": "AAEC"}});
    let order = serde_json::from_value(order).unwrap();
    let (_, id, deliveries) =
        world.act(|number, context| number.customer_writes(context, &order)).unwrap();
    let id = id.unwrap();
    let image = &parsed(&deliveries[0])["messages"][0]["image"];
    assert_eq!(image["id"], json!(id));
    assert_eq!(image["sha256"], "rksygOVuL6+D9BSm49q+nV++GJdlRMBf7RIazLhbU/w=");
    let info = world.act(|number, context| number.media_info(context, &id, "http://sim"));
    assert_eq!(info.body()["file_size"], 3);
    let url = url::Url::parse(info.body()["url"].as_str().unwrap()).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let get = |world: &mut World, hash: &str| {
        world.act(|number, context| number.download(context, &id, &query["ext"], hash)).status()
    };
    assert_eq!(get(&mut world, &query["hash"]), 200);
    assert_eq!(get(&mut world, "0000"), 404);
    world.now_ms += 300_000;
    assert_eq!(get(&mut world, &query["hash"]), 404);
}
