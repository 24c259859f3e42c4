//! Builds what the benchmark measures, and starts it.

use std::{fs, path::Path, process::Command};

use crate::{
    error::{Error, Result},
    process, python, workspace,
};

/// Builds and runs; `arguments` are the benchmark's own.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let output = workspace::target().join("bench");
    let binaries = workspace::target().join("release");
    let is_help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    if is_help {
        build(&["--package", "bench"])?;
    } else {
        // The hub's helpers are not measured.
        build(&["--workspace", "--exclude", "xtask", "--exclude", "simulator"])?;
        if wants_rivals(arguments) {
            rivals(&output.join("rivals"))?;
        }
    }
    let mut command = Command::new(binaries.join("bench"));
    command
        .arg("--root")
        .arg(workspace::root())
        .arg("--binaries")
        .arg(&binaries)
        .arg("--floor")
        .arg(binaries.join("floor"))
        .arg("--output")
        .arg(&output)
        .args(arguments)
        .current_dir(workspace::root());
    process::run("bench", &mut command)
}

fn build(what: &[&str]) -> Result<()> {
    let mut command = Command::new(workspace::cargo());
    command.args(["build", "--release", "--bins"]).args(what).current_dir(workspace::root());
    process::run("cargo build", &mut command)
}

/// Whether rivals are in the table: they take a minute to install.
fn wants_rivals(arguments: &[String]) -> bool {
    let only = arguments.iter().any(|argument| argument.starts_with("--only"));
    let named = arguments.iter().any(|argument| argument.contains("rivals"));
    let short = arguments.iter().any(|argument| argument == "--short");
    named || !(only || short)
}

/// The same webhook in Node.js and in Python, with pinned dependencies.
fn rivals(folder: &Path) -> Result<()> {
    let source = workspace::root().join("tests/bench/rivals");
    python::environment(&folder.join("python"), &source.join("python/requirements.txt"))?;
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
    npm(&["run", "--silent", "build", "--", "--outfile=../rival.cjs"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_are_built_only_where_they_are_measured() {
        let wants = |line: &str| {
            wants_rivals(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        assert!(wants(""));
        assert!(wants("--runs 5"));
        assert!(wants("--short --only start,rivals"));
        assert!(!wants("--short --check"));
        assert!(!wants("--only start"));
    }
}
