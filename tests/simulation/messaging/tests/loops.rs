//! Recursive loop detection of Lambda: intended loops are longer than Lambda permits by default,
//! are allowed in the templates, and end.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a failed test panics; indexing a JSON value returns null if absent"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Provider;
use http::{Method, Request};
use jiff::Timestamp;
use messaging_simulation::scenario::{Action, MessageKind};
use messaging_simulation::{Messaging, functions};
use providers::evolution;
use serde_json::{Value, json};
use simulation::feature::{Feature, Fixtures, Part, Registry, Work};
use simulation::functions::{Instance, SimulationKit};
use simulation::initial_state::{self, ADMIN, InitialState, Setup};
use simulation::lineage::MAX_PASSES;
use simulation::machine::Machine;
use simulation::random::Seed;
use simulation::run::{Run, run_scenario};
use simulation::scenario::{self, CanonicalScenario, Step};
use simulation::time;
use testkit::cloud::dynamo::Attribute;
use testkit::cloud::sqs::NoChaos;
use testkit::sample;

/// The invariant that Lambda stops no loop.
const LOOPS_ALLOWED: &str = "loops-allowed";
const EVENTS: u32 = 5_000;
/// Number of events in a page of a replay.
const PAGE: u32 = 100;

/// Fixtures that are only in the initial state.
#[derive(Debug)]
struct Unobserved;

impl Part for Unobserved {}

/// Removes `RecursiveLoop: Allow` from a function.
fn forbid(state: &mut InitialState, function: &str) {
    let deployment = Arc::make_mut(&mut state.deployment);
    let function = deployment.functions.get_mut(function).unwrap();
    assert!(function.may_recurse, "the template does not allow {} to recurse", function.name);
    function.may_recurse = false;
}

// ---- Replays -----------------------------------------------------------------------------------

/// A tenant with 5,000 recorded events.
#[derive(Clone, Copy, Debug)]
struct RecordedEvents;

impl Feature for RecordedEvents {
    fn name(&self) -> &'static str {
        "recorded-events"
    }

    fn function(
        &self,
        name: &str,
        kit: &SimulationKit,
    ) -> Option<Result<Box<dyn Instance>, String>> {
        functions::function(name, kit)
    }

    fn set_up<'a>(&'a self, setup: &'a mut Setup) -> Work<'a, Result<Box<dyn Fixtures>, String>> {
        Box::pin(async move {
            setup.api("POST", "/tenants", json!({ "id": "acme", "name": "acme" })).await?;
            Ok(Box::new(Self) as Box<dyn Fixtures>)
        })
    }
}

impl Fixtures for RecordedEvents {
    fn warm_up<'a>(&'a mut self, setup: &'a Setup) -> Work<'a, Result<(), String>> {
        Box::pin(async move {
            queue_events(&setup.machine)?;
            tokio::time::sleep(Duration::from_mins(30)).await;
            let recorded = replays_of_events(&setup.machine).len();
            let all = usize::try_from(EVENTS).is_ok_and(|events| events == recorded);
            if all { Ok(()) } else { Err(format!("{recorded} events were recorded")) }
        })
    }

    fn create_part(&self) -> Arc<dyn Part> {
        Arc::new(Unobserved)
    }
}

/// Sends the events to the events queue, as webhooks do.
fn queue_events(machine: &Machine) -> Result<(), String> {
    let integration =
        sample::receive_only(&sample::tenant("acme"), Provider::Stripe, Some("acct_1"));
    let url = machine.deployment.queues["EventsQueue"].url.clone();
    for number in 0..EVENTS {
        let at = Timestamp::from_microsecond(time::now_us() + i64::from(number));
        let at = at.map_err(|error| error.to_string())?;
        let event = sample::other_event(&integration, &format!("evt_{number}"), "paid", at);
        let record = runtime::webhook::queued(&event).map_err(|error| error.to_string())?;
        let message = json!({
            "QueueUrl": url, "MessageBody": record.body, "MessageGroupId": record.group,
            "MessageDeduplicationId": record.deduplication_id,
        });
        let sent = machine.cloud().sqs.call("SendMessage", &message, time::now_ms(), &mut NoChaos);
        sent.map_err(|refusal| refusal.message)?;
    }
    machine.wake();
    Ok(())
}

/// Returns the number of replays of each recorded event.
fn replays_of_events(machine: &Machine) -> Vec<i64> {
    let cloud = machine.cloud();
    let events = cloud
        .dynamo
        .items("EventsTable")
        .filter(|item| item.get("sk").and_then(Attribute::text) == Some("EVENT"));
    events.map(|item| item.get("replays").and_then(Attribute::number).unwrap_or(0)).collect()
}

