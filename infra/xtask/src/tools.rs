//! Pinned programs of others: those on PATH, or our own in target/tools.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{error::Result, process, workspace};

/// Where programs of our own are kept.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("tools")
}

/// The program `name` of crates.io in exactly that version, installed if it is not there.
pub(crate) fn cargo_program(name: &str, version: &str) -> Result<PathBuf> {
    let folder = folder();
    let own = folder.join("bin").join(name);
    let right = |program: &Path| {
        process::output(name, Command::new(program).arg("--version"))
            .is_ok_and(|answer| answer == format!("{name} {version}"))
    };
    for program in [Path::new(name), &own] {
        if right(program) {
            return Ok(program.to_owned());
        }
    }
    println!("Installing {name} {version} into {} ...", folder.display());
    process::run(
        &format!("cargo install {name}"),
        Command::new(workspace::cargo())
            // Not optimised: they are built once and work for seconds.
            .args(["install", name, "--version", version, "--locked", "--force", "--debug"])
            .arg("--root")
            .arg(&folder)
            .env("CARGO_PROFILE_DEV_DEBUG", "0"),
    )?;
    Ok(own)
}
