//! The functions, an event for each, and the initial state of the cloud for the events.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use domain::{Provider, webhook::WebhookProvider};
use serde_json::{Value, json};

use crate::{
    cloud::Cloud,
    edge,
    error::{Error, Result},
    http::Server,
    sandbox::Program,
    table::Item,
};

/// A function to measure.
#[derive(Clone)]
pub(crate) struct Function {
    /// Name of its binary.
    pub(crate) name: String,
    event: Event,
    /// Text that its response must contain, because a fast failure would look fast.
    answer: String,
}

/// Source of a function's event.
#[derive(Clone, Copy)]
enum Event {
    /// A file under `events/`.
    File(&'static str),
    /// The first file of a sender: a text.
    Text(Provider),
    /// Created and signed on demand.
    Signed(&'static dyn WebhookProvider),
}

/// Name, file under `events/` and expected response text of every function but the senders and the
/// webhooks from the examples.
const FROM_FILES: [(&str, &str, &str); 24] = [
    ("webhook-whatsapp", "whatsapp/text", "\"statusCode\":200"),
    ("webhook-telegram", "telegram/text", "\"statusCode\":200"),
    ("webhook-inbound", "inbound/message", "\"statusCode\":202"),
    ("consumer-inbound", "consumer-inbound/text", "\"batchItemFailures\":[]"),
    ("consumer-receipts", "consumer-receipts/failed", "\"batchItemFailures\":[]"),
    ("consumer-automation", "consumer-automation/message_received", "\"batchItemFailures\":[]"),
    ("consumer-media", "consumer-media/image", "\"batchItemFailures\":[]"),
    ("consumer-events", "consumer-events/telegram", "\"batchItemFailures\":[]"),
    ("consumer-parked", "consumer-parked/unreadable", "\"batchItemFailures\":[]"),
    ("consumer-replay", "consumer-replay/first_page", "\"batchItemFailures\":[]"),
    ("api-audit", "api-audit/list", "\"statusCode\":200"),
    ("api-authorizer", "api-authorizer/bearer", "\"isAuthorized\":true"),
    ("api-messages", "api-messages/get", "\"statusCode\":200"),
    ("api-conversations", "api-conversations/get", "\"statusCode\":200"),
    ("api-integrations", "api-integrations/get", "\"statusCode\":200"),
    ("api-tenants", "api-tenants/get", "\"statusCode\":200"),
    ("api-dead-letters", "api-dead-letters/count", "\"statusCode\":200"),
    ("api-events", "api-events/get", "\"statusCode\":200"),
    ("api-openapi", "api-openapi/get", "\"statusCode\":200"),
    ("api-voice", "api-voice/token", "\"statusCode\":201"),
    ("api-queue", "api-queue/next", "\"statusCode\":200"),
    ("api-status", "api-status/get", "\"statusCode\":200"),
    ("schedule-deliveries", "schedule-deliveries/tick", ""),
    ("schedule-jobs", "schedule-jobs/tick", ""),
];

/// All functions, webhooks first.
pub(crate) fn all() -> Result<Vec<Function>> {
    let webhooks = edge::webhooks().map(|webhook| {
        let (name, answer) = (format!("webhook-{}", webhook.name()), edge::answer(webhook)?);
        Ok(Function { name, event: Event::Signed(webhook), answer })
    });
    let from_files = FROM_FILES.map(|(name, event, answer)| {
        let (name, event) = (name.to_owned(), Event::File(event));
        Ok(Function { name, event, answer: answer.to_owned() })
    });
    let senders = Provider::senders().map(|provider| {
        let (name, answer) = (sender(provider), "\"batchItemFailures\":[]".to_owned());
        Ok(Function { name, event: Event::Text(provider), answer })
    });
    let all = from_files.into_iter().chain(senders).chain(webhooks);
    let mut all = all.collect::<Result<Vec<_>>>()?;
    all.sort_by_key(|function| !function.name.starts_with("webhook-"));
    Ok(all)
}

/// Name of a provider's sender, and of the folder with its events.
fn sender(provider: Provider) -> String {
    format!("sender-{}", provider.resource_name())
}

/// Returns the function with this name.
pub(crate) fn named(name: &str) -> Result<Function> {
    let found = all()?.into_iter().find(|function| function.name == name);
    found.ok_or_else(|| Error::step(name, "unknown function"))
}

/// Folders of the benchmark.
pub(crate) struct Paths {
    /// Root of the repository.
    pub(crate) root: PathBuf,
    /// Folder with the functions' binary.
    pub(crate) binaries: PathBuf,
    /// Folder for logs and results.
    pub(crate) output: PathBuf,
}

impl Paths {
    /// The binary with all functions.
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.binaries.join("bootstrap")
    }
}

impl Function {
    /// The program of the function: AWS is at `endpoint`, and `root` is the root of its
    /// certificate.
    pub(crate) fn program(&self, paths: &Paths, endpoint: &str, root: Option<&Path>) -> Program {
        let mut environment = environment(endpoint);
        environment.push(("_HANDLER".to_owned(), self.name.clone()));
        if let Some(root) = root {
            environment.push(("AWS_CA_BUNDLE".to_owned(), root.display().to_string()));
        }
        Program {
            name: self.name.clone(),
            command: vec![paths.bootstrap().display().to_string()],
            environment,
            log: paths.output.join(format!("{}.log", self.name)),
        }
    }

