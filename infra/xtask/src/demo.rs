//! The `demo` command: sends messages through the hub and prints each step with its time since the
//! customer wrote.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    http::Client,
    hub::Hub,
};

const TENANT: &str = "demo";
/// How long the demo waits for a step.
const STEP_DEADLINE: Duration = Duration::from_secs(30);

/// Runs the demo: a question and its answer on both channels, and a forged webhook on each.
pub(crate) fn run(hub: &Hub) -> Result<()> {
    let setup = Setup::create(hub)?;
    let demo = setup.whatsapp()?;
    setup.telegram()?;
    print_next_steps(hub, &demo)
}

/// Resources that the demo creates and leaves in the hub.
struct Demo {
    /// Id of the WhatsApp number.
    number: String,
    /// The conversation with its customer.
    conversation: String,
}

/// Prints commands to try next.
fn print_next_steps(hub: &Hub, demo: &Demo) -> Result<()> {
    let Demo { number, conversation } = demo;
    let (url, key, simulator) = (hub.url(), hub.admin_key()?, hub.simulator_url());
    title("Try it");
    println!("  base URL   {url}");
    println!("  admin key  {key}");
    println!("\n  Have the customer write again; the automation replies:");
    println!(
        "    curl {simulator}/_sim/whatsapp/{number}/customer-writes -d '{{\"from\":\"16505551234\",\"text\":\"Thanks!\"}}'"
    );
    println!("\n  Send the customer a message:");
    println!(
        "    curl '{url}/messages?tenant={TENANT}' -H 'Authorization: Bearer {key}' -d '{{\"conversation\":\"{conversation}\",\"text\":\"See you!\"}}'"
    );
    println!("\n  List the conversations:");
    println!("    curl '{url}/conversations?tenant={TENANT}' -H 'Authorization: Bearer {key}'");
    println!();
    Ok(())
}

/// The hub's API, the provider simulator, and a tenant with an automation.
struct Setup {
    hub: Client,
    tenant: Client,
    simulator: Client,
    simulator_url: String,
    /// Random number that makes this run's account ids unique.
    run: u64,
}

impl Setup {
    fn create(hub: &Hub) -> Result<Self> {
        title("Tenant, API key and automation");
        let admin = Client::new(hub.url(), Some(hub.admin_key()?));
        let simulator = Client::new(hub.simulator_url(), None);
        let (status, answer) =
            admin.send("POST", "/tenants", Some(&json!({"id": TENANT, "name": "Demo shop"})))?;
        if status != 201 && status != 409 {
            return Err(Error::Story(format!("the hub rejected the tenant: {status} {answer}")));
        }
        say(None, &format!("tenant {TENANT}"));

        let keys = format!("/tenants/{TENANT}/keys");
        let key =
            text(&admin.post(&keys, &json!({"scopes": ["send", "read", "worker"]}))?, "/key")?;
        say(None, "an API key for it");

        let url = format!("{}/automation/{TENANT}", hub.simulator_url());
        let automation = admin.put(
            &format!("/tenants/{TENANT}/automation"),
            &json!({"kind": "push", "url": url, "allow_private_network": true}),
        )?;
        simulator.put(
            &format!("/_sim/automation/{TENANT}"),
            &json!({
                "secret": text(&automation, "/secret")?,
                "reply": {"hub": hub.url(), "key": key, "prefix": "You said: "},
            }),
        )?;
        say(None, &format!("an automation at {url}"));
        Ok(Self {
            tenant: Client::new(hub.url(), Some(key)),
            hub: admin,
            simulator,
            simulator_url: hub.simulator_url(),
            run: random()?,
        })
    }

