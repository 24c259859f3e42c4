//! A flood of requests by strangers and by one tenant's key, with more long polls than may wait,
//! while another tenant's webhooks and requests are answered.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use providers::custom::example::sending_settings;
use providers::whatsapp_cloud::example;
use serde_json::{Value, json};
use templates::Templates;

use crate::cloud;
use crate::fixtures::{Tenant, Whatsapp, deliver, person, text_from};
use crate::hub::{Answer, Client, HUB, digits, optional, random, request};

/// Duration of the flood. The nightly run multiplies it by `SWITCHBOARD_FLOOD_FACTOR`.
const FLOOD: Duration = Duration::from_secs(10);
/// Threads that send requests without a pause.
const ATTACKERS: usize = 6;
/// Interval at which the other tenant receives a webhook and calls the API.
const HONEST_INTERVAL: Duration = Duration::from_millis(250);
/// Of the requests with a body of several megabytes, only one in this many is sent.
const LARGE_BODIES: u64 = 8;
/// Workers of the flooding tenant that poll for jobs.
const WORKERS: usize = 8;
/// How many of them may wait.
const WAITING_WORKERS: usize = 2;
/// How long the workers poll, and the pause between two polls of a worker, far below the one that
/// the hub recommends.
const POLLING: Duration = Duration::from_secs(8);
const POLL_PAUSE: Duration = Duration::from_millis(200);
/// Wait that the workers ask for. It is longer than they poll, so that those that wait do so until
/// after the last poll.
const POLL_WAIT: Duration = Duration::from_secs(12);

/// A tenant whose key floods the API, and the URLs that strangers flood.
struct Flood {
    tenant: Tenant,
    /// Webhook of the other tenant.
    whatsapp: String,
    /// Webhooks that take forms.
    twilio: String,
    mailgun: String,
}

impl Flood {
    fn new(whatsapp: &str) -> Self {
        let tenant = Tenant::new("flood");
        let limits = json!({"waiting_workers": WAITING_WORKERS});
        Client::admin().put(&format!("/tenants/{}/limits", tenant.id), &limits).expect(200);
        let made = |body: Value, webhook: &str| {
            let made = tenant.api.post("/integrations", &body).expect(201);
            made["webhook_urls"][webhook].as_str().unwrap().to_owned()
        };
        let twilio = json!({"provider": "twilio", "settings": {"base_url": HUB.simulator},
            "credentials": {"TWILIO_ACCOUNT_SID": format!("AC{:032x}", random()),
                            "TWILIO_AUTH_TOKEN": digits(16)}});
        let mailgun = json!({"provider": "mailgun",
            "credentials": {"MAILGUN_WEBHOOK_SIGNING_KEY": digits(16)}});
        let (twilio, mailgun) = (made(twilio, "twilio-sms"), made(mailgun, "mailgun"));
        Self { whatsapp: whatsapp.to_owned(), twilio, mailgun, tenant }
    }

