//! Whole runs: what the simulation itself promises.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::failpoint::Failpoint;
use simulation::check::INVARIANTS;
use simulation::run::play;
use simulation::scenario::{Act, Scenario, Step, lives};
use simulation::stage::Stage;
use simulation::trouble::Source;

#[test]
fn the_same_seed_gives_the_same_history_to_the_byte() {
    let stage = Stage::set().unwrap();
    for seed in 0..12 {
        let scenario = Scenario::drawn(seed);
        let (first, second) = (play(&stage, &scenario).unwrap(), play(&stage, &scenario).unwrap());
        assert_eq!(first.history.story(), second.history.story(), "seed {seed}");
    }
}

#[test]
fn what_went_wrong_by_chance_goes_wrong_again_when_it_is_given() {
    let stage = Stage::set().unwrap();
    let drawn = Scenario { wild: false, ..Scenario::drawn(4) };
    let first = play(&stage, &drawn).unwrap();
    assert!(!first.troubles.is_empty(), "seed 4 meets no trouble: take another");
    let given = Scenario { source: Source::Given(first.troubles.clone()), ..drawn };
    assert_eq!(play(&stage, &given).unwrap().history, first.history);
}

#[test]
fn every_life_holds_without_trouble() {
    let stage = Stage::set().unwrap();
    for (name, steps) in lives() {
        let ending = play(&stage, &Scenario::life(name, &steps, BTreeMap::new())).unwrap();
        if let Some(violation) = ending.violations.first() {
            panic!("{name}: {violation:?}\n{}", ending.history.story());
        }
        assert!(ending.places.len() > 6, "{name} comes through {} places", ending.places.len());
    }
}

#[test]
fn an_event_costs_the_table_one_small_write_and_so_does_its_repetition() {
    let stage = Stage::set().unwrap();
    let consumed = |copies| {
        let act = Act::Tells { example: 0, copies, forged: false };
        let steps = [Step { at: Duration::ZERO, act }];
        let ending = play(&stage, &Scenario::life("event", &steps, BTreeMap::new())).unwrap();
        assert!(ending.violations.is_empty(), "{:?}", ending.violations);
        ending.consumed.by_operation
    };
    let (once, twice) = (consumed(1), consumed(2));
    assert_eq!(once.keys().copied().collect::<Vec<_>>(), ["GetItem", "PutItem"]);
    // The edge looks for the integration by its id, then by its tenant.
    assert_eq!(once["GetItem"].calls, 2);
    // A record with its body in a kilobyte, and its place in the index.
    assert_eq!((once["PutItem"].calls, once["PutItem"].units.write), (1, 2));
    // A write that is refused costs what is there, but not in the index.
    assert_eq!((twice["PutItem"].calls, twice["PutItem"].units.write), (2, 3));
}

#[test]
fn every_failpoint_breaks_something_that_is_looked_at() {
    for failpoint in Failpoint::ALL {
        for invariant in failpoint.breaks() {
            let known = INVARIANTS.iter().any(|(name, _)| name == invariant);
            assert!(known, "{failpoint} breaks {invariant}, which is no invariant");
        }
    }
}
