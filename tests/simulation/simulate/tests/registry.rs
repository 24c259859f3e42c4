//! Tests across all features.

use domain::failpoint::Failpoint;
use simulation::initial_state::{self, InitialState};
use simulation::random::Seed;

#[test]
fn every_deployed_function_can_be_created() {
    let initial_state = InitialState::create(simulate::registry()).unwrap();
    initial_state::runtime().unwrap().block_on(async {
        let machine = initial_state.start_run(|parts| parts, Seed(1)).await;
        for (name, function) in &initial_state.deployment.functions {
            let made = machine.create_idle_sandbox(function);
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
