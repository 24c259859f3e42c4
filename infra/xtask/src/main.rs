//! Command line tool of this repository. `cargo xtask --help` lists the commands.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints to the terminal"
)]

mod bench;
mod built;
mod chaos;
mod check;
mod demo;
mod error;
mod fuzz;
mod generate;
mod http;
mod hub;
mod planted;
mod process;
mod python;
mod record;
mod redrive;
mod restore;
mod sdks;
mod simulate;
mod specs;
mod steps;
mod tail;
mod tools;
mod trigger;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{
    error::Result,
    hub::{Hub, Start},
};

/// Run, test and measure the hub on this machine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the hub on this machine, with a local cloud and simulated providers.
    ///
    /// All data is stored in target/local. Ctrl-C stops the hub and keeps the data.
    Up {
        /// Leave the hub running in the background. `cargo xtask down` stops it.
        #[arg(long)]
        detach: bool,
        /// Delete the data of earlier runs first.
        #[arg(long)]
        fresh: bool,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Stop a hub that runs in the background.
    Down {
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Send messages through the hub on WhatsApp and Telegram, and show the time of each step.
    ///
    /// Uses the running hub, or starts one that runs until Ctrl-C.
    Demo {
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Send a correctly signed provider webhook to the running hub.
    ///
    /// `cargo xtask trigger --list` lists all webhooks. The tenant and the integration that the
    /// webhook needs are created if they do not exist.
    Trigger {
        #[command(flatten)]
        options: trigger::Options,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Move dead letters back to their queue, after the cause was fixed.
    ///
    /// Without --queue, the number of dead letters of each queue is shown. By default, this is about
    /// the hub on this machine; --url and --key name a deployed one.
    Redrive {
        #[command(flatten)]
        options: redrive::Options,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Send messages through the hub while faults are injected, and check every message.
    ///
    /// Starts a separate hub with the real functions. They reach AWS through a proxy that
    /// rejects, delays and drops requests; they are killed at random moments; the simulated
    /// providers time out, reject messages and send webhooks twice. At the end the faults stop,
    /// the queues drain, and every message is checked: none lost, none sent twice, each in order,
    /// its status as the provider has it.
    Chaos {
        #[command(flatten)]
        options: chaos::Options,
    },
    /// Measure the functions: cold start, work, memory, requests and cost.
    ///
    /// Builds the functions with the deployed profile. `cargo xtask bench --help` lists the
    /// options.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the hub thousands of times on a simulated cloud, and report violated invariants.
    ///
    /// `cargo xtask simulate --help` lists the options of the simulation.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Plant known bugs one at a time, and check that the simulation finds each. Without a
        /// name, all bugs are planted. Results are written to target/planted.
        #[arg(long, value_name = "BUG", num_args = 0..)]
        planted: Option<Vec<String>>,
        /// Arguments of the simulation.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzz every webhook: none may panic, accept a forged request, or exceed its function's
    /// memory.
    Fuzz {
        #[command(flatten)]
        options: fuzz::Options,
    },
    /// Write the files that follow from others: the lists of functions in functions/Cargo.toml and
    /// functions/bootstrap.rs, and events/.
    ///
    /// Run it after adding a function, a provider or an example. It changes only what has changed.
    Generate,
    /// Check the senders' requests against the providers' official OpenAPI descriptions.
    ///
    /// Sends the requests to mock servers that reject every request the description does not
    /// allow. Needs Node.js, and the descriptions: in shared/contracts/specs beside the checkout,
    /// or in the folder that --folder names.
    Specs {
        #[command(flatten)]
        options: specs::Options,
    },
    /// Record the hub's behavior, to prove that a refactoring changes nothing but names.
    ///
    /// The records are in tests/records: a digest of the requests to providers and of the API's
    /// responses in a fixed set of simulated runs, the API's OpenAPI description, each function's
    /// routes, permissions and queues, and the names of tests and planted bugs.
    Record {
        #[command(flatten)]
        options: record::Options,
    },
    /// Restore the hub's data into a second stack, and check that it works.
    ///
    /// Starts a separate hub, sends webhooks through it, restores its tables and copies its bucket
    /// on the local cloud, and deploys a second stack that uses them. Every item and object is
    /// compared. Then a webhook is sent to the second stack.
    RestoreDrill,
    /// Run every check that a change must pass, and print the duration of each.
    ///
    /// Long checks run on a sample: `cargo xtask nightly` runs the simulation, planted bugs,
    /// chaos, the flood of requests, fuzzing and the benchmark in full.
    Test {
        /// Skip the tests that need a running hub, and all long checks.
        #[arg(long)]
        fast: bool,
    },
    /// Run the long checks in full.
    ///
    /// A million simulated runs, every planted bug, ten thousand messages under kills and faults,
    /// a flood of requests for minutes, a minute of fuzzing for each webhook, and every figure of
    /// the benchmark.
    Nightly,
}

#[derive(Args)]
struct HubArguments {
    /// Build and run the functions optimized, as they are deployed.
    #[arg(long)]
    release: bool,
    /// Run a separate hub beside another one: adds N to every port, stores data in target/local-N.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
}

impl HubArguments {
    fn hub(&self) -> Result<Hub> {
        Hub::at_offset(self.port_offset, self.release)
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Up { detach, fresh, hub } => {
            let hub = hub.hub()?;
            if *detach {
                hub.start(Start { detach: true, fresh: *fresh })?;
                hub.print_addresses();
                println!("Running in the background. `cargo xtask down` stops it.");
                Ok(())
            } else if let Some(running) = hub.start(Start { detach: false, fresh: *fresh })? {
                hub.print_addresses();
                println!("Press Ctrl-C to stop it.");
                running.follow_log()
            } else {
                hub.print_addresses();
                Ok(())
            }
        }
        Command::Down { hub } => hub.hub()?.stop(),
        Command::Demo { hub } => {
            let hub = hub.hub()?;
            let running = hub.start(Start { detach: false, fresh: false })?;
            let result = demo::run(&hub);
            match running {
                Some(running) if result.is_ok() => {
                    println!("Press Ctrl-C to stop it.");
                    running.follow_log()
                }
                Some(running) => {
                    running.stop()?;
                    result
                }
                None => result,
            }
        }
        Command::Trigger { options, hub } => trigger::run(&hub.hub()?, options),
        Command::Redrive { options, hub } => redrive::run(&hub.hub()?, options),
        Command::Chaos { options } => chaos::run(options),
        Command::Fuzz { options } => fuzz::run(options),
        Command::Generate => generate::run(),
        Command::Specs { options } => specs::run(options, None),
        Command::Bench { arguments } => bench::run(arguments),
        Command::Simulate { planted: Some(names), .. } => {
            simulate::planted(simulate::Profile::Optimized, names)
        }
        Command::Simulate { planted: None, arguments } => simulate::run(arguments),
        Command::RestoreDrill => restore::run(false),
        Command::Test { fast } => check::run(*fast),
        Command::Nightly => check::nightly(),
        Command::Record { options } => record::run(options),
    }
}
