//! Builds what the benchmark measures, and starts it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    built,
    error::{Error, Result},
    hub, process, python, workspace,
};

/// What a short run measures.
const SHORT: [&str; 4] =
    ["webhook-whatsapp", "webhook-telegram", "consumer-inbound", "sender-whatsapp"];

/// Counts a few functions as a plain build leaves them: an option of this command, not of the
/// benchmark.
const UNOPTIMIZED: &str = "--unoptimized";

/// Builds and runs; `arguments` are the benchmark's own.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(place) = arguments.iter().position(|argument| argument == UNOPTIMIZED) {
        let (before, after) = arguments.split_at(place);
        return unoptimized(&[before, after.get(1..).unwrap_or_default()].concat());
    }
    let output = workspace::target().join("bench");
    let binaries = workspace::target().join("release");
    let parts = Parts::of(arguments);
    let mut command = measuring(&binaries, &output);
    build(&["--release", "--package", "bench", "--bins"])?;
    if parts.functions == Functions::All {
        hub::build_functions()?;
    } else if parts.functions == Functions::Short {
        let names = SHORT.into_iter().flat_map(|name| ["--package", name]);
        build(&[&["--release", "--bins"][..], &names.collect::<Vec<_>>()].concat())?;
    }
    if parts.rivals {
        command.arg("--python").arg(rivals(&output.join("rivals"))?);
    }
    if parts.growth {
        // The model is not measured; this is how the simulation is built, too.
        let what = ["--package", "bench", "--features", "model", "--bin", "table"];
        build(&[&["--profile", "simulation"][..], &what].concat())?;
        command.arg("--table").arg(workspace::target().join("simulation/table"));
    }
    if parts.path {
        command.arg("--xtask").arg(workspace::xtask());
    }
    process::run("bench", command.args(arguments))
}

fn build(what: &[&str]) -> Result<()> {
    let mut command = Command::new(workspace::cargo());
    command.arg("build").args(what).current_dir(workspace::root());
    process::run("cargo build", &mut command)
}

/// The counted figures of functions as a plain build leaves them, against a baseline of their
/// own. Built as they are deployed, they take minutes; what is counted grows with the work either
/// way. `arguments` are the benchmark's own.
fn unoptimized(arguments: &[String]) -> Result<()> {
    built::build()?;
    counted(arguments)
}

/// The same of programs that are there.
pub(crate) fn counted(arguments: &[String]) -> Result<()> {
    let binaries = workspace::target().join("debug");
    let mut command = measuring(&binaries, &workspace::target().join("bench-unoptimized"));
    command.args(["--short", "--baseline", "tests/bench/baseline-unoptimized.json"]);
    process::run("bench", command.args(arguments))
}

/// The benchmark, for the programs in a folder.
fn measuring(binaries: &Path, output: &Path) -> Command {
    let mut command = Command::new(binaries.join("bench"));
    command
        .arg("--root")
        .arg(workspace::root())
        .arg("--binaries")
        .arg(binaries)
        .arg("--floor")
        .arg(binaries.join("floor"))
        .arg("--output")
        .arg(output)
        .current_dir(workspace::root());
    command
}

/// Which functions have to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Functions {
    None,
    Short,
    All,
}

/// What has to be built for what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    functions: Functions,
    /// A minute to install.
    rivals: bool,
    growth: bool,
    path: bool,
}

impl Parts {
    fn of(arguments: &[String]) -> Self {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let only = arguments.iter().any(|argument| argument.starts_with("--only"));
        let named = |part: &str| arguments.iter().any(|argument| argument.contains(part));
        let (help, short) = (has("--help") || has("-h"), has("--short"));
        // A short run measures few functions in its own parts; in the others it needs them all.
        let functions = match (help, short && !only) {
            (true, _) => Functions::None,
            (_, true) => Functions::Short,
            _ => Functions::All,
        };
        let wants = |part: &str| !help && if only { named(part) } else { !short };
        Self { functions, rivals: wants("rivals"), growth: wants("growth"), path: wants("path") }
    }
}

/// The same webhook in Node.js and in Python, with pinned dependencies. Returns the Python that
/// has them.
fn rivals(folder: &Path) -> Result<PathBuf> {
    let source = workspace::root().join("tests/bench/rivals");
    let python = python::environment(&source.join("python/requirements.txt"))?;
    let node = folder.join("node");
    fs::create_dir_all(&node).map_err(Error::file(&node))?;
    for name in ["package.json", "package-lock.json", "main.mjs", "handler.mjs"] {
        let from = source.join("node").join(name);
        fs::copy(&from, node.join(name)).map_err(Error::file(&from))?;
    }
    let npm = |arguments: &[&str]| {
        let mut command = Command::new("npm");
        command.args(arguments).current_dir(&node);
        process::run("npm", &mut command)
    };
    npm(&["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    npm(&["run", "--silent", "build", "--", "--outfile=../rival.cjs"])?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> Parts {
        Parts::of(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn rivals_model_and_hub_are_built_only_where_they_are_measured() {
        let wants = |line: &str| {
            let parts = parts(line);
            (parts.rivals, parts.growth, parts.path)
        };
        assert_eq!(wants(""), (true, true, true));
        assert_eq!(wants("--runs 5"), (true, true, true));
        assert_eq!(wants("--short --only start,rivals"), (true, false, false));
        assert_eq!(wants("--only growth,path"), (false, true, true));
        assert_eq!(wants("--short --check"), (false, false, false));
        assert_eq!(wants("--help"), (false, false, false));
    }

    #[test]
    fn a_short_run_builds_few_functions() {
        assert_eq!(parts("--short --check").functions, Functions::Short);
        assert_eq!(parts("--short --only start").functions, Functions::All);
        assert_eq!(parts("").functions, Functions::All);
        assert_eq!(parts("-h").functions, Functions::None);
    }
}
