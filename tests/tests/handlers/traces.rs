//! Trace tests: everything that follows from one webhook or message has one trace id, and each
//! function's part of it is a span of its own.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use domain::ports::{Clock, Publisher, Record};
use domain::trace::{self, TRACEPARENT};
use domain::{Fault, TraceContext};
use http::StatusCode;
use lambda_http::{Body, RequestExt};
use messaging::api::messages::Messages;
use runtime::api::{Unlimited, answer};
use runtime::batch::{Failure, ReceiveContext, Worker};
use serde_json::{Value, json};
use testkit::{FakeQueue, sample};

use crate::common::World;
use crate::env::TestEnv;
use crate::{inbound, messages};

/// The trace context of a publisher.
const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn given(trace: u32) -> TraceContext {
    format!("00-{trace:032x}-b7ad6b7169203331-01").parse().unwrap()
}

/// Returns the trace context of a record in a queue.
fn traceparent(record: &Record) -> TraceContext {
    record.attributes[TRACEPARENT].parse().unwrap()
}

/// Publishes a record for each task and records its trace context, in several turns.
struct Relay {
    next: FakeQueue,
    seen: Mutex<Vec<(String, TraceContext)>>,
}

impl Relay {
    fn new(next: &FakeQueue) -> Self {
        Self { next: next.clone(), seen: Mutex::default() }
    }

    /// The trace context in which a task was processed, for each time that it was.
    fn seen(&self, name: &str) -> Vec<TraceContext> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(task, _)| task == name).map(|(_, context)| *context).collect()
    }
}

impl Worker for Relay {
    type Task = String;

    async fn work(&self, task: &String, context: ReceiveContext<'_>) -> Result<(), Failure> {
        let before = trace::current().unwrap();
        for _turn in 0..3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(trace::current(), Some(before), "the same after the others had their turn");
        self.seen.lock().unwrap().push((task.clone(), before));
        match task.as_str() {
            "refused" => Err(Failure { fault: Fault::Permanent, ..Failure::retry("refused") }),
            "again" if context.receives == 1 => Err(Failure::retry("failed")),
            _ => Ok(self.next.publish(vec![record(task, None)]).await?),
        }
    }
}

/// Returns a record with this `traceparent`.
fn record(task: &str, traceparent: Option<&str>) -> Record {
    let traceparent = traceparent.map(|text| (TRACEPARENT.to_owned(), text.to_owned()));
    Record {
        body: json!(task).to_string(),
        group: task.to_owned(),
        deduplication_id: task.to_owned(),
        attributes: traceparent.into_iter().collect(),
        ..Record::default()
    }
}

#[tokio::test]
async fn each_record_of_a_batch_has_its_own_trace_and_passes_it_on_in_a_new_span() {
    let world = World::fifo().await;
    let worker = Relay::new(&world.automation);
    let names: Vec<String> = (1..=5).map(|number| format!("task {number}")).collect();
    let records = (1..).zip(&names).map(|(n, name)| record(name, Some(&given(n).to_string())));
    world.own.publish(records.collect()).await.unwrap();
    assert_eq!(world.batch(&worker, false).await, 5);
    let published = world.automation.records();
    assert_eq!(published.len(), 5);
    for record in published {
        let name: String = serde_json::from_str(&record.body).unwrap();
        let number: u32 = name.strip_prefix("task ").unwrap().parse().unwrap();
        let span = worker.seen(&name)[0];
        assert_eq!(span.trace_id, given(number).trace_id);
        assert_eq!(span.parent_id, Some(given(number).span_id));
        assert_eq!(traceparent(&record).trace_id, span.trace_id);
        assert_eq!(traceparent(&record).span_id, span.span_id);
        assert_ne!(span.span_id, given(number).span_id);
    }
    assert_eq!(trace::current(), None);
}

#[tokio::test]
async fn a_record_without_a_valid_trace_context_starts_a_trace() {
    for attribute in [None, Some("malformed"), Some(&GIVEN.to_uppercase()[..])] {
        let world = World::fifo().await;
        let worker = Relay::new(&world.automation);
        let records = ["again", "other"].map(|task| record(task, attribute));
        world.own.publish(records.to_vec()).await.unwrap();
        world.run_until_empty(&worker, false).await;
        let (again, other) = (worker.seen("again"), worker.seen("other"));
        assert_eq!(again.len(), 2);
        assert_eq!(again[0].trace_id, again[1].trace_id, "a retry is in the same trace");
        assert_ne!(again[0].span_id, again[1].span_id);
        assert_ne!(again[0].trace_id, other[0].trace_id);
        let published = world.automation.records();
        assert!(published.iter().all(|record| {
            [again[0].trace_id, other[0].trace_id].contains(&traceparent(record).trace_id)
        }));
    }
}

#[tokio::test]
async fn a_dead_letter_keeps_the_trace_of_its_record() {
    let world = World::fifo().await;
    world.own.publish(vec![record("refused", Some(GIVEN))]).await.unwrap();
    let unreadable = Record { body: "{".to_owned(), ..record("unreadable", Some(GIVEN)) };
    world.own.publish(vec![unreadable]).await.unwrap();
    world.run_until_empty(&Relay::new(&world.automation), false).await;
    let dead = world.dead.records();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|record| record.attributes[TRACEPARENT] == GIVEN));
}