/// Calls the API with the platform's key.
async fn api(machine: &Arc<Machine>, method: Method, path: &str, body: &Value) -> Value {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {ADMIN}"))
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let answer = machine.request(request).await.unwrap();
    assert!(answer.status().is_success(), "{path}: {answer:?}");
    serde_json::from_slice(answer.body()).unwrap()
}

/// What a replay of all events did.
#[derive(Debug)]
struct Replayed {
    /// Status of the replay.
    status: Value,
    /// Number of events that the replay published.
    published: Value,
    /// Number of invocations of the consumer.
    pages: usize,
    /// Number of records that the events consumer processed.
    processed: usize,
    /// Number of replays of each event.
    of_each: Vec<i64>,
    /// Number of dead letters of the replay queue.
    dead_letters: usize,
    /// Names of the violated invariants.
    violations: Vec<&'static str>,
}

/// Replays all events, and waits for longer than Lambda retries a record.
fn replay(state: &InitialState) -> Replayed {
    initial_state::runtime().unwrap().block_on(async {
        let machine = state.start_run(|parts| parts, Seed(1)).await;
        machine.begin();
        let all = json!({
            "tenant": "acme", "from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z",
        });
        let started = api(&machine, Method::POST, "/events/replay", &all).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let id = started["replay"].as_str().unwrap();
        let path = format!("/events/replays/{id}?tenant=acme");
        let progress = api(&machine, Method::GET, &path, &Value::Null).await;
        let history = machine.history();
        let processed = |function: &str| -> Vec<usize> {
            let who = format!("{function}#");
            let lines = history.lines.iter().filter(|line| line.who.starts_with(&who));
            let counts = lines.filter_map(|line| {
                let (count, _) = line.what.strip_prefix("processed ")?.split_once(' ')?;
                count.parse().ok()
            });
            counts.collect()
        };
        let dead_letters = machine.deployment.queues["ReplayQueue"].dead_letters.clone().unwrap();
        let replayed = Replayed {
            status: progress["status"].clone(),
            published: progress["published"].clone(),
            pages: processed("consumer-replay").len(),
            processed: processed("consumer-events").iter().sum(),
            of_each: replays_of_events(&machine),
            dead_letters: machine.cloud().sqs.messages(&dead_letters).count(),
            violations: machine.monitor().violations.iter().map(|v| v.invariant).collect(),
        };
        machine.shut_down();
        replayed
    })
}

#[test]
fn a_replay_of_5000_events_ends_with_each_event_replayed_once_and_only_if_it_may_recurse() {
    let mut state = InitialState::create(Registry::new().with(RecordedEvents)).unwrap();
    let replayed = replay(&state);
    assert_eq!(replayed.violations, [""; 0]);
    assert_eq!((&replayed.status, &replayed.published), (&json!("done"), &json!(EVENTS)));
    assert_eq!(replayed.processed, EVENTS as usize, "published once");
    assert_eq!(replayed.of_each.len(), EVENTS as usize);
    assert!(replayed.of_each.iter().all(|replays| *replays == 1));
    assert!(replayed.pages >= (EVENTS / PAGE) as usize);
    assert_eq!(replayed.dead_letters, 0);

    forbid(&mut state, "consumer-replay");
    let stopped = replay(&state);
    assert_eq!(stopped.status, "running");
    assert_eq!(stopped.published, MAX_PASSES * PAGE);
    assert_eq!(stopped.pages, MAX_PASSES as usize);
    // The queue moved the next page to its dead-letter queue, so a redrive continues the replay.
    assert_eq!(stopped.dead_letters, 1);
    assert!(!stopped.violations.is_empty());
    assert!(stopped.violations.iter().all(|violated| *violated == LOOPS_ALLOWED));
}

// ---- Senders and notifications -----------------------------------------------------------------

/// Index of the account that is in the ring.
const ACCOUNT: usize = 2;
/// Its tenant and its number.
const TENANT: &str = "initech";
const NUMBER: &str = "30003";
/// Evolution instance that its messages fail over to.
const INSTANCE: &str = "front-desk";

/// A second provider for the messages of an account of messaging, in a ring with the first one.
#[derive(Clone, Copy, Debug)]
struct Ring;

