//! The `simulate` command: builds and runs the simulation, with or without planted bugs that it
//! must find.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use domain::failpoint::Failpoint;
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    planted, process, workspace,
};

/// Random runs for each planted bug before the canonical scenarios are tried.
const RANDOM_RUNS: u64 = 6000;
/// Time limit of the random runs.
const RANDOM_RUNS_TIMEOUT: Duration = Duration::from_mins(2);
/// Time limit of the canonical scenarios, which run if the random runs find nothing. Some bugs
/// appear only late in them, so this is enough for all of them on a busy machine.
const SCENARIOS_TIMEOUT: Duration = Duration::from_mins(15);
/// Number of runs whose behavior is recorded.
const RECORDED: &str = "200";
const POLL: Duration = Duration::from_millis(100);

/// Builds and runs the simulation with `arguments`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    process::run("cargo build", &mut build(Profile::Optimized, &[]))?;
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!(
            "`cargo xtask simulate --planted [BUG]...` plants bugs that the simulation must find.\n"
        );
    }
    let mut simulate = Command::new(binary(Profile::Optimized));
    simulate.args(arguments).current_dir(workspace::root());
    process::run("simulate", &mut simulate)
}

/// Build profile of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The development profile. Builds in half a minute after `cargo xtask test` has built the
    /// rest.
    Plain,
    /// The optimized profile, for many runs: four times as fast, but takes minutes to build.
    Optimized,
}

/// Runs a sample of `runs` runs without planted bugs. Uses the build with failpoints, so that one
/// build serves this step and the planted bugs.
pub(crate) fn sample(runs: usize) -> Result<()> {
    let simulation = Simulation::build(Profile::Plain)?;
    simulation.run(&["--no-scenarios", "--seeds", "60", "--twice"])?;
    simulation.run(&["--sample", &runs.to_string()])
}

/// Externally visible behavior of the hub in a fixed set of runs.
pub(crate) struct Behavior {
    /// The runs, each after a line that begins with `==` and names it.
    pub(crate) runs: String,
    /// The `OpenAPI` description of the API.
    pub(crate) openapi: String,
}

/// Runs the fixed set and returns the behavior.
pub(crate) fn record() -> Result<Behavior> {
    let simulation = Simulation::build(Profile::Plain)?;
    let file = simulation.folder.join("record.txt");
    let path = file.display().to_string();
    simulation.run(&["--sample", RECORDED, "--record", &path])?;
    let runs = workspace::read(&file)?;
    let openapi =
        process::output("simulate", Command::new(&simulation.binary).arg("--openapi"))? + "\n";
    Ok(Behavior { runs, openapi })
}

/// Plants the bugs with these names, or all bugs. A bug that the simulation does not find is an
/// error.
pub(crate) fn planted(profile: Profile, names: &[String]) -> Result<()> {
    let bugs = planted::find(names)?;
    println!("Building the simulation with its failpoints ...");
    let simulation = Simulation::build(profile)?;
    if let Some(Found { name, seed, what, .. }) =
        simulation.search(None, &["--no-scenarios", "--seeds", "200"], SCENARIOS_TIMEOUT)?.found
    {
        let detail = format!("{name}, seed {seed} fails without a planted bug: {what}");
        return Err(Error::step("the simulation", detail));
    }
    println!("200 random runs pass without a planted bug.");
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    for (place, bug) in bugs.iter().copied().enumerate() {
        println!("{} of {}: {bug}: {}", place + 1, bugs.len(), bug.what());
        let played = simulation.hunt(bug, &mut broken)?;
        let row = Row { bug, played };
        println!("  {}", row.outcome());
        rows.push(row);
        // Keeps the results so far if the next bug aborts the command.
        simulation.save(&rows)?;
    }
    println!("\n{}", table(&rows));
    for broken in &broken {
        println!("Fails even without a planted bug: {broken}");
    }
    let missed: Vec<&str> =
        rows.iter().filter(|row| row.played.found.is_none()).map(|row| row.bug.name()).collect();
    if !missed.is_empty() {
        let detail = format!("it did not find these planted bugs: {}", missed.join(", "));
        return Err(Error::step("the simulation", detail));
    }
    if !broken.is_empty() {
        return Err(Error::step("the simulation", "it fails without a planted bug"));
    }
    println!("All {} planted bugs were found.", rows.len());
    Ok(())
}

fn build(profile: Profile, features: &[&str]) -> Command {
    let mut command = Command::new(workspace::cargo());
    command.args(["build", "--package", "simulate", "--bin", "simulate"]).args(features);
    if profile == Profile::Optimized {
        command.args(["--profile", "simulation"]);
    }
    command.current_dir(workspace::root());
    command
}

