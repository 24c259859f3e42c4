use super::*;
use crate::ids::Ids;
use crate::log::Log;
use crate::provider::{OutgoingWebhook, SimulatedAccount as _};
use crate::redelivery::AttemptResult;

const PERSON: &str = "4915550009999";

struct World {
    now_ms: i64,
    ids: Ids,
    log: Log,
    account: Account,
}

impl World {
    fn new(extra: &Value) -> Self {
        let mut settings = json!({"api_key": "key", "sender": "4915550001111",
            "webhook_secret": "secret", "hub_url": "http://hub.test/hook"});
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let now_ms = 1_795_000_000_000;
        let account = Account::new("acme", serde_json::from_value(settings).unwrap());
        let mut world = Self { now_ms, ids: Ids::new(now_ms), log: Log::default(), account };
        world.account.people.set(PERSON, Some(now_ms));
        world
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Account, &mut ProviderContext<'_>) -> T) -> T {
        let mut context =
            ProviderContext { now_ms: self.now_ms, ids: &mut self.ids, log: &mut self.log };
        act(&mut self.account, &mut context)
    }

    fn json(&mut self, body: &Value) -> Outcome {
        self.act(|account, context| {
            let kind = "application/json";
            account.send(context, Api::Json, Some("key"), kind, body.to_string().as_bytes())
        })
    }

    fn form(&mut self, body: &str) -> Outcome {
        self.act(|account, context| {
            let kind = "application/x-www-form-urlencoded";
            account.send(context, Api::Form, Some("key"), kind, body.as_bytes())
        })
    }

    /// The code of the answer to a message in which one value is changed.
    fn code(&mut self, pointer: &str, value: Value) -> (u16, String) {
        let mut body = text();
        match body.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => {
                body.as_object_mut().unwrap().insert(pointer.replace('/', ""), value);
            }
        }
        let answer = self.json(&body).answer;
        let code = answer.body()["error"]["code"].as_str().unwrap_or_default().to_owned();
        (answer.status(), code)
    }
}

fn text() -> Value {
    json!({"sender": "4915550001111", "recipient": format!("+{PERSON}"), "reference": "msg_1",
           "message": {"kind": "text", "text": {"body": "hi"}}})
}

#[test]
fn a_message_is_accepted_with_202_and_an_id() {
    let mut world = World::new(&json!({}));
    let outcome = world.json(&text());
    let id = outcome.answer.body()["data"]["id"].clone();
    assert_eq!((outcome.answer.status(), id), (202, json!(world.account.accepted()[0].id)));
    assert_eq!(world.account.accepted()[0].reference.as_deref(), Some("msg_1"));
    let body = serde_json::from_slice::<Value>(outcome.deliveries[0].body.as_ref().unwrap());
    assert_eq!(body.unwrap()["events"][0]["status"]["reference"], "msg_1");
}

#[test]
fn a_malformed_message_is_refused() {
    let mut world = World::new(&json!({}));
    let shape = (400, "shape".to_owned());
    for (pointer, value) in [
        ("/recipient", json!(PERSON)),
        ("/recipient", json!("+49 155")),
        ("/reference", json!("")),
        ("/reference", json!(null)),
        ("/message/text/body", json!("")),
        ("/message/text/body", json!("x".repeat(4097))),
        ("/message/kind", json!("sticker")),
        ("/more", json!(1)),
    ] {
        assert_eq!(world.code(pointer, value.clone()), shape, "{pointer} {value}");
    }
    let choices = |n: usize| {
        let choices: Vec<_> = (0..n).map(|n| json!({"id": n.to_string(), "title": "t"})).collect();
        json!({"kind": "choice", "text": {"body": "b"}, "choices": choices})
    };
    assert_eq!(world.code("/message", choices(4)), shape);
    assert_eq!(world.code("/message", choices(3)).0, 202);
    let file = |link: &str| json!({"kind": "image", "media": {"link": link}});
    assert_eq!(world.code("/message", file("/a")), shape);
    assert_eq!(world.code("/message", file("https://example.com/a")).0, 202);
    assert_eq!(world.account.accepted().len(), 2);
}

