//! Runs a scenario and checks the invariants.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::cloud::dynamo::{Consumed, PartitionUse};
use testkit::cloud::sqs::{Chaos, NoChaos};

use crate::faults::{Fault, InjectionPoint, Plan, Source};
use crate::feature::Part;
use crate::history::History;
use crate::initial_state::{self, InitialState};
use crate::machine::{Exchange, Machine, Parts};
use crate::monitor::{Monitor, Violation};
use crate::random::SeededRng;
use crate::scenario::Scenario;
use crate::time;

/// How long faults continue after the last step.
const AFTERMATH: Duration = Duration::from_secs(20);
/// The same for scenarios with late effects, so that these meet faults, too.
const LONG_AFTERMATH: Duration = Duration::from_hours(3);
/// Time limit for all work to end. Notifications are retried for three days.
const DRAIN_TIMEOUT: Duration = Duration::from_hours(5 * 24);
/// Idle time after which all work counts as ended.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// Result of a run.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// Violations; empty if the run passed.
    pub violations: Vec<Violation>,
    /// Number of checks of each invariant.
    pub checks: BTreeMap<&'static str, u64>,
    /// History of the run.
    pub history: History,
    /// Injected faults by injection point.
    pub faults: BTreeMap<InjectionPoint, Fault>,
    /// Capacity consumed by requests to the table.
    pub consumed: Consumed,
    /// Throttled partition keys, with the number of throttled requests.
    pub throttled: BTreeMap<PartitionUse, u64>,
    /// Exchanges with clients and providers, oldest first.
    pub exchanges: Vec<Exchange>,
    /// Every injection point that was reached, with its possible faults.
    pub injection_points: Vec<(InjectionPoint, Vec<Fault>)>,
}

/// Random choices where SQS guarantees nothing.
#[derive(Debug)]
pub struct SqsNondeterminism(pub SeededRng);

impl Chaos for SqsNondeterminism {
    fn returned(&mut self, available: usize) -> usize {
        if self.0.below(3) > 0 {
            return available;
        }
        1 + usize::try_from(self.0.below(available as u64)).unwrap_or(0)
    }

    fn next(&mut self, candidates: usize) -> usize {
        if self.0.below(2) > 0 {
            return 0;
        }
        usize::try_from(self.0.below(candidates as u64)).unwrap_or(0)
    }

    fn again(&mut self, candidates: usize) -> Option<usize> {
        if candidates == 0 || self.0.below(12) > 0 {
            return None;
        }
        Some(usize::try_from(self.0.below(candidates as u64)).unwrap_or(0))
    }

    fn older_receipt_counts(&mut self) -> bool {
        self.0.below(2) == 0
    }
}

/// Runs `scenario` from `initial_state`.
///
/// # Errors
/// If the process runs out of resources.
pub fn run_scenario(
    initial_state: &InitialState,
    scenario: &Scenario,
) -> Result<RunResult, String> {
    let runtime = initial_state::runtime()?;
    let result = runtime.block_on(async {
        let machine = initial_state
            .start_run(
                |parts| Parts {
                    plan: Plan::new(scenario.seed, scenario.source.clone()),
                    outages: scenario.outages.clone(),
                    nondeterministic_queues: scenario.nondeterministic_queues,
                    equal_latencies: scenario.equal_latencies,
                    limits: scenario.limits,
                    ..parts
                },
                scenario.seed,
            )
            .await;
        let run = Run { initial_state, machine: machine.clone() };
        run.execute(scenario).await;
        let result = run.result().await;
        machine.shut_down();
        result
    });
    Ok(result)
}

/// A run, as features use it.
#[derive(Debug)]
pub struct Run<'a> {
    /// The initial state.
    pub initial_state: &'a InitialState,
    /// The machine of the run.
    pub machine: Arc<Machine>,
}

