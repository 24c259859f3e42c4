//! Tests of the engine with a feature that is defined in this file: a function, a scenario and an
//! invariant. With a bug, the engine finds the violation and shrinks the run.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ports::MediaStore;
use queue::Bucket;
use serde_json::{Value, json};
use simulation::deployment::{BUCKET, Deployment, Queue};
use simulation::faults::{Fault, Source};
use simulation::feature::{Feature, Fixtures, Part, Registry, Work};
use simulation::functions::{Instance, Outcome, Output, SimulationKit};
use simulation::initial_state::{InitialState, Setup};
use simulation::monitor::Invariant;
use simulation::run::{Run, RunResult, run_scenario};
use simulation::scenario::{Action, CanonicalScenario, Scenario, Step};
use simulation::shrink::shrink;
use simulation::time;
use testkit::cloud::sqs::NoChaos;

/// The deployed function and the queue that the feature uses.
const FUNCTION: &str = "consumer-media";
const QUEUE: &str = "MediaQueue";

/// Feature that receives orders from a queue and stores each as one object.
#[derive(Clone, Copy, Debug)]
struct Toy {
    /// The bug: an order that is received twice is stored twice.
    stores_each_receive: bool,
}

impl Feature for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn invariants(&self) -> Vec<Invariant> {
        vec![Invariant::new("stored-once", "every order is stored exactly once")]
    }

    fn function(
        &self,
        name: &str,
        kit: &SimulationKit,
    ) -> Option<Result<Box<dyn Instance>, String>> {
        let make = || -> Box<dyn Instance> {
            Box::new(Storing { bucket: Bucket::new(&kit.aws, BUCKET.to_owned()), toy: *self })
        };
        (name == FUNCTION).then(|| Ok(make()))
    }

    fn set_up<'a>(&'a self, _setup: &'a mut Setup) -> Work<'a, Result<Box<dyn Fixtures>, String>> {
        Box::pin(ready(Ok(Box::new(Shop) as Box<dyn Fixtures>)))
    }

    fn scenarios(&self) -> Vec<CanonicalScenario> {
        let order = |n: u64| Step::new(Duration::from_millis(50 * n), Order(n));
        vec![CanonicalScenario { name: "orders", steps: (1..=4).map(order).collect() }]
    }
}

/// The feature's function.
struct Storing {
    bucket: Bucket,
    toy: Toy,
}

impl Instance for Storing {
    fn invoke(&self, event: Value) -> Outcome<'_> {
        Box::pin(async move {
            let mut failed = Vec::new();
            for record in event["Records"].as_array().into_iter().flatten() {
                let order = record["body"].as_str().unwrap_or_default();
                let receive = record["attributes"]["ApproximateReceiveCount"].as_str();
                let key = if self.toy.stores_each_receive {
                    format!("orders/{order}/{}", receive.unwrap_or_default())
                } else {
                    format!("orders/{order}/1")
                };
                let stored = self.bucket.put(&key, "text/plain", order.to_owned().into()).await;
                if stored.is_err() {
                    failed.push(json!({ "itemIdentifier": record["messageId"] }));
                }
            }
            Ok(Output::Json(json!({ "batchItemFailures": failed })))
        })
    }
}

/// Empty fixtures.
#[derive(Debug)]
struct Shop;

impl Fixtures for Shop {
    fn create_part(&self) -> Arc<dyn Part> {
        Arc::new(Orders::default())
    }
}

/// The orders of a run.
#[derive(Debug, Default)]
struct Orders(Mutex<Vec<String>>);

impl Part for Orders {
    fn check_invariants<'a>(&'a self, run: &'a Run<'_>) -> Work<'a, ()> {
        for order in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let folder = format!("orders/{order}/");
            let cloud = run.machine.cloud();
            let found = cloud.s3.objects(BUCKET).filter(|(key, _)| key.starts_with(&folder));
            let found = found.count();
            let what = || format!("{order} is stored {found} times");
            run.machine.monitor().check("stored-once", found == 1, what);
        }
        Box::pin(ready(()))
    }
}

/// Action that places an order.
#[derive(Debug)]
struct Order(u64);

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a customer orders number {}", self.0)
    }
}

fn orders_queue(deployment: &Deployment) -> &Queue {
    &deployment.queues[QUEUE]
}

