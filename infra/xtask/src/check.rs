//! Every check that a change must pass, in the order in which a failure is cheapest.

use std::{process::Command, time::Instant};

use crate::{
    bench, chaos,
    error::{Error, Result},
    fuzz,
    hub::{Hub, Start},
    planted, process, python, sdks, simulate, specs, tail, tools, workspace,
};

const CARGO_DENY: &str = "0.20.2";
/// Far from the ports that a hub for hand use takes.
const E2E_PORT_OFFSET: u16 = 1000;

/// How many planted bugs every change must still find, drawn by its commit; the nightly run
/// plants all.
const PLANTED: usize = 2;

/// Runs them all. The first that fails ends it.
pub(crate) fn run(fast: bool) -> Result<()> {
    let begun = Instant::now();
    step("cargo fmt", || cargo(&["fmt", "--all", "--check"]))?;
    step("cargo clippy", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    step("cargo doc", document)?;
    step("cargo deny", deny)?;
    step("template", lint_template)?;
    step("cargo test", || cargo(&["test", "--workspace", "--quiet"]))?;
    step("the providers' own libraries", sdks::run)?;
    step("the providers' own descriptions", || specs::run(&specs::Options::beside()))?;
    if !fast {
        step("end to end", end_to_end)?;
        step("simulation", simulation)?;
        step("planted bugs", || simulate::planted(&planted::of_this_commit(PLANTED)))?;
        step("chaos", chaos)?;
        step("fuzzing", || fuzz::run(&fuzz::Options::short()))?;
        step("benchmark", || bench::run(&words("--short --check")))?;
    }
    println!("All passed in {:.0} s.", begun.elapsed().as_secs_f32());
    Ok(())
}

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    let begun = Instant::now();
    check()?;
    println!("== {name}: passed in {:.1} s", begun.elapsed().as_secs_f32());
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(ToOwned::to_owned).collect()
}

/// Every trouble at every place of a message's life, and as many drawn runs as make 20,000.
fn simulation() -> Result<()> {
    simulate::run(&words("--no-lives --seeds 60 --twice"))?;
    simulate::run(&words("--seeds 15500"))
}

/// A few hundred messages on the real functions, while they are killed and the cloud fails.
fn chaos() -> Result<()> {
    chaos::run(&chaos::Options::short())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let name = format!("cargo {}", arguments.first().copied().unwrap_or_default());
    process::run(
        &name,
        Command::new(workspace::cargo()).args(arguments).current_dir(workspace::root()),
    )
}

fn document() -> Result<()> {
    process::run(
        "cargo doc",
        Command::new(workspace::cargo())
            .args(["doc", "--workspace", "--no-deps", "--all-features", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .current_dir(workspace::root()),
    )
}

fn deny() -> Result<()> {
    let program = tools::cargo_program("cargo-deny", CARGO_DENY)?;
    process::run(
        "cargo deny",
        Command::new(program)
            .args([
                "--workspace",
                "--all-features",
                "--log-level",
                "error",
                "check",
                "bans",
                "licenses",
                "sources",
            ])
            .current_dir(workspace::root()),
    )
}

fn lint_template() -> Result<()> {
    let requirements = workspace::root().join("infra/local/requirements-lint.txt");
    let python = python::environment(&tools::folder().join("venv"), &requirements)?;
    let bin = python.parent().unwrap_or(&python);
    let program = |name: &str| {
        let mut command = Command::new(bin.join(name));
        command
            .current_dir(workspace::root())
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("SAM_CLI_TELEMETRY", "0");
        command
    };
    process::run("sam validate", program("sam").args(["validate", "--lint"]))?;
    process::run("cfn-lint", program("cfn-lint").args(["template.yaml", "infra/queue.yaml"]))
}

fn end_to_end() -> Result<()> {
    let hub = Hub::named("local-e2e", E2E_PORT_OFFSET, false)?;
    if hub.is_running() {
        println!("Ending the hub of an earlier run.");
        hub.stop()?;
    }
    let running = hub.start(Start { detach: false, fresh: true })?;
    let against = |name: &str, arguments: &[&str]| {
        process::run(
            name,
            Command::new(workspace::cargo())
                .arg("test")
                .args(arguments)
                .current_dir(workspace::root())
                .envs(hub.environment()?)
                .env("SWITCHBOARD_FOLDER", hub.folder())
                .env("TABLE_NAME", hub.output("TableName")?)
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test"),
        )
    };
    let contract = ["--package", "store", "--features", "emulator", "--test", "contract"];
    let whole = ["--package", "tests", "--features", "e2e", "--test", "e2e"];
    let models =
        ["--package", "testkit", "--features", "emulator", "--test", "conformance", "--quiet"];
    let tested = against("the contract of the table", &contract)
        .and_then(|()| against("the conformance of the simulated cloud", &models))
        .and_then(|()| against("end to end tests", &whole));
    if let Some(running) = running {
        running.stop()?;
    }
    tested.map_err(|error| {
        let log = hub.functions_log();
        println!("What the functions complained about last:");
        for line in tail::last_troubles(&log, 40) {
            println!("  {line}");
        }
        println!("All logs: {}", log.parent().unwrap_or(&log).display());
        match error {
            Error::Step { step, detail } => Error::step(step, format!("{detail}. See above")),
            other => other,
        }
    })
}
