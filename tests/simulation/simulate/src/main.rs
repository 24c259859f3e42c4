//! Runs the simulated hub and reports violated invariants.

use std::process::ExitCode;

fn main() -> ExitCode {
    simulation::cli::run(simulate::registry(), functions::openapi)
}
