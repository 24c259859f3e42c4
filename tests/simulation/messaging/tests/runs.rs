//! Complete runs: properties of the simulation itself.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::time::Duration;

use messaging_simulation::Messaging;
use messaging_simulation::scenario::{Action, MessageKind, canonical_scenarios, random_scenario};
use serde_json::json;
use simulation::faults::Source;
use simulation::feature::Registry;
use simulation::initial_state::InitialState;
use simulation::run::run_scenario;
use simulation::scenario::{CanonicalScenario, Scenario, Step};
use testkit::cloud::dynamo::{PartitionLimits, PartitionUse};

fn initial_state() -> InitialState {
    InitialState::create(Registry::new().with(Messaging)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_history_to_the_byte() {
    let initial_state = initial_state();
    for seed in 0..12 {
        let scenario = random_scenario(seed);
        let (first, second) = (
            run_scenario(&initial_state, &scenario).unwrap(),
            run_scenario(&initial_state, &scenario).unwrap(),
        );
        assert_eq!(first.history.to_text(), second.history.to_text(), "seed {seed}");
    }
}

#[test]
fn random_faults_have_the_same_effect_when_given_explicitly() {
    let initial_state = initial_state();
    let drawn = Scenario { nondeterministic_queues: false, ..random_scenario(4) };
    let first = run_scenario(&initial_state, &drawn).unwrap();
    assert!(!first.faults.is_empty(), "seed 4 meets no fault: choose another seed");
    let given = Scenario { source: Source::Given(first.faults.clone()), ..drawn };
    assert_eq!(run_scenario(&initial_state, &given).unwrap().history, first.history);
}

#[test]
fn every_canonical_scenario_passes_without_faults() {
    let initial_state = initial_state();
    for scenario in canonical_scenarios() {
        let (name, result) = (
            scenario.name,
            run_scenario(&initial_state, &scenario.with_faults(BTreeMap::new())).unwrap(),
        );
        if let Some(violation) = result.violations.first() {
            panic!("{name}: {violation:?}\n{}", result.history.to_text());
        }
        assert!(
            result.injection_points.len() > 6,
            "{name} has only {} injection points",
            result.injection_points.len()
        );
    }
}

#[test]
fn an_event_and_its_duplicate_each_cost_one_small_write() {
    let initial_state = initial_state();
    let consumed = |copies| {
        let event = CanonicalScenario { name: "event", steps: vec![event(Duration::ZERO, copies)] };
        let result = run_scenario(&initial_state, &event.with_faults(BTreeMap::new())).unwrap();
        assert!(result.violations.is_empty(), "{:?}", result.violations);
        result.consumed.by_operation
    };
    let (once, twice) = (consumed(1), consumed(2));
    assert_eq!(once.keys().copied().collect::<Vec<_>>(), ["GetItem", "PutItem"]);
    // The webhook function reads the integration by its id, then by its tenant.
    assert_eq!(once["GetItem"].calls, 2);
    // An event of one kilobyte with its body, and its index entry.
    assert_eq!((once["PutItem"].calls, once["PutItem"].units.write), (1, 2));
    // A rejected conditional write consumes capacity in the table but not in the index.
    assert_eq!((twice["PutItem"].calls, twice["PutItem"].units.write), (2, 3));
}

fn event(at: Duration, copies: u64) -> Step {
    Step::new(at, Action::SendsEvent { example: 0, copies, forged: false })
}

/// Runs the steps on a table with these limits. Returns the keys that were throttled.
fn throttled_keys(steps: Vec<Step>, limits: PartitionLimits) -> Vec<String> {
    let storm = CanonicalScenario { name: "storm", steps }.with_faults(BTreeMap::new());
    let limited = Scenario { limits: Some(limits), ..storm };
    let result = run_scenario(&initial_state(), &limited).unwrap();
    assert!(result.violations.is_empty(), "{:?}", result.violations.first());
    result.throttled.keys().map(PartitionUse::to_string).collect()
}

#[test]
fn events_throttled_on_their_tenants_index_keys_all_arrive() {
    let limits = PartitionLimits { write_units: 2, ..PartitionLimits::AWS };
    let steps = (0..150).map(|n| event(Duration::from_micros(n * 100), 1));
    let hot = throttled_keys(steps.collect(), limits);
    assert!(!hot.is_empty());
    for key in hot {
        assert!(key.starts_with("writes of by_parent T#acme#EVENTS"), "{key}");
    }
}

/// A twentieth of the writes that a partition key of AWS takes, and of 3,000 messages or events per
/// second.
const TWENTIETH: PartitionLimits =
    PartitionLimits { write_units: PartitionLimits::AWS.write_units / 20, ..PartitionLimits::AWS };
const PER_SECOND: u64 = 3000 / 20;

/// A step every 150th of a second, for two seconds.
fn two_seconds(step: impl Fn(Duration, u64) -> Step) -> Vec<Step> {
    let at = |n| Duration::from_micros(n * 1_000_000 / PER_SECOND);
    (0..2 * PER_SECOND).map(|n| step(at(n), n)).collect()
}

#[test]
fn writes_of_3000_events_per_second_of_one_tenant_are_not_throttled() {
    assert_eq!(throttled_keys(two_seconds(|at, _| event(at, 1)), TWENTIETH), [""; 0]);
}

#[test]
fn writes_of_messages_from_3000_customers_of_one_tenant_per_second_are_not_throttled() {
    let mut steps = vec![Step::new(Duration::ZERO, Action::Quiet)];
    steps.extend(two_seconds(|at, customer| {
        let what = MessageKind::Text;
        Step::new(at, Action::Writes { account: 0, customer, what, copies: 1 })
    }));
    let mut keys = throttled_keys(steps, TWENTIETH);
    // Replies of one account, which sends at most 80 per second: that is not a twentieth.
    keys.retain(|key| !key.contains("#PACE#"));
    assert_eq!(keys, [""; 0]);
}

#[test]
fn writes_of_retries_of_3000_notifications_per_second_are_not_throttled() {
    let down = json!([{ "status": 503, "times": 1000 }]);
    let mut steps = vec![
        Step::new(Duration::ZERO, Action::Quiet),
        Step::new(Duration::ZERO, Action::AutomationFault { account: 0, script: down }),
    ];
    steps.extend(two_seconds(|at, customer| {
        let what = MessageKind::Text;
        Step::new(at, Action::Writes { account: 0, customer, what, copies: 1 })
    }));
    let mut keys = throttled_keys(steps, TWENTIETH);
    // Replies of one account, which sends at most 80 per second: that is not a twentieth.
    keys.retain(|key| !key.contains("#PACE#"));
    assert_eq!(keys, [""; 0]);
}