fn binary(profile: Profile) -> PathBuf {
    let folder = match profile {
        Profile::Plain => "debug",
        Profile::Optimized => "simulation",
    };
    workspace::target().join(folder).join("simulate")
}

/// The simulation built with failpoints, and the folder of its results.
struct Simulation {
    folder: PathBuf,
    binary: PathBuf,
}

/// Result of the simulation.
struct Search {
    runs: u64,
    took: Duration,
    found: Option<Found>,
}

/// A run that violated an invariant.
struct Found {
    run: u64,
    name: String,
    seed: u64,
    invariants: BTreeSet<String>,
    what: String,
}

impl Simulation {
    /// Builds the simulation with all failpoints and copies it to a folder, because the next build
    /// without failpoints overwrites it in the target folder.
    fn build(profile: Profile) -> Result<Self> {
        let folder = workspace::target().join("planted");
        process::run("cargo build", &mut build(profile, &["--features", "failpoints"]))?;
        let copy = folder.join("simulate");
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        // Deleted first: a running program cannot be overwritten.
        workspace::remove(&copy)?;
        fs::copy(binary(profile), &copy).map_err(Error::file(&copy))?;
        Ok(Self { folder, binary: copy })
    }

    /// Runs the simulation with its output on the terminal.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut simulate = Command::new(&self.binary);
        process::run("simulate", simulate.args(arguments).current_dir(workspace::root()))
    }

    /// Runs the simulation with a bug until a run fails that passes without it: random runs first,
    /// then the canonical scenarios. A run that also fails without the bug is added to `broken`.
    fn hunt(&self, bug: Failpoint, broken: &mut Vec<String>) -> Result<Search> {
        let (mut runs, mut took) = (0, Duration::ZERO);
        let mut from = 0;
        while from < RANDOM_RUNS && took < RANDOM_RUNS_TIMEOUT {
            let (first, seeds) = (from.to_string(), (RANDOM_RUNS - from).to_string());
            let arguments = ["--no-scenarios", "--from", &first, "--seeds", &seeds];
            let played = self.search(Some(bug), &arguments, RANDOM_RUNS_TIMEOUT)?;
            (runs, took) = (runs + played.runs, took + played.took);
            let Some(found) = played.found else { break };
            let seed = found.seed.to_string();
            let control = self.search(None, &["--seed", &seed], RANDOM_RUNS_TIMEOUT)?;
            let Some(cause) = control.found else {
                return Ok(Search { runs, took, found: Some(found) });
            };
            broken.push(format!("--seed {seed}: {}", cause.what));
            from = found.seed + 1;
        }
        let mut played = self.search(Some(bug), &["--seeds", "0"], SCENARIOS_TIMEOUT)?;
        if let Some(found) = &played.found {
            let control = self.search(None, &["--scenario", &found.name], SCENARIOS_TIMEOUT)?;
            if let Some(cause) = control.found {
                broken.push(format!("--scenario {}: {}", found.name, cause.what));
                played.found = None;
            }
        }
        Ok(Search { runs: runs + played.runs, took: took + played.took, found: played.found })
    }

    /// Runs the simulation until a run fails, all have run, or the time limit is reached.
    fn search(
        &self,
        bug: Option<Failpoint>,
        arguments: &[&str],
        timeout: Duration,
    ) -> Result<Search> {
        let name = bug.map_or("unplanted", Failpoint::name);
        let result = self.folder.join("logs").join(format!("{name}.json"));
        workspace::remove(&result)?;
        let (path, log) = self.log(name)?;
        let began = Instant::now();
        let mut simulate = Command::new(&self.binary)
            .args(["--quick", "--json"])
            .arg(&result)
            .args(bug.iter().flat_map(|bug| ["--failpoint", bug.name()]))
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let status = loop {
            if let Some(status) = simulate.try_wait()? {
                break status;
            }
            if began.elapsed() > timeout {
                simulate.kill()?;
                simulate.wait()?;
                return Ok(Search { runs: 0, took: began.elapsed(), found: None });
            }
            sleep(POLL);
        };
        let read = fs::read_to_string(&result).ok();
        let Some(read) = read.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
            let detail = format!("{status}, without a result. See its log: {}", path.display());
            return Err(Error::step(format!("the simulation with {name}"), detail));
        };
        Ok(Search {
            runs: read.get("runs").and_then(Value::as_u64).unwrap_or_default(),
            took: began.elapsed(),
            found: read.get("failed").and_then(found),
        })
    }

    fn log(&self, name: &str) -> Result<(PathBuf, fs::File)> {
        let path = self.folder.join("logs").join(format!("{name}.log"));
        workspace::write(&path, "")?;
        let file = fs::File::create(&path).map_err(Error::file(&path))?;
        Ok((path, file))
    }

    fn save(&self, rows: &[Row]) -> Result<()> {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        workspace::write(&self.folder.join("planted.json"), &json!(rows).to_string())
    }
}

