//! The `trigger` command: sends signed provider webhooks to a running hub.

use std::{
    fs::File,
    io::{Read, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use domain::{
    Credentials, Integration, IntegrationId, Provider, TenantId,
    event::EventKind,
    integration::FieldError,
    webhook::{ParsedWebhook, WebhookProvider, WebhookRequest, receive},
};
use jiff::Timestamp;
use providers::{
    example::{self, Body, Draft, Example, Seed},
    spec::RequestedBy,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    http::Client,
    hub::Hub,
};

/// Options of `cargo xtask trigger`.
#[derive(Args)]
pub(crate) struct Options {
    /// Provider, or one of its webhooks.
    #[arg(required_unless_present = "list")]
    provider: Option<String>,
    /// Event of that provider. `--list` lists them.
    #[arg(required_unless_present = "list")]
    event: Option<String>,
    /// Tenant whose account receives the event. The tenant and the account are created if they do
    /// not exist.
    #[arg(long, default_value = "demo")]
    tenant: String,
    /// Integration with the credentials of the examples. By default, an integration of the tenant
    /// is used, or created.
    #[arg(long, value_name = "ID")]
    integration: Option<String>,
    /// Set a field of the body before it is signed, such as data.object.amount=5.
    #[arg(long, value_name = "PATH=VALUE", value_parser = change)]
    set: Vec<(String, String)>,
    /// Number of webhooks to send, each with its own ids.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// List all events and exit.
    #[arg(long)]
    list: bool,
    /// Print the request without sending it.
    #[arg(long)]
    print: bool,
}

fn change(text: &str) -> std::result::Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("must be PATH=VALUE")?;
    Ok((path.to_owned(), value.to_owned()))
}

/// Sends `count` webhooks for the demo tenant.
pub(crate) fn send(hub: &Hub, provider: &str, event: &str, count: u32) -> Result<()> {
    let options = Options {
        provider: Some(provider.to_owned()),
        event: Some(event.to_owned()),
        tenant: "demo".to_owned(),
        integration: None,
        set: Vec::new(),
        count,
        list: false,
        print: false,
    };
    run(hub, &options)
}

/// Sends a webhook, prints its request, or lists all events.
pub(crate) fn run(hub: &Hub, options: &Options) -> Result<()> {
    if options.list {
        list();
        return Ok(());
    }
    let source = options.provider.as_deref().unwrap_or_default();
    let (provider, example) = find(source, options.event.as_deref().unwrap_or_default())?;
    let tenant: TenantId = options.tenant.parse().map_err(|_| {
        Error::step("trigger", format!("{:?} is not a valid tenant id", options.tenant))
    })?;
    let trigger = Trigger { hub, provider, example, tenant, options };
    if options.print && !hub.is_running() {
        let url = format!("{}/webhooks/{}", hub.url(), trigger.webhook().path());
        let integration = IntegrationId::derived(&["example", provider.as_str()]);
        let (url, account) = (format!("{url}/{integration}"), Account::of_the_examples(provider));
        return print(&trigger.request(&Target { url, integration, account })?);
    }
    if !hub.is_running() {
        return Err(Error::NotRunning(hub.folder().to_owned()));
    }
    let target = trigger.target()?;
    if options.print {
        return print(&trigger.request(&target)?);
    }
    for _ in 0..options.count {
        trigger.send(&target)?;
    }
    Ok(())
}

/// Prints a table of all events.
fn list() {
    let rows: Vec<[String; 3]> = example::all()
        .map(|(provider, example)| {
            let source = if provider.as_str() == example.webhook || is_unique(provider, example) {
                provider.to_string()
            } else {
                example.webhook.to_owned()
            };
            [source, example.name.to_owned(), example.what.to_owned()]
        })
        .collect();
    let width = |column: usize, least: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or_default().max(least)
    };
    let (first, second) = (width(0, 8), width(1, 5));
    println!("{:first$}  {:second$}  DESCRIPTION", "PROVIDER", "EVENT");
    for [source, name, what] in &rows {
        println!("{source:first$}  {name:second$}  {what}");
    }
    println!("\n{} events. Send one: cargo xtask trigger PROVIDER EVENT", rows.len());
}

/// Whether the provider's name and the example's name identify exactly one example.
fn is_unique(provider: Provider, example: &Example) -> bool {
    example::find(provider.as_str(), example.name).len() == 1
}

