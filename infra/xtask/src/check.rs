//! The `test` command: every check that a change must pass, cheapest first.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    bench,
    built::{self, Built},
    chaos,
    error::{Error, Result},
    fuzz,
    hub::{Hub, Start},
    planted,
    process::{self, Background},
    python, restore, sdks, simulate, specs,
    steps::Steps,
    tail, tools, workspace,
};

const CARGO_DENY: &str = "0.20.2";
/// Keeps the ports away from those of a hub that a developer runs.
const E2E_PORT_OFFSET: u16 = 1000;

/// Number of planted bugs that the simulation must find in every change. The commit id selects
/// them; the nightly run plants all.
const PLANTED: usize = 2;

/// Simulation runs that every change must pass.
const RUNS: usize = 5000;
/// Random simulation runs of the nightly command.
const NIGHTLY_RUNS: u64 = 1_000_000;

/// Factor by which the nightly flood takes longer than that of every change.
const FLOOD_FACTOR: &str = "10";

/// Arguments of the chaos run that every change must pass.
const CHAOS: [&str; 7] = ["chaos", "--short", "--built", "--seed", "9", "--fault-rate", "0.06"];

/// Runs all checks and stops at the first failure.
pub(crate) fn run(fast: bool) -> Result<()> {
    let mut steps = Steps::begin();
    let done = checks(&mut steps, fast);
    println!("\n{}", steps.table());
    done?;
    println!("All passed.");
    Ok(())
}

fn checks(steps: &mut Steps, fast: bool) -> Result<()> {
    steps.step("format", || cargo(&["fmt", "--all", "--check"]))?;
    steps.step("templates", check_templates)?;
    steps.step("lints", || {
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
    steps.step("build", built::build).and_then(|built| {
        steps.step("tests", || built.test())?;
        steps.step("documentation", document)?;
        steps.step("dependencies", deny)?;
        steps.step("the providers' own libraries", || sdks::run(Some(&built)))?;
        steps.step("the providers' own descriptions", || {
            specs::run(&specs::Options::default_folder(), Some(&built))
        })?;
        if fast {
            return Ok(());
        }
        steps.step("end to end", || end_to_end(&built))?;
        steps.step("restore drill", || restore::run(true))?;
        // Chaos mostly waits, so the CPU-bound steps run beside it.
        let chaos = Background::start("chaos", &CHAOS)?;
        steps.step("simulation", || simulate::sample(RUNS))?;
        steps.step("planted bugs", || {
            simulate::planted(simulate::Profile::Plain, &planted::select_for_commit(PLANTED))
        })?;
        steps.step("fuzzing", || fuzz::run(&fuzz::Options::short()))?;
        steps.step("chaos, in the background", || chaos.finish())?;
        steps.step("counted benchmark", || bench::counted(&words("--check")))
    })
}

/// Runs the long checks in full. A failure does not skip the later checks.
pub(crate) fn nightly() -> Result<()> {
    let mut steps = Steps::begin();
    #[expect(
        clippy::disallowed_methods,
        reason = "a tool, not a function: it runs on the real clock"
    )]
    let now = SystemTime::now();
    let days = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
    // Each night uses new seeds.
    let from = (days * NIGHTLY_RUNS).to_string();
    let runs = ["--from", &from, "--seeds", &NIGHTLY_RUNS.to_string()].map(ToOwned::to_owned);
    let done = [
        steps.step("simulation", || simulate::run(&runs)),
        steps.step("planted bugs", || simulate::planted(simulate::Profile::Optimized, &[])),
        steps.step("chaos", || chaos::run(&chaos::Options::full())),
        steps.step("flood", flood),
        steps.step("fuzzing", || fuzz::run(&fuzz::Options::full())),
        steps.step("benchmark", || bench::run(&[])),
    ];
    println!("\n{}", steps.table());
    done.into_iter().collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(ToOwned::to_owned).collect()
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

/// Lints the root template and those of the nested stacks, and packages them as for a deployment.
fn check_templates() -> Result<()> {
    let root = workspace::root();
    let python = python::environment(&root.join("infra/local/requirements-lint.txt"))?;
    let program = |path: &Path| {
        let mut command = Command::new(path);
        command
            .current_dir(&root)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("SAM_CLI_TELEMETRY", "0");
        command
    };
    let templates = templates(&root)?;
    for template in &templates {
        let mut sam = program(&python.with_file_name("sam"));
        process::run("sam validate", sam.args(["validate", "--template-file"]).arg(template))?;
    }
    let mut lint = program(&python.with_file_name("cfn-lint"));
    process::run("cfn-lint", lint.args(&templates))?;
    let mut package = program(&python);
    package.arg(root.join("infra/local/package.py"));
    package.args(["--template", "template.yaml", "--folder"]);
    process::run("sam package", package.arg(workspace::target().join("package")))
}

/// Returns the paths of all templates.
fn templates(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("infra/stacks");
    let mut paths = vec![root.join("template.yaml")];
    for entry in fs::read_dir(&folder).map_err(Error::file(&folder))? {
        paths.push(entry.map_err(Error::file(&folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn end_to_end(built: &Built) -> Result<()> {
    let hub = Hub::named("local-e2e", E2E_PORT_OFFSET, false)?.already_built(true);
    with_hub(&hub, || {
        let against = |name: &str, package: &str, target: &str| {
            let mut test = built::service_test(Some(built), package, target)?;
            process::run(name, against(&hub, &mut test)?)
        };
        against("contract tests of the table", "tests", "contract")?;
        against("conformance of the simulated cloud", "testkit", "conformance")?;
        against("end-to-end tests", "tests", "e2e")
    })
}

/// Runs the end-to-end test of a flood, for longer than [`end_to_end`] does.
fn flood() -> Result<()> {
    let hub = Hub::named("local-e2e", E2E_PORT_OFFSET, false)?;
    with_hub(&hub, || {
        let mut test = built::service_test(None, "tests", "e2e")?;
        test.arg("flood").env("SWITCHBOARD_FLOOD_FACTOR", FLOOD_FACTOR);
        process::run("flood", against(&hub, &mut test)?)
    })
}

/// Sets the environment of a test program to a running hub.
fn against<'a>(hub: &Hub, test: &'a mut Command) -> Result<&'a mut Command> {
    Ok(test
        .envs(hub.environment()?)
        .env("SWITCHBOARD_FOLDER", hub.folder())
        .envs(hub.tables()?)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test"))
}

/// Runs `tests` while `hub` runs, without the data of earlier runs.
fn with_hub(hub: &Hub, tests: impl FnOnce() -> Result<()>) -> Result<()> {
    if hub.is_running() {
        println!("Stopping the hub of an earlier run.");
        hub.stop()?;
    }
    let running = hub.start(Start { detach: false, fresh: true })?;
    let tested = tests();
    if let Some(running) = running {
        running.stop()?;
    }
    tested.map_err(|error| {
        let log = hub.functions_log();
        println!("Last errors and warnings of the functions:");
        for line in tail::last_problems(&log, 40) {
            println!("  {line}");
        }
        println!("All logs: {}", log.parent().unwrap_or(&log).display());
        match error {
            Error::Step { step, detail } => Error::step(step, format!("{detail}. See above")),
            other => other,
        }
    })
}
