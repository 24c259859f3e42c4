//! Shrinks a failing run to as few steps and faults as still violate the same invariant.

use std::collections::BTreeMap;

use crate::run::{Ending, play};
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::trouble::{Fault, Place, Source};

/// Most runs of a search.
const MAX_RUNS: u32 = 600;

/// Finds a minimal scenario that violates the first invariant violated in `ending`, and returns it
/// with its ending.
///
/// # Errors
/// If the process runs out of resources.
pub fn shrink(
    stage: &Stage,
    scenario: &Scenario,
    ending: &Ending,
) -> Result<(Scenario, Ending), String> {
    let Some(violation) = ending.violations.first() else {
        return Ok((scenario.clone(), ending.clone()));
    };
    let mut search = Search { stage, invariant: violation.invariant, left: MAX_RUNS };
    let mut best = scenario.clone();
    let mut end = ending.clone();
    // From here on, faults are given explicitly instead of drawn.
    let given = Scenario { source: Source::Given(ending.troubles.clone()), ..best.clone() };
    match search.fails(&given)? {
        Some(ending) => (best, end) = (given, ending),
        None => return Ok((best, end)),
    }
    for simpler in [
        Scenario { wild: false, ..best.clone() },
        Scenario { outages: Vec::new(), ..best.clone() },
        Scenario { even: true, ..best.clone() },
    ] {
        let simpler = Scenario {
            wild: simpler.wild && best.wild,
            even: simpler.even || best.even,
            outages: if best.outages.is_empty() { Vec::new() } else { simpler.outages },
            ..best.clone()
        };
        if let Some(ending) = search.fails(&simpler)? {
            (best, end) = (simpler, ending);
        }
    }
    loop {
        let size = weight(&best);
        let steps = best.steps.clone();
        let kept = fewer(steps, |steps| {
            search.fails(&Scenario { steps: steps.to_vec(), ..best.clone() })
        })?;
        if let Some((steps, ending)) = kept {
            best.steps = steps;
            end = ending;
        }
        let troubles: Vec<(Place, Fault)> = match &best.source {
            Source::Given(troubles) => troubles.clone().into_iter().collect(),
            Source::Drawn { .. } => Vec::new(),
        };
        let kept = fewer(troubles, |troubles| {
            let troubles: BTreeMap<Place, Fault> = troubles.iter().cloned().collect();
            search.fails(&Scenario { source: Source::Given(troubles), ..best.clone() })
        })?;
        if let Some((troubles, ending)) = kept {
            best.source = Source::Given(troubles.into_iter().collect());
            end = ending;
        }
        if weight(&best) == size {
            return Ok((best, end));
        }
    }
}

fn weight(scenario: &Scenario) -> usize {
    let troubles = match &scenario.source {
        Source::Given(troubles) => troubles.len(),
        Source::Drawn { .. } => 0,
    };
    scenario.steps.len() + troubles
}

struct Search<'a> {
    stage: &'a Stage,
    invariant: &'static str,
    left: u32,
}

impl Search<'_> {
    /// Returns the ending of `scenario` if it violates the same invariant.
    fn fails(&mut self, scenario: &Scenario) -> Result<Option<Ending>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let ending = play(self.stage, scenario)?;
        let same = ending.violations.iter().any(|v| v.invariant == self.invariant);
        Ok(same.then_some(ending))
    }
}

/// Removes parts of `all`, large parts first, while the rest still fails. Returns `None` if nothing
/// could be removed.
fn fewer<T: Clone>(
    mut all: Vec<T>,
    mut fails: impl FnMut(&[T]) -> Result<Option<Ending>, String>,
) -> Result<Option<(Vec<T>, Ending)>, String> {
    let mut found = None;
    let mut part = all.len();
    while part > 0 {
        let mut from = 0;
        while from < all.len() {
            let mut left = all.clone();
            left.drain(from..(from + part).min(all.len()));
            if let Some(ending) = fails(&left)? {
                all = left;
                found = Some(ending);
            } else {
                from += part;
            }
        }
        part /= 2;
    }
    Ok(found.map(|ending| (all, ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending() -> Ending {
        Ending {
            violations: Vec::new(),
            looks: BTreeMap::new(),
            consumed: testkit::cloud::dynamo::Consumed::default(),
            throttled: BTreeMap::new(),
            history: crate::history::History::default(),
            troubles: BTreeMap::new(),
            exchanges: Vec::new(),
            places: Vec::new(),
        }
    }

    #[test]
    fn elements_that_are_not_needed_are_removed() {
        let fails = |left: &[u32]| {
            let needed = left.contains(&3) && left.contains(&17);
            Ok(needed.then(ending))
        };
        let (left, _) = fewer((0..40).collect(), fails).unwrap().unwrap();
        assert_eq!(left, [3, 17]);
        assert!(fewer(vec![3_u32, 17], fails).unwrap().is_none());
    }
}