fn find(source: &str, name: &str) -> Result<(Provider, &'static Example)> {
    let found = example::find(source, name);
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let of_source = example::all().filter(|(provider, example)| {
                source.parse().ok() == Some(*provider) || example.webhook == source
            });
            let names: Vec<_> = of_source.map(|(_, example)| example.name).collect();
            let detail = if names.is_empty() {
                let all = Provider::ALL.iter().map(|provider| provider.as_str());
                let all = all.collect::<Vec<_>>().join(", ");
                format!("unknown provider {source:?}. Choose one of: {all}")
            } else {
                format!("{source} has no event {name:?}. Choose one of: {}", names.join(", "))
            };
            Err(Error::step("trigger", detail))
        }
        several => {
            let webhooks: Vec<_> = several.iter().map(|(_, example)| example.webhook).collect();
            let detail = format!(
                "several webhooks of {source} have the event {name:?}. Use one of these in place \
                 of {source}: {}",
                webhooks.join(", ")
            );
            Err(Error::step("trigger", detail))
        }
    }
}

fn print(request: &WebhookRequest) -> Result<()> {
    println!("{} {}", request.method, request.url);
    for (name, value) in &request.headers {
        println!("{name}: {}", value.to_str().unwrap_or("(not text)"));
    }
    println!();
    let mut out = std::io::stdout().lock();
    out.write_all(&request.body)?;
    writeln!(out)?;
    Ok(())
}

/// The webhook URL to call, and the integration and account it belongs to.
struct Target {
    url: String,
    integration: IntegrationId,
    account: Account,
}

/// The provider account that an example is about.
#[derive(Clone, Debug)]
struct Account {
    provider: Provider,
    settings: Map<String, Value>,
    credentials: Credentials,
    /// Text in the examples, and the text that replaces it for this account.
    swaps: Vec<(String, String)>,
}

impl Account {
    /// The account that the examples name. Only one tenant can hold it.
    fn of_the_examples(provider: Provider) -> Self {
        let examples = example::of(provider);
        let (settings, credentials) = ((examples.settings)(), (examples.credentials)());
        Self { provider, settings, credentials, swaps: Vec::new() }
    }

    /// A similar account that belongs to `tenant` only.
    fn of(provider: Provider, tenant: &TenantId) -> Result<Self> {
        let plain = Self::of_the_examples(provider);
        let id = IntegrationId::derived(&["example", provider.as_str()]);
        let held = plain.integration(id, tenant)?.account;
        // A secret in the webhook's path identifies one integration, so it must differ, too.
        let path_secret = providers::spec(provider).path_secret;
        let path_secret = path_secret.and_then(|name| plain.credentials.first(name));
        let path_secret = path_secret.map(|secret| secret.expose_secret().to_owned());
        let own = |text: String| {
            let new = similar_name(&text, tenant);
            (text, new)
        };
        let swaps: Vec<_> = held.into_iter().chain(path_secret).map(own).collect();
        let swap = |text: &str| swapped(text, &swaps);
        let settings = parse(&swap(&Value::Object(plain.settings).to_string()))?;
        let credentials = plain.credentials.iter().map(|(name, values)| {
            let values = values.iter().map(|value| swap(value.expose_secret()).into());
            (name.to_owned(), values.collect())
        });
        let credentials = Credentials::new(credentials.collect::<Vec<_>>());
        Ok(Self { provider, settings, credentials, swaps })
    }

    /// The integration that the hub creates for this account.
    fn integration(&self, id: IntegrationId, tenant: &TenantId) -> Result<Integration> {
        let wrong = |error: FieldError| Error::step("trigger", error.to_string());
        let plain = example::integration(self.provider, id, tenant.clone()).map_err(wrong)?;
        let entry = providers::spec(self.provider);
        let settings = (entry.settings)(&self.settings).map_err(wrong)?;
        let requested_by =
            if tenant.is_platform() { RequestedBy::Hub } else { RequestedBy::Operator };
        let account = (entry.account)(requested_by, &settings, &self.credentials).map_err(wrong)?;
        Ok(Integration { account, settings, hints: self.credentials.hints(), ..plain })
    }

    /// The body of `POST /integrations`.
    fn request_body(&self, tenant: &TenantId) -> Value {
        let values = |values: &[SecretString]| -> Value {
            values.iter().map(ExposeSecret::expose_secret).collect()
        };
        let credentials = self.credentials.iter();
        let credentials = credentials.map(|(name, all)| (name.to_owned(), values(all)));
        json!({ "tenant": tenant, "provider": self.provider, "settings": self.settings,
            "credentials": credentials.collect::<Map<_, _>>() })
    }