    /// Sends request number `number`. Returns its kind and the response; `None` if it was skipped.
    fn send(&self, number: u64) -> Option<(&'static str, Answer)> {
        const KINDS: u64 = 14;
        let (api, round) = (&self.tenant.api, number / KINDS);
        let json = |url: &str, body: &str| {
            let headers =
                [("content-type", "application/json"), ("x-hub-signature-256", "sha256=00")];
            request("POST", url, &headers, Some(body.as_bytes()))
        };
        let form = |url: &str, kind: &str, body: &str| {
            let headers = [("content-type", kind), ("x-twilio-signature", "AAAA")];
            request("POST", url, &headers, Some(body.as_bytes()))
        };
        let with_key = |key: &str| {
            let key = format!("Bearer {key}");
            request("GET", &format!("{}/conversations", HUB.url), &[("authorization", &key)], None)
        };
        let plain_form = "application/x-www-form-urlencoded";
        Some(match number % KINDS {
            0 => {
                let unknown = format!("{}/webhooks/whatsapp/int_01J9ZQ4J9T{}", HUB.url, digits(16));
                ("an unknown integration", json(&unknown, "{}"))
            }
            1 => {
                let path = format!("{}/webhooks/telegram/{:032x}", HUB.url, random());
                ("an invented secret path", json(&path, r#"{"update_id":1}"#))
            }
            2 => {
                let key = format!("swb_01J9ZQ4J9T{}_{:064x}", digits(16), random());
                ("an invented key", with_key(&key))
            }
            3 => ("a key of the wrong form", with_key(&"x".repeat(4000))),
            4 => {
                let change = example::messages("1", &[text_from("1", "wamid.FORGED", "forged")]);
                let body = example::escaped(&example::envelope(&[change]));
                let signature = example::signature("another-secret", &body);
                ("a forged webhook", deliver(&self.whatsapp, &body, &signature))
            }
            5 => {
                let fields = (0..20_000).map(|field| format!("f{field}=1")).collect::<Vec<_>>();
                ("a form with 20,000 fields", form(&self.twilio, plain_form, &fields.join("&")))
            }
            6 => {
                let body = format!("Body={}", "x".repeat(300 * 1024));
                ("a form of 300 KiB", form(&self.twilio, plain_form, &body))
            }
            7 => {
                let part = |part: u64| {
                    let head = format!("content-disposition: form-data; name=\"f{part}\"");
                    format!("--b\r\n{head}\r\n\r\n1\r\n")
                };
                let parts: String = (0..5000).map(part).collect();
                let kind = "multipart/form-data; boundary=b";
                ("a form with 5,000 parts", form(&self.mailgun, kind, &format!("{parts}--b--\r\n")))
            }
            8 => {
                let fields = (0..20_000).map(|field| (format!("f{field}"), json!(1)));
                let body = Value::Object(fields.collect());
                ("20,000 unknown fields", api.post("/messages", &body))
            }
            9 => {
                let nested = "[".repeat(100_000);
                ("100,000 nested lists", json(&self.mailgun, &nested))
            }
            10 => {
                let text = "x".repeat(200 * 1024);
                let body = json!({"to": person(), "channel": "whatsapp", "text": text});
                ("a text of 200 KiB", api.post("/messages", &body))
            }
            11 => {
                let mut settings = Value::Object(sending_settings(&HUB.simulator));
                let each = json!({"{{each interactive.buttons}}": "{{item.title}}".repeat(100)});
                settings["send"]["messages"]["buttons"]["body"]["huge"] =
                    std::iter::repeat_n(each, 1000).collect();
                let body = json!({"provider": "custom", "settings": settings});
                ("a huge template", api.post("/integrations", &body))
            }
            12 if round.is_multiple_of(LARGE_BODIES) => {
                let body = format!("[\"{}\"]", "x".repeat(4_500_000));
                ("a webhook of 4.5 MB", json(&self.whatsapp, &body))
            }
            13 if round.is_multiple_of(LARGE_BODIES) => {
                let body = json!({"text": "x".repeat(4_500_000)});
                ("a request of 4.5 MB", api.post("/messages", &body))
            }
            _ => return None,
        })
    }

    /// Polls for jobs as one worker. Returns how long each poll took, and its response.
    fn poll(&self) -> Vec<(Duration, Answer)> {
        let path = format!("/queue/next-job?wait={}", POLL_WAIT.as_secs());
        let end = Instant::now() + POLLING;
        let mut polls = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            let answer = self.tenant.api.get(&path);
            polls.push((begun.elapsed(), answer));
            std::thread::sleep(POLL_PAUSE);
        }
        polls
    }
}

/// Asserts that as many workers waited as may, and that all other polls were answered at once, with
/// a recommended pause.
fn assert_polls(polls: Vec<(Duration, Answer)>) {
    let times: Vec<_> = polls.iter().map(|(time, _)| *time).collect();
    let waited = times.iter().filter(|time| **time >= POLL_WAIT).count();
    assert_eq!(waited, WAITING_WORKERS, "{times:?}");
    assert!(times.len() > 2 * WORKERS, "{times:?}");
    for (_, answer) in polls {
        let none = answer.expect(200);
        assert_eq!(none["status"], "no_jobs", "{none}");
        assert!(none["next_poll_recommended"].as_u64().is_some_and(|pause| pause > 0), "{none}");
    }
}

/// Sends a webhook as a provider does: once more after a 5xx or a 429.
fn received(number: &Whatsapp<'_>, body: &Value) -> Vec<u16> {
    let mut statuses = vec![number.deliver(body).status];
    if matches!(statuses[0], 429 | 500..) {
        std::thread::sleep(HONEST_INTERVAL);
        statuses.push(number.deliver(body).status);
    }
    statuses
}

/// Returns the functions whose processes have used more memory than their `MemorySize`, with the
/// peak and the size in MB. These unoptimized functions need more than the deployed ones, because
/// what is mapped of their larger binary counts, and still less than half of the size.
fn over_their_memory() -> Vec<(String, u64, u64)> {
    let templates = Templates::read().unwrap();
    let sizes: BTreeMap<&str, u64> = templates
        .functions()
        .map(|(_, properties)| {
            let name = properties["FunctionName"]["!Sub"].as_str().unwrap();
            let name = name.strip_prefix("${AWS::StackName}-").unwrap();
            (name, properties["MemorySize"].as_u64().unwrap())
        })
        .collect();
    let mut over = Vec::new();
    for (function, processes) in cloud::processes() {
        // A copy of a function that another test made has no template.
        let name = function.strip_prefix("switchboard-").unwrap_or(&function);
        let Some(size) = sizes.get(name) else { continue };
        let peaks = processes.iter().filter_map(|process| cloud::peak_memory_mb(process));
        over.extend(peaks.filter(|peak| peak > size).map(|peak| (function.clone(), peak, *size)));
    }
    over
}

#[test]
fn a_flood_is_refused_within_the_memory_and_does_not_stop_another_tenants_webhooks_and_requests() {
    let tenant = Tenant::new("honest");
    let number = tenant.whatsapp_alone(&json!({}));
    let flood = Flood::new(&number.url);
    let factor = optional("SWITCHBOARD_FLOOD_FACTOR").map_or(1, |factor| factor.parse().unwrap());
    let until = Instant::now() + FLOOD * factor;
    let from = person();
    let answers: Mutex<BTreeMap<&str, BTreeMap<u16, u64>>> = Mutex::default();
    let (sent, calls, polls) = std::thread::scope(|scope| {
        for attacker in 0..ATTACKERS {
            let (flood, answers) = (&flood, &answers);
            scope.spawn(move || {
                for number in (attacker as u64..).step_by(ATTACKERS) {
                    if Instant::now() > until {
                        return;
                    }
                    let Some((kind, answer)) = flood.send(number) else { continue };
                    let mut answers = answers.lock().unwrap();
                    *answers.entry(kind).or_default().entry(answer.status).or_default() += 1;
                }
            });
        }
        let (number, from, tenant, flood) = (&number, &from, &tenant, &flood);
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(move || flood.poll())).collect();
        let webhooks = scope.spawn(move || {
            let mut sent = Vec::new();
            while Instant::now() < until {
                let text = format!("honest {}", sent.len());
                let message = text_from(from, &format!("wamid.HONEST.{}", sent.len()), &text);
                let change = example::messages(&number.number, &[message]);
                sent.push((text, received(number, &example::envelope(&[change]))));
                std::thread::sleep(HONEST_INTERVAL);
            }
            sent
        });
        let calls = scope.spawn(move || {
            let mut statuses = Vec::new();
            while Instant::now() < until {
                statuses.push(tenant.api.get("/conversations?limit=1").status);
                std::thread::sleep(HONEST_INTERVAL);
            }
            statuses
        });
        let polls = workers.into_iter().flat_map(|worker| worker.join().unwrap());
        let polls: Vec<_> = polls.collect();
        (webhooks.join().unwrap(), calls.join().unwrap(), polls)
    });

