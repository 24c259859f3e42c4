//! The delivery loop, with webhooks that wait for one another: Telegram's updates.
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
use tokio::time::sleep;

/// A hub that answers after 10 ms.
#[derive(Clone, Debug, Default)]
struct SlowHub(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// The texts received, in order.
    texts: Vec<String>,
    /// The texts to refuse once.
    refuse: Vec<String>,
    concurrent: usize,
    /// The largest number of concurrent requests.
    max_concurrent: usize,
}

impl Hub for SlowHub {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let text = body["message"]["text"].as_str().unwrap().to_owned();
        let hub = self.clone();
        Box::pin(async move {
            let status = {
                let mut seen = hub.0.lock().unwrap();
                seen.concurrent += 1;
                seen.max_concurrent = seen.max_concurrent.max(seen.concurrent);
                let refused = seen.refuse.iter().position(|refused| *refused == text);
                seen.texts.push(text);
                refused.map_or(200, |at| {
                    seen.refuse.remove(at);
                    500
                })
            };
            sleep(Duration::from_millis(10)).await;
            hub.0.lock().unwrap().concurrent -= 1;
            Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
        })
    }
}

async fn call(app: &App, method: Method, path: &str, body: &Value) -> Value {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let answer = server::route(app, &method, &path.parse().unwrap(), &headers, &body).await;
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    answer.body().clone()
}

/// A bot with this many webhook connections. The updates of the chats are delivered together once
/// the webhook is set.
async fn bot(hub: &SlowHub, max_connections: u32, updates: &[(i64, &str)]) -> App {
    let app = App::in_process(Clock::Machine, Arc::new(hub.clone()));
    let settings = json!({"token": "7:secret", "redelivery": {"first_ms": 50}});
    call(&app, Method::PUT, "/_sim/telegram/7", &settings).await;
    for (chat, text) in updates {
        let order = json!({"chat_id": chat, "text": text, "wait": false});
        call(&app, Method::POST, "/_sim/telegram/7/customer-writes", &order).await;
    }
    let webhook = json!({"url": "http://127.0.0.1:1/hook", "max_connections": max_connections});
    call(&app, Method::POST, "/bot7:secret/setWebhook", &webhook).await;
    while call(&app, Method::GET, "/_sim/telegram/7", &Value::Null).await["pending_webhooks"] != 0 {
        sleep(Duration::from_millis(2)).await;
    }
    app
}

#[tokio::test]
async fn a_chat_waits_for_a_free_connection_until_the_updates_of_another_chat_are_delivered() {
    let hub = SlowHub::default();
    bot(&hub, 1, &[(1, "a"), (2, "c"), (1, "b"), (2, "d")]).await;
    let seen = hub.0.lock().unwrap();
    assert_eq!((seen.max_concurrent, seen.texts.join("")), (1, "abcd".to_owned()));
}

#[tokio::test]
async fn a_refused_update_blocks_its_own_chat_only_and_has_its_own_attempts() {
    let hub = SlowHub::default();
    hub.0.lock().unwrap().refuse = vec!["a".into()];
    let app = bot(&hub, 40, &[(1, "a"), (2, "c"), (1, "b"), (2, "d")]).await;
    let seen = hub.0.lock().unwrap().texts.join("");
    assert_eq!(seen.chars().filter(|text| matches!(text, 'a' | 'b')).collect::<String>(), "aab");
    assert_eq!(seen.chars().filter(|text| matches!(text, 'c' | 'd')).collect::<String>(), "cd");
    assert!(seen.ends_with("ab"), "the other chat does not wait: {seen}");
    let log = call(&app, Method::GET, "/_sim/log", &Value::Null).await;
    let sent = log["events"].as_array().unwrap().iter();
    let sent = sent.filter(|event| event["kind"] == "webhook.sent");
    let mut attempts: Vec<_> = sent.map(|event| event["attempt"].as_u64().unwrap()).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 1, 1, 1, 2]);
}
