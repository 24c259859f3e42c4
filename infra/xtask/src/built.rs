//! The workspace with all its tests, built by one command: each choice of packages has features
//! of its own, and would build the libraries once more.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{
    error::{Error, Result},
    process, workspace,
};

/// Tests that need something beside them, which the gate starts.
struct Needy {
    package: &'static str,
    target: &'static str,
    /// `cargo test --workspace` leaves them out: they are behind this feature.
    feature: &'static str,
    /// The modules whose tests need it; the program's other tests need nothing. None: all do.
    modules: &'static [&'static str],
}

const NEEDY: [Needy; 5] = [
    Needy { package: "store", target: "contract", feature: "emulator", modules: &["dynamo::"] },
    Needy {
        package: "testkit",
        target: "conformance",
        feature: "emulator",
        modules: &["on_the_local_cloud::", "sequences::"],
    },
    Needy { package: "tests", target: "e2e", feature: "e2e", modules: &[] },
    Needy { package: "tests", target: "sdks", feature: "sdks", modules: &[] },
    Needy { package: "tests", target: "specs", feature: "specs", modules: &[] },
];

/// What is said of the tests `target` of `package`.
fn needy(package: &str, target: &str) -> Option<&'static Needy> {
    NEEDY.iter().find(|needy| (needy.package, needy.target) == (package, target))
}

/// Tests that take longer are named, in seconds.
const SLOW: f32 = 5.0;

/// A program of tests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// The package.
    package: String,
    /// The target: the package's name for those beside the code.
    target: String,
    /// Where it runs, as `cargo test` has it.
    folder: PathBuf,
    program: PathBuf,
}

impl TestProgram {
    /// What runs its tests that need nothing beside them, if there are any.
    fn alone(&self) -> Option<Command> {
        let mut command = self.command();
        if let Some(needy) = needy(&self.package, &self.target) {
            if needy.modules.is_empty() {
                return None;
            }
            command.args(needy.modules.iter().flat_map(|module| ["--skip", *module]));
        }
        Some(command)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// Everything there is, built.
#[derive(Debug)]
pub(crate) struct Built {
    tests: Vec<TestProgram>,
}

/// The features that a build of everything has.
fn features() -> String {
    let features = NEEDY.iter().map(|needy| format!("{}/{}", needy.package, needy.feature));
    features.collect::<Vec<_>>().join(",")
}

/// Builds everything: functions, tools and tests.
pub(crate) fn build() -> Result<Built> {
    let mut command = Command::new(workspace::cargo());
    command
        .args(["build", "--workspace", "--all-targets", "--features", &features()])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(Error::step("cargo build", output.status.to_string()));
    }
    let tests = test_programs(&String::from_utf8_lossy(&output.stdout));
    if tests.is_empty() {
        return Err(Error::step("cargo build", "it named no test programs"));
    }
    Ok(Built { tests })
}

/// The test programs that cargo's messages name.
fn test_programs(messages: &str) -> Vec<TestProgram> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut tests: Vec<TestProgram> =
        messages.filter_map(|message| test_program(&message)).collect();
    tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    tests
}

fn test_program(message: &Value) -> Option<TestProgram> {
    if !message.pointer("/profile/test")?.as_bool()? {
        return None;
    }
    let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?;
    // `path+file:///checkout/shared/store#0.1.0`, or `...#name@0.1.0` where the folder has
    // another name.
    let id = message.get("package_id")?.as_str()?;
    let after = id.rsplit_once('#')?.1;
    let package = match after.split_once('@') {
        Some((name, _)) => name,
        None => folder.file_name()?.to_str()?,
    };
    Some(TestProgram {
        package: package.to_owned(),
        target: message.pointer("/target/name")?.as_str()?.to_owned(),
        folder: folder.to_owned(),
        program: message.get("executable")?.as_str()?.into(),
    })
}

