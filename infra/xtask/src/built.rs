//! The whole workspace with all tests, built by one cargo command. Separate commands for single
//! packages would unify features differently and rebuild the libraries.

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

/// Tests that need a service, such as the local cloud or a hub, which the command starts.
struct ServiceTests {
    package: &'static str,
    target: &'static str,
    /// Feature that enables them, so that `cargo test --workspace` skips them.
    feature: &'static str,
    /// Modules whose tests need the service. If empty, all tests of the program need it.
    modules: &'static [&'static str],
}

const SERVICE_TESTS: [ServiceTests; 5] = [
    ServiceTests {
        package: "tests",
        target: "contract",
        feature: "emulator",
        modules: &["on_the_local_cloud::"],
    },
    ServiceTests {
        package: "testkit",
        target: "conformance",
        feature: "emulator",
        modules: &["on_the_local_cloud::", "sequences::"],
    },
    ServiceTests { package: "tests", target: "e2e", feature: "e2e", modules: &[] },
    ServiceTests { package: "tests", target: "sdks", feature: "sdks", modules: &[] },
    ServiceTests { package: "tests", target: "specs", feature: "specs", modules: &[] },
];

/// Programs that the tests run.
const BINARIES: [&str; 6] = ["bootstrap", "simulator", "simulate", "bench", "floor", "xtask"];

/// Returns the entry for the tests `target` of `package`, if they need a service.
fn service_tests(package: &str, target: &str) -> Option<&'static ServiceTests> {
    SERVICE_TESTS.iter().find(|tests| (tests.package, tests.target) == (package, target))
}

/// Test programs that run longer than this are printed with their duration, in seconds.
const SLOW: f32 = 5.0;

/// A compiled test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// Name of the package.
    package: String,
    /// Name of the target. Unit tests have the package's name.
    target: String,
    /// Working directory, as `cargo test` sets it.
    folder: PathBuf,
    program: PathBuf,
}

impl TestProgram {
    /// Command that runs the tests that need no service, if there are any.
    fn standalone(&self) -> Option<Command> {
        let mut command = self.command();
        if let Some(tests) = service_tests(&self.package, &self.target) {
            if tests.modules.is_empty() {
                return None;
            }
            command.args(tests.modules.iter().flat_map(|module| ["--skip", *module]));
        }
        Some(command)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

/// The built workspace.
#[derive(Debug)]
pub(crate) struct Built {
    tests: Vec<TestProgram>,
}

/// The features for building the workspace with all tests.
fn features() -> String {
    let features = SERVICE_TESTS.iter().map(|tests| format!("{}/{}", tests.package, tests.feature));
    features.collect::<Vec<_>>().join(",")
}

/// Builds all functions, tools and tests.
pub(crate) fn build() -> Result<Built> {
    let mut command = Command::new(workspace::cargo());
    command
        .args(["build", "--workspace", "--lib", "--tests", "--examples", "--benches"])
        // Of the functions, only the binary with all of them: each would be linked.
        .args(BINARIES.iter().flat_map(|name| ["--bin", *name]))
        .args(["--features", &features()])
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
        return Err(Error::step("cargo build", "its output lists no test programs"));
    }
    Ok(Built { tests })
}

/// Returns the test programs listed in cargo's JSON messages.
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
    // `path+file:///checkout/tests#0.1.0`, or `...#name@0.1.0` if the folder's name
    // differs from the package's.
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
    /// Runs all tests that need no service, also after a failure, and then the doc tests.
    pub(crate) fn test(&self) -> Result<()> {
        let mut failed = Vec::new();
        for (test, mut command) in
            self.tests.iter().filter_map(|test| Some((test, test.standalone()?)))
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
            return Err(Error::step("tests", format!("{}. See above", failed.join(", "))));
        }
        let doc = ["test", "--doc", "--workspace", "--quiet", "--features", &features()];
        process::run(
            "cargo test --doc",
            Command::new(workspace::cargo()).args(doc).current_dir(workspace::root()),
        )
    }

    /// Returns the names of all tests, each with its package and target.
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

    /// Returns the compiled program of the tests `target` of `package`.
    fn program(&self, package: &str, target: &str) -> Result<Command> {
        let is_it = |test: &&TestProgram| (&*test.package, &*test.target) == (package, target);
        let found = self.tests.iter().find(is_it);
        found.map(TestProgram::command).ok_or_else(|| {
            Error::step("cargo build", format!("its output lists no tests {target} of {package}"))
        })
    }
}

/// Returns the command that runs the tests `target` of `package` that need a service. It runs the
/// built program, or `cargo test` if nothing was built.
pub(crate) fn service_test(built: Option<&Built>, package: &str, target: &str) -> Result<Command> {
    let tests = service_tests(package, target);
    let mut command = if let Some(built) = built {
        built.program(package, target)?
    } else {
        let mut command = Command::new(workspace::cargo());
        command.args(["test", "--package", package, "--test", target]);
        command.args(tests.iter().flat_map(|tests| ["--features", tests.feature]));
        command.arg("--").current_dir(workspace::root());
        command
    };
    command.args(tests.map_or(&[][..], |tests| tests.modules)).arg("--quiet");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_read_from_cargo_messages() {
        let messages = r#"
            {"reason":"compiler-artifact","package_id":"path+file:///w/tests#0.1.0","manifest_path":"/w/tests/Cargo.toml","target":{"name":"contract","kind":["test"]},"profile":{"test":true},"executable":"/t/contract-1"}
            {"reason":"compiler-artifact","package_id":"path+file:///w/functions/senders/ghl#sender-ghl@0.1.0","manifest_path":"/w/functions/senders/ghl/Cargo.toml","target":{"name":"sender-ghl","kind":["bin"]},"profile":{"test":true},"executable":"/t/sender-2"}
            {"reason":"compiler-artifact","package_id":"path+file:///w/tests#0.1.0","manifest_path":"/w/tests/Cargo.toml","target":{"name":"tests","kind":["lib"]},"profile":{"test":false},"executable":null}
            not json
            {"reason":"build-finished","success":true}"#;
        let found = test_programs(messages);
        let names: Vec<_> =
            found.iter().map(|test| (test.package.as_str(), test.target.as_str())).collect();
        assert_eq!(names, [("sender-ghl", "sender-ghl"), ("tests", "contract")]);
        let skipped: Vec<_> =
            found.iter().map(|test| test.standalone().map(|c| c.get_args().len())).collect();
        assert_eq!(skipped, [Some(0), Some(2)]);
        assert_eq!(found.last().map(|test| test.folder.clone()), Some("/w/tests".into()));
    }
}
