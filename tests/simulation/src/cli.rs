//! Command line of the simulation: runs scenarios and reports violated invariants.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints to the terminal"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use testkit::cloud::dynamo::{PartitionLimits, PartitionUse};

use crate::faults::{Fault, InjectionPoint, Source};
use crate::feature::Registry;
use crate::initial_state::InitialState;
use crate::monitor::Invariant;
use crate::random::Seed;
use crate::run::{RunResult, run_scenario};
use crate::scenario::{CanonicalScenario, Scenario};
use crate::shrink::shrink;

/// Run the hub on a simulated cloud and report violated invariants.
///
/// Runs the canonical scenarios with every fault at every injection point, then random scenarios
/// from seeds. A failing run is shrunk, and its history is printed.
#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Options {
    /// Number of random runs.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed.
    #[arg(long, conflicts_with_all = ["scenario", "from", "seeds"])]
    seed: Option<u64>,
    /// Run only this canonical scenario. An unknown name lists all names.
    #[arg(long)]
    scenario: Option<String>,
    /// With --scenario, inject only this fault, such as sender-whatsapp#1.3=dies-after. Can be
    /// repeated.
    #[arg(long, requires = "scenario", value_name = "POINT=FAULT")]
    fault: Vec<String>,
    /// Limit each partition key of the table to 1,000 write units and 3,000 read units per second,
    /// like DynamoDB.
    #[arg(long)]
    limits: bool,
    /// Skip the canonical scenarios.
    #[arg(long, conflicts_with = "sample")]
    no_scenarios: bool,
    /// Run a sample of this size instead of all scenarios and --seeds: every canonical scenario
    /// once without faults, a selection of their faults drawn by --from, and as many random runs.
    #[arg(long, value_name = "RUNS", conflicts_with_all = ["seed", "scenario", "seeds"])]
    sample: Option<usize>,
    /// Record the exchanges of the runs in this file, one run after another: requests to providers
    /// and automations, and responses of the hub.
    #[arg(long, value_name = "FILE")]
    record: Option<std::path::PathBuf>,
    /// Print the history of the run, or of the last run, even if it passed.
    #[arg(long)]
    history: bool,
    /// Stop at the first failure without shrinking it.
    #[arg(long)]
    quick: bool,
    /// Number of parallel runs. Defaults to the number of cores.
    #[arg(long)]
    threads: Option<usize>,
    /// Run each scenario twice and compare the histories.
    #[arg(long)]
    twice: bool,
    /// Activate this failpoint, a deliberate bug that a run must find.
    #[cfg(feature = "failpoints")]
    #[arg(long, value_name = "NAME")]
    failpoint: Option<domain::failpoint::Failpoint>,
    /// Print the OpenAPI document and exit.
    #[arg(long)]
    openapi: bool,
    /// Write the result as JSON to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// Runs the command line of the process with the features of `registry`, whose API `openapi`
/// describes.
#[must_use]
pub fn run(registry: Registry, openapi: fn() -> serde_json::Value) -> ExitCode {
    let options = Options::parse();
    if options.openapi {
        println!("{:#}", openapi());
        return ExitCode::SUCCESS;
    }
    match run_selected(&options, registry) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Results of all threads.
#[derive(Default)]
struct Findings {
    checks: Mutex<BTreeMap<&'static str, u64>>,
    throttled: Mutex<BTreeMap<PartitionUse, u64>>,
    faults: Mutex<BTreeMap<Fault, u64>>,
    failed: Mutex<Option<(u64, Scenario, RunResult)>>,
    last: Mutex<Option<RunResult>>,
    played: AtomicU64,
    stopped: AtomicBool,
}

fn run_selected(options: &Options, registry: Registry) -> Result<bool, String> {
    let began = Instant::now();
    let initial_state = InitialState::create(registry)?;
    // Activated after the setup, which is not a run: a bug there would affect all runs.
    #[cfg(feature = "failpoints")]
    if let Some(failpoint) = options.failpoint {
        domain::failpoint::activate(failpoint)?;
    }
    let findings = Findings::default();
    let mut work = select_scenarios(options, &initial_state)?;
    for scenario in &mut work {
        scenario.limits = options.limits.then_some(PartitionLimits::AWS);
    }
    if let Some(path) = &options.record {
        return record(path, &work, &initial_state);
    }
    let total = work.len();
    let threads =
        options.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into));
    let threads = threads.unwrap_or(1).clamp(1, total.max(1));
    println!("{total} runs, {threads} in parallel.");
    let next = AtomicU64::new(0);
    let outcome = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| run_worker(options, &initial_state, &work, &next, &findings)))
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            report_progress(&findings, total, began);
        }
        let results = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err("a run panicked".to_owned())));
        results.collect::<Result<Vec<()>, String>>()
    });
    outcome?;
    let took = began.elapsed();
    let played = findings.played.load(Ordering::Relaxed);
    let failed = findings.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    report(&initial_state.registry.invariants(), &findings, played, took);
    if let Some(path) = &options.json {
        let text = as_json(&findings, failed.as_ref(), played, took).to_string();
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let Some((number, scenario, result)) = failed else {
        if options.history {
            let last = findings.last.lock().unwrap_or_else(PoisonError::into_inner).take();
            println!("{}", last.map(|result| result.history.to_text()).unwrap_or_default());
        }
        println!("All invariants held.");
        return Ok(true);
    };
    println!();
    println!("Run {number} failed: {}, seed {}.", scenario.name, scenario.seed.0);
    if options.quick {
        print_violations(&result);
        return Ok(false);
    }
    println!("Shrinking the run ...");
    let (scenario, result) = shrink(&initial_state, &scenario, &result)?;
    print_run(&scenario, &result);
    Ok(false)
}