    /// Shows a conversation on WhatsApp.
    fn whatsapp(&self) -> Result<Demo> {
        title("WhatsApp");
        let number = format!("1{:014}", self.run % 100_000_000_000_000);
        let token = format!("EAAG-demo-{}", self.run);
        let secret = format!("demo-app-secret-{}", self.run);
        let verify = format!("demo-verify-{}", self.run);
        let integration = self.hub.post(
            "/integrations",
            &json!({
                "tenant": TENANT,
                "provider": "whatsapp",
                "settings": {"phone_number_id": number, "base_url": self.simulator_url},
                "credentials": {
                    "WHATSAPP_ACCESS_TOKEN": token,
                    "WHATSAPP_APP_SECRET": secret,
                    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": verify,
                },
            }),
        )?;
        let account = format!("/_sim/whatsapp/{number}");
        self.simulator.put(
            &account,
            &json!({
                "token": token,
                "app_secret": secret,
                "verify_token": verify,
                "hub_url": text(&integration, "/webhook_url")?,
            }),
        )?;
        say(None, &format!("integration {} for the number {number}", text(&integration, "/id")?));
        self.hub
            .post(&format!("/integrations/{}/verify", text(&integration, "/id")?), &json!({}))?;
        say(None, "the hub verified its credentials with WhatsApp");
        let handshake = self.simulator.post(&format!("{account}/handshake"), &json!({}))?;
        expect(handshake.pointer("/ok") == Some(&Value::Bool(true)), || {
            format!("webhook verification failed: {handshake}")
        })?;
        say(None, "WhatsApp verified the hub's webhook URL");

        let mut watcher = self.watch()?;
        self.simulator.post(
            &format!("{account}/customer-writes"),
            &json!({"from": "16505551234", "name": "Sheena Nelson", "text": "Are you open today?", "wait": false}),
        )?;
        let message =
            watcher.follow("whatsapp", &number, |seen| seen.reply.is_some() && seen.has("read"))?;
        let conversation = self.conclude(&message, &["read"])?;
        self.forged(&account)?;
        Ok(Demo { number, conversation })
    }

    fn telegram(&self) -> Result<()> {
        title("Telegram");
        let bot = (self.run % 10_000_000_000).to_string();
        let token = format!("{bot}:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
        let account = format!("/_sim/telegram/{bot}");
        self.simulator.put(&account, &json!({"token": token}))?;
        let integration = self.hub.post(
            "/integrations",
            &json!({
                "tenant": TENANT,
                "provider": "telegram",
                "settings": {"base_url": self.simulator_url},
                "credentials": {"TELEGRAM_BOT_TOKEN": token},
            }),
        )?;
        let id = text(&integration, "/id")?;
        say(None, &format!("integration {id} for the bot {bot}"));
        self.hub.post(&format!("/integrations/{id}/register"), &json!({}))?;
        say(None, "the hub registered its webhook with Telegram");

        let mut watcher = self.watch()?;
        self.simulator.post(
            &format!("{account}/customer-writes"),
            &json!({"chat_id": 1_111_111, "name": "Sheena", "text": "And tomorrow?", "wait": false}),
        )?;
        let message =
            watcher.follow("telegram", &bot, |seen| seen.reply.is_some() && seen.accepted)?;
        let _conversation = self.conclude(&message, &["sent", "accepted"])?;
        self.forged(&account)
    }

    /// Sends a webhook with a wrong signature or secret.
    fn forged(&self, account: &str) -> Result<()> {
        let begun = Instant::now();
        let answer = self.simulator.post(
            &format!("{account}/forge"),
            &json!({"kind": "wrong_secret", "text": "I am not who I say"}),
        )?;
        let status = answer.pointer("/webhook_status").and_then(Value::as_u64).unwrap_or_default();
        expect((400..500).contains(&status), || {
            format!("the hub returned {status} to a forged webhook")
        })?;
        say(Some(begun.elapsed()), &format!("a forged webhook is rejected: {status}"));
        Ok(())
    }

    /// Waits until the hub's API shows one of `statuses` for the reply, and prints the reply's
    /// status history. Returns its conversation id.
    fn conclude(&self, message: &str, statuses: &[&str]) -> Result<String> {
        let deadline = Instant::now() + STEP_DEADLINE;
        loop {
            let shown = self.tenant.get(&format!("/messages/{message}"))?;
            let history: Vec<&str> = shown
                .pointer("/history")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.pointer("/status").and_then(Value::as_str))
                .collect();
            if history.iter().any(|status| statuses.contains(status)) {
                say(None, &format!("status history of {message}: {}", history.join(", ")));
                return text(&shown, "/conversation");
            }
            expect(Instant::now() < deadline, || {
                format!("{message} never became {}: {shown}", statuses.join(" or "))
            })?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts to watch the simulator's log.
    fn watch(&self) -> Result<Watcher<'_>> {
        let health = self.simulator.get("/_sim/health")?;
        let since = health.pointer("/last_seq").and_then(Value::as_u64).unwrap_or_default();
        Ok(Watcher { simulator: &self.simulator, since, begun_at: None })
    }
}

/// Reader of the simulator's log.
struct Watcher<'a> {
    simulator: &'a Client,
    since: u64,
    /// When the customer wrote, by the simulator's clock.
    begun_at: Option<u64>,
}

