//! Part 4: latency of a message through the deployed hub on the local cloud, from the webhook to
//! the request that sends the reply.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Bench,
    error::{Error, Result},
    figure::{Figure, Unit},
    functions, process,
    stats::Runs,
};

/// Numbers of concurrent conversations.
const CROWDS: [u32; 3] = [1, 10, 100];
/// Duration of each run.
const DURATION: Duration = Duration::from_secs(12);
/// Time limit for the replies to the last messages.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the local cloud's table is filled.
const FILL_TIME: Duration = Duration::from_mins(1);
/// Items in a `BatchWriteItem` request.
const BATCH: u32 = 25;
/// Messages in each conversation that fills the table.
const MESSAGES_EACH: u32 = 10;
/// Port offset, to avoid a hub that a developer runs.
const PORTS: &str = "3000";
const TENANT: &str = "bench";
const NUMBER: &str = "106500000000009";
const ECHO: &str = "You said: ";

/// A hub that stops when dropped.
struct Hub {
    child: Child,
    environment: BTreeMap<String, String>,
}

/// A WhatsApp number with its tenant and automation.
struct Setup {
    agent: ureq::Agent,
    hub: String,
    simulator: String,
    cloud: String,
    key: String,
}

/// Measurements of one run.
#[derive(Debug, Default)]
struct Exchanges {
    /// Times from a webhook to the request that sends the reply, in ms.
    took: Vec<f64>,
    /// Time until the last reply, in seconds.
    lasted: f64,
}

/// Measures each number of conversations with an empty and with a filled table.
pub(crate) fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let xtask = bench.xtask.clone().ok_or_else(|| {
        Error::step("path", "the xtask binary is missing. Run `cargo xtask bench`")
    })?;
    let target = bench.paths.output.join("..");
    let hub = Hub::start(&xtask, &target.join(format!("local-{PORTS}")))?;
    let setup = Setup::create(&hub)?;
    // Starts the sandboxes and opens the connections.
    setup.run(4, Duration::from_secs(5), "warm")?;
    let mut figures = Vec::new();
    for crowd in CROWDS {
        figures.extend(of(crowd, "", setup.run(crowd, DURATION, "empty")?));
    }
    let (conversations, messages) = setup.fill()?;
    for crowd in CROWDS {
        figures.extend(of(crowd, ", filled table", setup.run(crowd, DURATION, "full")?));
    }
    bench.note(&format!(
        "The whole path runs on the local cloud, which is written in Python, with the simulated \
         provider and automation on the same machine: its times are mostly the local cloud's. Each \
         customer writes after the reply to the previous message. In {} s, {messages} messages in \
         {conversations} conversations were stored in the local cloud's table; a million are \
         measured with the table model.",
        FILL_TIME.as_secs()
    ));
    Ok(figures)
}

fn of(crowd: u32, table: &str, run: Exchanges) -> Vec<Figure> {
    let subject = if crowd == 1 {
        format!("one conversation{table}")
    } else {
        format!("{crowd} conversations at once{table}")
    };
    let exchanges = u32::try_from(run.took.len()).unwrap_or(u32::MAX);
    let rate = 2.0 * f64::from(exchanges) / run.lasted;
    vec![
        Figure::new(&subject, "messages, in and out", Unit::EachSecond, Runs::once(rate)),
        Figure::new(
            &subject,
            "webhook to the answer's call",
            Unit::Milliseconds,
            Runs::new(run.took),
        ),
    ]
}

impl Hub {
    fn start(xtask: &Path, folder: &Path) -> Result<Self> {
        let mut child = Command::new(xtask)
            .args(["up", "--release", "--fresh", "--port-offset", PORTS])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::file(xtask))?;
        let printed = child.stdout.take();
        let mut hub = Self { child, environment: BTreeMap::new() };
        let printed = printed.ok_or_else(|| Error::step("hub", "no output"))?;
        let mut lines = BufReader::new(printed).lines();
        let mut last = String::new();
        while let Some(line) = lines.next() {
            last = line?;
            if last == "Press Ctrl-C to stop it." {
                let path = folder.join("env");
                let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
                let pairs = text.lines().filter_map(|line| line.split_once('='));
                hub.environment =
                    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                // The hub goes on to print errors of the functions.
                thread::spawn(move || {
                    for line in lines.map_while(std::result::Result::ok) {
                        eprintln!("hub: {line}");
                    }
                });
                return Ok(hub);
            }
        }
        Err(Error::step("the hub did not start", last))
    }

    fn variable(&self, name: &str) -> Result<String> {
        let found = self.environment.get(name).cloned();
        found.ok_or_else(|| Error::step("hub", format!("its environment has no {name}")))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The hub stops its own processes.
        drop(process::terminate(self.child.id()));
        drop(self.child.wait());
    }
}

