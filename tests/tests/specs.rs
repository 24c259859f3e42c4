//! What the senders send passes the providers' official descriptions of their APIs: a mock
//! reads the description and refuses whatever it does not allow. It is sent by the client that
//! is deployed, so its headers are looked at, too. `cargo xtask specs` starts the mocks.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::Path;

use bytes::Bytes;
use domain::integration::Settings;
use domain::job::{OutboundJob, OutboundTask};
use domain::sender::{MessageSender, Outgoing};
use domain::{IntegrationId, Provider};
use http::{Request, Uri};
use providers::example;
use runtime::transport::Transport;
use serde_json::Value;

/// The records of `events/sender-<provider>/`, by file.
fn jobs(provider: Provider) -> Vec<(String, OutboundJob)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../events/sender-{provider}"));
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

/// Fields that the provider documents and its description leaves out.
const NOT_DESCRIBED: [(Provider, &str); 1] = [
    // <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>
    (Provider::Whatsapp, "biz_opaque_callback_data"),
];

/// The body without those.
fn described(provider: Provider, body: Bytes) -> Bytes {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&body) else { return body };
    for (_, name) in NOT_DESCRIBED.iter().filter(|(whose, _)| *whose == provider) {
        fields.remove(*name);
    }
    Value::Object(fields).to_string().into()
}

/// The request that the sender makes of a job. Meta's description has no read receipts.
fn request(sender: &dyn MessageSender, job: &OutboundJob) -> Option<Request<Bytes>> {
    let OutboundTask::Send(task) = &job.task else { return None };
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

/// Whether the mock at `url` takes the request, and what it says.
async fn ask(transport: &Transport, url: &str, mut request: Request<Bytes>) -> (bool, String) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("{url}{path}").parse::<Uri>().unwrap();
    let response = transport.send(request).await.unwrap();
    let (status, violations) = (response.status(), response.headers().get("sl-violations"));
    let taken = status.is_success() && violations.is_none();
    let said = String::from_utf8_lossy(response.body()).into_owned();
    (taken, format!("{status} {violations:?} {said}"))
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "this is no function: the test's caller names the mocks"
)]
async fn what_is_sent_is_what_the_official_description_allows() {
    let described = std::env::var("DESCRIBED_APIS").expect("DESCRIBED_APIS names the mocks");
    let transport = Transport::new().unwrap();
    let mut tried = 0;
    for one in described.split(' ') {
        let (name, url) = one.split_once('=').expect("a name and an address");
        let provider: Provider = name.parse().unwrap();
        let Some(sender) = providers::sender(provider) else { continue };
        let id = IntegrationId::derived(&["example", name]);
        let mut integration = example::integration(provider, id, "acme".parse().unwrap()).unwrap();
        if let (Provider::Evolution, Settings::Own(settings)) =
            (provider, &mut integration.settings)
        {
            // It is wherever its owner has put it.
            settings.insert("base_url".to_owned(), "https://evolution.example.com".into());
        }
        let credentials = (example::of(provider).credentials)();
        let sender = sender.sender(&integration, &credentials).unwrap();
        let jobs = jobs(provider);
        assert!(!jobs.is_empty(), "events/sender-{name} has nothing to send");
        for (file, job) in &jobs {
            let Some(request) = request(&*sender, job) else { continue };
            // Or else the mock lets everything pass.
            let empty = request.clone().map(|_| Bytes::from_static(b"{}"));
            let (taken, said) = ask(&transport, url, empty).await;
            assert!(!taken, "{file}: taken without its fields: {said}");
            let (taken, said) = ask(&transport, url, request).await;
            assert!(taken, "{file}: {said}");
            tried += 1;
        }
        // Meta's is a part of the whole, without the number itself.
        if provider != Provider::Whatsapp {
            let request = sender.describe_account().unwrap();
            let (taken, said) = ask(&transport, url, request).await;
            assert!(taken, "{name}: the account: {said}");
        }
    }
    assert!(tried > 0, "nothing was sent");
}