impl Feature for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn set_up<'a>(&'a self, setup: &'a mut Setup) -> Work<'a, Result<Box<dyn Fixtures>, String>> {
        Box::pin(async move {
            let listed = format!("/integrations?tenant={TENANT}");
            let listed = setup.api("GET", &listed, Value::Null).await?;
            let listed = listed["integrations"].as_array().cloned().unwrap_or_default();
            let first = listed.iter().find(|own| own["account"] == NUMBER).map(|own| &own["id"]);
            let integration = json!({
                "tenant": TENANT, "provider": "evolution",
                "settings": { "instance": INSTANCE, "base_url": "https://evolution.test" },
                "credentials": { evolution::API_KEY: "test-evolution-key" },
            });
            let settings = json!({ "token": "test-evolution-key" });
            setup.configure_provider(format!("/_sim/evolution/{INSTANCE}"), settings).await?;
            let second = setup.api("POST", "/integrations", integration).await?;
            let route = json!({
                "whatsapp_provider": "whatsapp", "integration": first,
                "failover": [second["id"]],
            });
            setup.api("PUT", &format!("/tenants/{TENANT}/whatsapp-settings"), route).await?;
            Ok(Box::new(Self) as Box<dyn Fixtures>)
        })
    }
}

impl Fixtures for Ring {
    fn create_part(&self) -> Arc<dyn Part> {
        Arc::new(Unobserved)
    }
}

/// The second provider breaks down and does not recover.
#[derive(Clone, Copy, Debug)]
struct SecondProviderFails;

impl fmt::Display for SecondProviderFails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the second provider breaks down")
    }
}

impl scenario::Action for SecondProviderFails {
    fn perform<'a>(&'a self, run: &'a Run<'_>, _number: usize) -> Work<'a, ()> {
        Box::pin(async move {
            let path = format!("/_sim/evolution/{INSTANCE}/faults");
            run.control(Method::POST, &path, json!({ "faults": [breakdown()] })).await;
        })
    }

    fn has_late_effects(&self) -> bool {
        true
    }
}

/// A provider fault that lasts for the whole run.
fn breakdown() -> Value {
    json!({ "kind": "status", "status": 500, "times": 100_000 })
}

fn customer_writes(account: usize) -> Action {
    Action::Writes { account, customer: 1, what: MessageKind::Text, copies: 1 }
}

/// Runs these steps. Returns the violated invariants and the number of invocations by function.
fn run(
    state: &InitialState,
    name: &'static str,
    steps: Vec<Step>,
) -> (Vec<&'static str>, BTreeMap<String, usize>) {
    let scenario = CanonicalScenario { name, steps }.with_faults(BTreeMap::new());
    let result = run_scenario(state, &scenario).unwrap();
    let mut invocations = BTreeMap::new();
    for line in result.history.lines.iter().filter(|line| line.what.starts_with("processed ")) {
        let (function, _) = line.who.split_once('#').unwrap();
        *invocations.entry(function.to_owned()).or_default() += 1;
    }
    (result.violations.iter().map(|violation| violation.invariant).collect(), invocations)
}

#[test]
fn a_message_that_fails_over_in_a_ring_of_senders_is_settled_and_only_if_they_may_recurse() {
    let registry = Registry::new().with(Messaging).with(Ring);
    let mut state = InitialState::create(registry).unwrap();
    let steps = || {
        let fault = Action::ProviderFault { account: ACCOUNT, fault: breakdown() };
        vec![
            Step::new(Duration::ZERO, fault),
            Step::new(Duration::ZERO, SecondProviderFails),
            // The automation replies, and a reply fails over.
            Step::new(Duration::from_millis(10), customer_writes(ACCOUNT)),
        ]
    };
    let (violations, invocations) = run(&state, "ring", steps());
    assert_eq!(violations, [""; 0]);
    for sender in ["sender-whatsapp", "sender-evolution"] {
        assert!(invocations[sender] > MAX_PASSES as usize, "{invocations:?}");
    }
    for sender in ["sender-whatsapp", "sender-evolution"] {
        forbid(&mut state, sender);
        let (violations, _) = run(&state, "ring", steps());
        assert!(violations.contains(&LOOPS_ALLOWED), "{sender}: {violations:?}");
        Arc::make_mut(&mut state.deployment).functions.get_mut(sender).unwrap().may_recurse = true;
    }
}

#[test]
fn a_notification_is_retried_without_a_chain_that_lambda_stops() {
    let mut state = InitialState::create(Registry::new().with(Messaging)).unwrap();
    // Retries after more than 15 minutes are queued by a schedule, which begins a chain.
    forbid(&mut state, "consumer-automation");
    let script = json!([{ "status": 503, "times": 1000 }]);
    let steps = vec![
        Step::new(Duration::ZERO, Action::Quiet),
        Step::new(Duration::ZERO, Action::AutomationFault { account: 0, script }),
        Step::new(Duration::from_millis(10), customer_writes(0)),
    ];
    let (violations, invocations) = run(&state, "automation-down", steps);
    assert_eq!(violations, [""; 0]);
    assert!(invocations["consumer-automation"] > 5, "{invocations:?}");
}
