//! Shrinks a failing run to as few steps and faults as still violate the same invariant.

use std::collections::BTreeMap;

use crate::faults::{Fault, InjectionPoint, Source};
use crate::initial_state::InitialState;
use crate::run::{RunResult, run_scenario};
use crate::scenario::Scenario;

/// Most runs of a search.
const MAX_RUNS: u32 = 600;

/// Finds a minimal scenario that violates the first invariant violated in `result`, and returns it
/// with its result.
///
/// # Errors
/// If the process runs out of resources.
pub fn shrink(
    initial_state: &InitialState,
    scenario: &Scenario,
    result: &RunResult,
) -> Result<(Scenario, RunResult), String> {
    let Some(violation) = result.violations.first() else {
        return Ok((scenario.clone(), result.clone()));
    };
    let mut search = Search { initial_state, invariant: violation.invariant, left: MAX_RUNS };
    let mut best = scenario.clone();
    let mut end = result.clone();
    // From here on, faults are given explicitly instead of drawn.
    let given = Scenario { source: Source::Given(result.faults.clone()), ..best.clone() };
    match search.fails(&given)? {
        Some(result) => (best, end) = (given, result),
        None => return Ok((best, end)),
    }
    for simpler in [
        Scenario { nondeterministic_queues: false, ..best.clone() },
        Scenario { outages: Vec::new(), ..best.clone() },
        Scenario { equal_latencies: true, ..best.clone() },
    ] {
        let simpler = Scenario {
            nondeterministic_queues: simpler.nondeterministic_queues
                && best.nondeterministic_queues,
            equal_latencies: simpler.equal_latencies || best.equal_latencies,
            outages: if best.outages.is_empty() { Vec::new() } else { simpler.outages },
            ..best.clone()
        };
        if let Some(result) = search.fails(&simpler)? {
            (best, end) = (simpler, result);
        }
    }
    loop {
        let size = weight(&best);
        let steps = best.steps.clone();
        let kept = fewer(steps, |steps| {
            search.fails(&Scenario { steps: steps.to_vec(), ..best.clone() })
        })?;
        if let Some((steps, result)) = kept {
            best.steps = steps;
            end = result;
        }
        let faults: Vec<(InjectionPoint, Fault)> = match &best.source {
            Source::Given(faults) => faults.clone().into_iter().collect(),
            Source::Random { .. } => Vec::new(),
        };
        let kept = fewer(faults, |faults| {
            let faults: BTreeMap<InjectionPoint, Fault> = faults.iter().cloned().collect();
            search.fails(&Scenario { source: Source::Given(faults), ..best.clone() })
        })?;
        if let Some((faults, result)) = kept {
            best.source = Source::Given(faults.into_iter().collect());
            end = result;
        }
        if weight(&best) == size {
            return Ok((best, end));
        }
    }
}

fn weight(scenario: &Scenario) -> usize {
    let faults = match &scenario.source {
        Source::Given(faults) => faults.len(),
        Source::Random { .. } => 0,
    };
    scenario.steps.len() + faults
}

struct Search<'a> {
    initial_state: &'a InitialState,
    invariant: &'static str,
    left: u32,
}

impl Search<'_> {
    /// Returns the result of `scenario` if it violates the same invariant.
    fn fails(&mut self, scenario: &Scenario) -> Result<Option<RunResult>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let result = run_scenario(self.initial_state, scenario)?;
        let same = result.violations.iter().any(|v| v.invariant == self.invariant);
        Ok(same.then_some(result))
    }
}

/// Removes parts of `all`, large parts first, while the rest still fails. Returns `None` if nothing
/// could be removed.
fn fewer<T: Clone>(
    mut all: Vec<T>,
    mut fails: impl FnMut(&[T]) -> Result<Option<RunResult>, String>,
) -> Result<Option<(Vec<T>, RunResult)>, String> {
    let mut found = None;
    let mut part = all.len();
    while part > 0 {
        let mut from = 0;
        while from < all.len() {
            let mut left = all.clone();
            left.drain(from..(from + part).min(all.len()));
            if let Some(result) = fails(&left)? {
                all = left;
                found = Some(result);
            } else {
                from += part;
            }
        }
        part /= 2;
    }
    Ok(found.map(|result| (all, result)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> RunResult {
        RunResult {
            violations: Vec::new(),
            checks: BTreeMap::new(),
            consumed: testkit::cloud::dynamo::Consumed::default(),
            throttled: BTreeMap::new(),
            history: crate::history::History::default(),
            faults: BTreeMap::new(),
            exchanges: Vec::new(),
            injection_points: Vec::new(),
        }
    }

    #[test]
    fn elements_that_are_not_needed_are_removed() {
        let fails = |left: &[u32]| {
            let needed = left.contains(&3) && left.contains(&17);
            Ok(needed.then(result))
        };
        let (left, _) = fewer((0..40).collect(), fails).unwrap().unwrap();
        assert_eq!(left, [3, 17]);
        assert!(fewer(vec![3_u32, 17], fails).unwrap().is_none());
    }
}