impl Built {
    /// Runs all tests that need nothing beside them, whatever fails, and then the documentation's.
    pub(crate) fn test(&self) -> Result<()> {
        let mut failed = Vec::new();
        for (test, mut command) in self.tests.iter().filter_map(|test| Some((test, test.alone()?)))
        {
            let begun = Instant::now();
            let name = format!("{} {}", test.package, test.target);
            if let Err(error) = process::run(&name, command.arg("--quiet")) {
                println!("{error}");
                failed.push(name.clone());
            }
            let took = begun.elapsed().as_secs_f32();
            if took > SLOW {
                println!("{name}: {took:.1} s");
            }
        }
        if !failed.is_empty() {
            return Err(Error::step("the tests", format!("{}. See above", failed.join(", "))));
        }
        let doc = ["test", "--doc", "--workspace", "--quiet", "--features", &features()];
        process::run(
            "cargo test --doc",
            Command::new(workspace::cargo()).args(doc).current_dir(workspace::root()),
        )
    }

    /// The names of all tests, each with its package and target.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for test in &self.tests {
            let list = ["--list", "--format", "terse"];
            let listed = process::output(&test.target, test.command().args(list))?;
            let own = listed.lines().filter_map(|line| line.strip_suffix(": test"));
            names.extend(own.map(|name| format!("{} {}: {name}", test.package, test.target)));
        }
        Ok(names)
    }

    /// What runs those of the tests `target` of `package` that need something beside them.
    fn beside(&self, package: &str, target: &str) -> Result<Command> {
        let is_it = |test: &&TestProgram| (&*test.package, &*test.target) == (package, target);
        let found = self.tests.iter().find(is_it);
        found.map(TestProgram::command).ok_or_else(|| {
            Error::step("cargo build", format!("it named no tests {target} of {package}"))
        })
    }
}

/// What runs those of the tests `target` of `package` that need something beside them: as they
/// were built, or as cargo builds them now.
pub(crate) fn beside(built: Option<&Built>, package: &str, target: &str) -> Result<Command> {
    let needy = needy(package, target);
    let mut command = if let Some(built) = built {
        built.beside(package, target)?
    } else {
        let mut command = Command::new(workspace::cargo());
        command.args(["test", "--package", package, "--test", target]);
        command.args(needy.iter().flat_map(|needy| ["--features", needy.feature]));
        command.arg("--").current_dir(workspace::root());
        command
    };
    command.args(needy.map_or(&[][..], |needy| needy.modules)).arg("--quiet");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_read_from_what_cargo_says() {
        let messages = r#"
            {"reason":"compiler-artifact","package_id":"path+file:///w/shared/store#0.1.0","manifest_path":"/w/shared/store/Cargo.toml","target":{"name":"contract","kind":["test"]},"profile":{"test":true},"executable":"/t/contract-1"}
            {"reason":"compiler-artifact","package_id":"path+file:///w/functions/senders/ghl#sender-ghl@0.1.0","manifest_path":"/w/functions/senders/ghl/Cargo.toml","target":{"name":"sender-ghl","kind":["bin"]},"profile":{"test":true},"executable":"/t/sender-2"}
            {"reason":"compiler-artifact","package_id":"path+file:///w/shared/store#0.1.0","manifest_path":"/w/shared/store/Cargo.toml","target":{"name":"store","kind":["lib"]},"profile":{"test":false},"executable":null}
            not json
            {"reason":"build-finished","success":true}"#;
        let found = test_programs(messages);
        let names: Vec<_> =
            found.iter().map(|test| (test.package.as_str(), test.target.as_str())).collect();
        assert_eq!(names, [("sender-ghl", "sender-ghl"), ("store", "contract")]);
        let skipped: Vec<_> =
            found.iter().map(|test| test.alone().map(|command| command.get_args().len())).collect();
        assert_eq!(skipped, [Some(0), Some(2)]);
        assert_eq!(found.last().map(|test| test.folder.clone()), Some("/w/shared/store".into()));
    }
}
