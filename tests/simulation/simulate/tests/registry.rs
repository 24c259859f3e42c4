//! Tests across all features.

use domain::failpoint::Failpoint;
use simulation::chance::Seed;
use simulation::stage::{self, Stage};

#[test]
fn every_deployed_function_can_be_created() {
    let stage = Stage::set(simulate::registry()).unwrap();
    stage::runtime().unwrap().block_on(async {
        let machine = stage.begin(|parts| parts, Seed(1)).await;
        for (name, function) in &stage.deployment.functions {
            let made = machine.make(function);
            assert!(made.is_ok(), "{name}: {made:?}");
        }
        machine.shut_down();
    });
}

#[test]
fn every_failpoint_breaks_an_invariant_that_is_checked() {
    let invariants = simulate::registry().invariants();
    for failpoint in Failpoint::ALL {
        for name in failpoint.breaks() {
            let known = invariants.iter().any(|invariant| invariant.name == *name);
            assert!(known, "{failpoint} breaks {name}, which is not an invariant");
        }
    }
}
