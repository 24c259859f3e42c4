//! Signed webhooks of every provider, sent to a running hub.

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
    integration::Flaw,
    webhook::{Delivery, WebhookProvider, WebhookRequest, receive},
};
use jiff::Timestamp;
use providers::{
    entry::Maker,
    example::{self, Body, Draft, Example, Seed},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    http::Client,
    hub::Hub,
};

/// What to send, and to whom.
#[derive(Args)]
pub(crate) struct Options {
    /// A provider, or one of its webhooks.
    #[arg(required_unless_present = "list")]
    provider: Option<String>,
    /// One of its events: `--list` shows them.
    #[arg(required_unless_present = "list")]
    event: Option<String>,
    /// Whose account it happens to: the tenant and the account are made if there are none.
    #[arg(long, default_value = "demo")]
    tenant: String,
    /// An integration with the credentials of the examples. Without one, the tenant's own is
    /// taken, or made.
    #[arg(long, value_name = "ID")]
    integration: Option<String>,
    /// Change a field of the body before it is signed, such as data.object.amount=5.
    #[arg(long, value_name = "PATH=VALUE", value_parser = change)]
    set: Vec<(String, String)>,
    /// Send so many, each with ids of its own.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Show what there is to send.
    #[arg(long)]
    list: bool,
    /// Show the request, and send nothing.
    #[arg(long)]
    print: bool,
}

fn change(text: &str) -> std::result::Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("say PATH=VALUE")?;
    Ok((path.to_owned(), value.to_owned()))
}

/// Sends, shows or lists.
pub(crate) fn run(hub: &Hub, options: &Options) -> Result<()> {
    if options.list {
        list();
        return Ok(());
    }
    let whose = options.provider.as_deref().unwrap_or_default();
    let (provider, example) = find(whose, options.event.as_deref().unwrap_or_default())?;
    let tenant: TenantId = options.tenant.parse().map_err(|_| {
        Error::step("trigger", format!("{:?} is no name of a tenant", options.tenant))
    })?;
    let stage = Stage { hub, provider, example, tenant, options };
    if options.print && !hub.is_running() {
        let url = format!("{}/webhooks/{}", hub.url(), stage.webhook().path());
        let integration = IntegrationId::derived(&["example", provider.as_str()]);
        let (url, account) = (format!("{url}/{integration}"), Account::of_the_examples(provider));
        return print(&stage.request(&Target { url, integration, account })?);
    }
    if !hub.is_running() {
        return Err(Error::NotRunning(hub.folder().to_owned()));
    }
    let target = stage.target()?;
    if options.print {
        return print(&stage.request(&target)?);
    }
    for _ in 0..options.count {
        stage.send(&target)?;
    }
    Ok(())
}

/// A table of all there is.
fn list() {
    let rows: Vec<[String; 3]> = example::all()
        .map(|(provider, example)| {
            let whose = if provider.as_str() == example.webhook || alone(provider, example) {
                provider.to_string()
            } else {
                example.webhook.to_owned()
            };
            [whose, example.name.to_owned(), example.what.to_owned()]
        })
        .collect();
    let width = |column: usize, least: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or_default().max(least)
    };
    let (first, second) = (width(0, 8), width(1, 5));
    println!("{:first$}  {:second$}  WHAT", "PROVIDER", "EVENT");
    for [whose, name, what] in &rows {
        println!("{whose:first$}  {name:second$}  {what}");
    }
    println!("\n{} events. Send one: cargo xtask trigger PROVIDER EVENT", rows.len());
}

/// Whether the provider's name and the example's lead to it and to no other.
fn alone(provider: Provider, example: &Example) -> bool {
    example::named(provider.as_str(), example.name).len() == 1
}

