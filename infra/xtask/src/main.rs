//! The commands of this repository. `cargo xtask --help` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to whoever started it"
)]

mod check;
mod demo;
mod error;
mod http;
mod hub;
mod process;
mod python;
mod tail;
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
    /// Run every check that a change must pass.
    Test {
        /// Leave out the tests that need a running hub.
        #[arg(long)]
        fast: bool,
    },
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
        Command::Test { fast } => check::run(*fast),
    }
}
