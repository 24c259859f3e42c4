//! Dead letters: the API on the real queue client over the simulated SQS.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use domain::ports::{Clock, Publisher, Record};
use domain::tenant::{Principal, Scope};
use domain::trace::{self, TRACEPARENT};
use http::Method;
use operations::api::DeadLetters;
use operations::model::QueueName;
use operations::redrive::QueuePair;
use queue::SqsQueue;
use runtime::Kit;
use runtime::api::{ApiRequest, Client, Problem, handle};
use runtime::batch::{Failure, ReceiveContext, Worker};
use serde::Deserialize;
use serde_json::{Value, json};
use templates::Templates;
use testkit::cloud::sqs::{Content, Message};
use testkit::{FakeClock, Faults, Side, SimulatedQueues, sample};

const QUEUE_PREFIX: &str = "https://sqs.eu-central-1.amazonaws.com/000000000000/hub-";
/// The trace context of a record.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const DAY: Duration = Duration::from_hours(24);
/// A minute less than the retention of a queue.
const TWO_WEEKS: Duration = Duration::from_mins(14 * 24 * 60 - 1);

/// All queues of the hub on the simulated SQS, and the API, whose requests `faults` can fail.
struct World {
    clock: FakeClock,
    faults: Faults,
    queues: SimulatedQueues,
    api: DeadLetters<SqsQueue, SqsQueue, FakeClock>,
    /// The same queues without faults.
    pairs: Vec<QueuePair<SqsQueue, SqsQueue>>,
}

fn kit(queues: &SimulatedQueues, more: &[(&str, &str)]) -> Kit {
    let always = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("QUEUE_PREFIX", QUEUE_PREFIX),
        ("BUCKET_NAME", "bucket"),
    ];
    let variables = always.iter().chain(more);
    let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut kit = runtime::testing::kit(variables.collect::<BTreeMap<_, _>>()).unwrap();
    kit.aws = queues.config();
    kit
}

impl World {
    fn new() -> Self {
        let (clock, faults) = (FakeClock::default(), Faults::default());
        let queues = SimulatedQueues::new(&clock);
        for queue in QueueName::all() {
            queues.create(&queue.source("hub-"), &queue.dead_letters("hub-"), 3).unwrap();
        }
        let failing = queues.clone().with_faults(&faults);
        let DeadLetters { queues: failing, budget, .. } =
            operations::api::resource(&kit(&failing, &[])).unwrap();
        let api = DeadLetters { queues: failing, budget, clock: clock.clone() };
        let pairs = operations::api::resource(&kit(&queues, &[])).unwrap().queues;
        Self { clock, faults, queues, api, pairs }
    }

    fn pair(&self, queue: &str) -> &QueuePair<SqsQueue, SqsQueue> {
        self.pairs.iter().find(|pair| pair.queue.name == queue).unwrap()
    }

    /// Puts a dead letter as the hub does.
    async fn put(&self, queue: &str, group: &str, body: &str, reason: &str) {
        let pair = self.pair(queue);
        let record = Record {
            body: body.to_owned(),
            group: group.to_owned(),
            deduplication_id: format!("{group}-{body}")
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
            reason: Some(reason.to_owned()),
            source: Some(format!(
                "arn:aws:sqs:eu-central-1:000000000000:{}",
                pair.queue.source("hub-")
            )),
            ..Record::default()
        };
        pair.dead_letters.publish(vec![record]).await.unwrap();
    }

    fn source(&self, queue: &str) -> Vec<Message> {
        self.queues.messages(&self.pair(queue).queue.source(QUEUE_PREFIX))
    }

    fn dead_letters(&self, queue: &str) -> Vec<Message> {
        self.queues.messages(&self.pair(queue).queue.dead_letters(QUEUE_PREFIX))
    }

