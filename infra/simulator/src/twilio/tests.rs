use super::customers::{CustomerCalls, CustomerWrites, Forgery};
use super::*;
use crate::ids::Ids;
use crate::log::Log;
use crate::provider::SimulatedAccount as _;
use crate::redelivery::AttemptResult;

const SID: &str = "AC0123456789abcdef0123456789abcdef";
const SERVICE: &str = "MG0123456789abcdef0123456789abcdef";
const TEMPLATE: &str = "HX0123456789abcdef0123456789abcdef";
const NUMBER: &str = "+15550001111";
const PERSON: &str = "+4915550009999";
const STATUS: &str = "http://hub/webhooks/sms/status/int_1";
const DAY: i64 = 86_400_000;

struct World {
    now_ms: i64,
    ids: Ids,
    log: Log,
    account: Account,
}

impl World {
    fn new(extra: &Value) -> Self {
        let mut settings = json!({
            "auth_token": "token", "api_keys": {"SK1": "secret"}, "numbers": [NUMBER],
            "whatsapp": [NUMBER], "services": {SERVICE: NUMBER},
            "urls": {"sms": "http://hub/sms", "whatsapp": "http://hub/whatsapp",
                     "voice": "http://hub/voice", "voice_status": "http://hub/voice/status"},
        });
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let now_ms = 1_795_000_000_000;
        Self {
            now_ms,
            ids: Ids::new(now_ms),
            log: Log::default(),
            account: Account::new(SID, serde_json::from_value(settings).unwrap()),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Account, &mut ProviderContext<'_>) -> T) -> T {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        act(&mut self.account, &mut context)
    }

    fn post(&mut self, params: &[(&str, &str)]) -> Outcome {
        let form = form(params);
        self.act(|account, context| account.messages(context, &form))
    }

    /// Sends a message with these additional fields.
    fn send(&mut self, params: &[(&str, &str)]) -> Outcome {
        let own = [("To", PERSON), ("From", NUMBER), ("Body", "hi"), ("StatusCallback", STATUS)];
        self.post(&over(&own, params))
    }

    fn whatsapp(&mut self, params: &[(&str, &str)]) -> Outcome {
        let (to, from) = (format!("whatsapp:{PERSON}"), format!("whatsapp:{NUMBER}"));
        self.send(&over(&[("To", &to), ("From", &from)], params))
    }

    fn call(&mut self, params: &[(&str, &str)]) -> Outcome {
        let own =
            [("To", PERSON), ("From", NUMBER), ("Twiml", "<Response><Say>Hi</Say></Response>")];
        let form = form(&over(&own, params));
        self.act(|account, context| account.calls(context, &form))
    }

    fn writes(&mut self, order: Value) -> Delivery {
        let order: CustomerWrites = serde_json::from_value(order).unwrap();
        let done = self.act(|account, context| {
            account.customer_writes(context, &order, "http://127.0.0.1:8788")
        });
        done.unwrap().1.remove(0)
    }

    fn fault(&mut self, fault: Value) {
        self.account.faults.add(vec![serde_json::from_value(fault).unwrap()]);
    }

    fn violations(&self) -> u64 {
        self.account.summary()["violations"].as_u64().unwrap()
    }
}

/// `own` with the fields of `params` added or replaced.
fn over<'a>(own: &[(&'a str, &'a str)], params: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = own.iter().filter(|(name, _)| params.iter().all(|(other, _)| other != name));
    kept.chain(params).copied().collect()
}

fn form(params: &[(&str, &str)]) -> Form {
    let body = signature::encode(&params_of(params));
    Form::read("application/x-www-form-urlencoded", body.as_bytes())
}

fn code(outcome: &Outcome) -> (u16, i64) {
    (outcome.answer.status(), outcome.answer.body()["code"].as_i64().unwrap_or(0))
}

