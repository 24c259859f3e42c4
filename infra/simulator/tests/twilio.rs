//! Twilio over HTTP, against a minimal hub.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "Clippy does not recognize test helpers as test code"
)]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use simulator::clock::Clock;
use simulator::deliver::App;
use simulator::provider::OutgoingWebhook;
use simulator::server;
use simulator::twilio::signature::signature;
use tokio::net::TcpListener;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const NUMBER: &str = "+15550001111";
const PERSON: &str = "+4915550009999";
const REJECT: &str = r#"<Response><Reject reason="busy"/></Response>"#;

/// Path, headers and form of each webhook that the hub has received.
type Received = Arc<Mutex<Vec<(String, HeaderMap, Vec<(String, String)>)>>>;

async fn hub(received: Received) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let receive =
        async |State(received): State<Received>, uri: Uri, headers: HeaderMap, body: Bytes| {
            let form = url::form_urlencoded::parse(&body).into_owned().collect();
            received.lock().unwrap().push((uri.to_string(), headers, form));
            if uri.path() == "/voice" { REJECT } else { "<Response/>" }
        };
    let router = Router::new().route("/{*path}", post(receive)).with_state(received);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

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

    async fn sim(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}/_sim/twilio/{ACCOUNT}{path}", self.base);
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = OutgoingWebhook::post::<String>(url, [], body, 5000);
        let how = self.client.request(OutgoingWebhook { method, ..request }).await;
        assert_eq!(how.status, 200, "{:?}", how.body);
        how.body.unwrap_or_default()
    }

    async fn api(&self, method: Method, url: &str, pair: &str, form: &str) -> (u16, Bytes) {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("authorization", format!("Basic {}", STANDARD.encode(pair))),
        ];
        let body = form.to_owned().into();
        let request = OutgoingWebhook::post(url.to_owned(), headers, body, 5000);
        let how = self.client.request(OutgoingWebhook { method, ..request }).await;
        (how.status, how.bytes)
    }

    fn url(&self, what: &str) -> String {
        format!("{}/2010-04-01/Accounts/{ACCOUNT}{what}", self.base)
    }

    async fn account(&self, hub: &str) {
        let settings = json!({"auth_token": "token", "api_keys": {"SK1": "secret"},
            "numbers": [NUMBER], "receipts": {"sent": 1, "delivered": 2},
            "urls": {"sms": format!("{hub}/sms"), "voice": format!("{hub}/voice"),
                     "voice_status": format!("{hub}/voice/status")}});
        self.sim(Method::PUT, "", &settings).await;
    }

    async fn settled(&self) {
        while self.sim(Method::GET, "", &Value::Null).await["pending_webhooks"] != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_message_is_sent_and_its_statuses_are_reported_in_signed_webhooks() {
    let (received, client) = (Received::default(), Client::start().await);
    let hub = hub(received.clone()).await;
    client.account(&hub).await;
    let callback = format!("{hub}/sms/status/int_1?message=msg_1");
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("To", PERSON), ("From", NUMBER), ("Body", "Grüße")])
        .append_pair("StatusCallback", &callback)
        .finish();
    let url = client.url("/Messages.json");
    let (status, answer) = client.api(Method::POST, &url, "SK1:secret", &form).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["body"]), (201, &json!("Grüße")));
    assert_eq!(client.api(Method::POST, &url, "SK1:wrong", &form).await.0, 401);
    client.settled().await;
    let accepted = client.sim(Method::GET, "/accepted", &Value::Null).await;
    assert_eq!(accepted["accepted"][0]["statuses"], json!(["sent", "delivered"]));
    for (path, headers, params) in received.lock().unwrap().iter() {
        assert_eq!(path, "/sms/status/int_1?message=msg_1");
        assert_eq!(headers["x-twilio-signature"], signature("token", &callback, params));
    }
    assert_eq!(received.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_call_is_answered_with_twiml_and_a_file_is_downloaded_with_the_token() {
    let (received, client) = (Received::default(), Client::start().await);
    client.account(&hub(received.clone()).await).await;
    let call = client.sim(Method::POST, "/customer-calls", &json!({"from": PERSON})).await;
    assert_eq!((&call["twiml"], &call["verbs"]), (&json!(REJECT), &json!(["Reject"])));
    client.settled().await;
    let (path, _, params) = received.lock().unwrap().last().unwrap().clone();
    assert_eq!(path, "/voice/status");
    assert!(params.contains(&("CallStatus".to_owned(), "busy".to_owned())));

    let file = json!({"mime_type": "image/png", "content_base64": STANDARD.encode("png")});
    let order = json!({"from": PERSON, "text": "Look", "media": [file]});
    assert_eq!(client.sim(Method::POST, "/customer-writes", &order).await["webhook_status"], 200);
    let params = received.lock().unwrap().last().unwrap().2.clone();
    let media = params.iter().find(|(name, _)| name == "MediaUrl0").unwrap().1.clone();
    let pair = format!("{ACCOUNT}:token");
    assert_eq!(client.api(Method::GET, &media, "", "").await.0, 401);
    assert_eq!(client.api(Method::GET, &media, &pair, "").await.0, 307);
    let (status, answer) = client.api(Method::GET, &client.url(".json"), &pair, "").await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &answer["status"]), (200, &json!("active")));
}
