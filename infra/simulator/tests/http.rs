//! The simulator over HTTP, against a minimal hub.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "Clippy does not recognize test helpers as test code"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use simulator::clock::Clock;
use simulator::deliver::App;
use simulator::provider::OutgoingWebhook;
use simulator::{server, sign};
use tokio::net::TcpListener;

const NUMBER: &str = "106540352242922";
const CUSTOMER: &str = "16505551234";

/// The webhooks that the hub has received, and the statuses that it answers next.
#[derive(Clone, Default)]
struct Hub {
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Hub {
    fn receive(&self, headers: HeaderMap, body: Bytes) -> StatusCode {
        self.received.lock().unwrap().push((headers, body));
        let status = self.answers.lock().unwrap().pop().unwrap_or(200);
        StatusCode::from_u16(status).unwrap()
    }

    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receive = async |State(hub): State<Self>, headers: HeaderMap, body: Bytes| {
            hub.receive(headers, body)
        };
        let router = Router::new().route("/hook", post(receive)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}/hook")
    }
}

/// A client of the simulator.
struct Client {
    client: App,
    base: String,
}

impl Client {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { server::serve(listener, App::new(Clock::Machine)).await.unwrap() },
        );
        Self { client: App::new(Clock::Machine), base }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("authorization", "Bearer token".to_owned()),
            ("apikey", "token".to_owned()),
        ];
        let url = format!("{}{path}", self.base);
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = OutgoingWebhook::post(url, headers, body, 5000);
        let how = self.client.request(OutgoingWebhook { method, ..request }).await;
        (how.status, how.body.unwrap_or_default())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call(Method::POST, path, body).await
    }

    async fn number(&self, hub_url: &str) {
        let settings = json!({"token": "token", "app_secret": "secret", "verify_token": "v",
            "hub_url": hub_url, "redelivery": {"first_ms": 20},
            "receipts": {"sent": 1, "delivered": 2, "read": 3}});
        let path = format!("/_sim/whatsapp/{NUMBER}");
        assert_eq!(self.call(Method::PUT, &path, &settings).await.0, 200);
    }

    async fn send(&self) -> (u16, Value) {
        let body = json!({"messaging_product": "whatsapp", "recipient_type": "individual",
            "to": CUSTOMER, "type": "text", "text": {"body": "hi"}});
        self.post(&format!("/v26.0/{NUMBER}/messages"), &body).await
    }

    /// The number's summary once no webhook is pending.
    async fn settled(&self) -> Value {
        loop {
            let (_, summary) =
                self.call(Method::GET, &format!("/_sim/whatsapp/{NUMBER}"), &Value::Null).await;
            if summary["pending_webhooks"] == 0 {
                return summary;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_webhook_is_signed_and_retried_until_it_is_answered_200() {
    let (hub, client) = (Hub::default(), Client::start().await);
    *hub.answers.lock().unwrap() = vec![200, 202, 500];
    client.number(&hub.start().await).await;
    let path = format!("/_sim/whatsapp/{NUMBER}/customer-writes");
    let (status, answer) = client.post(&path, &json!({"from": CUSTOMER, "text": "é"})).await;
    assert_eq!((status, &answer["webhook_status"]), (200, &json!(500)));
    assert_eq!(client.settled().await["given_up"], 0);
    let received = hub.received.lock().unwrap();
    assert_eq!(received.len(), 3);
    for (headers, body) in received.iter() {
        let signature = format!("sha256={}", sign::hmac_hex("secret", body));
        assert_eq!(headers["x-hub-signature-256"], signature);
        assert_eq!(headers["user-agent"], "facebookexternalua");
        assert_eq!(body, &received[0].1);
    }
}

#[tokio::test]
async fn a_message_counts_as_sent_if_it_was_accepted_before_the_connection_was_dropped() {
    let (hub, client) = (Hub::default(), Client::start().await);
    client.number(&hub.start().await).await;
    let window = json!({"customer": CUSTOMER, "last_wrote_ms_ago": 0});
    client.post(&format!("/_sim/whatsapp/{NUMBER}/window"), &window).await;
    let faults = json!({"faults": [{"kind": "drop"}, {"kind": "accept_then_drop"},
                                   {"kind": "accept_then_time_out", "hold_ms": 50}]});
    client.post(&format!("/_sim/whatsapp/{NUMBER}/faults"), &faults).await;
    for accepted in 0..3 {
        assert_eq!(client.send().await.0, 0);
        let summary = client.settled().await;
        assert_eq!(summary["accepted"], accepted);
    }
    assert_eq!(client.send().await.0, 200);
    client.settled().await;
    let path = format!("/_sim/whatsapp/{NUMBER}/accepted");
    let (_, accepted) = client.call(Method::GET, &path, &Value::Null).await;
    assert_eq!(accepted["count"], 3);
    assert_eq!(accepted["accepted"][0]["statuses"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn waiting_updates_are_delivered_once_the_webhook_is_set() {
    let (hub, client) = (Hub::default(), Client::start().await);
    let url = hub.start().await;
    client.call(Method::PUT, "/_sim/telegram/42", &json!({"token": "42:AAA-b"})).await;
    for text in ["one", "two"] {
        let order = json!({"chat_id": 7, "text": text});
        let (_, answer) = client.post("/_sim/telegram/42/customer-writes", &order).await;
        assert_eq!(answer["webhook_status"], Value::Null);
    }
    let webhook = json!({"url": url, "secret_token": "s3"});
    assert_eq!(client.post("/bot42:AAA-b/setWebhook", &webhook).await.0, 200);
    let order = json!({"chat_id": 7, "text": "three"});
    let (_, answer) = client.post("/_sim/telegram/42/customer-writes", &order).await;
    assert_eq!(answer["webhook_status"], 200);
    let received = hub.received.lock().unwrap();
    let texts: Vec<Value> = received
        .iter()
        .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()["message"]["text"].clone())
        .collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(received[0].0["x-telegram-bot-api-secret-token"], "s3");
}

#[tokio::test]
async fn an_instance_reports_sent_and_received_messages_to_its_webhook() {
    let (hub, client) = (Hub::default(), Client::start().await);
    let url = hub.start().await;
    let settings = json!({"token": "token", "redelivery": {"first_ms": 5},
                          "receipts": {"sent": 1, "delivered": null, "read": null}});
    let one = "/_sim/evolution/front-desk";
    assert_eq!(client.call(Method::PUT, one, &settings).await.0, 200);
    let webhook = json!({"webhook": {"enabled": true, "url": url, "events": [],
                                     "headers": {"x-webhook-token": "proof"}}});
    assert_eq!(client.post("/webhook/set/front-desk", &webhook).await.0, 201);
    let message = json!({"number": CUSTOMER, "text": "hi"});
    let (status, sent) = client.post("/message/sendText/front-desk", &message).await;
    assert_eq!((status, &sent["status"]), (201, &json!("PENDING")));
    *hub.answers.lock().unwrap() = vec![503];
    let order = json!({"from": CUSTOMER, "text": "hello"});
    let (_, answer) = client.post(&format!("{one}/customer-writes"), &order).await;
    assert!(answer["id"].is_string());
    while client.call(Method::GET, one, &Value::Null).await.1["pending_webhooks"] != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, accepted) = client.call(Method::GET, &format!("{one}/accepted"), &Value::Null).await;
    assert_eq!(accepted["accepted"][0]["statuses"], json!(["sent"]));
    // The echoes, the update, the customer's message, and one retry of the webhook that was
    // answered 503.
    let received = hub.received.lock().unwrap();
    assert_eq!(received.len(), 5);
    assert!(received.iter().all(|(headers, _)| headers["x-webhook-token"] == "proof"));
}

#[tokio::test]
async fn a_reset_removes_all_state_and_cancels_deliveries() {
    let client = Client::start().await;
    client.number("").await;
    let path = format!("/_sim/whatsapp/{NUMBER}/customer-writes");
    let (_, answer) = client.post(&path, &json!({"from": CUSTOMER, "text": "a"})).await;
    assert_eq!(answer["webhook_status"], Value::Null);
    assert_eq!(client.call(Method::DELETE, "/_sim", &Value::Null).await.0, 200);
    assert_eq!(client.post(&path, &json!({"from": CUSTOMER, "text": "a"})).await.0, 404);
    let (_, log) = client.call(Method::GET, "/_sim/log", &Value::Null).await;
    assert_eq!(log["events"], json!([]));
}
