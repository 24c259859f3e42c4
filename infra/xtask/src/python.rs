//! Python virtual environments with pinned packages, created once and reused until the pins change.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    process, tools, workspace,
};

const REMEDY: &str = "The local cloud needs Python 3.10 or newer as python3 on PATH.";

/// Creates the virtual environment for `requirements` if it does not exist. Returns the path of
/// its Python.
pub(crate) fn environment(requirements: &Path) -> Result<PathBuf> {
    let folder = tools::pinned_folder("python", &workspace::read(requirements)?);
    let python = folder.join("bin/python");
    tools::install_once(&folder, || install(&folder, &python, requirements))?;
    Ok(python)
}

fn install(folder: &Path, python: &Path, requirements: &Path) -> Result<()> {
    check_version()?;
    println!("Installing Python packages into {} ...", folder.display());
    process::output("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(folder))
        .map_err(|error| match error {
            Error::Step { step, detail } => Error::step(
                step,
                format!("{detail} (Debian and Ubuntu: apt-get install python3-venv)"),
            ),
            other => other,
        })?;
    process::output(
        "pip install",
        Command::new(python)
            .args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-input",
                "--quiet",
                "--requirement",
            ])
            .arg(requirements),
    )?;
    Ok(())
}

fn check_version() -> Result<()> {
    let program = "import sys; print(int(sys.version_info >= (3, 10)), sys.version.split()[0])";
    match process::output("python3", Command::new("python3").args(["-c", program])) {
        Ok(answer) if answer.starts_with('1') => Ok(()),
        Ok(answer) => Err(Error::step(
            "python3",
            format!("version {} is too old. {REMEDY}", answer.trim_start_matches("0 ")),
        )),
        Err(Error::Missing { program, .. }) => Err(Error::Missing { program, remedy: REMEDY }),
        Err(other) => Err(other),
    }
}