    let answers = answers.into_inner().unwrap();
    let count: u64 = answers.values().flat_map(BTreeMap::values).sum();
    let refused = |status: &u16| (400..500).contains(status);
    assert!(answers.values().flat_map(BTreeMap::keys).all(refused), "{answers:#?}");
    assert!(answers.len() == 14, "every kind is sent: {answers:#?}");
    assert!(count > 100 && sent.len() > 5, "{} webhooks during {answers:#?}", sent.len());
    for (text, statuses) in &sent {
        assert_eq!(statuses.last(), Some(&200), "{text}: {statuses:?}, during {answers:#?}");
    }
    assert!(calls.iter().all(|status| *status == 200), "{calls:?}, during {answers:#?}");
    assert_polls(polls);
    let over = over_their_memory();
    assert!(over.is_empty(), "peak and size in MB: {over:?}, during {answers:#?}");

    let messages = tenant.until_messages(&from, sent.len());
    let mut texts: Vec<_> = messages.iter().map(|message| message["text"].clone()).collect();
    let mut expected: Vec<_> = sent.into_iter().map(|(text, _)| json!(text)).collect();
    texts.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(texts, expected, "every webhook is recorded once");
    // The flood left nothing at the tenant whose URL it used.
    let page = tenant.api.get("/conversations?limit=100").expect(200);
    assert_eq!(page["conversations"].as_array().unwrap().len(), 1, "{page}");
}
