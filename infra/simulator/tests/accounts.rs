//! Infobip and the BSP in one process with a hub: requests, and the reports that follow.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "Clippy does not recognize test helpers as test code"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use serde_json::{Value, json};
use simulator::clock::Clock;
use simulator::deliver::{App, BoxFuture, Hub};
use simulator::server;

const SENDER: &str = "441134960000";
const PERSON: &str = "441134960001";

/// The webhooks that the hub has received, and the statuses that it answers next.
#[derive(Clone, Default)]
struct FakeHub {
    received: Arc<Mutex<Vec<Request<Bytes>>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Hub for FakeHub {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        self.received.lock().unwrap().push(request);
        let status = self.answers.lock().unwrap().pop().unwrap_or(200);
        Box::pin(async move { Ok(Response::builder().status(status).body(Bytes::new()).unwrap()) })
    }
}

impl FakeHub {
    fn bodies(&self) -> Vec<Value> {
        let received = self.received.lock().unwrap();
        received.iter().map(|request| serde_json::from_slice(request.body()).unwrap()).collect()
    }
}

struct World {
    app: App,
    hub: FakeHub,
}

impl World {
    fn new() -> Self {
        let hub = FakeHub::default();
        Self { app: App::in_process(Clock::Machine, Arc::new(hub.clone())), hub }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let mut map = HeaderMap::new();
        map.insert("content-type", "application/json".parse().unwrap());
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let answer = server::route(&self.app, &method, &path.parse().unwrap(), &map, &bytes).await;
        (answer.status(), answer.body().clone())
    }

    async fn settled(&self, path: &str) -> Value {
        loop {
            let (_, summary) = self.call(Method::GET, path, &[], &Value::Null).await;
            if summary["pending_webhooks"] == 0 {
                return summary;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const SIM: &str = "/_sim/infobip/441134960000";

async fn infobip() -> World {
    let world = World::new();
    let settings = json!({"api_key": "key", "webhook_secret": "hub:secret", "batch_ms": 20,
        "hub_url": "http://hub.test/hook", "redelivery": {"first_ms": 5},
        "receipts": {"sent": null, "delivered": 1, "read": 2}});
    assert_eq!(world.call(Method::PUT, SIM, &[], &settings).await.0, 200);
    world
}

async fn text(world: &World, key: &str, from: &str) -> (u16, Value) {
    let body = json!({"from": from, "to": PERSON, "messageId": "m", "content": {"text": "hi"}});
    let path = "/whatsapp/1/message/text";
    world.call(Method::POST, path, &[("authorization", key)], &body).await
}

#[tokio::test]
async fn infobip_requires_the_api_key_and_a_sender_of_the_same_account() {
    let world = infobip().await;
    for key in ["", "App ", "App other", "Bearer key", "key"] {
        let (status, answer) = text(&world, key, SENDER).await;
        assert_eq!(status, 401, "{key}");
        assert_eq!(answer["requestError"]["serviceException"]["messageId"], "UNAUTHORIZED");
    }
    let (status, answer) = text(&world, "App key", "441134969999").await;
    assert_eq!((status, &answer["status"]["name"]), (200, &json!("REJECTED_SOURCE")));
    assert_eq!(text(&world, "App key", "").await.0, 400);
    assert_eq!(world.settled(SIM).await["accepted"], 0);
}

#[tokio::test]
async fn infobips_reports_are_batched_and_retried_until_they_are_answered_200() {
    let world = infobip().await;
    let writes = json!({"from": PERSON, "text": "hello"});
    let path = format!("{SIM}/customer-writes");
    let (_, written) = world.call(Method::POST, &path, &[], &writes).await;
    assert_eq!(written["webhook_status"], 200);
    *world.hub.answers.lock().unwrap() = vec![202];
    for _ in 0..3 {
        assert_eq!(text(&world, "App key", SENDER).await.0, 200);
    }
    assert_eq!(world.settled(SIM).await["given_up"], 0);
    let bodies = world.hub.bodies();
    let results = |body: &Value| body["results"].as_array().unwrap().len();
    let reports: usize = bodies[1..].iter().map(results).sum();
    // Three delivered reports, three seen reports, and one batch delivered twice.
    assert!(reports > 6 && bodies.len() - 1 < reports, "{bodies:?}");
    let (_, accepted) =
        world.call(Method::GET, &format!("{SIM}/accepted"), &[], &Value::Null).await;
    assert_eq!(accepted["count"], 3);
}

#[tokio::test]
async fn infobip_marks_messages_as_read_describes_senders_and_serves_files() {
    let world = infobip().await;
    let key = [("authorization", "App key"), ("host", "sim.test")];
    let order = json!({"from": PERSON, "id": "wamid.a/b==", "message": {"type": "IMAGE"},
                       "media": {"mime_type": "image/png", "content_base64": "AAAA"}});
    world.call(Method::POST, &format!("{SIM}/customer-writes"), &key, &order).await;
    let url = world.hub.bodies()[0]["results"][0]["message"]["url"].clone();
    let path = url.as_str().unwrap().strip_prefix("http://sim.test").unwrap();
    assert_eq!(world.call(Method::GET, path, &key, &Value::Null).await.0, 200);
    assert_eq!(world.call(Method::GET, path, &[], &Value::Null).await.0, 401);
    let read = format!("/whatsapp/1/senders/{SENDER}/message/wamid.a%2Fb%3D%3D/read");
    assert_eq!(world.call(Method::POST, &read, &key, &Value::Null).await.0, 200);
    let quality = format!("/whatsapp/1/senders/quality?senders={SENDER}");
    let (_, answer) = world.call(Method::GET, &quality, &key, &Value::Null).await;
    assert_eq!(answer["results"][0]["sender"], SENDER);
}

#[tokio::test]
async fn a_bsps_message_is_followed_by_its_statuses() {
    let world = World::new();
    let settings = json!({"api_key": "key", "sender": SENDER, "webhook_secret": "s",
        "hub_url": "http://hub.test/hook", "receipts": {"sent": 1, "delivered": 2, "read": 3}});
    assert_eq!(world.call(Method::PUT, "/_sim/bsp/acme", &[], &settings).await.0, 200);
    let window = json!({"customer": PERSON, "last_wrote_ms_ago": 0});
    let (_, opened) = world.call(Method::POST, "/_sim/bsp/acme/window", &[], &window).await;
    assert_eq!(opened["open"], true);
    let body = json!({"sender": SENDER, "recipient": format!("+{PERSON}"), "reference": "msg_1",
                      "message": {"kind": "text", "text": {"body": "hi"}}});
    let send = |key: &'static str| {
        let (world, body) = (&world, &body);
        async move { world.call(Method::POST, "/bsp/acme/send", &[("x-api-key", key)], body).await.0 }
    };
    assert_eq!((send("other").await, send("key").await), (401, 202));
    world.settled("/_sim/bsp/acme").await;
    let (_, accepted) = world.call(Method::GET, "/_sim/bsp/acme/accepted", &[], &Value::Null).await;
    assert_eq!(accepted["accepted"][0]["statuses"].as_array().unwrap().len(), 3);
    assert_eq!(world.hub.received.lock().unwrap().len(), 3);
    assert_eq!(world.call(Method::POST, "/bsp/other/send", &[], &body).await.0, 404);
}