/// Events observed so far.
#[derive(Default)]
struct Seen {
    /// The hub's id of the reply.
    reply: Option<String>,
    /// Whether the provider accepted the reply.
    accepted: bool,
    /// Statuses that the hub has acknowledged to the provider.
    statuses: Vec<String>,
    /// Statuses that the automation was notified of.
    notified: Vec<String>,
}

impl Seen {
    /// Whether the hub received the status and notified the automation.
    fn has(&self, status: &str) -> bool {
        [&self.statuses, &self.notified].iter().all(|seen| seen.iter().any(|seen| seen == status))
    }
}

impl Watcher<'_> {
    /// Prints every step until `done`. Returns the hub's id of the reply.
    fn follow(
        &mut self,
        provider: &str,
        account: &str,
        done: impl Fn(&Seen) -> bool,
    ) -> Result<String> {
        let mut seen = Seen::default();
        let deadline = Instant::now() + STEP_DEADLINE;
        while !done(&seen) {
            expect(Instant::now() < deadline, || {
                format!(
                    "the next step did not happen within {} s. See the functions' log",
                    STEP_DEADLINE.as_secs()
                )
            })?;
            let news =
                self.simulator.get(&format!("/_sim/log?since={}&wait_ms=1000", self.since))?;
            self.since = news.pointer("/next").and_then(Value::as_u64).unwrap_or(self.since);
            for event in news.pointer("/events").and_then(Value::as_array).into_iter().flatten() {
                self.print(event, provider, account, &mut seen);
            }
        }
        seen.reply.ok_or_else(|| Error::Story("the automation did not reply".to_owned()))
    }

    fn print(&mut self, event: &Value, provider: &str, account: &str, seen: &mut Seen) {
        let field = |name: &str| match event.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let (source, kind, name) = (field("source"), field("kind"), field("name"));
        if !((source == provider && name == account) || (source == "automation" && name == TENANT))
        {
            return;
        }
        let at = event.get("at_ms").and_then(Value::as_u64).unwrap_or_default();
        if kind == "customer.wrote" {
            self.begun_at = Some(at);
        }
        let channel = if provider == "whatsapp" { "WhatsApp" } else { "Telegram" };
        let took = event.get("took_ms").and_then(Value::as_u64).unwrap_or_default();
        let (from, to, what) = match (source.as_str(), kind.as_str()) {
            ("automation", "delivery") => {
                let verified =
                    if field("verified") == "true" { "signature verified" } else { "REJECTED" };
                let status = match (field("type").as_str(), field("status")) {
                    ("message.status", status) => {
                        seen.notified.push(status.clone());
                        format!(" {status}")
                    }
                    _ => String::new(),
                };
                ("hub", "automation", format!("{}{status}, {verified}", field("type")))
            }
            ("automation", "reply") => {
                seen.reply = event.get("message_id").and_then(Value::as_str).map(str::to_owned);
                (
                    "automation",
                    "hub",
                    format!("replies: {} {}", field("status"), field("message_id")),
                )
            }
            (_, "customer.wrote") => ("customer", channel, format!("\"{}\"", field("text"))),
            (_, "webhook.answered") => {
                let statuses = event.get("statuses").and_then(Value::as_array);
                let names: Vec<String> = statuses
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect();
                let what =
                    if names.is_empty() { "the message".to_owned() } else { names.join(", ") };
                if field("status") == "200" {
                    seen.statuses.extend(names);
                }
                (channel, "hub", format!("{what}: {} within {took} ms", field("status")))
            }
            (_, "send.accepted") => {
                seen.accepted = true;
                ("hub", channel, format!("\"{}\"", field("text")))
            }
            (_, "send.refused") => {
                let reason =
                    format!("{} {}{}", field("status"), field("detail"), field("description"));
                ("hub", channel, format!("REJECTED: {reason}"))
            }
            _ => return,
        };
        let elapsed = Duration::from_millis(at.saturating_sub(self.begun_at.unwrap_or(at)));
        say(Some(elapsed), &format!("{from:>10} -> {to:<10}  {what}"));
    }
}

fn title(text: &str) {
    println!("\n{text}");
}

fn say(elapsed: Option<Duration>, line: &str) {
    match elapsed {
        Some(elapsed) => println!("  {:>7.3} s  {line}", elapsed.as_secs_f32()),
        None => println!("             {line}"),
    }
}

fn text(answer: &Value, pointer: &str) -> Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Error::Story(format!("{pointer} is missing in {answer}")))
}

fn expect(holds: bool, or: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Story(or())) }
}

fn random() -> Result<u64> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 8];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::file(source))?;
    Ok(u64::from_le_bytes(bytes))
}
