//! The `generate` command: writes the files that follow from the folders of the functions and from
//! the providers' examples.

use std::{fs, path::Path, process::Command};

use crate::{
    error::{Error, Result},
    process, workspace,
};

/// The comment in `functions/Cargo.toml` that the list of binaries follows.
const BINARIES: &str =
    "# Each function alone, for `cargo lambda watch` and `cargo lambda invoke`.\n";
/// The first and the last line of the list in `functions/bootstrap.rs`.
const DISPATCH: (&str, &str) = ("functions! {\n", "}\n");

/// Writes the lists of functions, and `events/`. A file without a change is not written.
pub(crate) fn run() -> Result<()> {
    let functions = workspace::root().join("functions");
    let all = Function::all(&functions)?;
    rewrite(&functions.join("Cargo.toml"), |text| {
        let (before, _) = text.split_once(BINARIES)?;
        Some(format!("{before}{BINARIES}{}", binaries(&all)))
    })?;
    rewrite(&functions.join("bootstrap.rs"), |text| {
        let (before, list) = text.split_once(DISPATCH.0)?;
        let (_, after) = list.split_once(DISPATCH.1)?;
        Some(format!("{before}{}{}{}{after}", DISPATCH.0, dispatch(&all), DISPATCH.1))
    })?;
    let mut events = Command::new(workspace::cargo());
    events.args(["run", "--quiet", "--package", "providers", "--example", "events"]);
    process::run("cargo run --example events", events.current_dir(workspace::root()))
}

/// A function: a folder with a `main.rs`.
struct Function {
    /// The name of its binary: `webhook-telegram`.
    name: String,
    /// The path of its `main.rs` in `functions`: `webhooks/telegram/main.rs`.
    path: String,
}

impl Function {
    /// Returns the functions below `folder`, by path.
    fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for role in names(folder)? {
            let inside = folder.join(&role);
            if !inside.is_dir() {
                continue;
            }
            let kind = role.strip_suffix('s').unwrap_or(&role);
            let folders = names(&inside)?.into_iter();
            all.extend(folders.filter(|name| inside.join(name).join("main.rs").exists()).map(
                |name| Self {
                    name: format!("{kind}-{name}"),
                    path: format!("{role}/{name}/main.rs"),
                },
            ));
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }
}

/// Returns the names of the files in a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(Error::file(folder))?;
    let names = entries.map(|entry| {
        let entry = entry.map_err(Error::file(folder))?;
        Ok(entry.file_name().to_string_lossy().into_owned())
    });
    names.collect()
}

/// Returns the `[[bin]]` sections of the functions.
fn binaries(functions: &[Function]) -> String {
    let sections = functions.iter().map(|Function { name, path }| {
        format!("\n[[bin]]\nname = \"{name}\"\npath = \"{path}\"\ntest = false\n")
    });
    sections.collect::<Vec<_>>().concat()
}

/// Returns the lines of the functions in the list of `bootstrap.rs`.
fn dispatch(functions: &[Function]) -> String {
    let lines = functions.iter().map(|Function { name, path }| {
        format!("    \"{name}\" => {} in \"{path}\";\n", name.replace('-', "_"))
    });
    lines.collect::<Vec<_>>().concat()
}

/// Replaces the text of a file, and says so, if it changes.
fn rewrite(path: &Path, change: impl FnOnce(&str) -> Option<String>) -> Result<()> {
    let text = workspace::read(path)?;
    let changed = change(&text)
        .ok_or_else(|| Error::step("generate", format!("{} has no list", path.display())))?;
    if changed == text {
        return Ok(());
    }
    workspace::write(path, &changed)?;
    println!("{}", path.strip_prefix(workspace::root()).unwrap_or(path).display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_functions_are_those_of_the_repository() {
        let functions = workspace::root().join("functions");
        let all = Function::all(&functions).unwrap();
        assert!(all.len() > 40);
        let hint = "run: cargo xtask generate";
        let manifest = workspace::read(&functions.join("Cargo.toml")).unwrap();
        assert!(manifest.ends_with(&format!("{BINARIES}{}", binaries(&all))), "{hint}");
        let bootstrap = workspace::read(&functions.join("bootstrap.rs")).unwrap();
        let list = format!("{}{}{}", DISPATCH.0, dispatch(&all), DISPATCH.1);
        assert!(bootstrap.contains(&list), "{hint}");
    }

    #[test]
    fn a_function_is_named_after_its_folders() {
        let function =
            Function { name: "webhook-n8n".to_owned(), path: "webhooks/n8n/main.rs".to_owned() };
        let line = "    \"webhook-n8n\" => webhook_n8n in \"webhooks/n8n/main.rs\";\n";
        assert_eq!(dispatch(std::slice::from_ref(&function)), line);
        assert!(binaries(&[function]).starts_with("\n[[bin]]\nname = \"webhook-n8n\"\n"));
    }
}