    /// The function's event.
    pub(crate) fn event(&self, paths: &Paths) -> Result<Arc<Vec<u8>>> {
        let file = |name: &str| {
            let path = paths.root.join("events").join(name).with_extension("json");
            fs::read(&path).map(Arc::new).map_err(Error::file(&path))
        };
        match self.event {
            Event::File(name) => file(name),
            Event::Text(provider) => file(&format!("{}/text", sender(provider))),
            Event::Signed(webhook) => Ok(Arc::new(serde_json::to_vec(&edge::event(webhook)?)?)),
        }
    }

    /// Starts the server that its provider needs, if any. Dropping it stops the server.
    pub(crate) fn provider(&self) -> Result<Option<Server>> {
        match self.event {
            Event::File(_) | Event::Text(_) => Ok(None),
            Event::Signed(webhook) => edge::served_by(webhook.provider()),
        }
    }

    /// The same function with another event.
    pub(crate) fn on(self, event: &'static str, answer: &str) -> Self {
        Self { event: Event::File(event), answer: answer.to_owned(), ..self }
    }

    /// The same function with the response of another implementation, which formats JSON
    /// differently.
    pub(crate) fn with_status_only(self) -> Self {
        Self { answer: "200".to_owned(), ..self }
    }

    /// Checks that a response contains the expected text.
    pub(crate) fn check(&self, answer: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(answer);
        if text.contains(&self.answer) {
            return Ok(());
        }
        Err(Error::Answer { what: self.name.clone(), answer: text.into_owned() })
    }
}

/// Environment variables from the template and from Lambda.
pub(crate) fn environment(endpoint: &str) -> Vec<(String, String)> {
    let queue = |name: &str| format!("{endpoint}/123456789012/{name}");
    [
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        ("AWS_SESSION_TOKEN", "x".repeat(700)),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("ACCOUNTS_TABLE_NAME", "switchboard".to_owned()),
        ("EVENTS_TABLE_NAME", "switchboard".to_owned()),
        ("ENDPOINTS_TABLE_NAME", "switchboard".to_owned()),
        ("MESSAGING_TABLE_NAME", "switchboard".to_owned()),
        ("WORK_TABLE_NAME", "switchboard".to_owned()),
        ("CREDENTIALS_TABLE_NAME", "switchboard".to_owned()),
        ("CREDENTIALS_KEY_ARN", "arn:aws:kms:us-east-1:123456789012:key/bench".to_owned()),
        ("BUCKET_NAME", "switchboard".to_owned()),
        ("SECRETS_PREFIX", "switchboard/bench".to_owned()),
        ("ADMIN_KEY_SECRET_ARN", "switchboard/admin".to_owned()),
        ("PUBLIC_BASE_URL", edge::BASE_URL.to_owned()),
        ("INBOUND_QUEUE_URL", queue("inbound.fifo")),
        ("RECEIPTS_QUEUE_URL", queue("receipts")),
        ("AUTOMATION_QUEUE_URL", queue("automation")),
        ("MEDIA_QUEUE_URL", queue("media")),
        ("EVENTS_QUEUE_URL", queue("events.fifo")),
        ("REPLAY_QUEUE_URL", queue("replay")),
        ("PARKED_QUEUE_URL", queue("parked")),
        ("QUEUE_URL", queue("own.fifo")),
        ("DEAD_LETTER_QUEUE_URL", queue("own-dead.fifo")),
        ("OUTBOUND_QUEUE_PREFIX", queue("outbound-")),
        ("QUEUE_PREFIX", queue("")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

const WHATSAPP: &str = "int_7HM7GWRY4FG51T3F8Z0R302VDN";
const TELEGRAM: &str = "int_4MDG6E5QQGBY7KYZFHAQH80BB7";
const PLATFORM: &str = "int_00000000000000000000000001";
const CONVERSATION: &str = "conv_7VNAAAAYX793N1P7CA1K29R4BV";
const EVENT: &str = "evt_7VNAAAAYX793N1P7CA1K29R4BV";
const REPLAY: &str = "replay_7VNAAAAYX793N1P7CA1K29R4BV";
/// The conversation with the customer of the examples.
const ACTIVE_CONVERSATION: &str = "conv_4VDTXRBV13SDVB08S0HWYTCWWE";

/// Creates the initial state that the events need.
pub(crate) fn insert_fixtures(cloud: &Cloud, provider: &str) -> Result<()> {
    let mut items = items(provider);
    items.extend(recorded()?);
    for one in edge::providers() {
        items.extend(integrated(one, provider)?);
    }
    for item in items {
        let Value::Object(item) = item else {
            return Err(Error::step("insert fixtures", "an item is not an object"));
        };
        cloud.seed(item)?;
    }
    let whatsapp = json!({
        "WHATSAPP_ACCESS_TOKEN": ["test-access-token"],
        "WHATSAPP_APP_SECRET": ["test-app-secret"],
        "WHATSAPP_WEBHOOK_VERIFY_TOKEN": ["test-verify-token"],
    });
    let telegram = json!({
        "TELEGRAM_BOT_TOKEN": ["700000001:test-telegram-token"],
        "TELEGRAM_WEBHOOK_SECRET": ["test-telegram-secret"],
    });
    for (name, value) in [
        ("bench/platform/whatsapp_cloud", json!({ PLATFORM: whatsapp })),
        ("bench/acme/whatsapp_cloud", json!({ WHATSAPP: whatsapp })),
        ("bench/acme/telegram", json!({ TELEGRAM: telegram })),
        ("bench/acme/automation", json!(["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="])),
    ] {
        cloud.secret(format!("switchboard/{name}"), value.to_string());
    }
    for provider in edge::providers() {
        let name = format!("switchboard/bench/acme/{provider}");
        cloud.secret(name, edge::secret(provider)?.to_string());
    }
    cloud.secret("switchboard/admin".to_owned(), "example".to_owned());
    Ok(())
}

fn items(provider: &str) -> Vec<Value> {
    let made = "2026-01-01T00:00:00Z";
    let integration = |tenant: &str, id: &str, settings: Value, account: Option<&str>| {
        let doc = json!({ "id": id, "tenant": tenant, "provider": settings.get("provider"),
            "settings": settings, "account": account, "hints": { "A": "..." }, "created_at": made,
            "credentials_at": made });
        item(&format!("T#{tenant}#INT"), id, json!({ "doc": { "S": doc.to_string() } }))
    };
    let holder = |id: &str| json!({ "tenant": { "S": "acme" }, "integration": { "S": id } });
    let whatsapp = json!({ "provider": "whatsapp_cloud", "phone_number_id": "15550001111222",
        "base_url": provider, "messages_per_second": 1_000_000 });
    let platform = json!({ "provider": "whatsapp_cloud" });
    let telegram = json!({ "provider": "telegram", "base_url": provider,
        "messages_per_second": 1_000_000 });
    let push = json!({ "kind": "push", "url": format!("{provider}/automation"),
        "allow_private_network": true, "secret_at": made });
    let tenant = json!({ "id": "acme", "name": "Acme", "created_at": made });
    // The tenant has an integration with each provider of WhatsApp, so a message needs a route.
    let route = json!({ "integrations": [{ "integration": WHATSAPP }],
        "policy": { "choice": "ordered", "patience_seconds": 60 } });
    [
        integration("platform", PLATFORM, platform, None),
        integration("acme", WHATSAPP, whatsapp, Some("15550001111222")),
        integration("acme", TELEGRAM, telegram, Some("700000001")),
        item("PLATFORM#whatsapp_cloud", "PLATFORM", json!({ "integration": { "S": PLATFORM } })),
        item("ACCOUNT#whatsapp_cloud#15550001111222", "ACCOUNT", holder(WHATSAPP)),
        item("ACCOUNT#telegram#700000001", "ACCOUNT", holder(TELEGRAM)),
        item(&format!("INT#{WHATSAPP}"), "INT", holder(WHATSAPP)),
        item(&format!("INT#{TELEGRAM}"), "INT", holder(TELEGRAM)),
        item("T#acme#TENANT", "TENANT", json!({ "doc": { "S": tenant.to_string() } })),
        item("T#acme#TENANT", "AUTOMATION", json!({ "doc": { "S": push.to_string() } })),
        item("T#acme#TENANT", "ROUTE#whatsapp", json!({ "doc": { "S": route.to_string() } })),
        message("msg_01M7WD7TG0JGT1ZEHSVRA3ZC5D", "outbound", "accepted"),
        message("msg_01M7WD7TG0966GG8ADEKXM9NP8", "inbound", "received"),
        message("msg_7VNAAAAYX793N1P7CA1K29R4BV", "inbound", "received"),
        conversation(CONVERSATION),
        conversation(ACTIVE_CONVERSATION),
    ]
    .into_iter()
    .chain((0..10).chain(100..110).flat_map(|number| known(number, "accepted")))
    .collect()
}

/// Items of the tenant's integration with a provider, whose API is at `url`.
fn integrated(provider: Provider, url: &str) -> Result<[Value; 2]> {
    let mut integration = edge::integration(provider)?;
    if !provider.channels().is_empty() {
        let settings = &mut integration.settings.0;
        settings.insert("base_url".to_owned(), json!(url));
        settings.insert("messages_per_second".to_owned(), json!(1_000_000));
    }
    let (id, doc) = (integration.id.to_string(), serde_json::to_string(&integration)?);
    Ok([
        item("T#acme#INT", &id, json!({ "doc": { "S": doc } })),
        item(
            &format!("INT#{id}"),
            "INT",
            json!({ "tenant": { "S": "acme" }, "integration": { "S": id } }),
        ),
    ])
}

/// Items of a Stripe event, and of a replay that matches it.
fn recorded() -> Result<[Value; 2]> {
    let at = "2026-11-20T12:00:00Z";
    let event = json!({ "id": EVENT, "tenant": "acme", "provider": "stripe",
        "integration": edge::integration(Provider::Stripe)?.id, "account": "",
        "provider_event_id": "evt_1", "kind": "other", "name": "invoice.paid",
        "occurred_at": at, "received_at": at, "state": "recorded" });
    let body = json!({ "ordering_key": "sub_1", "raw": { "id": "evt_1", "type": "invoice.paid" } });
    let replay = json!({ "id": REPLAY, "tenant": "acme", "filter": { "provider": "stripe" },
        "status": "running", "matched": 0, "published": 0, "created_at": at, "updated_at": at });
    Ok([
        item(
            &format!("T#acme#EVENT#{EVENT}"),
            "EVENT",
            json!({
                "doc": { "S": event.to_string() }, "body": { "S": body.to_string() },
                "gsi1pk": { "S": "T#acme#EVENTS" },
                "gsi1sk": { "S": format!("1795176000000000#stripe#other#{EVENT}") },
            }),
        ),
        item(
            &format!("T#acme#REPLAY#{REPLAY}"),
            "REPLAY",
            json!({
                "doc": { "S": replay.to_string() }, "status": { "S": "running" },
                "cursor": { "S": "" }, "matched": { "N": "0" }, "published": { "N": "0" },
            }),
        ),
    ])
}

/// The messages that the receipts and the senders' records in a batch refer to.
pub(crate) fn known(number: u32, status: &str) -> [Value; 2] {
    ["msg_01M7WD7TG0JGT1ZEHSVRA3", "msg_01M7WD7TG0F6NR4WC2MX7X"]
        .map(|id| message(&format!("{id}{number:04}"), "outbound", status))
}

/// A message for receipts and requests.
pub(crate) fn message(id: &str, direction: &str, status: &str) -> Value {
    let at = "2026-11-20T12:00:00Z";
    let step = json!({ "status": status, "at": at });
    let doc = json!({ "id": id, "tenant": "acme", "conversation": CONVERSATION,
        "channel": "whatsapp", "provider": "whatsapp_cloud", "integration": WHATSAPP,
        "direction": direction, "type": "text", "text": "Hello", "status": status,
        "created_at": at, "history": [] });
    let rank = match status {
        "received" => "0",
        "queued" => "5",
        _ => "30",
    };
    item(
        &format!("T#acme#MSG#{id}"),
        "MSG",
        json!({
            "doc": { "S": doc.to_string() }, "status": { "S": status }, "rank": { "N": rank },
            "history": { "L": [{ "S": step.to_string() }] },
            "provider_message_id": { "S": "wamid.OUT" },
            "gsi1pk": { "S": format!("T#acme#C#{CONVERSATION}") },
            "gsi1sk": { "S": format!("1795176000000000#{id}") },
        }),
    )
}

/// Templates of a conversation and of a message in it. `{c}` and `{m}` stand for their numbers,
/// with six and seven digits.
pub(crate) fn templates() -> (Value, Value) {
    const NUMBERED: &str = "conv_7VNAAAAYX793N1P7CA1K{c}";
    let message = message("msg_01M7WD7TG02AT5KWJJM{m}", "inbound", "received");
    let message = message.to_string().replace(CONVERSATION, NUMBERED);
    (conversation(NUMBERED), serde_json::from_str(&message).unwrap_or_default())
}

fn conversation(id: &str) -> Value {
    let at = "2026-11-20T12:00:00Z";
    let doc = json!({ "id": id, "tenant": "acme", "channel": "whatsapp",
        "provider": "whatsapp_cloud", "integration": WHATSAPP, "account": "15550001111222",
        "contact": { "id": "ct_06647KSE2B8ES446SA6R7EJVC8", "address": "4915550009999" },
        "created_at": at, "last_activity_at": at });
    let now = now();
    item(
        &format!("T#acme#C#{id}"),
        "CONV",
        json!({
            "doc": { "S": doc.to_string() }, "integration": { "S": WHATSAPP },
            "last_activity_at": { "N": now.to_string() }, "last_inbound_at": { "N": now.to_string() },
            "last_inbound_message": { "S": "wamid.TEXT" },
            "gsi1pk": { "S": "T#acme#CONVS" },
            "gsi1sk": { "S": format!("{:07}#{id}", now / 3_600_000) },
        }),
    )
}

/// Milliseconds since the Unix epoch.
fn now() -> u128 {
    #[expect(clippy::disallowed_methods, reason = "the functions run on the real clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis()
}

fn item(pk: &str, sk: &str, more: Value) -> Value {
    let mut item = Item::new();
    item.insert("pk".to_owned(), json!({ "S": pk }));
    item.insert("sk".to_owned(), json!({ "S": sk }));
    item.insert("v".to_owned(), json!({ "N": "1" }));
    if let Value::Object(more) = more {
        item.extend(more);
    }
    Value::Object(item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cloud::Meter, growth, messages, world::World};
    use messaging_simulation::functions::function as instance;
    use simulation::deployment::Deployment;
    use simulation::functions::Output;
    use std::collections::BTreeSet;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_function_of_the_template_is_measured() {
        let deployed: BTreeSet<String> =
            Deployment::read().unwrap().functions.into_keys().collect();
        let measured = all().unwrap().into_iter().map(|function| function.name);
        let measured: BTreeSet<String> = measured.collect();
        assert!(!deployed.is_empty());
        assert_eq!(measured, deployed);
    }

    #[test]
    fn every_function_has_an_event() {
        let (root, binaries, output) = (root(), PathBuf::new(), PathBuf::new());
        let paths = Paths { root, binaries, output };
        for function in all().unwrap() {
            let event = function.event(&paths).unwrap();
            assert!(serde_json::from_slice::<Value>(&event).unwrap().is_object());
        }
    }

    /// Invokes a function in-process with its event. Returns its response and its requests, and
    /// those that the fake cloud does not support.
    async fn answered(world: &World, function: &Function) -> (Vec<u8>, Meter, Vec<String>) {
        let (root, binaries, output) = (root(), PathBuf::new(), PathBuf::new());
        let paths = Paths { root, binaries, output };
        let variables = environment(&world.endpoint).into_iter().collect();
        let kit = runtime::testing::kit(variables).unwrap();
        let instance = instance(&function.name, &kit).unwrap().unwrap();
        let event = serde_json::from_slice(&function.event(&paths).unwrap()).unwrap();
        world.cloud.reset();
        world.cloud.take();
        let _provider = function.provider().unwrap();
        let answer = match instance.invoke(event).await {
            Ok(Output::Http(response)) => {
                // In the format of the runtime, as far as it is checked.
                let status = response.status().as_u16();
                let body = String::from_utf8_lossy(response.body());
                format!("{{\"statusCode\":{status}}} {body}")
            }
            Ok(Output::Json(value)) => value.to_string(),
            Err(error) => panic!("{}: {error}", function.name),
        };
        let (meter, unknown) = world.cloud.take();
        (answer.into_bytes(), meter, unknown)
    }

    /// Invokes each function with its event. Fails on an unexpected response or request.
    async fn assert_succeed(functions: Vec<Function>) {
        let world = World::plain().unwrap();
        let mut failed = Vec::new();
        for function in functions {
            let (answer, _, unknown) = answered(&world, &function).await;
            if let Err(error) = function.check(&answer) {
                failed.push(error.to_string());
            }
            failed.extend(
                unknown.iter().map(|what| format!("{}: unexpected request {what}", function.name)),
            );
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[tokio::test]
    async fn every_function_of_the_template_succeeds_with_its_event() {
        assert_succeed(all().unwrap()).await;
    }

    #[tokio::test]
    async fn every_function_that_is_measured_with_another_event_succeeds() {
        let requests = messages::REQUESTS.map(|request| messages::function(request).unwrap());
        let operations = growth::OPERATIONS.iter().map(|operation| operation.function().unwrap());
        assert_succeed(requests.into_iter().chain(operations).collect()).await;
    }

    #[tokio::test]
    async fn idle_schedules_use_the_assumed_capacity_units() {
        let world = World::plain().unwrap();
        let (mut reads, mut writes) = (0.0, 0.0);
        for name in ["schedule-deliveries", "schedule-jobs"] {
            let (_, meter, _) = answered(&world, &named(name).unwrap()).await;
            reads += meter.units.read;
            writes += meter.units.write;
        }
        let prices = fs::read_to_string(root().join("tests/bench/prices.json")).unwrap();
        let prices: Value = serde_json::from_str(&prices).unwrap();
        let assumed = |name: &str| prices["assumptions"]["schedules"][name].as_f64().unwrap();
        assert!((reads - assumed("reads")).abs() < 0.1, "{reads} reads");
        assert!((writes - assumed("writes")).abs() < 0.1, "{writes} writes");
    }
}