/// Reads the failed run from the simulation's result.
fn found(failed: &Value) -> Option<Found> {
    let violations = failed["violations"].as_array()?;
    let names = violations.iter().filter_map(|violation| violation["invariant"].as_str());
    let first = violations.first().and_then(|violation| violation["what"].as_str());
    Some(Found {
        run: failed["run"].as_u64().unwrap_or_default(),
        name: failed["name"].as_str().unwrap_or_default().to_owned(),
        seed: failed["seed"].as_u64().unwrap_or_default(),
        invariants: names.map(ToOwned::to_owned).collect(),
        what: first.unwrap_or_default().to_owned(),
    })
}

/// A planted bug with the simulation's result.
struct Row {
    bug: Failpoint,
    played: Search,
}

impl Row {
    /// The violated invariants: first the expected ones, then the others in parentheses.
    fn caught_by(&self) -> String {
        let Some(found) = &self.played.found else { return "NOT FOUND".to_owned() };
        let is_expected = |name: &&String| self.bug.breaks().contains(&name.as_str());
        let expected = found.invariants.iter().filter(is_expected).cloned();
        let others = found.invariants.iter().filter(|name| !is_expected(name));
        let names: Vec<String> = expected.chain(others.map(|name| format!("({name})"))).collect();
        names.join(" ")
    }

    fn failed_run(&self) -> String {
        let found = self.played.found.as_ref();
        found.map_or_else(String::new, |found| {
            format!("{}: {}, seed {}", found.run, found.name, found.seed)
        })
    }

    fn outcome(&self) -> String {
        let (runs, seconds) = (self.played.runs, self.played.took.as_secs_f32());
        let what = self.played.found.as_ref().map_or("", |found| &found.what);
        format!("{} after {runs} runs, {seconds:.0} s. {what}", self.caught_by())
    }

    fn json(&self) -> Value {
        let found = self.played.found.as_ref().map(|found| {
            json!({
                "invariants": found.invariants, "what": found.what,
                "run": found.run, "name": found.name, "seed": found.seed,
            })
        });
        json!({
            "bug": self.bug.name(), "what": self.bug.what(), "breaks": self.bug.breaks(),
            "caught": found.is_some(), "found": found,
            "runs": self.played.runs, "seconds": self.played.took.as_secs_f32(),
        })
    }
}

/// Formats a table of the planted bugs and the invariants that caught them.
fn table(rows: &[Row]) -> String {
    let head = ["bug", "what it does", "caught by", "in run", "runs", "seconds"];
    let mut lines = vec![head.map(ToOwned::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.bug.name().to_owned(),
            row.bug.what().to_owned(),
            row.caught_by(),
            row.failed_run(),
            row.played.runs.to_string(),
            format!("{:.1}", row.played.took.as_secs_f32()),
        ]
    }));
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(widths).enumerate().map(|(number, (cell, width))| {
            if number < 4 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(failed: &Value) -> Row {
        let bug = Failpoint::LeaseIgnored;
        let played = Search { runs: 12, took: Duration::from_millis(3400), found: found(failed) };
        Row { bug, played }
    }

    fn failed() -> Value {
        json!({
            "run": 11, "name": "crowd", "seed": 7,
            "violations": [
                { "invariant": "notified", "what": "no notification" },
                { "invariant": "sent-once", "what": "accepted 2 times" },
                { "invariant": "notified", "what": "again" },
            ],
        })
    }

    #[test]
    fn expected_invariants_come_first_and_the_others_in_parentheses() {
        assert_eq!(example(&failed()).caught_by(), "sent-once (notified)");
        assert_eq!(example(&Value::Null).caught_by(), "NOT FOUND");
    }

    #[test]
    fn the_table_has_one_aligned_line_for_each_bug() {
        let table = table(&[example(&failed()), example(&Value::Null)]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = lines[0].find("caught by").unwrap();
        assert!(
            lines[1][column..].starts_with("sent-once (notified)  11: crowd, seed 7"),
            "{table}"
        );
        assert!(lines[2][column..].starts_with("NOT FOUND"), "{table}");
        assert!(lines.iter().skip(1).all(|line| line.ends_with("3.4")), "{table}");
    }

    #[test]
    fn the_json_result_tells_found_bugs_from_missed_ones() {
        let caught = example(&failed()).json();
        assert_eq!(caught["caught"], true);
        assert_eq!(caught["found"]["invariants"], json!(["notified", "sent-once"]));
        assert_eq!(example(&Value::Null).json()["caught"], false);
    }
}
