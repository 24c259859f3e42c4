//! The `bench` command: builds the measured programs and runs the benchmark.

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

/// Option of this command, not of the benchmark: counts a few functions of the unoptimized build.
const UNOPTIMIZED: &str = "--unoptimized";

/// Builds and runs the benchmark with `arguments`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(place) = arguments.iter().position(|argument| argument == UNOPTIMIZED) {
        let (before, after) = arguments.split_at(place);
        return unoptimized(&[before, after.get(1..).unwrap_or_default()].concat());
    }
    let output = workspace::target().join("bench");
    let binaries = workspace::target().join("release");
    let parts = Parts::of(arguments);
    let mut command = bench_command(&binaries, &output);
    build(&["--release", "--package", "bench", "--bins"])?;
    if !is_help(arguments) {
        hub::build_functions()?;
    }
    if parts.rivals {
        command.arg("--python").arg(rivals(&output.join("rivals"))?);
    }
    if parts.growth {
        // The model is not measured itself; the simulation uses the same profile.
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

/// Builds the workspace unoptimized and compares its counted figures with a separate baseline. The
/// deployed profile takes minutes to build, and the counted figures grow with the work in both.
/// `arguments` go to the benchmark.
fn unoptimized(arguments: &[String]) -> Result<()> {
    built::build()?;
    counted(arguments)
}

/// Counts the functions of the existing unoptimized build.
pub(crate) fn counted(arguments: &[String]) -> Result<()> {
    let binaries = workspace::target().join("debug");
    let mut command = bench_command(&binaries, &workspace::target().join("bench-unoptimized"));
    command.args(["--short", "--baseline", "tests/bench/baseline-unoptimized.json"]);
    process::run("bench", command.args(arguments))
}

/// Command that runs the benchmark with the programs in a folder.
fn bench_command(binaries: &Path, output: &Path) -> Command {
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

/// The parts to build for the benchmark's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    /// The Node.js and Python implementations, which take a minute to install.
    rivals: bool,
    growth: bool,
    path: bool,
}

/// Returns whether the arguments ask for help only.
fn is_help(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == "--help" || argument == "-h")
}

impl Parts {
    fn of(arguments: &[String]) -> Self {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let only = arguments.iter().any(|argument| argument.starts_with("--only"));
        let named = |part: &str| arguments.iter().any(|argument| argument.contains(part));
        let (help, short) = (is_help(arguments), has("--short"));
        let wants = |part: &str| !help && if only { named(part) } else { !short };
        Self { rivals: wants("rivals"), growth: wants("growth"), path: wants("path") }
    }
}

/// Installs the same webhook in Node.js and Python, with pinned dependencies. Returns the path of
/// the Python that has them.
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
    fn optional_parts_are_built_only_if_they_are_measured() {
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
}
