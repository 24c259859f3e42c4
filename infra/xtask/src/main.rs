//! The commands of this repository. `cargo xtask --help` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to whoever started it"
)]

mod bench;
mod built;
mod chaos;
mod check;
mod demo;
mod error;
mod fuzz;
mod http;
mod hub;
mod planted;
mod process;
mod python;
mod record;
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

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the hub on this machine, with a local cloud and simulated providers.
    ///
    /// Everything is kept in target/local. Ctrl-C ends it and keeps its data.
    Up {
        /// Leave the hub running in the background. `cargo xtask down` ends it.
        #[arg(long)]
        detach: bool,
        /// Forget all data of earlier runs.
        #[arg(long)]
        fresh: bool,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// End a hub that was left running in the background.
    Down {
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Watch messages travel, on WhatsApp and on Telegram, with the time each hop takes.
    ///
    /// Uses the running hub, or starts one, which stays up until Ctrl-C.
    Demo {
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Send a provider's webhook, correctly signed, to the running hub.
    ///
    /// `cargo xtask trigger --list` shows all there is. The tenant and the integration that the
    /// webhook needs are made if they are not there.
    Trigger {
        #[command(flatten)]
        options: trigger::Options,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Send messages through the hub while everything around it fails, and account for each.
    ///
    /// Starts a hub of its own with the real functions. They reach AWS through a proxy that
    /// refuses, delays and drops; they are killed at random moments; the simulated providers time
    /// out, refuse and repeat themselves. At the end the faults stop, the queues run empty, and
    /// every message is looked for: none lost, none twice, each in order, its fate as the
    /// provider knows it.
    Chaos {
        #[command(flatten)]
        options: chaos::Options,
    },
    /// Measure what the functions cost: start, work, memory, requests, money.
    ///
    /// Builds them as they are deployed. `cargo xtask bench --help` lists its options.
    #[command(disable_help_flag = true)]
    Bench {
        /// What the benchmark is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Play thousands of runs of the hub on a simulated cloud, and say what did not hold.
    ///
    /// `cargo xtask simulate --help` lists the simulation's own options.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Plant known bugs, one after another, and see that the simulation finds each: these,
        /// or all. Everything is kept in target/planted.
        #[arg(long, value_name = "BUG", num_args = 0..)]
        planted: Option<Vec<String>>,
        /// What the simulation is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Give every webhook whatever a fuzzer thinks of, and see that none panics, believes a
    /// stranger, or takes more memory than its function has.
    Fuzz {
        #[command(flatten)]
        options: fuzz::Options,
    },
    /// Send what the senders send to mocks of the providers' official descriptions, which refuse
    /// whatever these do not allow.
    ///
    /// Needs Node.js, and the descriptions: in shared/contracts/specs beside the checkout, or
    /// where --folder says.
    Specs {
        #[command(flatten)]
        options: specs::Options,
    },
    /// Write down how the hub behaves, so that a change of names can be shown to change no more.
    ///
    /// The records are in tests/records: a digest of what providers are asked and what the API
    /// answers in a fixed set of simulated runs, the API's description, each function's routes,
    /// rights and queues, and the names of tests and planted bugs.
    Record {
        #[command(flatten)]
        options: record::Options,
    },
    /// Run every check that a change must pass, and print what each took.
    ///
    /// What is long is sampled here: the same simulation, planted bugs, chaos, fuzzing and
    /// benchmark are run whole by `cargo xtask nightly`.
    Test {
        /// Leave out the tests that need a running hub.
        #[arg(long)]
        fast: bool,
    },
    /// Run what is too long for every change, whole: a million drawn runs, every planted bug, ten
    /// thousand messages under kills and faults, a minute of fuzzing for each webhook, and every
    /// figure of the benchmark.
    Nightly,
}

#[derive(Args)]
struct HubArguments {
    /// Build and run the functions optimised, as they are deployed.
    #[arg(long)]
    release: bool,
    /// Run a separate hub beside another one: adds N to every port, keeps its data in target/local-N.
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
                hub.introduce();
                println!("Left running. `cargo xtask down` ends it.");
                Ok(())
            } else if let Some(running) = hub.start(Start { detach: false, fresh: *fresh })? {
                hub.introduce();
                println!("Ctrl-C ends it.");
                running.stay()
            } else {
                hub.introduce();
                Ok(())
            }
        }
        Command::Down { hub } => hub.hub()?.stop(),
        Command::Demo { hub } => {
            let hub = hub.hub()?;
            let running = hub.start(Start { detach: false, fresh: false })?;
            let told = demo::run(&hub);
            match running {
                Some(running) if told.is_ok() => {
                    println!("Ctrl-C ends it.");
                    running.stay()
                }
                Some(running) => {
                    running.stop()?;
                    told
                }
                None => told,
            }
        }
        Command::Trigger { options, hub } => trigger::run(&hub.hub()?, options),
        Command::Chaos { options } => chaos::run(options),
        Command::Fuzz { options } => fuzz::run(options),
        Command::Specs { options } => specs::run(options, None),
        Command::Bench { arguments } => bench::run(arguments),
        Command::Simulate { planted: Some(names), .. } => {
            simulate::planted(simulate::Profile::Optimized, names)
        }
        Command::Simulate { planted: None, arguments } => simulate::run(arguments),
        Command::Test { fast } => check::run(*fast),
        Command::Nightly => check::nightly(),
        Command::Record { options } => record::run(options),
    }
}