/// Returns the scenarios to run.
fn select_scenarios(
    options: &Options,
    initial_state: &InitialState,
) -> Result<Vec<Scenario>, String> {
    if let Some(seed) = options.seed {
        return Ok(initial_state.registry.random_scenario(seed).into_iter().collect());
    }
    let mut work = Vec::new();
    if let Some(name) = &options.scenario {
        let all = initial_state.registry.scenarios();
        let Some(scenario) = all.iter().find(|scenario| scenario.name == name) else {
            let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
            return Err(format!(
                "unknown canonical scenario {name}. Choose one of: {}",
                names.join(", ")
            ));
        };
        if options.fault.is_empty() {
            work.extend(with_every_fault(initial_state, scenario)?);
        } else {
            let faults = options.fault.iter().map(|text| {
                let (point, fault) = text.split_once('=').ok_or("--fault must be POINT=FAULT")?;
                Ok::<_, String>((point.parse()?, fault.parse()?))
            });
            let faults = faults.collect::<Result<BTreeMap<InjectionPoint, Fault>, String>>()?;
            work.push(scenario.with_faults(faults));
        }
        return Ok(work);
    }
    if !options.no_scenarios {
        for scenario in initial_state.registry.scenarios() {
            work.extend(with_every_fault(initial_state, &scenario)?);
        }
    }
    if let Some(runs) = options.sample {
        work = sample(work, options.from, runs / 2);
        let seeds = (options.from..).take(runs.saturating_sub(work.len()));
        work.extend(seeds.filter_map(|seed| initial_state.registry.random_scenario(seed)));
        return Ok(work);
    }
    let seeds = options.from..options.from.saturating_add(options.seeds);
    work.extend(seeds.filter_map(|seed| initial_state.registry.random_scenario(seed)));
    Ok(work)
}

/// Returns the scenarios without faults, and random ones with faults until there are `most`.
fn sample(canonical: Vec<Scenario>, from: u64, most: usize) -> Vec<Scenario> {
    let (mut sampled, mut faulty): (Vec<_>, Vec<_>) =
        canonical.into_iter().partition(|scenario| match &scenario.source {
            Source::Given(faults) => faults.is_empty(),
            Source::Random { .. } => false,
        });
    let rng = Seed(from).rng("sample");
    while sampled.len() < most && !faulty.is_empty() {
        let place = rng.below(faulty.len() as u64);
        sampled.push(faulty.swap_remove(usize::try_from(place).unwrap_or(0)));
    }
    sampled
}

/// Runs scenarios one by one, and records their exchanges.
fn record(
    path: &std::path::Path,
    work: &[Scenario],
    initial_state: &InitialState,
) -> Result<bool, String> {
    let mut lines = Vec::new();
    for scenario in work {
        lines.push(format!("== {}, seed {}", scenario.name, scenario.seed.0));
        lines.extend(
            run_scenario(initial_state, scenario)?.exchanges.iter().map(ToString::to_string),
        );
    }
    let text = lines.join("\n");
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{} runs recorded.", work.len());
    Ok(true)
}

/// Returns a canonical scenario without faults, and with every fault at every injection point.
fn with_every_fault(
    initial_state: &InitialState,
    scenario: &CanonicalScenario,
) -> Result<Vec<Scenario>, String> {
    let calm = scenario.with_faults(BTreeMap::new());
    let points = run_scenario(initial_state, &calm)?.injection_points;
    let mut work = vec![calm];
    for (point, possible) in points {
        for fault in possible {
            let faults = BTreeMap::from([(point.clone(), fault)]);
            work.push(scenario.with_faults(faults));
        }
    }
    Ok(work)
}