#[tokio::test]
async fn a_message_is_in_one_trace_from_its_event_to_the_endpoint() {
    let world = World::fifo().await;
    let event = sample::text_event(&world.whatsapp, sample::PERSON, "wamid.1", world.clock.now());
    let body = serde_json::to_string(&event).unwrap();
    world.own.publish(vec![Record { body, ..record("event", Some(GIVEN)) }]).await.unwrap();
    world.run_until_empty(&inbound::worker(&world), false).await;
    let queued = &world.automation.records()[0];
    world.notify_all().await;
    let (headers, _) = &world.receiver.requests()[0];
    let sent: TraceContext = headers[TRACEPARENT].to_str().unwrap().parse().unwrap();
    let first: TraceContext = GIVEN.parse().unwrap();
    for span in [traceparent(queued), sent] {
        assert_eq!(span.trace_id, first.trace_id);
        assert_ne!(span.span_id, first.span_id);
    }
    assert_ne!(sent.span_id, traceparent(queued).span_id, "each function has a span");
}

#[tokio::test]
async fn every_retry_of_a_notification_is_in_its_trace() {
    let world = World::fifo().await;
    let event = sample::text_event(&world.whatsapp, sample::PERSON, "wamid.1", world.clock.now());
    let body = serde_json::to_string(&event).unwrap();
    world.own.publish(vec![Record { body, ..record("event", Some(GIVEN)) }]).await.unwrap();
    world.run_until_empty(&inbound::worker(&world), false).await;
    world.receiver.always(500);
    // The first retries wait in the queue, the later ones in the table.
    while world.receiver.requests().len() < 9 {
        world.notify_all().await;
        world.clock.advance(Duration::from_mins(10));
        let (store, queue) = (&world.store.endpoints, &world.automation);
        // The schedule belongs to another trace.
        let schedule = endpoints::handlers::retries::handle(store, queue, &world.clock);
        trace::scope(given(7), Box::pin(schedule)).await.unwrap();
    }
    let requests = world.receiver.requests();
    assert_eq!(requests.len(), 9);
    let spans = requests.iter().map(|(headers, _)| headers[TRACEPARENT].to_str().unwrap());
    let spans: Vec<TraceContext> = spans.map(|text| text.parse().unwrap()).collect();
    let first: TraceContext = GIVEN.parse().unwrap();
    assert!(spans.iter().all(|span| span.trace_id == first.trace_id));
    let ids: HashSet<_> = spans.iter().map(|span| span.span_id).collect();
    assert_eq!(ids.len(), 9, "each attempt is a span");
}

/// A request that sends a message, as API Gateway hands it over. `tenant` is that of the key.
fn send_request(world: &World, tenant: Option<&str>, given: Option<&str>) -> lambda_http::Request {
    let mut headers = json!({ "content-type": "application/json" });
    if let Some(given) = given {
        headers[TRACEPARENT] = given.into();
    }
    let key = |tenant| json!({ "lambda": { "tenant": tenant, "scopes": "send" } });
    let message = json!({
        "integration": world.telegram.id, "to": sample::PERSON, "text": "hello",
    });
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/messages", "rawQueryString": "",
        "headers": headers, "isBase64Encoded": false, "body": message.to_string(),
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "h", "domainPrefix": "h",
            "requestId": "r", "routeKey": "$default", "stage": "$default", "time": "",
            "timeEpoch": 0, "authorizer": tenant.map(key),
            "http": {
                "method": "POST", "path": "/messages", "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "test",
            },
        },
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    let mut context = lambda_http::Context::default();
    context.request_id = String::from("8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    context.xray_trace_id = Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned());
    request.with_lambda_context(context)
}

/// Sends a request; returns the response and the trace context in its header.
async fn send(
    resource: &Messages<TestEnv>,
    request: lambda_http::Request,
) -> (http::Response<Body>, TraceContext) {
    let response = answer(resource, &Unlimited, None, request).await;
    let context = response.headers()[TRACEPARENT].to_str().unwrap().parse().unwrap();
    (response, context)
}

#[tokio::test]
async fn a_sent_message_is_in_the_trace_that_its_client_chose_and_that_the_response_names() {
    let world = World::fifo().await;
    let resource = messages::resource(&world);
    let request = send_request(&world, Some("acme"), Some(GIVEN));
    let (response, context) = send(&resource, request).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED, "{:?}", response.body());
    let given: TraceContext = GIVEN.parse().unwrap();
    assert_eq!(context.trace_id, given.trace_id);
    assert_ne!(context.span_id, given.span_id);
    assert_eq!(traceparent(&world.own.records()[0]), context);
}

#[tokio::test]
async fn without_a_valid_header_or_without_a_key_a_request_has_the_trace_id_of_x_ray() {
    let world = World::fifo().await;
    let resource = messages::resource(&world);
    for (tenant, given, status) in [
        (Some("acme"), None, StatusCode::ACCEPTED),
        (Some("acme"), Some("malformed"), StatusCode::ACCEPTED),
        (None, Some(GIVEN), StatusCode::UNAUTHORIZED),
    ] {
        let (response, context) = send(&resource, send_request(&world, tenant, given)).await;
        assert_eq!(response.status(), status, "{:?}", response.body());
        assert_eq!(context.trace_id.to_string(), "5759e988bd862e3fe1be46a994272793");
        let Body::Text(body) = response.body() else { panic!("{response:?}") };
        assert!(serde_json::from_str::<Value>(body).is_ok());
    }
}