    /// Whether an integration from the hub's API belongs to this account and has no credentials
    /// that differ from this account's.
    fn matches(&self, shown: &Value) -> bool {
        // As the hub stores them, with defaults filled in.
        let stored = (providers::spec(self.provider).settings)(&self.settings);
        let Ok(stored) = stored.map(|settings| json!(settings)) else { return false };
        let has = |name: &String| {
            shown.pointer("/settings").and_then(|all| all.get(name)) == stored.get(name)
        };
        let hints = self.credentials.hints();
        let agrees = |(name, hint): (&String, &Value)| {
            hints.get(name).is_none_or(|own| hint.as_str() == Some(own))
        };
        let credentials = shown.get("credentials").and_then(Value::as_object);
        shown.get("provider").and_then(Value::as_str) == Some(self.provider.as_str())
            && credentials.is_some_and(|all| !all.is_empty() && all.iter().all(agrees))
            && self.settings.keys().all(has)
    }

    /// The example's request, with this account's values.
    fn draft(&self, example: &Example, seed: &Seed) -> Result<Draft> {
        let mut draft = (example.draft)(seed);
        let swap = |text: &str| swapped(text, &self.swaps);
        draft.body = match draft.body {
            Body::Empty => Body::Empty,
            Body::Json(body) => Body::Json(parse(&swap(&body.to_string()))?),
            Body::Form(fields) => {
                let fields = fields.into_iter();
                Body::Form(fields.map(|(name, value)| (name, swap(&value))).collect())
            }
            Body::Written(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Body::Written(swap(text).into()),
                Err(_) => Body::Written(bytes),
            },
        };
        let query = draft.query.into_iter();
        draft.query = query.map(|(name, value)| (name, swap(&value))).collect();
        for value in draft.headers.values_mut() {
            if let Ok(new) = value.to_str().map(swap)
                && let Ok(new) = new.parse()
            {
                *value = new;
            }
        }
        Ok(draft)
    }

    /// The draft, signed with this account's credentials.
    fn signed(&self, example: &Example, draft: &Draft, url: &str, at: Timestamp) -> WebhookRequest {
        (example::of(self.provider).sign)(example, draft, &self.credentials, url, at)
    }
}

/// Parses JSON of an example after the replacements.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::step("trigger", error.to_string()))
}

fn swapped(text: &str, swaps: &[(String, String)]) -> String {
    swaps.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

/// An account name in the same format as `text`, unique to `tenant`: the last 8 digits before the
/// first dot are replaced, or 8 digits are appended there if the name does not end in more than 8
/// digits.
fn similar_name(text: &str, tenant: &TenantId) -> String {
    // FNV-1a: the same in every build, so that an account is found again.
    let hash = tenant.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let number = format!("{:08}", hash % 100_000_000);
    let at = name.len().saturating_sub(number.len());
    match name.split_at_checked(at) {
        Some((head, tail)) if !head.is_empty() && tail.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{head}{number}{rest}")
        }
        _ => format!("{name}{number}{rest}"),
    }
}

/// The part of the hub's API that this command uses.
trait Api {
    /// Sends a request. Returns the status and body of any response.
    fn request(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)>;
}

impl Api for Client {
    fn request(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        self.send(method, path, body)
    }
}

/// Finds or creates the tenant's integration for the examples.
///
/// Only one tenant can hold the account in the examples. If another tenant holds it, this tenant
/// gets a similar one.
fn find_or_create_integration(
    api: &impl Api,
    provider: Provider,
    tenant: &TenantId,
) -> Result<(Value, Account)> {
    let accounts = [Account::of_the_examples(provider), Account::of(provider, tenant)?];
    let (status, answer) = api.request("GET", &format!("/integrations?tenant={tenant}"), None)?;
    let shown = answer.get("integrations").and_then(Value::as_array);
    let shown = shown.filter(|_| status == 200).into_iter().flatten();
    for one in shown {
        if let Some(account) = accounts.iter().find(|account| account.matches(one)) {
            return Ok((one.clone(), account.clone()));
        }
    }
    if !tenant.is_platform() {
        let made = json!({"id": tenant.as_str(), "name": tenant.as_str()});
        let (status, answer) = api.request("POST", "/tenants", Some(&made))?;
        if status != 201 && status != 409 {
            let detail = format!("the hub rejected the tenant: {status} {answer}");
            return Err(Error::step("trigger", detail));
        }
    }
    for account in accounts {
        match api.request("POST", "/integrations", Some(&account.request_body(tenant)))? {
            (201, made) => return Ok((made, account)),
            (409, _) => {}
            (status, answer) => {
                let detail = format!("the hub rejected the integration: {status} {answer}");
                return Err(Error::step("trigger", detail));
            }
        }
    }
    Err(Error::step(
        "trigger",
        format!(
            "{tenant} has an integration at {provider} whose credentials differ from those that \
             sign the examples. Delete it, or use another tenant: --tenant NAME"
        ),
    ))
}