    async fn request(
        &self,
        method: Method,
        address: &str,
        body: Option<Value>,
        principal: Option<Principal>,
    ) -> Result<Value, Problem> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let query = query.split('&').filter_map(|part| part.split_once('='));
        let request = ApiRequest {
            method,
            path: path.to_owned(),
            query: query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            idempotency_key: None,
            body: body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
            principal,
            client: Client::default(),
            base_url: "https://hub.example.com".to_owned(),
        };
        let reply = handle(&self.api, &request).await?;
        Ok(serde_json::from_str(&reply.body.unwrap()).unwrap())
    }

    async fn get(&self, address: &str) -> Value {
        self.request(Method::GET, address, None, Some(operator())).await.unwrap()
    }

    async fn redrive(&self, body: Value) -> Result<Value, Problem> {
        let path = "/dead-letters/redrive";
        self.request(Method::POST, path, Some(body), Some(operator())).await
    }
}

fn operator() -> Principal {
    Principal { tenant: sample::tenant("platform"), scopes: vec![Scope::Admin], key: None }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}

/// A task of `acme`.
fn task(id: u32) -> String {
    json!({ "tenant": "acme", "id": id }).to_string()
}

#[tokio::test]
async fn redrive_by_reason_moves_just_those() {
    for queue in ["inbound", "receipts"] {
        let world = World::new();
        for id in 0..25 {
            let reason = if id % 2 == 0 { "refused: 1" } else { "the table is down" };
            world.put(queue, &format!("g{}", id % 6), &task(id), reason).await;
        }
        let answer = world.redrive(json!({ "queue": queue, "reason": "refused" })).await.unwrap();
        assert_eq!((&answer["moved"], &answer["more"]), (&json!(13), &json!(false)), "{answer}");
        assert_eq!(answer["reasons"], json!({ "refused: 1": 13 }), "{answer}");
        let moved: Vec<String> = (0..25).step_by(2).map(task).collect();
        let mut found = bodies(&world.source(queue)).join("\n");
        for body in &moved {
            assert!(found.contains(body.as_str()), "{body} in {found}");
            found = found.replacen(body.as_str(), "", 1);
        }
        assert_eq!(found.trim(), "", "each once");
        // Those that stay can be received again at once, by this call or another.
        let left = world.dead_letters(queue);
        assert_eq!(left.len(), 12);
        assert!(left.iter().all(|message| !message.in_flight), "{queue}");
        assert_eq!((&answer["examined"], &answer["hidden"]), (&json!(25), &json!(0)), "{answer}");
    }
}

/// The body of a record, which must be valid.
#[derive(Deserialize)]
struct Task {
    #[serde(rename = "id")]
    _id: u32,
}

/// A worker that accepts every record that can be parsed.
struct Parse;

impl Worker for Parse {
    type Task = Task;

