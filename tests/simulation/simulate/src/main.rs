//! Plays runs of the simulated hub, and says what did not hold.

use std::process::ExitCode;

fn main() -> ExitCode {
    simulation::cli::run(simulate::registry())
}