impl Run<'_> {
    /// Returns a feature's part in this run.
    #[must_use]
    pub fn part<T: Part>(&self) -> Option<&T> {
        self.machine.parts.iter().find_map(|part| (part.as_ref() as &dyn Any).downcast_ref())
    }

    /// Calls the provider simulator's control API. A rejected call is recorded as a violation of
    /// `rules`.
    pub async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let done = initial_state::control(self.machine.providers(), &method, path, &body).await;
        done.unwrap_or_else(|error| {
            self.machine
                .monitor()
                .record_violation("rules", format!("the simulation is broken: {error}"));
            Value::Null
        })
    }

    async fn execute(&self, scenario: &Scenario) {
        let begin = tokio::time::Instant::now();
        let steps = &scenario.steps;
        self.machine.log("world", format!("{}, seed {}", scenario.name, scenario.seed.0));
        for part in &self.machine.parts {
            part.prepare(self, steps).await;
        }
        self.machine.begin();
        for part in &self.machine.parts {
            part.begin(self, steps, begin);
        }
        for (number, step) in steps.iter().enumerate() {
            tokio::time::sleep_until(begin + step.at).await;
            if !step.action.runs_in_background() {
                self.machine.log("world", step.to_string());
                step.action.perform(self, number).await;
            }
        }
        let aftermath = match scenario.source {
            _ if steps.iter().any(|step| step.action.has_late_effects()) => LONG_AFTERMATH,
            Source::Given(_) if scenario.equal_latencies => AFTERMATH,
            // Long enough that leases left by dead processes meet faults again.
            _ => AFTERMATH + Duration::from_secs(scenario.seed.below("aftermath", 250)),
        };
        tokio::time::sleep(aftermath).await;
        self.machine.end_faults();
        for part in &self.machine.parts {
            part.end_faults(self).await;
        }
        let mut idle = self.wait_until_idle().await;
        for _ in 0..3 {
            if !idle || !self.redrive() {
                break;
            }
            idle = self.wait_until_idle().await;
        }
        let what = || "work continues after five days".to_owned();
        self.machine.monitor().check("comes-to-rest", idle, what);
    }

    /// Waits until no work is in progress. Returns `false` after the time limit.
    async fn wait_until_idle(&self) -> bool {
        let began = tokio::time::Instant::now();
        let mut quiet_since = None;
        loop {
            let waited = began.elapsed();
            if waited > DRAIN_TIMEOUT {
                return false;
            }
            if self.is_quiet().await {
                let since = *quiet_since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() >= IDLE_TIME {
                    return true;
                }
            } else {
                quiet_since = None;
            }
            let pause =
                if waited < Duration::from_mins(10) || quiet_since.is_some() { 5 } else { 60 };
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
    }

    async fn is_quiet(&self) -> bool {
        if !self.machine.is_idle() || self.machine.next_due_ms().is_some() {
            return false;
        }
        let left = {
            let cloud = self.machine.cloud();
            let functions = self.machine.deployment.functions.values();
            let read = functions.filter_map(|function| function.reads.as_ref());
            read.filter_map(|(queue, _)| self.machine.deployment.queues.get(queue))
                .any(|queue| cloud.sqs.messages(&queue.url).next().is_some())
        };
        if left {
            return false;
        }
        for part in &self.machine.parts {
            if !part.is_quiet(self).await {
                return false;
            }
        }
        true
    }

    /// Redrives all dead letters, like an operator after a repair. Returns `false` if there are
    /// none.
    fn redrive(&self) -> bool {
        let mut any = false;
        let queues: Vec<_> = self.machine.deployment.queues.values().cloned().collect();
        for queue in queues {
            let Some(dead) = &queue.dead_letters else { continue };
            let mut cloud = self.machine.cloud();
            let records: Vec<_> = cloud.sqs.messages(dead).cloned().collect();
            for record in records {
                any = true;
                self.machine.log("operator", "redrives a dead letter");
                let source = record.dead_letter_source.is_some();
                let reason = record.attributes.contains_key("reason");
                self.machine.monitor().check("queues-drained", source || reason, || {
                    format!("a dead letter of {} has no reason", queue.url)
                });
                let mut send = json!({ "QueueUrl": queue.url, "MessageBody": record.body });
                if let Some(group) = &record.group {
                    send["MessageGroupId"] = group.clone().into();
                }
                if queue.fifo {
                    let id = format!("redriven-{}", record.message_id);
                    send["MessageDeduplicationId"] = id.into();
                }
                let now_ms = time::now_ms();
                let back = cloud.sqs.call("SendMessage", &send, now_ms, &mut NoChaos);
                if let Err(refusal) = back {
                    self.machine.monitor().record_violation("queues-drained", refusal.message);
                }
            }
            // Deletes the redriven records from the dead-letter queue.
            loop {
                let request = json!({ "QueueUrl": dead, "MaxNumberOfMessages": 10 });
                let now_ms = time::now_ms();
                let received = cloud.sqs.call("ReceiveMessage", &request, now_ms, &mut NoChaos);
                let received = received.unwrap_or_default();
                let received = received["Messages"].as_array().cloned().unwrap_or_default();
                if received.is_empty() {
                    break;
                }
                for message in received {
                    let request =
                        json!({ "QueueUrl": dead, "ReceiptHandle": message["ReceiptHandle"] });
                    drop(cloud.sqs.call("DeleteMessage", &request, now_ms, &mut NoChaos));
                }
            }
        }
        if any {
            self.machine.wake();
        }
        any
    }

    async fn result(&self) -> RunResult {
        for part in &self.machine.parts {
            part.check_invariants(self).await;
        }
        let log = self.control(Method::GET, "/_sim/log?limit=100000", Value::Null).await;
        let remaining = self.remaining_records();
        let mut monitor = std::mem::take(&mut *self.machine.monitor());
        monitor.count_check("rules");
        let events = log["events"].as_array().into_iter().flatten();
        for broken in events.filter(|event| event["kind"] == "violation") {
            monitor.record_violation("rules", broken.to_string());
        }
        monitor.count_check("queues-drained");
        for record in remaining {
            monitor.record_violation("queues-drained", record);
        }
        let Monitor { violations, checks, .. } = monitor;
        let (consumed, throttled) = {
            let cloud = self.machine.cloud();
            (cloud.dynamo.consumed().clone(), cloud.dynamo.throttled().clone())
        };
        RunResult {
            violations,
            checks,
            history: self.machine.history(),
            consumed,
            throttled,
            faults: self.machine.plan.injected(),
            exchanges: self.machine.exchanges(),
            injection_points: self.machine.plan.injection_points(),
        }
    }

    /// Describes records that remain in queues.
    fn remaining_records(&self) -> Vec<String> {
        let cloud = self.machine.cloud();
        let mut remaining = Vec::new();
        for queue in self.machine.deployment.queues.values() {
            for url in std::iter::once(&queue.url).chain(&queue.dead_letters) {
                let count = cloud.sqs.messages(url).count();
                if count > 0 {
                    remaining.push(format!("{count} records remain in {url}"));
                }
            }
        }
        remaining
    }
}
