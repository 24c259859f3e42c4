//! The senders' requests satisfy the providers' official API descriptions. A mock server rejects
//! every request that its description does not allow. The deployed HTTP client sends the requests,
//! so the headers are checked, too. `cargo xtask specs` starts the mock servers.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;

use bytes::Bytes;
use domain::sender::{MessageSender, Outgoing};
use domain::task::{OutboundAction, OutboundTask};
use domain::{IntegrationId, Provider};
use http::{Request, Uri};
use providers::example;
use runtime::transport::Transport;
use serde_json::Value;

/// Returns the jobs in `events/sender-<provider>/` with their file names.
fn jobs(provider: Provider) -> Vec<(String, OutboundTask)> {
    let folder = format!("../events/sender-{}", provider.resource_name());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut jobs = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let event: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for record in event.get("Records").and_then(Value::as_array).into_iter().flatten() {
            let body = record.get("body").and_then(Value::as_str).unwrap();
            jobs.push((path.display().to_string(), serde_json::from_str(body).unwrap()));
        }
    }
    jobs
}

/// Fields that the provider documents but its description omits.
const NOT_DESCRIBED: [(Provider, &str); 1] = [
    // <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>
    (Provider::WhatsappCloud, "biz_opaque_callback_data"),
];

/// Returns the body without the fields in [`NOT_DESCRIBED`].
fn described(provider: Provider, body: Bytes) -> Bytes {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body) else { return body };
    for (_, name) in NOT_DESCRIBED.iter().filter(|(owner, _)| *owner == provider) {
        fields.remove(*name);
    }
    Value::Object(fields).to_string().into()
}

/// Returns the sender's request for a job. Meta's description has no read receipts, so they are
/// skipped.
fn request(sender: &dyn MessageSender, job: &OutboundTask) -> Option<Request<Bytes>> {
    let OutboundAction::Send(task) = &job.action else { return None };
    let message = Outgoing {
        id: task.message.id,
        channel: task.message.channel,
        integration: task.message.integration,
        hub_url: Some("https://hub.example.com"),
        to: &task.to,
        content: &task.message.content,
        reply_to: task.reply_to.as_deref(),
    };
    Some(sender.request(&message).unwrap().map(|body| described(task.message.provider, body)))
}

/// Sends the request to the mock server at `url`. Returns whether it was accepted, and the
/// response.
async fn send(transport: &Transport, url: &str, mut request: Request<Bytes>) -> (bool, String) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("{url}{path}").parse::<Uri>().unwrap();
    let response = transport.send(request).await.unwrap();
    let (status, violations) = (response.status(), response.headers().get("sl-violations"));
    let accepted = status.is_success() && violations.is_none();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    (accepted, format!("{status} {violations:?} {text}"))
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test, not a function: an environment variable names the mock servers"
)]
async fn requests_match_the_official_api_descriptions() {
    let described = std::env::var("DESCRIBED_APIS").expect("DESCRIBED_APIS is set");
    let transport = Transport::new().unwrap();
    let mut sent = 0;
    for one in described.split(' ') {
        let (name, url) = one.split_once('=').expect("a name and a URL");
        let provider: Provider = name.parse().unwrap();
        let Some(sender) = providers::sender(provider) else { continue };
        let id = IntegrationId::derived(&["example", name]);
        let mut integration = example::integration(provider, id, "acme".parse().unwrap()).unwrap();
        if provider == Provider::Evolution {
            // An Evolution server runs at its owner's URL.
            let settings = &mut integration.settings.0;
            settings.insert("base_url".to_owned(), "https://evolution.example.com".into());
        }
        let credentials = (example::of(provider).credentials)();
        let sender = sender.sender(&integration, &credentials).unwrap();
        let jobs = jobs(provider);
        assert!(!jobs.is_empty(), "events/sender-{name} has nothing to send");
        for (file, job) in &jobs {
            let Some(request) = request(&*sender, job) else { continue };
            // Checks that the mock server does reject invalid requests.
            let empty = request.clone().map(|_| Bytes::from_static(b"{}"));
            let (accepted, response) = send(&transport, url, empty).await;
            assert!(!accepted, "{file}: accepted without its fields: {response}");
            let (accepted, response) = send(&transport, url, request).await;
            assert!(accepted, "{file}: {response}");
            sent += 1;
        }
        // Meta's description is partial and has no endpoint for the phone number.
        if provider != Provider::WhatsappCloud {
            let reader = providers::account_reader(&integration, &credentials).unwrap();
            let request = reader.describe_account().unwrap();
            let (accepted, response) = send(&transport, url, request).await;
            assert!(accepted, "{name}: the account: {response}");
        }
    }
    assert!(sent > 0, "no request was sent");
}