fn get<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a str> {
    delivery.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn reported_statuses(outcome: &Outcome) -> Vec<&str> {
    outcome.deliveries.iter().filter_map(|delivery| delivery.status.as_deref()).collect()
}

#[test]
fn a_message_is_answered_in_the_format_of_the_official_example() {
    let mut world = World::new(&json!({}));
    let outcome = world.send(&[]);
    let sid = world.account.accepted()[0].sid.clone();
    let body = outcome.answer.body();
    assert_eq!((outcome.answer.status(), &body["status"]), (201, &json!("queued")));
    assert!(sid.starts_with("SM") && request::is_sid("SM", &sid), "{sid}");
    assert_eq!(body["sid"], sid);
    assert_eq!(body["error_code"], Value::Null);
    assert_eq!(body["date_created"], "Wed, 18 Nov 2026 11:06:40 +0000");
    assert_eq!(body["uri"], format!("/2010-04-01/Accounts/{SID}/Messages/{sid}.json"));
    assert_eq!(world.account.accepted()[0].body["Body"], "hi");
    let pictures = [("MediaUrl", "https://e.com/a.png"), ("MediaUrl", "https://e.com/b.png")];
    let outcome = world.send(&pictures);
    assert!(outcome.answer.body()["sid"].as_str().unwrap().starts_with("MM"));
    assert_eq!(outcome.answer.body()["num_media"], "2");
    let service = world.post(&[("To", PERSON), ("MessagingServiceSid", SERVICE), ("Body", "hi")]);
    assert_eq!(service.answer.body()["status"], "accepted");
    assert_eq!(world.violations(), 0);
}

#[test]
fn only_the_accounts_own_credentials_are_accepted() {
    let mut accounts = BTreeMap::new();
    accounts.insert(SID.to_owned(), World::new(&json!({})).account);
    let mut open = |sid: &str, pair: &str| {
        let header = format!("Basic {}", STANDARD.encode(pair));
        authorize(&mut accounts, sid, Some(&header)).map(|(_, key)| key)
    };
    assert_eq!(open(SID, &format!("{SID}:token")), Ok(Key::Main));
    assert_eq!(open(SID, "SK1:secret"), Ok(Key::Standard));
    for pair in ["SK1:token", "SK1:", "AC2:token", "", "token"] {
        assert_eq!(open(SID, pair).unwrap_err().code, 20_003, "{pair}");
    }
    assert_eq!(open("AC2", &format!("{SID}:token")).unwrap_err().status, 401);
    assert!(authorize(&mut accounts, SID, None).is_err());
    assert!(authorize(&mut accounts, SID, Some("Bearer token")).is_err());
    let account = World::new(&json!({})).account;
    assert_eq!(account.describe(Key::Main).status(), 200);
    assert_eq!(account.describe(Key::Standard).status(), 401);
}

#[test]
fn each_mistake_has_twilios_code() {
    let long = "x".repeat(1601);
    let none = format!("MG{}", "0".repeat(32));
    let bad: [(&[(&str, &str)], i64); 18] = [
        (&[("To", "")], 21_604),
        (&[("From", "")], 21_603),
        (&[("To", "4915550009999")], 21_211),
        (&[("To", "whatsapp:12")], 21_211),
        (&[("From", "+1 555")], 21_212),
        (&[("From", "+15550002222")], 21_606),
        (&[("From", "whatsapp:+15550002222")], 63_007),
        (&[("From", "whatsapp:+15550001111")], 21_910),
        (&[("To", NUMBER)], 21_266),
        (&[("Body", "")], 21_602),
        (&[("Body", &long)], 21_617),
        (&[("MediaUrl", "example.com/a.png")], 21_620),
        (&[("StatusCallback", "hub")], 21_609),
        (&[("StatusCallback", "https://my_hub.example/x")], 21_609),
        (&[("MessagingServiceSid", &none)], 21_701),
        (&[("ContentSid", "HX1")], 21_655),
        (&[("ContentSid", TEMPLATE), ("ContentVariables", "[]")], 21_656),
        (&[("ContentSid", TEMPLATE), ("ContentVariables", r#"{"1":""}"#)], 21_656),
    ];
    let mut world = World::new(&json!({}));
    for (params, expected) in bad {
        assert_eq!(code(&world.send(params)), (400, expected), "{params:?}");
    }
    let many = vec![("MediaUrl", "https://e.com/a.png"); 11];
    assert_eq!(code(&world.send(&many)).1, 21_623);
    // A body that is not a form has no fields.
    let json = Form::read("application/json", br#"{"To":"+1"}"#);
    let outcome = world.act(|account, context| account.messages(context, &json));
    assert_eq!(code(&outcome), (400, 21_604));
    assert_eq!(outcome.answer.body()["more_info"], "https://www.twilio.com/docs/errors/21604");
    assert!(world.account.accepted().is_empty());
}

#[test]
fn regions_and_landlines_and_unknown_templates_are_refused() {
    let mut world = World::new(&json!({
        "regions": ["+49"], "templates": [TEMPLATE], "people": {PERSON: {"landline": true}},
    }));
    assert_eq!(code(&world.send(&[("To", "+15550002222")])), (400, 21_408));
    assert_eq!(code(&world.send(&[])), (400, 21_614));
    let other = format!("HX{}", "0".repeat(32));
    assert_eq!(code(&world.whatsapp(&[("ContentSid", &other)])), (400, 21_655));
    assert_eq!(code(&world.call(&[("To", "+15550002222")])), (400, 21_215));
}

#[test]
fn what_twilio_ignores_is_a_violation() {
    let mut world = World::new(&json!({}));
    for params in [
        &[("Text", "hi")] as &[_],
        &[("ContentSid", TEMPLATE)],
        &[("ContentVariables", r#"{"1":"a"}"#)],
        &[("PersistentAction", "geo:1,2|Here")],
        &[("ValidityPeriod", "0")],
    ] {
        let before = world.violations();
        assert_eq!(world.send(params).answer.status(), 201, "{params:?}");
        assert_eq!(world.violations(), before + 1, "{params:?}");
    }
    assert_eq!(world.whatsapp(&[("PersistentAction", "geo:52.5,13.4|Here")]).answer.status(), 201);
    assert_eq!(world.call(&[("Timeout", "0")]).answer.status(), 201);
    assert_eq!(world.call(&[("Twiml", "<Response>")]).answer.status(), 201);
    assert_eq!(world.violations(), 7);
}

#[test]
fn statuses_are_sent_to_the_requested_address_and_end_with_delivered_for_sms() {
    let mut world = World::new(&json!({}));
    let outcome = world.send(&[]);
    assert_eq!(reported_statuses(&outcome), ["sent", "delivered"]);
    let delivery = &outcome.deliveries[0];
    assert_eq!(delivery.url, STATUS);
    assert_eq!(get(delivery, "MessageStatus"), Some("sent"));
    assert_eq!(get(delivery, "SmsStatus"), Some("sent"));
    assert_eq!(get(delivery, "AccountSid"), Some(SID));
    assert_eq!(get(delivery, "MessageSid"), outcome.answer.body()["sid"].as_str());
    assert!(world.send(&[("StatusCallback", "")]).deliveries.is_empty());
    world.account.customers.set(PERSON, Some(world.now_ms));
    let outcome = world.whatsapp(&[]);
    assert_eq!(reported_statuses(&outcome), ["sent", "delivered", "read"]);
    assert_eq!(get(&outcome.deliveries[2], "ChannelPrefix"), Some("whatsapp"));
    assert_eq!(get(&outcome.deliveries[2], "EventType"), Some("READ"));
}

#[test]
fn outside_the_window_a_whatsapp_message_fails_after_acceptance_unless_it_is_a_template() {
    let mut world = World::new(&json!({"people": {"+4915550000000": {"whatsapp": false}}}));
    let outcome = world.whatsapp(&[]);
    assert_eq!((outcome.answer.status(), reported_statuses(&outcome)), (201, vec!["undelivered"]));
    assert_eq!(get(&outcome.deliveries[0], "ErrorCode"), Some("63016"));
    let template = [("ContentSid", TEMPLATE), ("ContentVariables", r#"{"1":"Tuesday"}"#)];
    assert_eq!(
        reported_statuses(&world.whatsapp(&[&template[..], &[("Body", "")]].concat())).len(),
        3
    );
    world.writes(json!({"channel": "whatsapp", "from": PERSON, "text": "Hello"}));
    assert_eq!(reported_statuses(&world.whatsapp(&[])).len(), 3);
    world.now_ms += DAY;
    assert_eq!(world.whatsapp(&[]).deliveries.len(), 1);
    let outcome = world.whatsapp(&[("To", "whatsapp:+4915550000000")]);
    assert_eq!(get(&outcome.deliveries[0], "ErrorCode"), Some("63003"));
}

#[test]
fn a_customer_who_wrote_stop_is_not_messaged_until_they_write_start() {
    let mut world = World::new(&json!({"advanced_opt_out": true}));
    let webhook = world.writes(json!({"from": PERSON, "text": " Stop "}));
    assert_eq!(get(&webhook, "OptOutType"), Some("STOP"));
    assert_eq!(get(&webhook, "Body"), Some(" Stop "));
    assert_eq!(code(&world.send(&[])), (400, 21_610));
    let service = [("To", PERSON), ("MessagingServiceSid", SERVICE), ("Body", "hi")];
    assert_eq!(code(&world.post(&service)), (400, 21_610));
    assert_eq!(world.send(&[("To", "+4915550008888")]).answer.status(), 201);
    world.writes(json!({"from": PERSON, "text": "START"}));
    assert_eq!(world.send(&[]).answer.status(), 201);
}

#[test]
fn too_many_requests_and_a_full_queue_are_429() {
    let limits = json!({"limits": {"requests_per_second": 2, "message_interval_ms": 0}});
    let mut world = World::new(&limits);
    for _ in 0..2 {
        assert_eq!(world.send(&[]).answer.status(), 201);
    }
    assert_eq!(code(&world.send(&[])), (429, 20_429));
    world.now_ms += 1000;
    assert_eq!(world.send(&[]).answer.status(), 201);
    let mut world = World::new(&json!({"limits": {"queue": 2}}));
    for _ in 0..2 {
        assert_eq!(world.send(&[]).answer.status(), 201);
    }
    assert_eq!(code(&world.send(&[])), (429, 21_611));
    world.now_ms += 1000;
    assert_eq!(world.send(&[]).answer.status(), 201);
    assert_eq!(world.account.accepted().len(), 3);
}

#[test]
fn faults_accept_or_refuse_messages_as_scripted() {
    let mut world = World::new(&json!({}));
    for fault in [
        json!({"kind": "accept_then_time_out", "hold_ms": 9}),
        json!({"kind": "accept_then_drop"}),
        json!({"kind": "status", "status": 500, "accepted": true}),
        json!({"kind": "delay", "delay_ms": 7}),
        json!({"kind": "fail_later", "code": 30007}),
        json!({"kind": "drop", "to": PERSON}),
        json!({"kind": "status", "status": 503}),
        json!({"kind": "rate_limited", "retry_after_s": 4}),
        json!({"kind": "error", "code": 30001, "status": 400}),
    ] {
        world.fault(fault);
    }
    assert_eq!(world.send(&[]).answer, Answer::HangUp { after_ms: 9 });
    assert_eq!(world.send(&[]).answer, Answer::HangUp { after_ms: 0 });
    assert_eq!(world.send(&[]).answer.status(), 500);
    assert!(matches!(world.send(&[]).answer, Answer::Reply(reply) if reply.delay_ms == 7));
    let outcome = world.send(&[]);
    assert_eq!((outcome.answer.status(), reported_statuses(&outcome)), (201, vec!["undelivered"]));
    assert_eq!(get(&outcome.deliveries[0], "ErrorCode"), Some("30007"));
    assert_eq!(world.send(&[]).answer, Answer::HangUp { after_ms: 0 });
    assert_eq!(code(&world.send(&[])), (503, 20_500));
    let limited = world.send(&[]);
    assert_eq!(code(&limited), (429, 20_429));
    assert!(matches!(limited.answer, Answer::Reply(reply) if reply.retry_after_s == Some(4)));
    assert_eq!(code(&world.send(&[])), (400, 30_001));
    let answers: Vec<_> = world.account.accepted().iter().map(|one| one.answer.as_str()).collect();
    assert_eq!(answers, ["held", "dropped", "status_500", "answered", "answered"]);
    assert!(world.account.faults.remaining().is_empty());
}

#[test]
fn call_statuses_are_sent_in_order() {
    let mut world = World::new(&json!({}));
    let url = ("StatusCallback", STATUS);
    let all = request::EVENTS.map(|event| ("StatusCallbackEvent", event));
    let outcome = world.call(&[&[url], &all[..]].concat());
    assert_eq!(outcome.answer.status(), 201);
    assert_eq!(outcome.answer.body()["status"], "queued");
    assert_eq!(reported_statuses(&outcome), ["initiated", "ringing", "in-progress", "completed"]);
    let numbers: Vec<_> = outcome.deliveries.iter().map(|d| get(d, "SequenceNumber")).collect();
    assert_eq!(numbers, [Some("0"), Some("1"), Some("2"), Some("3")]);
    assert_eq!(get(&outcome.deliveries[3], "CallDuration"), Some("1"));
    assert_eq!(get(&outcome.deliveries[0], "CallbackSource"), Some("call-progress-events"));
    assert_eq!(reported_statuses(&world.call(&[url])), ["completed"]);
    assert!(world.call(&[]).deliveries.is_empty());
    assert_eq!(world.violations(), 0);
}

#[test]
fn a_call_ends_as_set_for_the_number() {
    for (end, expected) in [
        ("busy", vec!["initiated", "ringing", "busy"]),
        ("no-answer", vec!["initiated", "ringing", "no-answer"]),
        ("failed", vec!["initiated", "failed"]),
        ("canceled", vec!["initiated", "ringing", "canceled"]),
    ] {
        let mut world = World::new(&json!({"people": {PERSON: {"call": end}}}));
        let all = request::EVENTS.map(|event| ("StatusCallbackEvent", event));
        let outcome = world.call(&[&[("StatusCallback", STATUS)], &all[..]].concat());
        assert_eq!(reported_statuses(&outcome), expected);
    }
}

#[test]
fn each_mistake_in_a_call_has_twilios_code() {
    let mut world = World::new(&json!({}));
    let long = format!("<Response><Say>{}</Say></Response>", "x".repeat(4000));
    for (params, expected) in [
        (&[("To", "")] as &[_], 21_201),
        (&[("From", "")], 21_213),
        (&[("To", "0049")], 21_211),
        (&[("From", "shop")], 21_212),
        (&[("From", "+15550002222")], 21_210),
        (&[("Twiml", "")], 21_205),
        (&[("Twiml", &long)], 21_205),
        (&[("Url", "hub")], 21_205),
        (&[("ApplicationSid", "AP1")], 21_218),
        (&[("StatusCallback", "hub")], 21_609),
    ] {
        assert_eq!(code(&world.call(params)), (400, expected), "{params:?}");
    }
}

#[test]
fn customer_messages_are_signed_for_the_configured_address() {
    let mut world = World::new(&json!({"reach_by": "http://127.0.0.1:9/"}));
    world.account.settings.urls.sms = "https://hub.example/sms?x=1#rc=2".into();
    let webhook = world.writes(json!({"from": PERSON, "text": "Hi", "params": {"FromCity": ""}}));
    assert_eq!(get(&webhook, "From"), Some(PERSON));
    assert_eq!(get(&webhook, "SmsStatus"), Some("received"));
    let request = world.account.outgoing(&webhook);
    assert_eq!(request.url, "http://127.0.0.1:9/sms?x=1");
    let signed = signature::signature("token", "https://hub.example/sms?x=1", &webhook.params);
    assert!(request.headers.contains(&("x-twilio-signature".into(), signed)));
    let has_token = |(name, _): &(String, String)| name == "i-twilio-idempotency-token";
    assert!(request.headers.iter().any(has_token));
}

#[test]
fn a_file_needs_credentials_and_its_address_expires() {
    let mut world = World::new(&json!({}));
    let webhook = world.writes(json!({"from": PERSON, "text": "Look",
        "media": [{"mime_type": "image/png", "content_base64": STANDARD.encode("png")}]}));
    assert_eq!(get(&webhook, "NumMedia"), Some("1"));
    assert_eq!(get(&webhook, "MediaContentType0"), Some("image/png"));
    let url = get(&webhook, "MediaUrl0").unwrap();
    let parts: Vec<&str> = url.split('/').collect();
    let (message, id) = (parts[7], parts[9]);
    let base = "http://sim";
    assert_eq!(world.account.media(world.now_ms, "MM0", id, base).status(), 404);
    let Answer::Redirect { to } = world.account.media(world.now_ms, message, id, base) else {
        panic!("no redirect");
    };
    let parts: Vec<&str> = to.split('/').collect();
    let (expires, hash) = (parts[6], parts[7]);
    let file = world.account.file(world.now_ms, id, expires, hash);
    assert!(matches!(file, Answer::Reply(Reply { body: Body::File { mime, bytes }, .. })
        if mime == "image/png" && bytes == "png"));
    assert_eq!(world.account.file(world.now_ms, id, expires, "guess").status(), 403);
    let later = world.now_ms + FILE_S * 1000;
    assert_eq!(world.account.file(later, id, expires, hash).status(), 403);
}

fn ended(status: u16) -> AttemptResult {
    AttemptResult { status, ..AttemptResult::default() }
}

#[test]
fn a_failed_webhook_is_retried_only_if_its_address_asks_for_it() {
    let mut world = World::new(&json!({}));
    let once = world.writes(json!({"from": PERSON, "text": "1"}));
    let again = |world: &mut World, delivery: &Delivery, attempt, status| {
        let how = ended(status);
        world.act(|account, context| account.attempted(context, delivery, attempt, 0, &how))
    };
    assert_eq!(again(&mut world, &once, 1, 500), None);
    assert_eq!(world.account.summary()["given_up"], 1);
    world.account.settings.urls.sms = "http://hub/sms#rc=1&rp=5xx".into();
    let twice = world.writes(json!({"from": PERSON, "text": "2"}));
    assert_eq!(again(&mut world, &twice, 1, 503), Some(200));
    assert_eq!(again(&mut world, &twice, 2, 503), None);
    assert_eq!(world.account.summary()["pending_webhooks"], 0);
}

#[test]
fn a_status_counts_once_the_hub_has_accepted_it() {
    let mut world = World::new(&json!({}));
    let outcome = world.send(&[]);
    for (delivery, status) in outcome.deliveries.iter().zip([200, 500]) {
        let how = AttemptResult { bytes: "<Response/>".into(), ..ended(status) };
        world.act(|account, context| account.attempted(context, delivery, 1, 0, &how));
    }
    assert_eq!(world.account.accepted()[0].statuses, ["sent"]);
}

#[test]
fn a_plain_text_response_is_a_violation_because_twilio_would_send_it() {
    let mut world = World::new(&json!({}));
    for (answer, expected) in
        [("<Response/>", 0), ("", 0), ("thank you", 1), ("<Response><Reject></Response>", 2)]
    {
        let delivery = world.writes(json!({"from": PERSON, "text": "Hi"}));
        let how = AttemptResult { bytes: answer.into(), ..ended(200) };
        world.act(|account, context| account.attempted(context, &delivery, 1, 0, &how));
        assert_eq!(world.violations(), expected, "{answer}");
    }
}

#[test]
fn an_incoming_call_reports_its_end() {
    let mut world = World::new(&json!({}));
    let order: CustomerCalls = serde_json::from_value(json!({"from": PERSON})).unwrap();
    let (sid, calls) =
        world.act(|account, context| account.customer_calls(context, &order)).unwrap();
    assert_eq!(get(&calls[0], "CallStatus"), Some("ringing"));
    assert_eq!(get(&calls[0], "Direction"), Some("inbound"));
    let over =
        world.act(|account, context| account.call_ended(context, &order, &sid, CallEnd::Busy));
    assert_eq!(get(&over[0], "CallStatus"), Some("busy"));
    assert_eq!(over[0].url, "http://hub/voice/status");
}

#[test]
fn forged_webhooks_have_invalid_signatures() {
    let mut world = World::new(&json!({}));
    for kind in ["wrong_secret", "no_signature", "tampered", "other_url"] {
        let order: Forgery = serde_json::from_value(json!({"kind": kind})).unwrap();
        let delivery = world.act(|account, context| account.forge(context, &order)).unwrap();
        let right = signature::signature("token", &delivery.url, &delivery.params);
        let mut headers = world.account.outgoing(&delivery).headers.into_iter();
        let given = headers.find(|(name, _)| name == "x-twilio-signature");
        assert_ne!(given.map(|(_, value)| value), Some(right), "{kind}");
    }
}