impl Action for Order {
    fn perform<'a>(&'a self, run: &'a Run<'_>, _number: usize) -> Work<'a, ()> {
        let order = format!("order-{}", self.0);
        let queue = orders_queue(&run.machine.deployment);
        let mut send = json!({ "QueueUrl": queue.url, "MessageBody": order });
        if queue.fifo {
            send["MessageGroupId"] = order.as_str().into();
            send["MessageDeduplicationId"] = order.as_str().into();
        }
        let answer =
            run.machine.cloud().sqs.call("SendMessage", &send, time::now_ms(), &mut NoChaos);
        assert!(answer.is_ok(), "{answer:?}");
        if let Some(part) = run.part::<Orders>() {
            part.0.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        }
        run.machine.wake();
        Box::pin(ready(()))
    }
}

fn initial_state(stores_each_receive: bool) -> InitialState {
    InitialState::create(Registry::new().with(Toy { stores_each_receive })).unwrap()
}

/// Runs the canonical scenarios with every fault at every injection point, and returns the endings.
fn enumerated(initial_state: &InitialState) -> Vec<(Scenario, RunResult)> {
    let mut played = Vec::new();
    for canonical in initial_state.registry.scenarios() {
        let calm = canonical.with_faults(BTreeMap::new());
        let result = run_scenario(initial_state, &calm).unwrap();
        let points = result.injection_points.clone();
        played.push((calm, result));
        for (point, faults) in points {
            for fault in faults {
                let scenario = canonical.with_faults(BTreeMap::from([(point.clone(), fault)]));
                let result = run_scenario(initial_state, &scenario).unwrap();
                played.push((scenario, result));
            }
        }
    }
    played
}

#[test]
fn a_new_feature_passes_with_every_fault() {
    let initial_state = initial_state(false);
    let played = enumerated(&initial_state);
    assert!(played.len() > 20, "{} runs", played.len());
    for (scenario, result) in &played {
        assert_eq!(result.violations, [], "{:?}\n{}", scenario.source, result.history.to_text());
        assert_eq!(result.checks["stored-once"], 4);
    }
    for seed in 0..30 {
        let result =
            run_scenario(&initial_state, &initial_state.registry.random_scenario(seed).unwrap())
                .unwrap();
        assert_eq!(result.violations, [], "seed {seed}\n{}", result.history.to_text());
    }
}

#[test]
fn a_bug_violates_the_features_invariant_and_is_shrunk_to_one_step_and_one_fault() {
    let initial_state = initial_state(true);
    let scenarios = (0..100).filter_map(|seed| initial_state.registry.random_scenario(seed));
    let (scenario, result) = scenarios
        .map(|scenario| Scenario { nondeterministic_queues: false, ..scenario })
        .map(|scenario| (scenario.clone(), run_scenario(&initial_state, &scenario).unwrap()))
        .find(|(_, result)| !result.violations.is_empty())
        .expect("one of 100 drawn runs finds it");
    assert_eq!(result.violations[0].invariant, "stored-once");
    assert!(scenario.steps.len() == 4);

    let (small, result) = shrink(&initial_state, &scenario, &result).unwrap();
    assert_eq!(result.violations[0].invariant, "stored-once");
    assert_eq!(small.steps.len(), 1, "{small:?}");
    let Source::Given(faults) = &small.source else {
        panic!("the shrunk run has random faults: {small:?}")
    };
    assert_eq!(faults.len(), 1, "{faults:?}");
    let text = result.history.to_text();
    assert!(text.contains("a customer orders number"), "{text}");

    // Running every fault finds it, too: where the queue service misses the success.
    let found =
        enumerated(&initial_state).into_iter().find(|(_, result)| !result.violations.is_empty());
    let (scenario, _) = found.expect("one fault is enough");
    let Source::Given(faults) = scenario.source else { panic!("the faults are random") };
    let breaking = [Fault::AckLost, Fault::AckLate, Fault::AnswerLost];
    let dies = |fault: &Fault| fault.name().starts_with("dies") || fault.name().contains("frozen");
    assert!(faults.values().all(|fault| breaking.contains(fault) || dies(fault)));
}

#[test]
fn duplicate_names_are_rejected_before_the_first_run() {
    let toy = Toy { stores_each_receive: false };
    let refused = InitialState::create(Registry::new().with(toy).with(toy)).unwrap_err();
    assert_eq!(refused, "two features are called toy. Rename one");
}