fn find(whose: &str, name: &str) -> Result<(Provider, &'static Example)> {
    let found = example::named(whose, name);
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let of_it = example::all().filter(|(provider, example)| {
                provider.as_str() == whose || example.webhook == whose
            });
            let names: Vec<_> = of_it.map(|(_, example)| example.name).collect();
            let detail = if names.is_empty() {
                let all = Provider::ALL.iter().map(|provider| provider.as_str());
                format!("no provider {whose:?}; there are: {}", all.collect::<Vec<_>>().join(", "))
            } else {
                format!("{whose} has no event {name:?}; it has: {}", names.join(", "))
            };
            Err(Error::step("trigger", detail))
        }
        several => {
            let webhooks: Vec<_> = several.iter().map(|(_, example)| example.webhook).collect();
            let detail = format!(
                "several webhooks of {whose} have {name:?}: say one of {} in the place of {whose}",
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

/// Where a webhook is called, and whose account it is about.
struct Target {
    url: String,
    integration: IntegrationId,
    account: Account,
}

/// The account that an example happens to.
#[derive(Clone, Debug)]
struct Account {
    provider: Provider,
    settings: Map<String, Value>,
    credentials: Credentials,
    /// What stands in the examples, and what stands in its place here.
    swaps: Vec<(String, String)>,
}

impl Account {
    /// The one that is written in the examples. One tenant can hold it.
    fn of_the_examples(provider: Provider) -> Self {
        let examples = example::of(provider);
        let (settings, credentials) = ((examples.settings)(), (examples.credentials)());
        Self { provider, settings, credentials, swaps: Vec::new() }
    }

    /// One like it that is `tenant`'s own.
    fn of(provider: Provider, tenant: &TenantId) -> Result<Self> {
        let plain = Self::of_the_examples(provider);
        let id = IntegrationId::derived(&["example", provider.as_str()]);
        let held = plain.integration(id, tenant)?.account;
        // A secret by which an integration is found is one integration's, too.
        let in_path = providers::entry(provider).in_path;
        let in_path = in_path.and_then(|name| plain.credentials.first(name));
        let in_path = in_path.map(|secret| secret.expose_secret().to_owned());
        let own = |text: String| {
            let new = like(&text, tenant);
            (text, new)
        };
        let swaps: Vec<_> = held.into_iter().chain(in_path).map(own).collect();
        let swap = |text: &str| swapped(text, &swaps);
        let settings = read(&swap(&Value::Object(plain.settings).to_string()))?;
        let credentials = plain.credentials.iter().map(|(name, values)| {
            let values = values.iter().map(|value| swap(value.expose_secret()).into());
            (name.to_owned(), values.collect())
        });
        let credentials = Credentials::new(credentials.collect::<Vec<_>>());
        Ok(Self { provider, settings, credentials, swaps })
    }

    /// The integration that the hub makes of it.
    fn integration(&self, id: IntegrationId, tenant: &TenantId) -> Result<Integration> {
        let wrong = |flaw: Flaw| Error::step("trigger", flaw.to_string());
        let plain = example::integration(self.provider, id, tenant.clone()).map_err(wrong)?;
        let entry = providers::entry(self.provider);
        let settings = (entry.settings)(&self.settings).map_err(wrong)?;
        let maker = if tenant.is_platform() { Maker::Hub } else { Maker::Operator };
        let account = (entry.account)(maker, &settings, &self.credentials).map_err(wrong)?;
        Ok(Integration { account, settings, hints: self.credentials.hints(), ..plain })
    }

    /// The body of `POST /integrations`.
    fn asked(&self, tenant: &TenantId) -> Value {
        let values = |values: &[SecretString]| -> Value {
            values.iter().map(ExposeSecret::expose_secret).collect()
        };
        let credentials = self.credentials.iter();
        let credentials = credentials.map(|(name, all)| (name.to_owned(), values(all)));
        json!({ "tenant": tenant, "provider": self.provider, "settings": self.settings,
            "credentials": credentials.collect::<Map<_, _>>() })
    }

    /// Whether an integration, as the hub shows it, is of this account and contradicts none of
    /// its credentials.
    fn fits(&self, shown: &Value) -> bool {
        // As the hub keeps them: with the defaults of what is in them.
        let kept = (providers::entry(self.provider).settings)(&self.settings);
        let Ok(kept) = kept.map(|settings| json!(settings)) else { return false };
        let has = |name: &String| {
            shown.pointer("/settings").and_then(|all| all.get(name)) == kept.get(name)
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

    /// The example as it happens to this account.
    fn draft(&self, example: &Example, seed: &Seed) -> Result<Draft> {
        let mut draft = (example.draft)(seed);
        let swap = |text: &str| swapped(text, &self.swaps);
        draft.body = match draft.body {
            Body::Empty => Body::Empty,
            Body::Json(body) => Body::Json(read(&swap(&body.to_string()))?),
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

    /// The draft, signed with its credentials.
    fn signed(&self, example: &Example, draft: &Draft, url: &str, at: Timestamp) -> WebhookRequest {
        (example::of(self.provider).sign)(example, draft, &self.credentials, url, at)
    }
}

/// JSON of ours that was changed.
fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::step("trigger", error.to_string()))
}

fn swapped(text: &str, swaps: &[(String, String)]) -> String {
    swaps.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

/// A name like `text`, of the same form, that is `tenant`'s own: other digits at the end of its
/// first part, or letters there if it has few digits.
fn like(text: &str, tenant: &TenantId) -> String {
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

/// The hub's API, as much of it as is asked here.
trait Api {
    /// Any answer, with its status.
    fn ask(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<(u16, Value)>;
}

impl Api for Client {
    fn ask(&self, method: &'static str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        self.send(method, path, body)
    }
}

/// The tenant's integration for the examples: one that is there, or a new one.
///
/// The account in the examples has one holder. Where that is somebody else, the tenant gets one
/// like it.
fn integrated(api: &impl Api, provider: Provider, tenant: &TenantId) -> Result<(Value, Account)> {
    let accounts = [Account::of_the_examples(provider), Account::of(provider, tenant)?];
    let (status, answer) = api.ask("GET", &format!("/integrations?tenant={tenant}"), None)?;
    let shown = answer.get("integrations").and_then(Value::as_array);
    let shown = shown.filter(|_| status == 200).into_iter().flatten();
    for one in shown {
        if let Some(account) = accounts.iter().find(|account| account.fits(one)) {
            return Ok((one.clone(), account.clone()));
        }
    }
    if !tenant.is_platform() {
        let made = json!({"id": tenant.as_str(), "name": tenant.as_str()});
        let (status, answer) = api.ask("POST", "/tenants", Some(&made))?;
        if status != 201 && status != 409 {
            let detail = format!("the hub did not take a tenant: {status} {answer}");
            return Err(Error::step("trigger", detail));
        }
    }
    for account in accounts {
        match api.ask("POST", "/integrations", Some(&account.asked(tenant)))? {
            (201, made) => return Ok((made, account)),
            (409, _) => {}
            (status, answer) => {
                let detail = format!("the hub did not take an integration: {status} {answer}");
                return Err(Error::step("trigger", detail));
            }
        }
    }
    Err(Error::step(
        "trigger",
        format!(
            "{tenant} has an integration at {provider} with other credentials than the examples \
             are signed with. Remove it, or say another tenant: --tenant NAME"
        ),
    ))
}

struct Stage<'a> {
    hub: &'a Hub,
    provider: Provider,
    example: &'static Example,
    tenant: TenantId,
    options: &'a Options,
}

impl Stage<'_> {
    fn webhook(&self) -> &'static dyn WebhookProvider {
        example::webhook(self.provider, self.example)
    }

    fn client(&self) -> Result<Client> {
        Ok(Client::new(self.hub.url(), Some(self.hub.admin_key()?)))
    }

    /// The integration the webhook is for: the one that was named, the tenant's, or a new one.
    fn target(&self) -> Result<Target> {
        let client = self.client()?;
        let (made, account) = match &self.options.integration {
            Some(id) => {
                let shown = client.get(&format!("/integrations/{id}?tenant={}", self.tenant))?;
                let own = Account::of(self.provider, &self.tenant)?;
                let plain = Account::of_the_examples(self.provider);
                let account = if own.fits(&shown) { own } else { plain };
                (shown, account)
            }
            None => integrated(&client, self.provider, &self.tenant)?,
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
                format!("that integration has no webhook {name}: is it {}'s?", self.provider),
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

    /// Sends one, and says in a line what became of it.
    fn send(&self, target: &Target) -> Result<()> {
        let request = self.request(target)?;
        let expected = self.expected(target, &request)?;
        let document = request.evidence.clone().unwrap_or_default();
        let witness = expected.fetched.as_deref().map(|address| Witness::at(address, document));
        let _witness = witness.transpose()?;
        let begun = Instant::now();
        let (status, answer) = self.client()?.deliver(&request)?;
        let took = begun.elapsed().as_millis();
        if (200..300).contains(&status) {
            println!("{status} within {took} ms: {}", expected.seen_at(&self.tenant, &answer));
            return Ok(());
        }
        let remedy = match status {
            400 => format!("the webhook says what is wrong: {answer}"),
            401 => format!(
                "the hub does not believe it. Has {} the credentials of the examples? Without \
                 --integration one is made that has",
                target.integration
            ),
            403 => "the account it names is another tenant's: see --tenant".to_owned(),
            404 => "the hub has no such route. Is it of this checkout? `cargo xtask up` deploys it"
                .to_owned(),
            _ => format!("the hub is in trouble. Its log: {}", self.hub.functions_log().display()),
        };
        Err(Error::step("trigger", format!("{status} within {took} ms. {remedy}")))
    }

    /// What the hub will make of it.
    fn expected(&self, target: &Target, request: &WebhookRequest) -> Result<Expected> {
        let whose = target.account.integration(target.integration, &self.tenant)?;
        let source = self.webhook().source(&whose, &target.account.credentials);
        let mut fetched = source.evidence(request).ok().flatten();
        let (mut events, mut conversations) = (Vec::new(), false);
        let received = receive(&*source, request, now());
        if let Ok(Delivery::Confirm(address)) = &received {
            fetched.get_or_insert_with(|| address.clone());
        }
        if let Ok(Delivery::Events(parsed)) = received {
            for (event, place) in parsed.into_iter().zip(0..) {
                let talks = !self.provider.channels().is_empty();
                if talks && !matches!(event.kind, EventKind::Other { .. }) {
                    conversations = true;
                } else {
                    events.push(event_id(event, &whose, place));
                }
            }
        }
        Ok(Expected { provider: self.provider, events, conversations, fetched })
    }
}

fn event_id(event: domain::event::ParsedEvent, whose: &Integration, place: u64) -> String {
    example::stamped(event, whose, now(), place).event_id().to_string()
}

/// What becomes of a webhook that the hub takes.
struct Expected {
    provider: Provider,
    /// Ids in the record of events.
    events: Vec<String>,
    /// Whether it is something in a conversation.
    conversations: bool,
    /// What the hub asks for before it believes it.
    fetched: Option<String>,
}

impl Expected {
    fn seen_at(&self, tenant: &TenantId, answer: &str) -> String {
        match self.events.as_slice() {
            [] if self.conversations => {
                format!("see GET /conversations?tenant={tenant}")
            }
            [] if answer.is_empty() => "nothing to keep".to_owned(),
            [] => format!("answered {answer}"),
            [one] => format!("see GET /events/{one}?tenant={tenant}"),
            several => format!(
                "{}; see GET /events?tenant={tenant}&provider={}",
                several.join(" "),
                self.provider
            ),
        }
    }
}

/// Stands in for the place where a provider keeps what its webhooks are proved by, if that is on
/// this machine.
struct Witness {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    fn at(address: &str, document: Bytes) -> Result<Self> {
        let host = address.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        let host = host.filter(|host| host.starts_with("127.0.0.1:")).ok_or_else(|| {
            Error::step("trigger", "the hub would ask the provider itself for a certificate")
        })?;
        let listener = TcpListener::bind(host)
            .map_err(|error| Error::step("trigger", format!("{host}: {error}")))?;
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    // A caller that hangs up has had what it wanted.
                    Ok((caller, _)) => answer(caller, &document).unwrap_or_default(),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            thread.join().unwrap_or_default();
        }
    }
}

fn answer(mut caller: TcpStream, document: &[u8]) -> std::io::Result<()> {
    caller.set_nonblocking(false)?;
    caller.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0_u8; 4096];
    let _read = caller.read(&mut request)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        document.len()
    );
    caller.write_all(head.as_bytes())?;
    caller.write_all(document)
}

/// The time.
#[expect(clippy::disallowed_methods, reason = "this is no function; the hub reads a real clock")]
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

    /// A hub where an account, or a secret in a path, has one holder.
    #[derive(Default)]
    struct FakeHub {
        integrations: RefCell<Vec<(String, Integration, String)>>,
    }

    impl Api for FakeHub {
        fn ask(
            &self,
            method: &'static str,
            path: &str,
            body: Option<&Value>,
        ) -> Result<(u16, Value)> {
            let mut all = self.integrations.borrow_mut();
            if method == "GET" {
                let whose = path.strip_prefix("/integrations?tenant=").unwrap();
                let own = all.iter().filter(|(tenant, ..)| tenant == whose);
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
            let whose = body["tenant"].as_str().unwrap();
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
            let id = IntegrationId::derived(&[whose, &all.len().to_string()]);
            let made = account.integration(id, &tenant(whose)).unwrap();
            let in_path = providers::entry(provider).in_path;
            let in_path = in_path.and_then(|name| account.credentials.first(name));
            let in_path = in_path.map_or("", |secret| secret.expose_secret()).to_owned();
            let taken = all.iter().any(|(_, other, secret)| {
                other.provider == provider
                    && ((other.account.is_some() && other.account == made.account)
                        || (!in_path.is_empty() && *secret == in_path))
            });
            if taken {
                return Ok((409, json!({ "code": "account_taken" })));
            }
            all.push((whose.to_owned(), made.clone(), in_path));
            Ok((201, json!({ "id": made.id })))
        }
    }

    #[test]
    fn every_tenant_that_is_named_gets_an_integration_and_finds_it_again() {
        for provider in Provider::ALL {
            let hub = FakeHub::default();
            let mut made = Vec::new();
            for name in ["demo", "acme", "another-tenant"] {
                let (first, _) = integrated(&hub, *provider, &tenant(name))
                    .unwrap_or_else(|error| panic!("{provider} of {name}: {error}"));
                let (again, _) = integrated(&hub, *provider, &tenant(name)).unwrap();
                assert_eq!(first["id"], again["id"], "{provider} of {name}");
                made.push(first["id"].as_str().unwrap().to_owned());
            }
            made.dedup();
            assert_eq!(made.len(), 3, "{provider}: each tenant's own");
        }
    }

    #[test]
    fn an_example_of_a_tenants_own_account_is_proved_and_names_that_account() {
        for (provider, example) in example::all() {
            for account in [
                Account::of_the_examples(provider),
                Account::of(provider, &tenant("acme")).unwrap(),
            ] {
                let id = IntegrationId::derived(&["acme"]);
                let whose = account.integration(id, &tenant("acme")).unwrap();
                let webhook = example::webhook(provider, example);
                let url = format!("https://hub.example.com/webhooks/{}/{id}", webhook.path());
                let seed = Seed { at: NOW, ..Seed::fixed(&example.full_name()) };
                let draft = account.draft(example, &seed).unwrap();
                let request = account.signed(example, &draft, &url, NOW);
                let source = webhook.source(&whose, &account.credentials);
                let received = receive(&*source, &request, NOW);
                let name = example.full_name();
                if let Delivery::Events(events) =
                    received.unwrap_or_else(|refused| panic!("{name}: {refused:?}"))
                {
                    for event in events {
                        let own = whose.account.as_ref().is_none_or(|own| *own == event.account);
                        assert!(own || event.account.is_empty(), "{name}: {}", event.account);
                    }
                }
            }
        }
    }

    #[test]
    fn an_integration_with_fewer_credentials_is_taken_and_one_with_others_is_not() {
        let account = Account::of_the_examples(Provider::Whatsapp);
        let id = IntegrationId::derived(&["acme"]);
        let whole = account.integration(id, &tenant("acme")).unwrap();
        let mut shown = json!({ "provider": "whatsapp", "settings": whole.settings,
            "credentials": whole.hints });
        assert!(account.fits(&shown));
        shown["credentials"].as_object_mut().unwrap().remove("WHATSAPP_ACCESS_TOKEN");
        assert!(account.fits(&shown), "what proves the webhook is there");
        shown["credentials"]["WHATSAPP_APP_SECRET"] = "...else".into();
        assert!(!account.fits(&shown));
    }

    #[test]
    fn what_is_like_an_account_has_its_form_and_is_another_for_each_tenant() {
        for account in ["15550001111222", "700000001", "acme-main", "shop.myshopify.com"] {
            let [one, two] = ["acme", "globex"].map(|name| like(account, &tenant(name)));
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