fn run_worker(
    options: &Options,
    initial_state: &InitialState,
    work: &[Scenario],
    next: &AtomicU64,
    findings: &Findings,
) -> Result<(), String> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(scenario) = work.get(place).filter(|_| !findings.stopped.load(Ordering::Relaxed))
        else {
            return Ok(());
        };
        let result = run_scenario(initial_state, scenario)?;
        if options.twice && run_scenario(initial_state, scenario)?.history != result.history {
            return Err(format!(
                "{}, seed {}: a second run with the same seed had a different history",
                scenario.name, scenario.seed.0
            ));
        }
        findings.played.fetch_add(1, Ordering::Relaxed);
        {
            let mut checks = findings.checks.lock().unwrap_or_else(PoisonError::into_inner);
            for (invariant, count) in &result.checks {
                *checks.entry(invariant).or_default() += count;
            }
            let mut throttled = findings.throttled.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, count) in &result.throttled {
                *throttled.entry(key.clone()).or_default() += count;
            }
            let mut faults = findings.faults.lock().unwrap_or_else(PoisonError::into_inner);
            for fault in result.faults.values() {
                *faults.entry(*fault).or_default() += 1;
            }
        }
        if !result.violations.is_empty() {
            findings.stopped.store(true, Ordering::Relaxed);
            let mut failed = findings.failed.lock().unwrap_or_else(PoisonError::into_inner);
            // Of parallel failures, keep the first.
            if failed.as_ref().is_none_or(|(other, _, _)| number < *other) {
                *failed = Some((number, scenario.clone(), result));
            }
        } else if place + 1 == work.len() {
            *findings.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    }
}

fn report_progress(findings: &Findings, total: usize, began: Instant) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let seconds = began.elapsed().as_secs();
    if seconds < LAST.load(Ordering::Relaxed) + 5 {
        return;
    }
    LAST.store(seconds, Ordering::Relaxed);
    let played = findings.played.load(Ordering::Relaxed);
    println!("{played} of {total} runs, {:.0} per second", rate(played, began.elapsed()));
}

fn rate(played: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a displayed figure")]
    let played = played as f64;
    played / took.as_secs_f64().max(0.001)
}

fn report(invariants: &[Invariant], findings: &Findings, played: u64, took: Duration) {
    println!();
    println!("{played} runs in {:.1} s, {:.0} per second.", took.as_secs_f64(), rate(played, took));
    let faults = findings.faults.lock().unwrap_or_else(PoisonError::into_inner);
    let injected: Vec<_> = faults.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
    println!(
        "Faults: {}.",
        if injected.is_empty() { "none".to_owned() } else { injected.join(", ") }
    );
    let throttled = findings.throttled.lock().unwrap_or_else(PoisonError::into_inner);
    for (of, count) in throttled.iter() {
        println!("Throttled {count} times: {of}");
    }
    println!();
    println!("{:<18} {:>12}  property", "invariant", "checks");
    let checks = findings.checks.lock().unwrap_or_else(PoisonError::into_inner);
    for Invariant { name, description } in invariants {
        println!("{name:<18} {:>12}  {description}", checks.get(name).copied().unwrap_or(0));
    }
}

fn as_json(
    findings: &Findings,
    failed: Option<&(u64, Scenario, RunResult)>,
    played: u64,
    took: Duration,
) -> serde_json::Value {
    let checks = findings.checks.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = failed.map(|(number, scenario, result)| {
        let violations: Vec<_> = result
            .violations
            .iter()
            .map(|violation| json!({ "invariant": violation.invariant, "what": violation.what }))
            .collect();
        json!({
            "run": number, "name": scenario.name, "seed": scenario.seed.0,
            "violations": violations,
        })
    });
    json!({
        "runs": played, "seconds": took.as_secs_f64(),
        "checks": *checks, "failed": failed,
    })
}

fn print_violations(result: &RunResult) {
    for violation in &result.violations {
        println!("  {}: {}", violation.invariant, violation.what);
    }
}

fn print_run(scenario: &Scenario, result: &RunResult) {
    println!();
    println!("Violations:");
    print_violations(result);
    println!();
    println!("Steps:");
    for step in &scenario.steps {
        println!("  {step}");
    }
    for outage in &scenario.outages {
        println!("  {outage}");
    }
    let faults = match &scenario.source {
        Source::Given(faults) => faults.clone(),
        Source::Random { .. } => result.faults.clone(),
    };
    for (point, fault) in &faults {
        println!("  at {point}: {fault}");
    }
    println!(
        "  queues {}, latencies {}",
        if scenario.nondeterministic_queues {
            "have all nondeterminism of SQS"
        } else {
            "are deterministic"
        },
        if scenario.equal_latencies { "are equal" } else { "differ" }
    );
    println!();
    println!("History:");
    println!("{}", result.history.to_text());
    if scenario.seed.0 == 1 && scenario.equal_latencies {
        let faults: Vec<String> =
            faults.iter().map(|(point, fault)| format!(" --fault '{point}={fault}'")).collect();
        let faults = faults.concat();
        println!("To repeat: cargo xtask simulate --scenario {}{faults} --history", scenario.name);
    } else {
        println!("To repeat in full: cargo xtask simulate --seed {} --history", scenario.seed.0);
    }
}