/// One invocation of the command.
struct Trigger<'a> {
    hub: &'a Hub,
    provider: Provider,
    example: &'static Example,
    tenant: TenantId,
    options: &'a Options,
}

impl Trigger<'_> {
    fn webhook(&self) -> &'static dyn WebhookProvider {
        example::webhook(self.provider, self.example)
    }

    fn client(&self) -> Result<Client> {
        Ok(Client::new(self.hub.url(), Some(self.hub.admin_key()?)))
    }

    /// The integration that receives the webhook: the one given, the tenant's, or a new one.
    fn target(&self) -> Result<Target> {
        let client = self.client()?;
        let (made, account) = match &self.options.integration {
            Some(id) => {
                let shown = client.get(&format!("/integrations/{id}?tenant={}", self.tenant))?;
                let own = Account::of(self.provider, &self.tenant)?;
                let plain = Account::of_the_examples(self.provider);
                let account = if own.matches(&shown) { own } else { plain };
                (shown, account)
            }
            None => find_or_create_integration(&client, self.provider, &self.tenant)?,
        };
        let name = self.webhook().name();
        let url = made.pointer(&format!("/webhook_urls/{name}")).and_then(Value::as_str);
        let id = made.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        match (url, id) {
            (Some(url), Some(integration)) => {
                Ok(Target { url: url.to_owned(), integration, account })
            }
            _ => Err(Error::step(
                "trigger",
                format!(
                    "the integration has no webhook {name}. Check that it is for {}",
                    self.provider
                ),
            )),
        }
    }

    fn request(&self, target: &Target) -> Result<WebhookRequest> {
        let seed = Seed { at: now(), nonce: nonce()? };
        let mut draft = target.account.draft(self.example, &seed)?;
        for (path, value) in &self.options.set {
            draft.body.set(path, value).map_err(|error| Error::step("--set", error.to_string()))?;
        }
        Ok(target.account.signed(self.example, &draft, &target.url, seed.at))
    }

    /// Sends one webhook and prints the result in one line.
    fn send(&self, target: &Target) -> Result<()> {
        let request = self.request(target)?;
        let expected = self.expected(target, &request)?;
        let document = request.signing_certificate.clone().unwrap_or_default();
        let server =
            expected.fetched.as_deref().map(|address| EvidenceServer::at(address, document));
        let _server = server.transpose()?;
        let begun = Instant::now();
        let (status, answer) = self.client()?.deliver(&request)?;
        let took = begun.elapsed().as_millis();
        if (200..300).contains(&status) {
            println!("{status} within {took} ms: {}", expected.describe(&self.tenant, &answer));
            return Ok(());
        }
        let remedy = match status {
            400 => format!("The webhook rejected the request: {answer}"),
            401 => format!(
                "The hub rejected the signature. {} may not have the credentials of the examples. \
                 Without --integration, one is created that has them",
                target.integration
            ),
            403 => {
                "The account belongs to another tenant. Choose that tenant with --tenant".to_owned()
            }
            404 => "The hub has no such route. It may be deployed from another checkout; `cargo \
                    xtask up` deploys this one"
                .to_owned(),
            _ => format!("The hub failed. See its log: {}", self.hub.functions_log().display()),
        };
        Err(Error::step("trigger", format!("{status} within {took} ms. {remedy}")))
    }

    /// The expected result of the webhook in the hub.
    fn expected(&self, target: &Target, request: &WebhookRequest) -> Result<Expected> {
        let integration = target.account.integration(target.integration, &self.tenant)?;
        let source = self.webhook().source(&integration, &target.account.credentials);
        let mut fetched = source.signing_certificate_url(request).ok().flatten();
        let (mut events, mut conversations) = (Vec::new(), false);
        let received = receive(&*source, request, now());
        if let Ok(ParsedWebhook::Confirm(address)) = &received {
            fetched.get_or_insert_with(|| address.clone());
        }
        if let Ok(ParsedWebhook::Events(parsed)) = received {
            for (event, place) in parsed.into_iter().zip(0..) {
                let has_channels = !self.provider.channels().is_empty();
                if has_channels && !matches!(event.kind, EventKind::Other { .. }) {
                    conversations = true;
                } else {
                    events.push(event_id(event, &integration, place));
                }
            }
        }
        Ok(Expected { provider: self.provider, events, conversations, fetched })
    }
}

