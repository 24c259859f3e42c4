//! Whole runs: what the simulation itself promises.

use std::collections::BTreeMap;

use simulation::run::play;
use simulation::scenario::{Scenario, lives};
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
        assert!(ending.places.len() > 10, "{name} comes through {} places", ending.places.len());
    }
}