#[test]
fn the_key_the_sender_the_template_the_window_and_opt_outs_are_checked() {
    let mut world = World::new(&json!({"opted_out": ["4915550007777"],
        "templates": [{"name": "hello", "language": "en"}]}));
    let bytes = text().to_string();
    let answer = world.act(|account, context| {
        account.send(context, Api::Json, None, "application/json", bytes.as_bytes()).answer
    });
    assert_eq!(answer.status(), 401);
    assert_eq!(world.code("/sender", json!("1234567")).1, "sender_unknown");
    assert_eq!(world.code("/recipient", json!("+4915550007777")).1, "opted_out");
    assert_eq!(world.code("/recipient", json!("+4915550008888")).1, "window_closed");
    let template = |name: &str| json!({"kind": "template", "template": {"name": name, "language": "en", "values": ["x"]}});
    assert_eq!(world.code("/message", template("other")).1, "template_unknown");
    world.account.people.set(PERSON, None);
    assert_eq!(world.code("/message", template("hello")).0, 202);
}

#[test]
fn exceeding_the_rate_limit_is_429_with_retry_after() {
    let mut world = World::new(&json!({"messages_per_second": 1}));
    assert_eq!(world.json(&text()).answer.status(), 202);
    let answer = world.json(&text()).answer;
    let Answer::Reply(reply) = &answer else { panic!("no reply") };
    assert_eq!((reply.status, reply.retry_after_s), (429, Some(1)));
}

#[test]
fn the_form_api_is_as_strict_and_answers_errors_with_200() {
    let mut world = World::new(&json!({}));
    let good = format!(
        "channel=whatsapp&source=4915550001111&destination={PERSON}&ref=msg_1\
         &message=%7B%22type%22%3A%22text%22%2C%22text%22%3A%22a%26b%22%7D"
    );
    let answer = world.form(&good).answer;
    assert_eq!((answer.status(), &answer.body()["status"]), (200, &json!("submitted")));
    assert_eq!(world.account.accepted()[0].body["message"], r#"{"type":"text","text":"a&b"}"#);
    for bad in [
        good.replace("channel=whatsapp", "channel=sms"),
        good.replace("&ref=", "&more="),
        good.replace(PERSON, "%2B4915550009999"),
        format!("{good}&ref=again"),
        good.replace("type%22%3A%22text", "type%22%3A%22video"),
    ] {
        let answer = world.form(&bad).answer;
        assert_eq!((answer.status(), &answer.body()["code"]), (200, &json!(1002)), "{bad}");
    }
    assert_eq!(world.account.accepted().len(), 1);
}

#[test]
fn webhooks_sign_the_time_and_the_body_and_any_2xx_ends_retries() {
    let mut world = World::new(&json!({"redelivery": {"first_ms": 7}}));
    let order = serde_json::from_value(json!({"from": PERSON, "texts": ["a", "b"]})).unwrap();
    let (_, mut made) =
        world.act(|account, context| account.customer_writes(context, &order)).unwrap();
    let next = world.act(|account, context| account.attempt(context, &mut made[0], 1));
    let OutgoingWebhook { headers, body, .. } = next.webhook().unwrap();
    let events = serde_json::from_slice::<Value>(&body).unwrap();
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
    let signed = [b"1795000000.", &body[..]].concat();
    let expected = format!("sha256={}", sign::hmac_hex("secret", &signed));
    assert!(headers.contains(&("x-bsp-signature".into(), expected)));
    let mut ended = |status| {
        let how = AttemptResult { status, ..AttemptResult::default() };
        world.act(|account, context| account.attempted(context, &made[0], 1, 0, &how))
    };
    assert_eq!((ended(500), ended(202)), (Some(7), None));
    assert_eq!(world.account.summary()["pending_webhooks"], 0);
}

#[test]
fn faults_say_whether_the_message_was_accepted() {
    let mut world = World::new(&json!({}));
    let faults = json!([{"kind": "drop"}, {"kind": "rate_limited"}, {"kind": "error"},
        {"kind": "status", "status": 503}, {"kind": "accept_then_drop"},
        {"kind": "page", "status": 500, "accepted": true}, {"kind": "fail_later"}]);
    world.account.faults.add(serde_json::from_value(faults).unwrap());
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push((world.json(&text()).answer.status(), world.account.accepted().len()));
    }
    assert_eq!(seen, [(0, 0), (429, 0), (422, 0), (503, 0), (0, 1), (500, 2), (202, 3)]);
    assert_eq!(world.account.accepted()[2].failed, Some(4404));
}