fn event_id(event: domain::event::ParsedEvent, integration: &Integration, place: u64) -> String {
    example::into_inbound_event(event, integration, now(), place).event_id().to_string()
}

/// The expected result of a webhook that the hub accepts.
struct Expected {
    provider: Provider,
    /// Ids of the recorded events.
    events: Vec<String>,
    /// Whether the webhook holds a message or a status of a conversation.
    conversations: bool,
    /// URL of the document that the hub fetches to verify the webhook.
    fetched: Option<String>,
}

impl Expected {
    fn describe(&self, tenant: &TenantId, answer: &str) -> String {
        match self.events.as_slice() {
            [] if self.conversations => {
                format!("see GET /conversations?tenant={tenant}")
            }
            [] if answer.is_empty() => "no event to record".to_owned(),
            [] => format!("response {answer}"),
            [one] => format!("see GET /events/{one}?tenant={tenant}"),
            several => format!(
                "{}; see GET /events?tenant={tenant}&provider={}",
                several.join(" "),
                self.provider
            ),
        }
    }
}

/// Fake server for the document that verifies a provider's webhooks, such as its signing
/// certificate. It listens on loopback only.
struct EvidenceServer {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EvidenceServer {
    fn at(address: &str, document: Bytes) -> Result<Self> {
        let host = address.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        let host = host.filter(|host| host.starts_with("127.0.0.1:")).ok_or_else(|| {
            Error::step(
                "trigger",
                "the hub would fetch the signing certificate from the real provider. Use an \
                 integration whose certificate is on 127.0.0.1",
            )
        })?;
        let listener = TcpListener::bind(host)
            .map_err(|error| Error::step("trigger", format!("{host}: {error}")))?;
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A client that disconnects early needs no response.
                    Ok((client, _)) => respond(client, &document).unwrap_or_default(),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for EvidenceServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing.
            thread.join().unwrap_or_default();
        }
    }
}

fn respond(mut client: TcpStream, document: &[u8]) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0_u8; 4096];
    let _read = client.read(&mut request)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        document.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(document)
}

/// The current time.
#[expect(clippy::disallowed_methods, reason = "a tool, not a function: it runs on the real clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

