//! What holds of all features together.

use domain::failpoint::Failpoint;
use simulation::chance::Seed;
use simulation::stage::{self, Stage};

/// They write nothing, so nothing of theirs can be lost or doubled.
const READ_ONLY: [&str; 2] = ["api-authorizer", "api-openapi"];

#[test]
fn every_deployed_function_that_writes_is_simulated() {
    let stage = Stage::set(simulate::registry()).unwrap();
    stage::runtime().unwrap().block_on(async {
        let machine = stage.begin(|parts| parts, Seed(1)).await;
        for (name, function) in &stage.deployment.functions {
            let made = machine.make(function);
            assert_eq!(made.is_ok(), !READ_ONLY.contains(&name.as_str()), "{name}: {made:?}");
        }
        machine.shut_down();
    });
}

#[test]
fn every_failpoint_breaks_something_that_is_looked_at() {
    let invariants = simulate::registry().invariants();
    for failpoint in Failpoint::ALL {
        for name in failpoint.breaks() {
            let known = invariants.iter().any(|invariant| invariant.name == *name);
            assert!(known, "{failpoint} breaks {name}, which is no invariant");
        }
    }
}