    async fn work(&self, _task: &Task, _context: ReceiveContext<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test]
async fn letters_put_there_by_the_hub_are_moved_too() {
    let world = World::new();
    let pair = world.pair("inbound");
    let (own, dead) = (pair.queue.source(QUEUE_PREFIX), pair.queue.dead_letters(QUEUE_PREFIX));
    let poison = r#"{"tenant":"acme","id":"poison"}"#;
    let send = json!({ "QueueUrl": own, "MessageBody": poison, "MessageGroupId": "conv",
        "MessageDeduplicationId": "1",
        "MessageAttributes": { TRACEPARENT: { "DataType": "String", "StringValue": TRACE } } });
    world.queues.request("SendMessage", &send).unwrap();

    // The deployed consumer, which cannot parse the record.
    let urls = [("QUEUE_URL", own.as_str()), ("DEAD_LETTER_QUEUE_URL", dead.as_str())];
    let consumer = runtime::consumer(&kit(&world.queues, &urls), Parse, 8, false).unwrap();
    let receive = json!({ "QueueUrl": own, "AttributeNames": ["All"],
        "MessageAttributeNames": ["All"] });
    let received = world.queues.request("ReceiveMessage", &receive).unwrap();
    let message = &received["Messages"][0];
    let arn = "arn:aws:sqs:eu-central-1:000000000000:hub-inbound.fifo";
    let trace = json!({ "dataType": "String", "stringValue": TRACE });
    let event = json!({ "Records": [{ "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
        "attributes": message["Attributes"], "messageAttributes": { TRACEPARENT: trace },
        "eventSourceARN": arn }] });
    let answer = consumer.handle(serde_json::from_value(event).unwrap()).await.unwrap();
    assert!(answer.batch_item_failures.is_empty());
    let delete = json!({ "QueueUrl": own, "ReceiptHandle": message["ReceiptHandle"] });
    world.queues.request("DeleteMessage", &delete).unwrap();

    let letters = world.dead_letters("inbound");
    assert_eq!(letters.len(), 1);
    assert!(letters[0].dead_letter_source.is_none(), "SQS does not know its source");
    let attributes: Vec<&str> = letters[0].attributes.keys().map(String::as_str).collect();
    assert_eq!(attributes, ["reason", "source", TRACEPARENT]);
    let listed = world.get("/dead-letters?queue=inbound").await;
    let reason = listed["dead_letters"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("invalid JSON"), "{listed}");

    let request = json!({ "queue": "inbound", "reason": "invalid JSON", "tenant": "acme" });
    // The operator's request belongs to another trace.
    let operator = "00-00000000000000000000000000000007-0000000000000007-01".parse().unwrap();
    let redriven = trace::scope(operator, Box::pin(world.redrive(request))).await;
    assert_eq!(redriven.unwrap()["moved"], 1);
    assert!(world.dead_letters("inbound").is_empty());
    let back = world.source("inbound");
    assert_eq!(bodies(&back), [poison]);
    assert_eq!(back[0].group.as_deref(), Some("conv"));
    let attributes: Vec<&str> = back[0].attributes.keys().map(String::as_str).collect();
    assert_eq!(attributes, [TRACEPARENT], "without those of a dead letter");
    assert_eq!(back[0].attributes[TRACEPARENT].content, Content::Text(TRACE.to_owned()));
}

#[tokio::test]
async fn letters_that_sqs_moved_itself_go_back_to_their_queue() {
    for queue in ["inbound", "media"] {
        let world = World::new();
        let pair = world.pair(queue);
        let record = Record {
            body: task(1),
            group: "acme".into(),
            deduplication_id: "1".into(),
            ..Record::default()
        };
        pair.source.publish(vec![record]).await.unwrap();
        let receive =
            json!({ "QueueUrl": pair.queue.source(QUEUE_PREFIX), "VisibilityTimeout": 1 });
        for _receive in 0..4 {
            world.queues.request("ReceiveMessage", &receive).unwrap();
            world.clock.advance(Duration::from_secs(2));
        }
        assert!(world.source(queue).is_empty());
        let listed = world.get(&format!("/dead-letters?queue={queue}")).await;
        let letter = &listed["dead_letters"][0];
        assert_eq!(
            (&letter["reason"], &letter["tenant"]),
            (&json!("received too often"), &json!("acme"))
        );
        let request = json!({ "queue": queue, "reason": "received too often" });
        assert_eq!(world.redrive(request).await.unwrap()["moved"], 1);
        assert_eq!(bodies(&world.source(queue)), [task(1)]);
        assert!(world.dead_letters(queue).is_empty());
    }
}

#[tokio::test]
async fn a_second_call_moves_none_twice() {
    for queue in ["inbound", "receipts"] {
        let mut crashes = 0;
        // Each call may end before or after each of its requests, also between send and delete.
        for (call, side) in (1..=6).flat_map(|call| [(call, Side::Before), (call, Side::After)]) {
            let world = World::new();
            for id in 0..12 {
                world.put(queue, &format!("g{}", id % 3), &task(id), "refused").await;
            }
            world.faults.crash_at_call(call, side);
            let first = world.redrive(json!({ "queue": queue })).await;
            crashes += usize::from(first.is_err());
            world.faults.clear();
            let lost = 12 - world.dead_letters(queue).len();
            assert!(world.source(queue).len() >= lost, "{queue} {call} {side:?}: lost");
            // What the first call received is hidden for two minutes.
            world.clock.advance(Duration::from_secs(121));
            let second = world.redrive(json!({ "queue": queue })).await.unwrap();
            assert_eq!(second["more"], false, "{second}");
            assert!(world.dead_letters(queue).is_empty(), "{queue} {call} {side:?}");
            let back = world.source(queue);
            let mut found = bodies(&back);
            found.sort_unstable();
            if world.pair(queue).queue.fifo {
                assert_eq!(found.len(), 12, "{call} {side:?}: {found:?}");
            }
            // The consumers of standard queues are idempotent.
            found.dedup();
            assert_eq!(found.len(), 12, "{queue} {call} {side:?}: {found:?}");
            let third = world.redrive(json!({ "queue": queue })).await.unwrap();
            assert_eq!((&third["matched"], &third["moved"]), (&json!(0), &json!(0)), "{third}");
        }
        assert!(crashes >= 8, "{crashes}");
    }
}

#[tokio::test]
async fn a_fifo_letter_keeps_its_group_and_order() {
    let world = World::new();
    for id in 0..30 {
        world.put("inbound", &format!("conv{}", id % 2), &task(id), "refused").await;
    }
    let answer = world.redrive(json!({ "queue": "inbound" })).await.unwrap();
    assert_eq!(answer["moved"], 30, "{answer}");
    for group in ["conv0", "conv1"] {
        let back = world.source("inbound");
        let of_group: Vec<&Message> =
            back.iter().filter(|message| message.group.as_deref() == Some(group)).collect();
        let parity = u32::from(group == "conv1");
        let expected: Vec<String> = (0..30).filter(|id| id % 2 == parity).map(task).collect();
        let found: Vec<&str> = of_group.iter().map(|message| message.body.as_str()).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn letters_behind_up_to_nine_that_stay_are_found_and_others_are_reported() {
    let world = World::new();
    for (group, staying) in [("a", 9), ("b", 6), ("c", 12)] {
        for id in 0..staying {
            world.put("inbound", group, &format!("{group} stays {id}"), "other").await;
        }
        for id in 0..15 {
            world.put("inbound", group, &format!("{group} moves {id}"), "refused").await;
        }
    }
    let answer = world.redrive(json!({ "queue": "inbound", "reason": "refused" })).await.unwrap();
    assert_eq!(answer["blocked_groups"], 1, "{answer}");
    assert_eq!((&answer["moved"], &answer["more"]), (&json!(30), &json!(false)), "{answer}");
    let back = world.source("inbound");
    assert!(bodies(&back).iter().all(|body| body.contains("moves")), "{:?}", bodies(&back));
    assert!(bodies(&back).iter().all(|body| !body.starts_with('c')), "they are behind twelve");
}

#[tokio::test]
async fn a_dry_run_moves_nothing() {
    for queue in ["inbound", "receipts"] {
        let world = World::new();
        for id in 0..7 {
            let reason = if id < 3 { "refused" } else { "the table is down" };
            world.put(queue, "acme", &task(id), reason).await;
        }
        let request = json!({ "queue": queue, "reason": "refused", "dry_run": true });
        for _call in 0..2 {
            let answer = world.redrive(request.clone()).await.unwrap();
            let counts = (&answer["examined"], &answer["matched"], &answer["moved"]);
            assert_eq!(counts, (&json!(7), &json!(3), &json!(0)), "{answer}");
        }
        assert!(world.source(queue).is_empty());
        let left = world.dead_letters(queue);
        assert!(left.len() == 7 && left.iter().all(|message| !message.in_flight));
    }
}

#[tokio::test]
async fn only_the_platforms_key_may_list_and_redrive() {
    let world = World::new();
    world.put("inbound", "conv", &task(1), "refused").await;
    let admin = Principal { tenant: sample::tenant("acme"), scopes: vec![Scope::Admin], key: None };
    for (principal, status) in [(None, 401), (Some(admin), 403)] {
        for (method, path) in [
            (Method::GET, "/dead-letters"),
            (Method::GET, "/dead-letters?queue=inbound"),
            (Method::POST, "/dead-letters/redrive"),
        ] {
            let body = (method == Method::POST).then(|| json!({ "queue": "inbound" }));
            let answer = world.request(method, path, body, principal.clone()).await;
            assert_eq!(answer.unwrap_err().status.as_u16(), status, "{path}");
        }
    }
    assert_eq!(world.dead_letters("inbound").len(), 1);
}

#[tokio::test]
async fn a_redrive_by_tenant_or_id_moves_just_those() {
    let world = World::new();
    let of = |tenant: &str| json!({ "v": 1, "tenant": tenant }).to_string();
    for (tenant, group) in [("acme", "a"), ("globex", "b")] {
        world.put("events", group, &of(tenant), "refused").await;
    }
    let pointer = r#"{"claim_check":"bodies/0a"}"#;
    world.put("events", "c", pointer, "refused").await;
    let request = json!({ "queue": "events", "tenant": "globex" });
    assert_eq!(world.redrive(request).await.unwrap()["moved"], 1);
    assert_eq!(bodies(&world.source("events")), [of("globex")]);

    let listed = world.get("/dead-letters?queue=events").await;
    let letters = listed["dead_letters"].as_array().unwrap();
    let large = letters.iter().find(|letter| letter.get("tenant").is_none()).unwrap();
    let request = json!({ "queue": "events", "ids": [large["id"]] });
    assert_eq!(world.redrive(request).await.unwrap()["moved"], 1);
    assert_eq!(bodies(&world.source("events"))[1], pointer, "a claim check stays one");
    assert_eq!(bodies(&world.dead_letters("events")), [of("acme")]);
}

#[tokio::test]
async fn a_list_has_no_bodies_and_hides_no_letter() {
    let world = World::new();
    let body = json!({ "tenant": "acme", "text": "call me at +4915550009999" }).to_string();
    for (queue, group) in [("inbound", "+4915550009999"), ("media", "acme")] {
        world.put(queue, group, &body, "refused").await;
        world.put(queue, group, &task(2), "the table is down").await;
    }
    let counts = world.get("/dead-letters").await;
    let counts = counts["queues"].as_array().unwrap();
    assert_eq!(counts.len(), QueueName::all().len());
    for count in counts {
        let expected =
            if ["inbound", "media"].contains(&count["queue"].as_str().unwrap()) { 2 } else { 0 };
        assert_eq!(count["dead_letters"], expected, "{count}");
    }
    for _call in 0..2 {
        let listed = world.get("/dead-letters?queue=inbound&reason=refused").await;
        assert!(!listed.to_string().contains("49155"), "{listed}");
        let letters = listed["dead_letters"].as_array().unwrap();
        assert_eq!(letters.len(), 1, "{listed}");
        assert_eq!(letters[0]["queue"], "inbound");
        assert_eq!(letters[0]["size"], body.len());
        assert_eq!(letters[0]["sent_at"], world.clock.now().to_string());
    }
    let limited = world.get("/dead-letters?queue=media&limit=1").await;
    assert_eq!(
        (limited["dead_letters"].as_array().unwrap().len(), &limited["more"]),
        (1, &json!(true))
    );
    assert!(world.dead_letters("media").iter().all(|message| !message.in_flight));
}

#[tokio::test]
async fn a_call_works_for_a_limited_time_and_the_next_call_continues() {
    for queue in ["inbound", "receipts"] {
        let mut world = World::new();
        for id in 0..45 {
            let reason = if id % 3 == 0 { "refused" } else { "the table is down" };
            world.put(queue, &format!("g{}", id % 5), &task(id), reason).await;
        }
        world.api.budget = Duration::ZERO;
        let (mut moved, mut calls) = (0, 0);
        loop {
            let answer =
                world.redrive(json!({ "queue": queue, "reason": "refused" })).await.unwrap();
            moved += answer["moved"].as_u64().unwrap();
            calls += 1;
            assert!(calls < 20, "{answer}");
            if answer["more"] == false {
                break;
            }
        }
        assert!(calls > 2, "{calls} calls");
        assert_eq!((moved, world.source(queue).len()), (15, 15), "{queue}");
        assert_eq!(world.dead_letters(queue).len(), 30);
    }
}

#[tokio::test]
async fn a_redrive_does_not_exceed_its_rate() {
    let world = World::new();
    for id in 0..20 {
        world.put("receipts", "acme", &task(id), "refused").await;
    }
    let began = tokio::time::Instant::now();
    let answer = world.redrive(json!({ "queue": "receipts", "per_second": 40 })).await.unwrap();
    assert_eq!(answer["moved"], 20);
    assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_invalid_request_names_the_field_and_moves_nothing() {
    let world = World::new();
    world.put("inbound", "conv", &task(1), "refused").await;
    for (body, field) in [
        (json!({ "queue": "inbox" }), "queue"),
        (json!({ "queue": "inbound", "reason": "" }), "reason"),
        (json!({ "queue": "inbound", "ids": [] }), "ids"),
        (json!({ "queue": "inbound", "per_second": 0 }), "per_second"),
        (json!({ "queue": "inbound", "tenant": "Not A Tenant" }), "tenant"),
        (json!({ "queue": "inbound", "reasons": "refused" }), "reasons"),
    ] {
        let problem = world.redrive(body).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
    assert_eq!(world.dead_letters("inbound").len(), 1);
}

#[tokio::test]
async fn a_claim_check_redriven_after_27_days_still_has_its_body() {
    let world = World::new();
    let pair = world.pair("inbound");
    let stored = world.clock.now();
    let pointer = r#"{"claim_check":"bodies/0a"}"#.to_owned();
    let record = Record {
        body: pointer.clone(),
        group: "g".into(),
        deduplication_id: "1".into(),
        ..Record::default()
    };
    pair.source.publish(vec![record]).await.unwrap();
    // Almost the whole retention period in the queue, then in the dead-letter queue.
    world.clock.advance(DAY * 13);
    let receive = json!({ "QueueUrl": pair.queue.source(QUEUE_PREFIX), "VisibilityTimeout": 1 });
    for _receive in 0..4 {
        world.queues.request("ReceiveMessage", &receive).unwrap();
        world.clock.advance(Duration::from_secs(2));
    }
    world.clock.advance(TWO_WEEKS);
    assert_eq!(world.redrive(json!({ "queue": "inbound" })).await.unwrap()["moved"], 1);
    // It may be in the queue for as long again.
    world.clock.advance(TWO_WEEKS);
    let received = world.queues.request("ReceiveMessage", &receive).unwrap();
    assert_eq!(received["Messages"][0]["Body"], pointer.as_str());
    let age = world.clock.now().duration_since(stored).unsigned_abs();

    let templates = Templates::read().unwrap();
    let (_, bucket) = templates.of_type("AWS::S3::Bucket").next().unwrap();
    let rules = bucket["LifecycleConfiguration"]["Rules"].as_array().unwrap();
    let rule = rules.iter().find(|rule| rule["Prefix"] == "bodies/").unwrap();
    assert_eq!(rule["ExpirationInDays"]["!Ref"], "BodyRetentionDays");
    let days = &templates.stacks[templates::ROOT]["Parameters"]["BodyRetentionDays"]["MinValue"];
    let kept = DAY * u32::try_from(days.as_u64().unwrap()).unwrap();
    assert!(age < kept, "the record is {age:?} old, and its body is deleted after {kept:?}");
}

#[tokio::test]
async fn a_letter_that_fails_again_is_not_moved_again_by_the_same_redrive() {
    let mut world = World::new();
    world.api.budget = Duration::ZERO;
    for id in 0..15 {
        world.put("receipts", "acme", &task(id), "refused").await;
    }
    let first = world.redrive(json!({ "queue": "receipts" })).await.unwrap();
    assert_eq!((&first["moved"], &first["more"]), (&json!(10), &json!(true)), "{first}");
    // The cause is not fixed: those that were moved come back.
    world.clock.advance(Duration::from_secs(1));
    for id in 0..10 {
        world.put("receipts", "acme", &task(id), "refused").await;
    }
    let request = json!({ "queue": "receipts", "before": first["before"] });
    let mut moved = 10;
    for _call in 0..10 {
        let answer = world.redrive(request.clone()).await.unwrap();
        moved += answer["moved"].as_u64().unwrap();
        if answer["more"] == false {
            break;
        }
    }
    assert_eq!((moved, world.dead_letters("receipts").len()), (15, 10));
}