fn nonce() -> Result<String> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 12];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::file(source))?;
    Ok(format!("{:024x}", bytes.iter().fold(0_u128, |all, byte| (all << 8) | u128::from(*byte))))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_795_176_123, 456_000_000);

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    /// Fake hub in which one integration holds an account, or a secret in a path.
    #[derive(Default)]
    struct FakeHub {
        integrations: RefCell<Vec<(String, Integration, String)>>,
    }

    impl Api for FakeHub {
        fn request(
            &self,
            method: &'static str,
            path: &str,
            body: Option<&Value>,
        ) -> Result<(u16, Value)> {
            let mut all = self.integrations.borrow_mut();
            if method == "GET" {
                let tenant = path.strip_prefix("/integrations?tenant=").unwrap();
                let own = all.iter().filter(|(holder, ..)| holder == tenant);
                let view = |(_, one, _): &(String, Integration, String)| {
                    json!({ "id": one.id, "provider": one.provider, "credentials": one.hints,
                        "settings": one.settings })
                };
                return Ok((200, json!({ "integrations": own.map(view).collect::<Vec<_>>() })));
            }
            if path == "/tenants" {
                return Ok((201, Value::Null));
            }
            let body = body.unwrap();
            let name = body["tenant"].as_str().unwrap();
            let provider: Provider = body["provider"].as_str().unwrap().parse().unwrap();
            let account = Account {
                provider,
                settings: body["settings"].as_object().unwrap().clone(),
                credentials: Credentials::new(body["credentials"].as_object().unwrap().iter().map(
                    |(name, values)| {
                        let values = values.as_array().unwrap().iter();
                        (name.clone(), values.map(|v| v.as_str().unwrap().into()).collect())
                    },
                )),
                swaps: Vec::new(),
            };
            let id = IntegrationId::derived(&[name, &all.len().to_string()]);
            let made = account.integration(id, &tenant(name)).unwrap();
            let path_secret = providers::spec(provider).path_secret;
            let path_secret = path_secret.and_then(|name| account.credentials.first(name));
            let path_secret = path_secret.map_or("", |secret| secret.expose_secret()).to_owned();
            let taken = all.iter().any(|(_, other, secret)| {
                other.provider == provider
                    && ((other.account.is_some() && other.account == made.account)
                        || (!path_secret.is_empty() && *secret == path_secret))
            });
            if taken {
                return Ok((409, json!({ "code": "account_taken" })));
            }
            all.push((name.to_owned(), made.clone(), path_secret));
            Ok((201, json!({ "id": made.id })))
        }
    }

    #[test]
    fn each_tenant_gets_its_own_integration_and_reuses_it() {
        for provider in Provider::ALL {
            let hub = FakeHub::default();
            let mut made = Vec::new();
            for name in ["demo", "acme", "another-tenant"] {
                let (first, _) = find_or_create_integration(&hub, *provider, &tenant(name))
                    .unwrap_or_else(|error| panic!("{provider} of {name}: {error}"));
                let (again, _) =
                    find_or_create_integration(&hub, *provider, &tenant(name)).unwrap();
                assert_eq!(first["id"], again["id"], "{provider} of {name}");
                made.push(first["id"].as_str().unwrap().to_owned());
            }
            made.dedup();
            assert_eq!(made.len(), 3, "{provider}: one integration for each tenant");
        }
    }

    #[test]
    fn an_example_for_a_tenants_own_account_is_verified_and_names_that_account() {
        for (provider, example) in example::all() {
            for account in [
                Account::of_the_examples(provider),
                Account::of(provider, &tenant("acme")).unwrap(),
            ] {
                let id = IntegrationId::derived(&["acme"]);
                let integration = account.integration(id, &tenant("acme")).unwrap();
                let webhook = example::webhook(provider, example);
                let url = format!("https://hub.example.com/webhooks/{}/{id}", webhook.path());
                let seed = Seed { at: NOW, ..Seed::fixed(&example.full_name()) };
                let draft = account.draft(example, &seed).unwrap();
                let request = account.signed(example, &draft, &url, NOW);
                let source = webhook.source(&integration, &account.credentials);
                let received = receive(&*source, &request, NOW);
                let name = example.full_name();
                if let ParsedWebhook::Events(events) =
                    received.unwrap_or_else(|refused| panic!("{name}: {refused:?}"))
                {
                    for event in events {
                        let held = integration.account.as_ref();
                        let own = held.is_none_or(|held| *held == event.account);
                        assert!(own || event.account.is_empty(), "{name}: {}", event.account);
                    }
                }
            }
        }
    }

    #[test]
    fn an_integration_matches_with_fewer_credentials_but_not_with_different_ones() {
        let account = Account::of_the_examples(Provider::WhatsappCloud);
        let id = IntegrationId::derived(&["acme"]);
        let complete = account.integration(id, &tenant("acme")).unwrap();
        let mut shown = json!({ "provider": "whatsapp_cloud", "settings": complete.settings,
            "credentials": complete.hints });
        assert!(account.matches(&shown));
        shown["credentials"].as_object_mut().unwrap().remove("WHATSAPP_ACCESS_TOKEN");
        assert!(account.matches(&shown), "the secret that verifies the webhook is present");
        shown["credentials"]["WHATSAPP_APP_SECRET"] = "...else".into();
        assert!(!account.matches(&shown));
    }

    #[test]
    fn a_similar_account_name_keeps_the_format_and_differs_for_each_tenant() {
        for account in ["15550001111222", "700000001", "acme-main", "shop.myshopify.com"] {
            let [one, two] = ["acme", "globex"].map(|name| similar_name(account, &tenant(name)));
            assert!(one != two && one != account && two != account, "{account}: {one} {two}");
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            assert_eq!(digits(&one), digits(account));
            assert_eq!(
                one.split_once('.').map(|(_, rest)| rest.to_owned()),
                account.split_once('.').map(|(_, rest)| rest.to_owned())
            );
        }
    }
}