impl Setup {
    fn create(hub: &Hub) -> Result<Self> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(40)))
            .proxy(None)
            .build();
        let setup = Self {
            agent: config.into(),
            hub: hub.variable("SWITCHBOARD_URL")?,
            simulator: hub.variable("SIMULATOR_URL")?,
            cloud: hub.variable("AWS_ENDPOINT_URL")?,
            key: format!("Bearer {}", hub.variable("SWITCHBOARD_ADMIN_KEY")?),
        };
        setup.tenant()?;
        setup.number()?;
        Ok(setup)
    }

    fn tenant(&self) -> Result<()> {
        self.admin("POST", "/tenants", &json!({ "id": TENANT, "name": TENANT }))?;
        // The load is higher than the default limits.
        let rates = json!({ "reads": 100_000, "messages": 100_000 });
        let limits = json!({ "key": rates, "tenant": rates });
        self.admin("PUT", &format!("/tenants/{TENANT}/limits"), &limits)?;
        let keys = format!("/tenants/{TENANT}/keys");
        let key = self.admin("POST", &keys, &json!({ "scopes": ["send", "read"] }))?;
        let url = format!("{}/automation/{TENANT}", self.simulator);
        let automation = self.admin(
            "PUT",
            &format!("/tenants/{TENANT}/automation"),
            &json!({ "kind": "push", "url": url, "allow_private_network": true }),
        )?;
        let reply = json!({ "hub": self.hub, "key": text(&key, "/key")?, "prefix": ECHO });
        let settings = json!({ "secret": text(&automation, "/secret")?, "reply": reply });
        self.outside("PUT", &format!("/_sim/automation/{TENANT}"), &settings).map(drop)
    }

    fn number(&self) -> Result<()> {
        let made = self.admin(
            "POST",
            "/integrations",
            &json!({
                "tenant": TENANT, "provider": "whatsapp",
                "settings": { "phone_number_id": NUMBER, "base_url": self.simulator,
                    "messages_per_second": 1000 },
                "credentials": { "WHATSAPP_ACCESS_TOKEN": "token", "WHATSAPP_APP_SECRET": "secret",
                    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify" },
            }),
        )?;
        self.outside(
            "PUT",
            &format!("/_sim/whatsapp/{NUMBER}"),
            &json!({ "token": "token", "app_secret": "secret", "verify_token": "verify",
                "hub_url": text(&made, "/webhook_url")?,
                "limits": { "pair_interval_ms": 0, "messages_per_second": 0 } }),
        )
        .map(drop)
    }

    /// Runs `crowd` concurrent conversations for `duration`.
    fn run(&self, crowd: u32, duration: Duration, round: &str) -> Result<Exchanges> {
        let health = self.outside("GET", "/_sim/health", &Value::Null)?;
        let mut since = health.pointer("/last_seq").and_then(Value::as_u64).unwrap_or_default();
        let mut written = BTreeMap::<String, i64>::new();
        let mut waiting = crowd;
        let begun = Instant::now();
        for person in 0..crowd {
            self.write(person, &format!("{round}-{crowd}-{person}-0"))?;
        }
        let mut exchanges = Exchanges::default();
        while waiting > 0 {
            if begun.elapsed() > duration + REPLY_TIMEOUT {
                return Err(Error::step("path", format!("{waiting} messages have no reply")));
            }
            let path = format!("/_sim/log?since={since}&wait_ms=1000");
            let news = self.outside("GET", &path, &Value::Null)?;
            since = news.pointer("/next").and_then(Value::as_u64).unwrap_or(since);
            for event in news.pointer("/events").and_then(Value::as_array).into_iter().flatten() {
                let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("");
                let at = event.get("at_ms").and_then(Value::as_i64).unwrap_or_default();
                match field("kind") {
                    "customer.wrote" => {
                        written.insert(field("text").to_owned(), at);
                    }
                    "send.accepted" => {
                        let text = field("text").strip_prefix(ECHO).unwrap_or_default();
                        let Some(wrote) = written.remove(text) else { continue };
                        exchanges.took.push(i32::try_from(at - wrote).map_or(f64::NAN, f64::from));
                        if begun.elapsed() > duration {
                            waiting -= 1;
                            continue;
                        }
                        let (person, next) = following(text)?;
                        self.write(person, &next)?;
                    }
                    _ => {}
                }
            }
        }
        exchanges.lasted = begun.elapsed().as_secs_f64();
        Ok(exchanges)
    }

    fn write(&self, person: u32, text: &str) -> Result<()> {
        let path = format!("/_sim/whatsapp/{NUMBER}/customer-writes");
        let from = format!("1650555{person:04}");
        let body = json!({ "from": from, "text": text, "wait": false });
        self.outside("POST", &path, &body).map(drop)
    }

    /// Fills the table with conversations of ten messages each. Returns the numbers of
    /// conversations and messages.
    fn fill(&self) -> Result<(u32, u32)> {
        let tables = self.table("ListTables", &json!({}))?;
        let names = tables.get("TableNames").and_then(Value::as_array).into_iter().flatten();
        let table = names.filter_map(Value::as_str).find(|name| name.contains("MessagingTable"));
        let table = table.ok_or_else(|| Error::step("tables", "there is no MessagingTable"))?;
        let (conversation, message) = functions::templates();
        let with_tenant = |item: Value| item.to_string().replace("acme", TENANT);
        let (conversation, message) = (with_tenant(conversation), with_tenant(message));
        let begun = Instant::now();
        let mut conversations = 0;
        let mut puts = Vec::new();
        while begun.elapsed() < FILL_TIME && conversations < 100_000 {
            let owner = format!("{conversations:06}");
            puts.push(conversation.replace("{c}", &owner));
            for place in 0..MESSAGES_EACH {
                let number = format!("{:07}", conversations * MESSAGES_EACH + place);
                puts.push(message.replace("{c}", &owner).replace("{m}", &number));
            }
            conversations += 1;
            while puts.len() >= BATCH as usize {
                let batch = puts.drain(..BATCH as usize).map(|item| {
                    let item: Value = serde_json::from_str(&item)?;
                    Ok(json!({ "PutRequest": { "Item": item } }))
                });
                let batch = batch.collect::<Result<Vec<_>>>()?;
                self.table("BatchWriteItem", &json!({ "RequestItems": { (table): batch } }))?;
            }
        }
        Ok((conversations, conversations * MESSAGES_EACH))
    }

    fn table(&self, operation: &str, body: &Value) -> Result<Value> {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
                 SignedHeaders=host, Signature=0",
            ),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", target.as_str()),
        ];
        self.call("POST", &format!("{}/", self.cloud), &headers, body)
    }

    fn admin(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let headers = [("authorization", self.key.as_str()), ("content-type", "application/json")];
        self.call(method, &format!("{}{path}", self.hub), &headers, body)
    }

    fn outside(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let headers = [("content-type", "application/json")];
        self.call(method, &format!("{}{path}", self.simulator), &headers, body)
    }

    fn call(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value> {
        let failed = |detail: String| Error::step(format!("{method} {url}"), detail);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.body(body).map_err(|error| failed(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(|error| failed(error.to_string()))?;
        let answer =
            response.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
        if !response.status().is_success() {
            return Err(failed(format!("{} {answer}", response.status())));
        }
        Ok(serde_json::from_str(&answer).unwrap_or(Value::String(answer)))
    }
}

/// Returns the customer of a text and their next text.
fn following(text: &str) -> Result<(u32, String)> {
    let parts = || {
        let (before, number) = text.rsplit_once('-')?;
        let (_, person) = before.rsplit_once('-')?;
        let number: u32 = number.parse().ok()?;
        Some((person.parse().ok()?, format!("{before}-{}", number + 1)))
    };
    parts().ok_or_else(|| Error::step("path", format!("unexpected text {text:?}")))
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Error::step("path", format!("{pointer} is missing in {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_customer_writes_the_next_message() {
        assert_eq!(following("full-100-42-9").unwrap(), (42, "full-100-42-10".to_owned()));
        assert!(following("hello").is_err());
    }

    #[test]
    fn an_exchange_counts_as_two_messages() {
        let run = Exchanges { took: vec![5.0, 7.0, 6.0], lasted: 1.5 };
        let figures = of(10, "", run);
        let medians: Vec<_> = figures.iter().map(|figure| figure.runs.median()).collect();
        assert_eq!(medians, [4.0, 6.0]);
    }
}
