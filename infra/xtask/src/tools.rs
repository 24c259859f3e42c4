//! Pinned third-party programs: from `PATH`, or installed in the user's cache folder, where they
//! survive `cargo clean` and are shared by all checkouts.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    process, workspace,
};

/// Environment variable that overrides the folder of installed programs.
const FOLDER_VARIABLE: &str = "SWITCHBOARD_TOOLS";

/// The folder of installed programs.
pub(crate) fn folder() -> PathBuf {
    let value_of = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(folder) = value_of(FOLDER_VARIABLE) {
        return folder.into();
    }
    let cache = value_of("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| value_of("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map_or_else(|| workspace::target().join("tools"), |cache| cache.join("switchboard"))
}

/// The folder for the versions that `pins` lists. Different pins use different folders, so that
/// old and new checkouts do not overwrite each other's programs.
pub(crate) fn pinned_folder(name: &str, pins: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    pins.hash(&mut hasher);
    folder().join(format!("{name}-{:016x}", hasher.finish()))
}

/// Runs `install`, which fills `folder`, unless the folder is already complete. An incomplete
/// folder is deleted first. Concurrent processes wait for a lock.
pub(crate) fn install_once(folder: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let complete = folder.join(".complete");
    if complete.exists() {
        return Ok(());
    }
    let lock = folder.with_extension("lock");
    workspace::write(&lock, "")?;
    let lock = fs::File::open(&lock).map_err(Error::file(&lock))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(());
    }
    workspace::remove(folder)?;
    install()?;
    workspace::write(&complete, "")
}

/// Returns the path of the crates.io program `name` in exactly that version, and installs it if
/// needed.
pub(crate) fn cargo_program(name: &str, version: &str) -> Result<PathBuf> {
    let is_right = |program: &Path| {
        process::output(name, Command::new(program).arg("--version"))
            .is_ok_and(|answer| answer == format!("{name} {version}"))
    };
    if is_right(Path::new(name)) {
        return Ok(name.into());
    }
    let folder = folder().join(format!("{name}-{version}"));
    install_once(&folder, || {
        println!("Installing {name} {version} into {} ...", folder.display());
        process::run(
            &format!("cargo install {name}"),
            Command::new(workspace::cargo())
                // Not optimized: they are built once and run for seconds.
                .args(["install", name, "--version", version, "--locked", "--force", "--debug"])
                .arg("--root")
                .arg(&folder)
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env_remove("CARGO_TARGET_DIR"),
        )
    })?;
    Ok(folder.join("bin").join(name))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_installation_runs_once_and_again_only_after_a_failure() {
        let folder = workspace::target().join(format!("tools-test-{}", std::process::id()));
        let fills = Cell::new(0);
        let fill = || {
            fills.set(fills.get() + 1);
            workspace::write(&folder.join("half"), "")?;
            if fills.get() == 1 { Err(Error::step("install", "no network")) } else { Ok(()) }
        };
        assert!(install_once(&folder, fill).is_err());
        install_once(&folder, fill).unwrap();
        install_once(&folder, fill).unwrap();
        assert_eq!(fills.get(), 2);
        workspace::remove(&folder).unwrap();
        workspace::remove(&folder.with_extension("lock")).unwrap();
    }

    #[test]
    fn different_pins_use_different_folders() {
        assert_eq!(pinned_folder("python", "a==1"), pinned_folder("python", "a==1"));
        assert_ne!(pinned_folder("python", "a==1"), pinned_folder("python", "a==2"));
    }
}
