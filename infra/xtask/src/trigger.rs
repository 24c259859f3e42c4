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
    Integration, IntegrationId, Provider, TenantId,
    event::EventKind,
    webhook::{Delivery, WebhookProvider, WebhookRequest, receive},
};
use jiff::Timestamp;
use providers::example::{self, Draft, Example, Seed};
use serde_json::{Value, json};

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
    /// Whose account it happens to. Made if there is none of that name.
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
        let id = IntegrationId::derived(&["example", provider.as_str()]);
        return print(&stage.request(&format!("{url}/{id}"))?);
    }
    if !hub.is_running() {
        return Err(Error::NotRunning(hub.folder().to_owned()));
    }
    let target = stage.target()?;
    if options.print {
        return print(&stage.request(&target.url)?);
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
        let made = match &self.options.integration {
            Some(id) => client.get(&format!("/integrations/{id}?tenant={}", self.tenant))?,
            None => match self.present(&client)? {
                Some(present) => present,
                None => self.make(&client)?,
            },
        };
        let name = self.webhook().name();
        let url = made.pointer(&format!("/webhook_urls/{name}")).and_then(Value::as_str);
        let id = made.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        match (url, id) {
            (Some(url), Some(integration)) => Ok(Target { url: url.to_owned(), integration }),
            _ => Err(Error::step(
                "trigger",
                format!("that integration has no webhook {name}: is it {}'s?", self.provider),
            )),
        }
    }

    /// The tenant's integration with the examples' settings and credentials, if it was made.
    fn present(&self, client: &Client) -> Result<Option<Value>> {
        let (status, answer) =
            client.send("GET", &format!("/integrations?tenant={}", self.tenant), None)?;
        if status != 200 {
            return Ok(None);
        }
        let hints = json!((example::of(self.provider).credentials)().hints());
        let settings = (example::of(self.provider).settings)();
        let fits = |one: &&Value| {
            let has = |(name, value): (&String, &Value)| {
                one.pointer("/settings").and_then(|all| all.get(name)) == Some(value)
            };
            one.get("provider").and_then(Value::as_str) == Some(self.provider.as_str())
                && one.get("credentials") == Some(&hints)
                && settings.iter().all(has)
        };
        let all = answer.get("integrations").and_then(Value::as_array);
        Ok(all.into_iter().flatten().find(fits).cloned())
    }

    fn make(&self, client: &Client) -> Result<Value> {
        if !self.tenant.is_platform() {
            let tenant = json!({"id": self.tenant.as_str(), "name": self.tenant.as_str()});
            let (status, answer) = client.send("POST", "/tenants", Some(&tenant))?;
            if status != 201 && status != 409 {
                let detail = format!("the hub did not take a tenant: {status} {answer}");
                return Err(Error::step("trigger", detail));
            }
        }
        let asked = example::asked(self.provider, &self.tenant);
        match client.send("POST", "/integrations", Some(&asked))? {
            (201, made) => Ok(made),
            (409, _) => Err(Error::step(
                "trigger",
                format!(
                    "another tenant, or an integration with other credentials, holds the account \
                     of {}'s examples. Say whose: --tenant NAME, or --integration ID",
                    self.provider
                ),
            )),
            (status, answer) => Err(Error::step(
                "trigger",
                format!("the hub did not take an integration: {status} {answer}"),
            )),
        }
    }

    fn draft(&self) -> Result<(Draft, Timestamp)> {
        let seed = Seed { at: now(), nonce: nonce()? };
        let mut draft = (self.example.draft)(&seed);
        for (path, value) in &self.options.set {
            draft.body.set(path, value).map_err(|error| Error::step("--set", error.to_string()))?;
        }
        Ok((draft, seed.at))
    }

    fn request(&self, url: &str) -> Result<WebhookRequest> {
        let (draft, at) = self.draft()?;
        Ok(example::signed(self.provider, self.example, &draft, url, at))
    }

    /// Sends one, and says in a line what became of it.
    fn send(&self, target: &Target) -> Result<()> {
        let request = self.request(&target.url)?;
        let expected = self.expected(target.integration, &request)?;
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
    fn expected(&self, id: IntegrationId, request: &WebhookRequest) -> Result<Expected> {
        let whose = example::integration(self.provider, id, self.tenant.clone())
            .map_err(|flaw| Error::step("trigger", flaw.to_string()))?;
        let credentials = (example::of(self.provider).credentials)();
        let source = self.webhook().source(&whose, &credentials);
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
